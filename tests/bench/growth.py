"""How time and memory of a build grow with the number of pages.

    python -m tests.bench.growth FOLDER [--pages 10000 100000] [--record]
    python -m tests.bench.growth FOLDER --pages 1000000 --copied [--record]

Miniweb in WARC files of 10,000 pages, each a web of its own seed and hosts, generated in FOLDER unless they are there.
With --copied, the parts of the first build are copied under other hosts (`tests.bench.copied`): pages are not extracted
and images not decoded, all other stages run.
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

import pipeline.build
from pipeline.engine.progress import Progress
from pipeline.miniweb.generate import generate
from pipeline.miniweb.write import write_warc
from pipeline.recipe import load
from pipeline.sources import source
from tests.bench.copied import HOST, copied
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


def first_parts(folder: Path) -> Path:
    """The corpus of one web, in parts as large as those of a large input."""
    path, root = folder / "first.warc.gz", folder / "first"
    if not path.exists():
        write_warc(generate(EACH, seed=0, base=lambda host: f"http://{host}{HOST}"), path)
    if not (root / "manifest.json").exists():
        source.FEWEST_BYTES = source.PART_BYTES
        options = ["--direct_num_workers=2"]
        pipeline.build.build([str(path)], root, load("web", []), "file:///", options, Progress(sys.stderr))
    return root


def build(files: list[Path], root: Path, *settings: str) -> Built:
    m3w = str(Path(sys.executable).with_name("m3w"))
    command = [m3w, "build", *map(str, files), "-o", str(root), "--no-fetch", *settings]
    command += ["--", "--direct_num_workers=2"]
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
    parser.add_argument("--copied", action="store_true", help="copy the parts of one build of 10,000 pages")
    parser.add_argument("--record", action="store_true", help="write the figures to results/scaling.json")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found, table = [], {}
    for pages in options.pages:
        if not options.copied:
            files = [web(options.folder, number) for number in range(pages // EACH)]
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            if options.copied:
                files = [copied(first_parts(options.folder), Path(root) / "copied", pages // EACH)]
            # a million pages in both formats need 60 GB
            settings = ("--set", 'windows.formats=["parquet"]') if options.copied else ()
            table[pages], seconds, main_peak, worker_peak = build(files, Path(root) / "corpus", *settings)
        print(f"{pages:,} pages: {seconds:.0f} s, main {main_peak >> 20} MiB, largest worker {worker_peak >> 20} MiB")
        what = f"{pages:,} {'copied ' * options.copied}pages"
        found += [
            Figure(f"build of {pages:,} {'copied' if options.copied else 'generated'} pages", round(seconds, 1), "s"),
            Figure(f"pages per second, {what}", round(pages / seconds, 1), "/s"),
            Figure(f"peak memory of the main process, {what}", main_peak >> 20, "MiB"),
            Figure(f"peak memory of a worker, {what}", worker_peak >> 20, "MiB"),
        ]
    for stage in table[options.pages[0]]:
        cells = [table[pages].get(stage, (0.0, 0)) for pages in options.pages]
        print(f"{stage:16}" + "".join(f"{seconds:10.1f} s {used >> 20:6} MiB" for seconds, used in cells))
    if options.record:
        record(
            "scaling",
            found,
            "python -m tests.bench.growth FOLDER --pages "
            + " ".join(map(str, options.pages))
            + " --copied" * options.copied,
            "miniweb, WARC files of 10,000 pages",
        )


if __name__ == "__main__":
    main()
