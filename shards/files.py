"""Atomic files, and Parquet files whose bytes depend only on the table."""

import hashlib
import io
import os
import re
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from shards.store import RemotePath, located

COMPRESSION = "zstd"
COMPRESSION_LEVEL = 3
ROW_GROUP = 16_384
"""Rows per row group in tables without images."""
HOST = re.sub("[^A-Za-z0-9-]", "", socket.gethostname())[:32]


class Output(io.RawIOBase):
    """A file being written sequentially. `size` and `sha256` (hex) cover what was written so far."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        view = memoryview(data).cast("B")
        try:
            self._file.write(view)
        except OSError as error:  # a full disk: the system's error names no file
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._hash.update(view)
        self.size += len(view)
        return len(view)


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Output]:
    """Write `path` atomically: it appears when the block ends without an error, with all bytes synced to disk.

    Until then a hidden file beside it holds the bytes, whose name no other process or host uses; an error removes it.
    The folder must exist. An object of a store is first written to the local disk, and uploaded at the end. `size` and
    `sha256` of the yielded `Output` stay readable after the block.
    """
    path = located(path)
    if isinstance(path, RemotePath):
        with tempfile.NamedTemporaryFile(prefix="openm3w-") as spool:
            output = Output(spool, Path(spool.name))
            yield output
            spool.flush()
            path.upload(spool, spool.name, output.size)
        return
    temporary = path.with_name(f".{path.name}.{HOST}-{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as file:
            output = Output(file, path)
            yield output
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file before writing anything that must not be read together with it, even after a power cut."""
    path.unlink()
    if not isinstance(path, RemotePath):
        _sync(path.parent)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_table(path: str | os.PathLike[str], table: pa.Table, *, row_group: int = ROW_GROUP) -> Output:
    """Write `table` as Parquet: the same rows, schema and pyarrow version give the same bytes.

    Columns are combined first, because Parquet's pages follow the chunks in memory, which depend on a table's history.
    """
    with (
        atomic(path) as output,
        pq.ParquetWriter(output, table.schema, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL) as writer,
    ):
        if table.num_rows:  # datasets.load_dataset does not read a row group without rows
            writer.write_table(table.combine_chunks(), row_group_size=row_group)
    return output
