"""Stage shards: assign windows to shards, and write these with their images."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from shards.draws import hash64
from shards.records import StoredImage
from shards.store import RemotePath
from shards.tar import read_images, read_member
from shards.windows import Window
from shards.writers import write_windows

SPLITS = ("train", "validation")
LONGEST_RUN = 256
RUNS = 32
"""Windows of a part that follow one another go to the same shard in runs of at most 256, so that its images are stored
close together, and at least 32 to a shard, so that the shards have the same size."""


class WindowRun(NamedTuple):
    """The windows `start` to `stop` of a split in a part, and their bytes."""

    part: int
    start: int
    stop: int
    bytes: int


@dataclass(frozen=True)
class Shard:
    """A shard to write: its split, its number within the split, and its runs."""

    split: str
    number: int
    runs: tuple[WindowRun, ...]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


def assign_shards(
    corpus: CorpusDirectory, parts: int, seed: int, shard_bytes: int, min_shards: int
) -> tuple[Task, ...]:
    """One task per shard. Of each split there are as many shards as give an average of `shard_bytes`, at least
    `min_shards` of them, and none without windows."""
    sizes = {split: [_window_bytes(corpus, part, split) for part in range(parts)] for split in SPLITS}
    tasks: list[Task] = []
    for split, of_parts in sizes.items():
        windows, size = sum(map(len, of_parts)), sum(int(part.sum()) for part in of_parts)
        count = min(windows, max(min_shards, -(-size // shard_bytes)))
        length = max(1, min(LONGEST_RUN, windows // max(1, count * RUNS)))
        for number, dealt in enumerate(_deal(list(_runs(of_parts, length)), count, seed)):
            weight = sum(run.bytes for run in dealt)
            tasks.append(Task(len(tasks), weight, Shard(split, number, tuple(sorted(dealt)))))
    return tuple(tasks)


def _window_bytes(corpus: CorpusDirectory, part: int, split: str) -> np.ndarray:
    """Approximate bytes of each window of a split in a part."""
    table = tables.read(corpus.part("windows", part), ["split", "rule", "bytes", "input_ids"])
    table = table.filter(pc.and_(pc.equal(table["split"], split), table["rule"].is_null()))
    return np.asarray(pc.add(table["bytes"], pc.multiply(pc.list_value_length(table["input_ids"]), 8)), np.int64)


def _runs(sizes: Sequence[np.ndarray], length: int) -> Iterator[WindowRun]:
    for part, windows in enumerate(sizes):
        for start in range(0, len(windows), length):
            stop = min(start + length, len(windows))
            yield WindowRun(part, start, stop, int(windows[start:stop].sum()))


def _deal(runs: list[WindowRun], count: int, seed: int) -> list[list[WindowRun]]:
    """Deal runs to shards: the longest first, to the shard with the fewest windows, then bytes. Ties by hash."""
    dealt: list[list[WindowRun]] = [[] for _ in range(count)]
    fewest = [(0, 0, number) for number in range(count)]
    by_size = sorted(
        (run.start - run.stop, -run.bytes, hash64(f"{seed}\nshard\n{run.part}\n{run.start}"), run) for run in runs
    )
    for length, size, _, run in by_size:
        windows, total, number = heapq.heappop(fewest)
        dealt[number].append(run)
        heapq.heappush(fewest, (windows - length, total - size, number))
    return dealt


@dataclass(eq=False)
class WriteShards(EachTask):
    """Input: tasks, one per shard. Output: (task number, files): windows/SPLIT-NNNNN.parquet and .tar."""

    corpus: CorpusDirectory
    formats: tuple[str, ...]

    def work(self, task: Task) -> list[FileEntry]:
        shard: Shard = task.payload
        path = self.corpus.root / "windows" / shard.name
        images = _Images(self.corpus.root / "images")
        count, outputs = write_windows(path, self.formats, self._windows(shard, images), images.load)
        return [
            FileEntry(self.corpus.relative(path.with_suffix(f".{name}")), count, output.size, output.sha256)
            for name, output in outputs.items()
        ]

    def _windows(self, shard: Shard, images: "_Images") -> Iterator[Window]:
        for part, runs in groupby(shard.runs, attrgetter("part")):
            rows = tables.read(self.corpus.part("windows", part))
            rows = rows.filter(pc.and_(pc.equal(rows["split"], shard.split), rows["rule"].is_null()))
            for run in runs:
                windows = [_window(row) for row in rows.slice(run.start, run.stop - run.start).to_pylist()]
                images.prepare(windows)
                yield from windows


class _Images:
    """Reads the images of windows: of a corpus in a store those of a run together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[tuple[str, int, int], bytes] = {}

    def prepare(self, windows: Sequence[Window]) -> None:
        if isinstance(self._folder, RemotePath):
            places = [(image.tar, image.offset, image.length) for window in windows for image in window.images]
            self._found = dict(zip(places, read_images(self._folder, places), strict=True))

    def load(self, image: StoredImage) -> bytes:
        found = self._found.get((image.tar, image.offset, image.length))
        return read_member(self._folder / image.tar, image.offset, image.length) if found is None else found


WINDOW_FIELDS = ("doc_id", "url", "site", "language", "text", "token_start", "seed", "tokenizer", "recipe")


def _window(row: dict[str, Any]) -> Window:
    return Window(
        **{name: row[name] for name in WINDOW_FIELDS},
        input_ids=np.asarray(row["input_ids"], np.int32),
        image_positions=np.asarray(row["image_positions"], np.int32),
        images=tuple(StoredImage.from_row(image) for image in row["images"]),
    )
