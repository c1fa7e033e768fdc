"""Stage shards: assign windows to shards, and write these with their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.stages.runs import SPLITS, PartRuns, deal, in_split, joined, read_plan, write_plan
from shards.records import StoredImage
from shards.store import RemotePath, parquet_source
from shards.tar import read_images, read_member
from shards.windows import Window
from shards.writers import write_windows


@dataclass(frozen=True)
class Shard:
    """A shard to write: its split, its number within the split, and the place of its runs in the plan."""

    split: str
    number: int
    first: int
    runs: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


def assign_shards(
    corpus: CorpusDirectory, parts: int, seed: int, shard_bytes: int, min_shards: int
) -> tuple[Task, ...]:
    """One task per shard, whose runs are written to the plan."""
    read = [{split: PartRuns.of(value[split]) for split in SPLITS} for value in tables.values(corpus, "runs", parts)]
    tasks: list[Task] = []
    plan: list[np.ndarray] = []
    first = 0
    for split in SPLITS:
        runs, count = joined((part[split] for part in read), shard_bytes, min_shards)
        for number, dealt in enumerate(deal(runs, count, seed)):
            tasks.append(Task(len(tasks), int(dealt["bytes"].sum()), Shard(split, number, first, len(dealt))))
            first += len(dealt)
            plan.append(dealt)
    write_plan(corpus, plan)
    return tuple(tasks)


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
        for part, runs in groupby(read_plan(self.corpus, shard.first, shard.runs), itemgetter("part")):
            with pq.ParquetFile(parquet_source(self.corpus.part("windows", int(part)))) as file:
                rows = _Rows(file, shard.split)
                for run in runs:
                    windows = [_window(row) for row in rows.read(int(run["start"]), int(run["stop"])).to_pylist()]
                    images.prepare(windows)
                    yield from windows


class _Rows:
    """The windows of a split in a part; only the row groups asked for are read."""

    def __init__(self, file: pq.ParquetFile, split: str) -> None:
        self._file = file
        self._rows = np.flatnonzero(in_split(file.read(["split", "rule"]), split))
        groups = range(file.num_row_groups)
        self._ends = np.cumsum([file.metadata.row_group(group).num_rows for group in groups], dtype=np.int64)
        self._last: tuple[range, pa.Table] = range(0), pa.table({})

    def read(self, start: int, stop: int) -> pa.Table:
        rows = self._rows[start:stop]
        first, last = np.searchsorted(self._ends, rows[[0, -1]], side="right").tolist()
        groups = range(first, last + 1)
        if self._last[0] != groups:  # short runs share their row group
            self._last = groups, self._file.read_row_groups(groups, use_threads=False)
        before = int(self._ends[first - 1]) if first else 0
        return self._last[1].take(pa.array(rows - before))


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
