"""`m3w decontaminate-index`: an index of the images or texts of a benchmark, which `image.benchmarks` or
`page.benchmarks` leave out of corpora."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedup import grams
from dedup.benchmarks import INDEX
from pipeline.errors import BuildError
from pipeline.images.decode import ImageDropped, decode
from shards.files import write_table

ROWS = 64
"""Rows of a Parquet file read at once; each may hold several images."""


def make_index(paths: list[Path], name: str, output: Path, report: Callable[[str], Any]) -> None:
    """Write the index (INDEX) of the images in folders and Parquet files, called `name`. Files that are no images are
    counted. Raises BuildError if there is no image, or a path cannot be read."""
    rows: list[tuple[str, str, int]] = []
    others = 0
    for path in paths:
        try:
            for image, data in images_of(path):
                try:
                    rows.append((name or path.stem, image, decode(data).phash))
                except ImageDropped:
                    others += 1
        except (OSError, pa.ArrowException) as error:
            raise BuildError(f"{path}: {getattr(error, 'strerror', None) or str(error).splitlines()[0]}") from None
    if not rows:
        raise BuildError(f"no image in {', '.join(map(str, paths))}")
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), INDEX, strict=True)]
    write_table(output, pa.table(columns, schema=INDEX))
    report(f"{len(rows):,} images in {output}" + (f"; {others:,} files are no images" if others else ""))


def make_text_index(paths: list[Path], name: str, output: Path, report: Callable[[str], Any]) -> None:
    """Write the index (grams.INDEX) of the texts of files, called `name`. Texts of fewer than 13 words are counted.
    Raises BuildError if there is no longer one, or a file cannot be read."""
    found: dict[str, list[np.ndarray]] = {}
    texts = short = 0
    for path in paths:
        mine = found.setdefault(name or path.stem, [])
        try:
            for text in texts_of(path):
                mine.append(grams.grams(text))
                texts += 1
                short += not len(mine[-1])
        except (OSError, pa.ArrowException) as error:
            raise BuildError(f"{path}: {getattr(error, 'strerror', None) or str(error).splitlines()[0]}") from None
        except UnicodeDecodeError:
            raise BuildError(f"{path} is not UTF-8 text") from None
    if texts == short:
        raise BuildError(f"no text of {grams.LENGTH} words or more in {', '.join(map(str, paths))}")
    hashes = {benchmark: np.unique(np.concatenate(mine)) for benchmark, mine in found.items() if mine}
    names = np.repeat(list(hashes), [len(mine) for mine in hashes.values()])
    table = pa.table([names, np.concatenate(list(hashes.values()))], schema=grams.INDEX)
    write_table(output, table)
    report(
        f"{table.num_rows:,} {grams.LENGTH}-grams of {texts - short:,} texts in {output};"
        f" {short:,} texts of fewer than {grams.LENGTH} words left out"
    )


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a file: every string in the rows of a Parquet or .jsonl file, else every line.

    Raises BuildError for a line that is not JSON, UnicodeDecodeError, OSError or pa.ArrowException."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(ROWS):
            yield from _strings(batch.to_pylist())
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if path.suffix != ".jsonl":
                yield line
            elif line.strip():
                try:
                    yield from _strings(json.loads(line))
                except (json.JSONDecodeError, RecursionError):
                    raise BuildError(f"{path}: line {number} is not JSON") from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def index_for(path: Path, corpus: Path, report: Callable[[str], Any]) -> tuple[str, Path]:
    """The key that takes the index of a benchmark, and the index: `path` if it is one, else an index beside the corpus,
    made of its images.

    Raises BuildError if there is no image, or `path` cannot be read."""
    try:
        for key, known in (("image.benchmarks", INDEX), ("page.benchmarks", grams.INDEX)):
            if path.is_file() and pq.read_schema(path).equals(known):
                return key, path.resolve()
    except (OSError, pa.ArrowException):
        pass  # not a Parquet file
    index = corpus.resolve().with_name(f"{corpus.resolve().name}.benchmarks.parquet")
    make_index([path], "", index, report)
    return "image.benchmarks", index


def images_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image: the files of a folder in order of their names, or what the columns of a Parquet
    file hold, in the layout of `datasets` or as plain bytes."""
    if path.suffix != ".parquet":
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            yield (file.relative_to(path).as_posix() if path.is_dir() else file.name), file.read_bytes()
        return
    number = 0
    for batch in pq.ParquetFile(path).iter_batches(ROWS):
        for row in batch.to_pylist():
            for column, value in row.items():
                for place, image in enumerate(value if isinstance(value, list) else [value]):
                    held = image.get("bytes") if isinstance(image, dict) else image
                    if isinstance(held, bytes):
                        yield f"{number}/{column}/{place}" if isinstance(value, list) else f"{number}/{column}", held
            number += 1
