"""Convert rows to Parquet files and back to columns."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import FileEntry
from pipeline.errors import BuildError
from pipeline.json_files import parsed, write_json
from pipeline.urls import key_of
from shards.files import ROW_GROUP, write_table
from shards.store import parquet_source, read_many

BATCH = 512
VALUES = 1_000
"""Small files of a corpus in a store that are read together."""


def short_hash(text: str) -> bytes:
    """16 bytes of sha256: collisions are unlikely even among 10^15 values."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def url_hash(url: str) -> bytes:
    """A hash that is equal for all spellings of a URL, including different fragments."""
    return short_hash(key_of(url))


@dataclass
class Rows:
    """Collects rows of a schema as Arrow batches, so that Python objects do not accumulate."""

    schema: pa.Schema
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _batches: list[pa.RecordBatch] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH:
            self._flush()

    def extend(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            self.add(row)

    def _flush(self) -> None:
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self.schema))
        self._rows = []

    def table(self) -> pa.Table:
        if self._rows:
            self._flush()
        return pa.Table.from_batches(self._batches, schema=self.schema)

    def write(self, corpus: CorpusDirectory, path: Path) -> FileEntry:
        return write(corpus, path, self.table())


def write(corpus: CorpusDirectory, path: Path, table: pa.Table, row_group: int = ROW_GROUP) -> FileEntry:
    """Write a table atomically; the same rows give the same bytes."""
    try:
        written = write_table(path, table, row_group=row_group)
    except OSError as error:
        raise BuildError.of(error) from error
    return FileEntry(corpus.relative(path), table.num_rows, written.size, written.sha256)


def write_value(corpus: CorpusDirectory, path: Path, value: Any) -> FileEntry:
    """Write a small value as JSON; the same value gives the same bytes."""
    written = write_json(path, value)
    return FileEntry(corpus.relative(path), 1, written.size, written.sha256)


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some of its columns; `images.list.element.url` is one field of a column of lists of structs."""
    # for small files ten times as fast as pyarrow.parquet.read_table
    with pq.ParquetFile(parquet_source(path)) as file:
        return file.read(None if columns is None else list(columns), use_threads=False)


def values(corpus: CorpusDirectory, stage: str, parts: int) -> Iterator[Any]:
    """The values of all parts of a stage, in order, as `write_value` wrote them."""
    paths = [corpus.part(stage, part, "json") for part in range(parts)]
    for start in range(0, parts, VALUES):
        some = paths[start : start + VALUES]
        for path, data in zip(some, read_many(some), strict=True):
            yield parsed(path, data)
