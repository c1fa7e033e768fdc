"""Benchmark images that must not be in a corpus: an index of their perceptual hashes, which can be shared without the
images, and the rule that drops what matches."""

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dedup import hamming

INDEX = pa.schema([("benchmark", pa.string()), ("image", pa.string()), ("phash", pa.uint64())])
"""An index file (Parquet): the name of the benchmark, the name of the image in it, its perceptual hash."""


class BenchmarkError(ValueError):
    """An index or a list of exceptions that cannot be read; the message names the file and says what to do."""


class Index(NamedTuple):
    """The images of an index (INDEX), without exceptions, and their hashes (N,)."""

    images: pa.Table
    hashes: NDArray[np.uint64]


@cache
def read_index(path: str, keep: str = "") -> Index:
    """The index at `path` without the images that the file `keep` names, one "BENCHMARK/IMAGE" a line (# begins a
    comment). Raises BenchmarkError."""
    images = read_file(path, INDEX, "images", "m3w decontaminate-index")
    named = {line for _, line in kept_lines(keep)}
    names = zip(images["benchmark"].to_pylist(), images["image"].to_pylist(), strict=True)
    images = images.filter(pa.array([f"{benchmark}/{image}" not in named for benchmark, image in names], pa.bool_()))
    return Index(images, images["phash"].to_numpy())


def kept_lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a file of exceptions, with their numbers from 1 on, without comments and empty ones; none if
    `path` is "". Raises BenchmarkError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines() if path else []
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: {_what(error)}") from None
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip()


def read_file(path: str, schema: pa.Schema, what: str, command: str) -> pa.Table:
    """The index of `what` at `path`, which `command` makes. Raises BenchmarkError."""
    if Path(path).is_dir():
        raise BenchmarkError(f"{path} is a folder: make an index of it first: {command} {path} -o FILE")
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise BenchmarkError(f"{path}: {_what(error)}") from None
    if not table.schema.equals(schema):
        raise BenchmarkError(f"{path} is not an index of {what}: make one with {command}")
    return table


def _what(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file not found"
    return str(getattr(error, "strerror", None) or str(error).splitlines()[0])


def digest(path: str, keep: str) -> str:
    """What the rule depends on: a hash of the index and the exceptions; "" without an index. Raises BenchmarkError."""
    if not path:
        return ""
    index = read_index(path, keep)
    rows = "\n".join(str(tuple(row.values())) for row in index.images.to_pylist())
    return sha256(rows.encode()).hexdigest()


def matches(hashes: NDArray[np.uint64], path: str, keep: str, distance: int) -> NDArray[np.int64]:
    """For each of hashes (N,), the row of the nearest image of the index within `distance` bits, or -1. Without
    an index (`path` is "") all are -1."""
    if not path:
        return np.full(len(hashes), -1)
    return hamming.nearest(hashes, read_index(path, keep).hashes, distance)
