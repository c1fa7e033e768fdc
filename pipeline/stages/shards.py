"""Stage shards: assign windows to shards, and write these with their images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from shards.draws import hash64
from shards.records import StoredImage
from shards.tar import read_member
from shards.windows import Window
from shards.writers import write_windows


@dataclass(frozen=True)
class Shard:
    """A shard to write: its split, its number within the split, and its runs (part, run)."""

    split: str
    number: int
    runs: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


def assign_shards(corpus: CorpusDirectory, parts: int, seed: int, shard_bytes: int) -> tuple[Task, ...]:
    """One task per shard. Runs of documents are assigned to shards by hash, with as many shards as give an average of
    `shard_bytes`."""
    sizes: dict[str, dict[tuple[int, int], int]] = {"train": {}, "validation": {}}
    for part in range(parts):
        columns = tables.read(corpus.part("windows", part), ["run", "split", "rule", "bytes", "input_ids"])
        kept = columns.filter(columns["rule"].is_null())
        tokens = np.diff(kept["input_ids"].combine_chunks().offsets) if kept.num_rows else []
        for run, split, size, length in zip(
            kept["run"].to_pylist(), kept["split"].to_pylist(), kept["bytes"].to_pylist(), tokens, strict=True
        ):
            sizes[split][part, run] = sizes[split].get((part, run), 0) + size + 8 * int(length)
    tasks: list[Task] = []
    for split, runs in sizes.items():
        count = max(1, -(-sum(runs.values()) // shard_bytes)) if runs else 0
        dealt: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for run in sorted(runs):
            dealt[hash64(f"{seed}\nshard\n{run[0]}\n{run[1]}") % count].append(run)
        for number, of_shard in enumerate(dealt):
            weight = sum(runs[run] for run in of_shard)
            tasks.append(Task(len(tasks), weight, Shard(split, number, tuple(of_shard))))
    return tuple(tasks)


@dataclass(eq=False)
class WriteShards(EachTask):
    """Input: tasks, one per shard. Output: (task number, files): windows/SPLIT-NNNNN.parquet and .tar."""

    corpus: CorpusDirectory
    formats: tuple[str, ...]

    def work(self, task: Task) -> list[FileEntry]:
        shard: Shard = task.payload
        path = self.corpus.root / "windows" / shard.name
        count, outputs = write_windows(path, self.formats, self._windows(shard), self._load)
        return [
            FileEntry(self.corpus.relative(path.with_suffix(f".{name}")), count, output.size, output.sha256)
            for name, output in outputs.items()
        ]

    def _windows(self, shard: Shard) -> Iterator[Window]:
        by_part: dict[int, list[int]] = {}
        for part, run in shard.runs:
            by_part.setdefault(part, []).append(run)
        for part, runs in sorted(by_part.items()):
            rows = tables.read(self.corpus.part("windows", part))
            wanted = pc.is_in(rows["run"], value_set=pa.array(runs, pa.int32()))
            mine = pc.and_(wanted, pc.equal(rows["split"], shard.split))
            for batch in rows.filter(pc.and_(mine, rows["rule"].is_null())).to_batches(256):
                for row in batch.to_pylist():
                    yield _window(row)

    def _load(self, image: StoredImage) -> bytes:
        return read_member(self.corpus.root / "images" / image.tar, image.offset, image.length)


WINDOW_FIELDS = ("doc_id", "url", "site", "language", "text", "token_start", "seed", "tokenizer", "recipe")


def _window(row: dict[str, Any]) -> Window:
    return Window(
        **{name: row[name] for name in WINDOW_FIELDS},
        input_ids=np.asarray(row["input_ids"], np.int32),
        image_positions=np.asarray(row["image_positions"], np.int32),
        images=tuple(StoredImage.from_row(image) for image in row["images"]),
    )
