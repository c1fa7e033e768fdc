"""`m3w decontaminate-index`: an index of the images of a benchmark, which `image.benchmarks` leaves out of corpora."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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


def index_for(path: Path, corpus: Path, report: Callable[[str], Any]) -> Path:
    """The index of a benchmark: `path` if it is one, else an index beside the corpus, made of its images.

    Raises BuildError if there is no image, or `path` cannot be read."""
    try:
        if path.is_file() and pq.read_schema(path).equals(INDEX):
            return path.resolve()
    except (OSError, pa.ArrowException):
        pass  # not a Parquet file
    index = corpus.resolve().with_name(f"{corpus.resolve().name}.benchmarks.parquet")
    make_index([path], "", index, report)
    return index


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
