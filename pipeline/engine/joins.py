"""Corpus-wide joins in Beam that shuffle numpy blocks of fixed-width rows, not one Python element per row.

The local runner needs 300 to 700 bytes for every element it shuffles; a block of a million rows of 32 bytes is one
element. All joins have the same form: each part emits rows with a key; rows with equal keys meet in one partition,
where a function decides on all of them at once; the decisions return to the parts that the rows came from.

The local runner keeps all that it shuffles in the memory of the main process. On this machine, values therefore wait in
files (`spilling`), and what is shuffled is their places.
"""

import itertools
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import apache_beam as beam
import numpy as np

from pipeline.errors import BuildError

PARTITIONS, PARTS_EACH = 64, 100
"""Rows of a partition are sorted in memory: 64 partitions hold 100 million rows of 32 bytes at 50 MB each. A larger
input has one for each hundred parts of up to 1 GB: some 3 million pages, 2 GB of rows in the largest join. A small one
has one for each part."""


def partitions(parts: int) -> int:
    """The number of partitions in the joins of an input of `parts` parts. No result depends on it."""
    return max(min(parts, PARTITIONS), parts // PARTS_EACH)


Block = np.ndarray
"""A one-dimensional structured array."""

KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
"""A 16-byte hash as two integers, which numpy sorts and compares quickly."""


def keys(hashes: Iterable[bytes]) -> np.ndarray:
    """16-byte hashes as an array of dtype KEY."""
    return np.frombuffer(b"".join(hashes), KEY)


def keyed(dtype: np.dtype, hashes: Iterable[bytes]) -> Block:
    """A row of `dtype` for each 16-byte hash, its fields `high` and `low` set, all others zero."""
    key = keys(hashes)
    block = np.zeros(len(key), dtype)
    block["high"], block["low"] = key["high"], key["low"]
    return block


_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def spilling(folder: Path) -> Iterator[None]:
    """Values of pipelines built in this block wait in files of `folder`, which all workers must see."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


class GroupByKey(beam.PTransform):
    """Beam's GroupByKey, for large values."""

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        if (folder := _folder.get()) is None:
            return pairs | beam.GroupByKey()
        return (
            pairs
            | "Spill" >> beam.ParDo(_Spill(folder))
            | beam.GroupByKey()
            | "Load" >> beam.MapTuple(lambda key, places: (key, _Loaded(list(places))))
        )


class CoGroupByKey(beam.PTransform):
    """Beam's CoGroupByKey of PCollections by name, for large values."""

    def expand(self, named: Any) -> beam.PCollection:
        if (folder := _folder.get()) is None:
            return named | beam.CoGroupByKey()
        spilled = {name: pairs | f"Spill {name}" >> beam.ParDo(_Spill(folder)) for name, pairs in named.items()}
        return spilled | beam.CoGroupByKey() | "Load" >> beam.MapTuple(_loaded)


class _Place(NamedTuple):
    """Where a pickled value lies."""

    path: str
    offset: int


@dataclass(eq=False)
class _Spill(beam.DoFn):
    """Writes values to a file for each bundle. Input: (key, value). Output: (key, _Place)."""

    folder: Path
    file: IO[bytes] | None = None

    def start_bundle(self) -> None:
        with _told():
            self.file = (self.folder / uuid.uuid4().hex).open("wb")

    def process(self, pair: tuple[Any, Any]) -> Iterator[tuple[Any, _Place]]:
        assert self.file is not None
        place = _Place(self.file.name, self.file.tell())
        with _told():
            pickle.dump(pair[1], self.file, pickle.HIGHEST_PROTOCOL)
        yield pair[0], place

    def finish_bundle(self) -> None:
        assert self.file is not None
        with _told():
            self.file.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BuildError.of(error) from error


@dataclass(frozen=True)
class _Loaded:
    """Values read one after the other, each time they are iterated over."""

    places: list[_Place]

    def __iter__(self) -> Iterator[Any]:
        for path, places in itertools.groupby(sorted(self.places), lambda place: place.path):
            with Path(path).open("rb") as file:
                for place in places:
                    file.seek(place.offset)
                    yield pickle.load(file)


def _loaded(key: Any, named: Mapping[str, Iterable[_Place]]) -> tuple[Any, dict[str, list[Any]]]:
    return key, {name: list(_Loaded(list(places))) for name, places in named.items()}


@dataclass(eq=False)
class Join(beam.PTransform):
    """Brings rows with equal keys together, and returns the decisions about them to their parts.

    Input: (part, state) for every part. `emit(part, state)` returns a block with fields `high` and `low` (the key) and
    `part`. `decide(block)` sees all rows of some keys, sorted by all fields in their order, and returns a block with a
    field `part`. Output: (part, (state, block)) with the decisions for that part, sorted likewise."""

    emit: Callable[[int, Any], Block]
    decide: Callable[[Block], Block]
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        decided = (
            parts
            # Output: (partition, block)
            | "Emit" >> beam.FlatMapTuple(partial(by_partition, self.emit, self.partitions))
            | "Meet" >> GroupByKey()
            # Output: (part, block)
            | "Decide" >> beam.FlatMapTuple(partial(_by_part, self.decide))
        )
        return (
            {"state": parts, "blocks": decided}
            | "Return" >> CoGroupByKey()
            | "Merge" >> beam.MapTuple(lambda part, both: (part, (both["state"][0], merged(both["blocks"]))))
        )


def merged(blocks: Iterable[Block]) -> Block:
    """All rows of some blocks, sorted by all fields, since the order of arrival varies."""
    found = [block for block in blocks if len(block)]
    if not found:
        return np.zeros(0, [("part", "<u4")])
    rows = np.concatenate(found)
    return rows[np.lexsort([rows[name] for name in reversed(rows.dtype.names or ())])]


def by_partition(
    emit: Callable[[int, Any], Block], partitions: int, part: int, state: Any
) -> Iterator[tuple[int, Block]]:
    block = emit(part, state)
    if len(block):
        yield from split(block, block["high"] % np.uint64(partitions))


def _by_part(decide: Callable[[Block], Block], partition: int, blocks: Iterable[Block]) -> Iterator[tuple[int, Block]]:
    decided = decide(merged(blocks))
    if len(decided):
        yield from split(decided, decided["part"])


def split(block: Block, target: np.ndarray) -> Iterator[tuple[int, Block]]:
    """The rows of each target."""
    if not len(block):
        return
    order = np.argsort(target, kind="stable")
    block, target = block[order], target[order]
    bounds = np.concatenate([[0], np.flatnonzero(target[1:] != target[:-1]) + 1, [len(target)]])
    for start, stop in itertools.pairwise(bounds):
        yield int(target[start]), block[start:stop]
