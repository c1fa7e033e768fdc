"""The passages of benchmark texts for which a corpus leaves pages out, and the texts that they matched."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dedup import grams
from dedup.benchmarks import BenchmarkError
from filters.rules import BENCHMARKS, KEPT_PASSAGES
from pipeline.benchmarks import texts_of
from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished
from pipeline.judged import whole
from shards.errors import first_line

RULE = "page.benchmark"
AROUND = 240
"""Characters shown on each side of a passage."""


class Excerpt(NamedTuple):
    """A passage, each run of white space as one space, and the text on both sides of it."""

    before: str
    passage: str
    after: str


class Passage(NamedTuple):
    """A passage of benchmarks, as the first of `pages` (URLs) has it, and its 13-grams (N,), ascending."""

    shown: Excerpt
    benchmarks: list[str]
    grams: NDArray[np.uint64]
    pages: list[str]


def passages(corpus: Finished) -> list[Passage]:
    """Every passage for which pages were dropped. Those on the most pages come first, since a passage that many pages
    quote is most often harmless.

    Raises BuildError if the index cannot be read or is another one now."""
    path, keep = (corpus.recipe.values()[key.name] for key in (BENCHMARKS, KEPT_PASSAGES))
    try:
        index, names = grams.read_index(path, keep), grams.read_names(path)
    except BenchmarkError as error:
        raise BuildError(str(error)) from None
    shown: dict[bytes, tuple[str, Excerpt]] = {}
    pages: dict[bytes, set[str]] = {}
    for part, entry in enumerate(corpus.work("pages")):
        dropped = pc.equal(corpus.pages(part, ["rule"])["rule"], RULE)
        for page in corpus.table(entry, ["url", "texts"]).filter(dropped).to_pylist():
            text = whole(page["texts"])
            found = grams.passages(text, index)
            if not found:
                raise BuildError(f"{path} has changed since {corpus.root} was built: rerun m3w build, then the review")
            for start, stop in found:
                key = grams.grams(text[start:stop]).tobytes()
                pages.setdefault(key, set()).add(page["url"])
                if key not in shown or page["url"] < shown[key][0]:
                    shown[key] = page["url"], _excerpt(text, start, stop)
    matched = np.unique(np.concatenate([np.frombuffer(key, np.uint64) for key in pages] or [index[:0]]))
    named: dict[int, set[str]] = {}
    for row in names.filter(pc.is_in(names["gram"], pa.array(matched))).to_pylist():
        named.setdefault(row["gram"], set()).add(row["benchmark"])
    made = [
        Passage(shown[key][1], sorted(set().union(*(named.get(gram, ()) for gram in hashes.tolist()))), hashes,
                sorted(urls))
        for key, urls in pages.items()
        for hashes in [np.frombuffer(key, np.uint64)]
    ]  # fmt: skip
    return sorted(made, key=lambda passage: (-len(passage.pages), passage.benchmarks, passage.shown.passage))


def _excerpt(text: str, start: int, stop: int) -> Excerpt:
    before, after = text[max(start - AROUND, 0) : start], text[stop : stop + AROUND]
    if start > AROUND:
        before = f"… {before.partition(' ')[2]}"
    if len(text) > stop + AROUND:
        after = f"{after.rpartition(' ')[0]} …"
    return Excerpt(*(_one_line(part) for part in (before, text[start:stop], after)))


def _one_line(text: str) -> str:
    """With one space for each run of white space, also at both ends."""
    return " ".join(f"x{text}x".split())[1:-1]


def benchmark_texts(paths: Sequence[Path], found: Sequence[Passage]) -> list[Excerpt | None]:
    """For each passage, the first text in the files of a benchmark that shares a 13-gram with it.

    Raises BuildError if a file cannot be read."""
    texts: list[Excerpt | None] = [None] * len(found)
    wanted = np.unique(np.concatenate([passage.grams for passage in found] or [np.zeros(0, np.uint64)]))
    for path in paths:
        try:
            for text in texts_of(path):
                if not grams.shared(text, wanted):
                    continue
                for place, passage in enumerate(found):
                    if texts[place] is None and (there := grams.passages(text, passage.grams)):
                        texts[place] = _excerpt(text, *there[0])
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise BuildError(f"{path}: {first_line(error)}") from None
    return texts
