"""The images that a corpus leaves out as those of a benchmark, and the images that they matched."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedup import benchmarks
from filters.image import BENCHMARKS, KEPT_BENCHMARKS
from pipeline.benchmarks import images_of
from pipeline.errors import BuildError
from pipeline.images.decode import ImageDropped, decode
from pipeline.inspect.finished import Finished
from pipeline.inspect.pictures import StoredPlace, small
from shards.errors import first_line

RULE = "image.benchmark"


class Match(NamedTuple):
    """An image of the corpus that was dropped, and the image of the index it matched, with the bits that differ."""

    benchmark: str
    image: str
    phash: int
    bits: int
    content: bytes
    place: StoredPlace
    pages: list[str]


def matches(corpus: Finished) -> list[Match]:
    """Every image that was dropped as one of a benchmark, the least alike first, since these are most often harmless.

    Raises BuildError if the index cannot be read or is another one now."""
    values = corpus.recipe.values()
    path, keep = values[BENCHMARKS.name], values[KEPT_BENCHMARKS.name]
    pages: dict[bytes, list[str]] = {}
    for part, entry in enumerate(corpus.work("decisions")):
        rows = corpus.table(entry, ["row", "rule", "content"]).to_pylist()
        dropped = [row for row in rows if row["rule"] == RULE]
        urls = corpus.table(corpus.work("pages")[part], ["url"])["url"].to_pylist() if dropped else []
        for row in dropped:
            pages.setdefault(row["content"], []).append(urls[row["row"]])
    stored = {
        row["content"]: row
        for entry in corpus.work("distinct_images")
        for row in corpus.table(entry, ["content", "phash", "tar", "offset", "length"]).to_pylist()
        if row["content"] in pages
    }
    try:
        index = benchmarks.read_index(path, keep)
    except benchmarks.BenchmarkError as error:
        raise BuildError(str(error)) from None
    hashes = np.array([row["phash"] for row in stored.values()], np.uint64)
    nearest = benchmarks.matches(hashes, path, keep, values["image.benchmark_bits"])
    if (nearest < 0).any():
        raise BuildError(f"{path} has changed since {corpus.root} was built: rerun m3w build, then the review")
    found = []
    for row, place in zip(stored.values(), nearest.tolist(), strict=True):
        (named,) = index.images.slice(place, 1).to_pylist()
        bits = (row["phash"] ^ named["phash"]).bit_count()
        where = StoredPlace(row["tar"], row["offset"], row["length"])
        found.append(
            Match(**named, bits=bits, content=row["content"], place=where, pages=sorted(pages[row["content"]]))
        )
    return sorted(found, key=lambda match: (-match.bits, match.benchmark, match.image, match.content))


def benchmark_images(paths: Sequence[Path], shown: Sequence[Match]) -> dict[tuple[str, int], Any]:
    """The images of a benchmark that matched, by name and perceptual hash, as data: URIs."""
    wanted = {(match.image, match.phash) for match in shown}
    names = {name for name, _ in wanted}
    found: dict[tuple[str, int], Any] = {}
    for path in paths:
        try:
            for name, data in images_of(path):
                if name not in names:
                    continue
                try:
                    key = name, decode(data).phash
                except ImageDropped:
                    continue
                if key in wanted and (smaller := small(data)) is not None:
                    found[key] = f"data:image/jpeg;base64,{base64.b64encode(smaller).decode()}"
        except (OSError, pa.ArrowException) as error:
            raise BuildError(f"{path}: {first_line(error)}") from None
    return found
