"""What a build of one dump of Common Crawl would take: each stage's rates, measured on real sites, and a simulated run.

    python -m tests.bench.scaling [--files 90000] [--pages 30000] [--bytes 1e9] [--cores 1000] [--record]

Measured, in one process on the WARC files in ../shared/data/warc: processor seconds per page by stage, for each part,
and bytes that meet in joins. Simulated: every part of every stage takes pages times a rate drawn from those of the
parts measured, and goes to the core that is free first; a join takes its measured time per page, divided among as many
cores as it has partitions. What it leaves out: fetching, starting of jobs, network and storage. Measured at its real
size: what the main process does with what the parts of such a dump say of themselves (`read_dump`).
"""

import argparse
import heapq
import io
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.build import build
from pipeline.card import Told
from pipeline.engine import joins
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.progress import Progress
from pipeline.engine.tasks import FileEntry, Stage, Task
from pipeline.recipe import load
from pipeline.sources.source import part_bytes
from pipeline.stages.runs import PartRuns, deal, joined, runs_of
from pipeline.stages.tokenizer import SAMPLE_BYTES
from tests.bench.annotated import SHARED
from tests.bench.results import Figure, record

NAMES = ("hugin", "freedombox-en", "skimage")
SEED = 0


@dataclass
class Measured(Progress):
    """Of each stage: processor seconds, and bytes of rows that its joins move."""

    seconds: dict[str, float] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    tasks: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    now: str = ""

    def __post_init__(self) -> None:
        super().__init__(io.StringIO())

    @contextmanager
    def stage(self, stage: Stage, corpus: CorpusDirectory, pending: list[Task]) -> Iterator[None]:
        self.now, begun = stage.name, time.process_time()
        yield
        self.seconds[stage.name] = time.process_time() - begun

    def split(self, block: np.ndarray, target: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        self.moved[self.now] += block.nbytes
        return _split(block, target)

    def timed(self, work, task: Task):  # type: ignore[no-untyped-def]
        begun = time.process_time()
        files = work(task)
        self.tasks[self.now][task.number] = time.process_time() - begun
        return task.number, files


_split = joins.split
SHOWN: list[Measured] = []
"""The measurement of this process."""


def _timed(work, task):  # type: ignore[no-untyped-def]
    return SHOWN[-1].timed(work, task)


def _moving(block: np.ndarray, target: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    return SHOWN[-1].split(block, target)


def measure(files: list[Path]) -> tuple[Measured, dict[int, int], int, int, tuple[int, int], str]:
    """(measurement, pages by part, bytes of documents and images, characters of documents, training windows and
    their bytes, the longest of work/counts)."""
    SHOWN.append(Measured())
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("pipeline.engine.run._numbered", _timed),
        patch("pipeline.engine.joins.split", _moving),
    ):
        root = Path(folder) / "corpus"
        one = ["--direct_num_workers=1"]
        build([str(path) for path in files], root, load("web", []), "file:///", one, SHOWN[-1])
        pages = {
            int(path.stem): pq.read_metadata(path).num_rows for path in sorted((root / "work/pages").glob("*.parquet"))
        }
        size = sum(path.stat().st_size for name in ("documents", "images") for path in (root / name).iterdir())
        texts = (pq.read_table(path)["texts"].to_pylist() for path in (root / "documents").glob("*.parquet"))
        text = sum(len(part) for rows in texts for row in rows for part in row if part)
        told = [json.loads(path.read_text())["train"] for path in (root / "work/runs").glob("*.json")]
        windows = sum(part["windows"] for part in told), sum(sum(part["bytes"]) for part in told)
        counts = max((path.read_text() for path in (root / "work/counts").glob("?????.json")), key=len)
    return SHOWN[-1], pages, size, text, windows, counts


@dataclass(frozen=True)
class Dump:
    files: int
    pages: int
    bytes: float
    cores: int

    @property
    def parts(self) -> int:
        return self.files * max(1, round(self.bytes / part_bytes(int(self.files * self.bytes))))

    @property
    def partitions(self) -> int:
        return joins.partitions(self.parts)

    def simulate(self, rates: list[float], weights: list[int]) -> tuple[float, float]:
        """(core seconds, seconds) of a stage whose parts take one of some seconds a page, drawn by weight."""
        chance = random.Random(SEED)
        pages = self.files * self.pages / self.parts
        free = [0.0] * min(self.cores, self.parts)
        total = 0.0
        for _ in range(self.parts):
            taken = pages * chance.choices(rates, weights)[0]
            total += taken
            heapq.heapreplace(free, free[0] + taken)
        return total, max(free)


class Read(NamedTuple):
    """What the main process makes of what the parts of a dump say: numbers of runs, shards and files, bytes of the
    manifest, seconds to deal the runs, to add up the counts and to list the files, and the peak of memory."""

    runs: int
    shards: int
    files: int
    manifest: int
    deal: float
    add: float
    write: float
    memory: int


def read_dump(parts: int, windows: int, window_bytes: float, counts: str) -> Read:
    """Read what the parts of a dump say, each the same: `windows` windows of `window_bytes`, and `counts` as JSON."""
    rng = np.random.default_rng(SEED)
    sizes = rng.integers(window_bytes / 2, window_bytes * 3 / 2, windows)
    recipe = load("web", []).windows
    cut = pa.table({"split": ["train"] * windows, "rule": pa.nulls(windows, pa.string()), "bytes": sizes,
                    "input_ids": [[]] * windows})  # fmt: skip
    text = json.dumps(runs_of(cut, "train", recipe.shard_bytes, recipe.min_shards).value())
    begun = time.process_time()
    read = (PartRuns.of(json.loads(text)) for _ in range(parts))
    runs, count = joined(read, recipe.shard_bytes, recipe.min_shards)
    deal(runs, count, SEED)
    dealt = time.process_time() - begun
    told = len(runs), count
    del runs
    begun = time.process_time()
    Told.sum(json.loads(counts) for _ in range(parts))
    added = time.process_time() - begun
    begun = time.process_time()
    files = [asdict(FileEntry(f"windows/train-{file:06d}.parquet", windows, 1 << 28, "0" * 64))
             for file in range(3 * parts + 2 * count)]  # fmt: skip
    size = len(json.dumps({"files": files}, indent=1))
    listed = time.process_time() - begun
    return Read(*told, len(files), size, dealt, added, listed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=90_000, help="WARC files of the dump")
    parser.add_argument("--pages", type=int, default=30_000, help="pages in each file")
    parser.add_argument("--bytes", type=float, default=1e9, help="bytes of each file")
    parser.add_argument("--cores", type=int, default=1000)
    parser.add_argument("--record", action="store_true", help="write the figures to results/scaling.json")
    options = parser.parse_args()
    measured, pages, size, text, windows, counts = measure([SHARED / f"data/warc/{name}.warc.gz" for name in NAMES])
    count, dump = sum(pages.values()), Dump(options.files, options.pages, options.bytes, options.cores)
    total = dump.files * dump.pages
    print(f"measured: {count:,} pages, {text / 1e6:.1f} MB of text; dump: {total:.2g} pages, {dump.cores:,} cores")
    print(f"{'stage':16}{'ms/page':>9}{'moved B/page':>14}{'core hours':>12}{'hours':>8}{'GB/partition':>14}")
    core_hours = hours = moved = 0.0
    for stage, seconds in measured.seconds.items():
        each = measured.tasks.get(stage, {})
        bytes_moved = measured.moved.get(stage, 0) / count
        if stage == "tokenizer":
            work = wall = seconds * max(1, SAMPLE_BYTES / text)
        elif each.keys() == pages.keys():
            parts = [part for part in pages if pages[part]]
            work, wall = dump.simulate([each[part] / pages[part] for part in parts], [pages[part] for part in parts])
        elif stage == "shards":
            work, wall = dump.simulate([seconds / count], [1])
        else:
            work = total * seconds / count
            wall = work / min(dump.cores, dump.partitions)
        print(f"{stage:16}{1e3 * seconds / count:9.2f}{bytes_moved:14.0f}{work / 3600:12,.0f}{wall / 3600:8.1f}"
              f"{bytes_moved * total / dump.partitions / 1e9:14.1f}")  # fmt: skip
        core_hours, hours, moved = core_hours + work / 3600, hours + wall / 3600, moved + bytes_moved
    each_million = 1e6 * core_hours / total
    print(f"all: {core_hours:,.0f} core hours ({each_million:.1f} per million pages), {hours:.1f} hours")
    print(f"{moved:.0f} bytes moved a page; documents and images {size * total / count / 1e12:.0f} TB")
    each_window = dump.files * dump.pages * windows[0] // (count * dump.parts)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        told = pool.apply(read_dump, (dump.parts, each_window, windows[1] / windows[0], counts))
    print(f"main process: {told.runs:,} runs dealt to {told.shards:,} shards in {told.deal:.0f} s, counts of"
          f" {dump.parts:,} parts added up in {told.add:.0f} s, {told.files:,} files listed in {told.write:.0f} s,"
          f" {told.manifest / 1e6:.0f} MB, {told.memory / 2**30:.1f} GiB")  # fmt: skip
    if options.record:
        found = [
            Figure(f"dump: {told.runs:,} runs of windows dealt to shards", round(told.deal), "s"),
            Figure(f"dump: counts of {dump.parts:,} parts added up", round(told.add), "s"),
            Figure(f"dump: manifest of {told.files:,} files", round(told.manifest / 1e6), "MB"),
            Figure("dump: memory of the main process for these", round(told.memory / 2**30, 1), "GiB"),
            Figure("core hours per million pages, without fetching", round(each_million, 1), "h"),
            Figure("bytes moved in joins per page", round(moved), "bytes"),
            Figure("simulated dump: core hours", round(core_hours), "h"),
            Figure(f"simulated dump: hours on {dump.cores:,} cores", round(hours, 1), "h"),
        ]
        data = (
            f"3 sites crawled with wget: {', '.join(NAMES)}; a dump of {dump.files:,} files with {dump.pages:,} pages"
        )
        record("scaling", found, "python -m tests.bench.scaling", data)


if __name__ == "__main__":
    # Beam pickles functions of __main__ by value, with a copy of what they refer to
    from tests.bench.scaling import main as run

    run()
