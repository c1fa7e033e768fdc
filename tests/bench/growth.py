"""How time and memory of a build grow with the number of pages.

    python -m tests.bench.growth FOLDER [--pages 10000 100000] [--record]

Miniweb in WARC files of 10,000 pages, each a web of its own seed and hosts, generated in FOLDER unless they are there.
Seconds are those of each stage's progress line, with 2 workers; memory is the unique set size, of the main process
while the stage ran."""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from pipeline.miniweb.generate import generate
from pipeline.miniweb.write import write_warc
from tests.bench.results import Figure, record

EACH = 10_000
LINE = re.compile(r"^(\S+)\s+\d+ of \d+ parts,.*? (?:(\d+) min )?([\d.]+) s$")


def web(folder: Path, number: int) -> Path:
    """The WARC file of one web of `EACH` pages."""
    path = folder / f"{number:03d}.warc.gz"
    if not path.exists():
        partial = path.with_suffix(".partial")
        write_warc(generate(EACH, seed=number, base=lambda host: f"http://{host}.web{number}.example"), partial)
        partial.rename(path)
    return path


class Built(NamedTuple):
    """Seconds, and peak bytes of the main process, by stage and in all; peak bytes of the largest worker."""

    stages: dict[str, tuple[float, int]]
    seconds: float
    main: int
    worker: int


def build(files: list[Path], root: Path) -> Built:
    m3w = str(Path(sys.executable).with_name("m3w"))
    command = [m3w, "build", *map(str, files), "-o", str(root), "--no-fetch", "--", "--direct_num_workers=2"]
    begin = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    during = [0]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.2):
            for each in [process, *process.children(recursive=True)]:
                try:
                    used = each.memory_full_info().uss
                except psutil.Error:
                    continue
                peaks[each.pid] = max(peaks.get(each.pid, 0), used)
                if each is process:
                    during[0] = max(during[0], used)

    watcher = threading.Thread(target=sample)
    watcher.start()
    stages = {}
    for line in process.stderr:
        if found := LINE.match(line.strip()):
            stages[found[1]] = 60 * int(found[2] or 0) + float(found[3]), during[0]
            during[0] = 0
    over.set()
    watcher.join()
    seconds = time.monotonic() - begin
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return Built(stages, seconds, peaks.pop(process.pid), max(peaks.values(), default=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, nargs="+", default=[10_000, 100_000], help=f"multiples of {EACH:,}")
    parser.add_argument("--record", action="store_true", help="write the figures to results/scaling.json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found, table = [], {}
    for pages in options.pages:
        files = [web(options.folder, number) for number in range(pages // EACH)]
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            table[pages], seconds, main_peak, worker_peak = build(files, Path(root) / "corpus")
        print(f"{pages:,} pages: {seconds:.0f} s, main {main_peak >> 20} MiB, largest worker {worker_peak >> 20} MiB")
        found += [
            Figure(f"build of {pages:,} generated pages", round(seconds, 1), "s"),
            Figure(f"pages per second, {pages:,} pages", round(pages / seconds, 1), "/s"),
            Figure(f"peak memory of the main process, {pages:,} pages", main_peak >> 20, "MiB"),
            Figure(f"peak memory of a worker, {pages:,} pages", worker_peak >> 20, "MiB"),
        ]
    for stage in table[options.pages[0]]:
        cells = [table[pages].get(stage, (0.0, 0)) for pages in options.pages]
        print(f"{stage:16}" + "".join(f"{seconds:10.1f} s {used >> 20:6} MiB" for seconds, used in cells))
    if options.record:
        record(
            "scaling",
            found,
            "python -m tests.bench.growth FOLDER --pages 10000 100000",
            "miniweb, WARC files of 10,000 pages",
        )


if __name__ == "__main__":
    main()
