"""Runs: windows of a part that follow one another, which go to the same shard, so that its images are stored close
together. Which run goes to which shard is decided from their sizes."""

import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.corpus import CorpusDirectory
from shards.draws import hash64
from shards.files import atomic

SPLITS = ("train", "validation")
LONGEST_RUN = 256
RUNS = 32
"""A run has at most 256 windows, and there are at least 32 to a shard, so that the shards have the same size."""

RUN = np.dtype([("part", "<u4"), ("start", "<u4"), ("stop", "<u4"), ("bytes", "<i8")])
"""The windows `start` to `stop` of a split in a part, and their bytes."""


class PartRuns(NamedTuple):
    """The windows of a split in a part, cut into runs of `length` (the last may be shorter), and the `bytes` of
    each."""

    windows: int
    length: int
    bytes: np.ndarray

    def value(self) -> dict[str, Any]:
        return self._asdict() | {"bytes": self.bytes.tolist()}

    @classmethod
    def of(cls, value: dict[str, Any]) -> "PartRuns":
        return cls(value["windows"], value["length"], np.array(value["bytes"], np.int64))


def runs_of(cut: pa.Table, split: str, shard_bytes: int, min_shards: int) -> PartRuns:
    """The runs of a part (`cut`, rows of CUTS): enough for as many shards as it could fill by itself."""
    windows = cut.filter(in_split(cut, split))
    tokens = pc.multiply(pc.cast(pc.list_value_length(windows["input_ids"]), pa.int64()), 8)
    sizes = np.asarray(pc.add(windows["bytes"], tokens), np.int64)
    shards = max(min_shards, -(-int(sizes.sum()) // shard_bytes))
    length = max(1, min(LONGEST_RUN, len(sizes) // (shards * RUNS)))
    starts = np.arange(0, len(sizes), length)
    return PartRuns(len(sizes), length, np.add.reduceat(sizes, starts) if len(sizes) else sizes)


def in_split(cut: pa.Table, split: str) -> pa.ChunkedArray:
    """Which rows of CUTS are windows of a split."""
    return pc.and_(pc.equal(cut["split"], split), cut["rule"].is_null())


def joined(parts: Iterable[PartRuns], shard_bytes: int, min_shards: int) -> tuple[np.ndarray, int]:
    """The runs (RUN) of a split, and how many shards they go to: as many as give an average of `shard_bytes`, at least
    `min_shards`, and none without windows. Short runs of a part become one, as far as there are many."""
    parts = list(parts)
    windows, size = sum(part.windows for part in parts), sum(int(part.bytes.sum()) for part in parts)
    count = min(windows, max(min_shards, -(-size // shard_bytes)))
    length = max(1, min(LONGEST_RUN, windows // max(1, count * RUNS)))
    found = []
    for number, part in enumerate(parts):
        each = part.length * max(1, length // part.length)
        starts = np.arange(0, part.windows, each)
        runs = np.zeros(len(starts), RUN)
        runs["part"], runs["start"] = number, starts
        runs["stop"] = np.minimum(starts + each, part.windows)
        if len(starts):
            runs["bytes"] = np.add.reduceat(part.bytes, starts // part.length)
        found.append(runs)
    return np.concatenate(found) if found else np.zeros(0, RUN), count


def deal(runs: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """The runs of each shard, in order: dealt the longest first, to the shard with the fewest windows, then bytes. Ties
    by hash."""
    lengths, sizes = (runs["stop"] - runs["start"]).astype(np.int64), runs["bytes"]
    places = zip(runs["part"].tolist(), runs["start"].tolist(), strict=True)
    ties = np.fromiter((hash64(f"{seed}\nshard\n{part}\n{start}") for part, start in places), np.uint64, len(runs))
    shard = np.zeros(len(runs), np.int64)
    fewest = [(0, 0, number) for number in range(count)]
    for index in np.lexsort([ties, -sizes, -lengths]).tolist():
        windows, total, number = fewest[0]
        shard[index] = number
        heapq.heapreplace(fewest, (windows + int(lengths[index]), total + int(sizes[index]), number))
    order = np.argsort(shard, kind="stable")  # runs are in the order of parts
    return np.split(runs[order], np.searchsorted(shard[order], np.arange(1, count))) if count else []


def write_plan(corpus: CorpusDirectory, shards: Iterable[np.ndarray]) -> None:
    """Write the runs of all shards, one after the other: too many to be sent with the tasks."""
    with atomic(_plan(corpus)) as file:
        for runs in shards:
            file.write(runs.tobytes())


def read_plan(corpus: CorpusDirectory, first: int, count: int) -> np.ndarray:
    """The runs of one shard."""
    with _plan(corpus).open("rb") as file:
        file.seek(first * RUN.itemsize)
        return np.frombuffer(file.read(count * RUN.itemsize), RUN)


def _plan(corpus: CorpusDirectory) -> Path:
    return corpus.work("runs/plan")
