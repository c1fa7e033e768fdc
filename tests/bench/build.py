"""Time and memory of a build of three real sites, relative to the minimum work of any build.

    python -m tests.bench.build [WORKERS] [--record]

Reads ../shared/data/warc. The floor (../shared/bench/floor.py) inflates and parses records, parses HTML with lexbor and
decodes, shrinks and encodes each distinct image, on one core and nothing else."""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.bench.results import Figure, record

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
NAMES = ("hugin", "freedombox-en", "skimage")


def measure(command: list[str]) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, peak memory (bytes, unique set size) of the main process and of the largest other one."""
    begin = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks: dict[int, int] = {}
    cpu: dict[int, float] = {}
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.1):
            for each in [process, *process.children(recursive=True)]:
                try:
                    times = each.cpu_times()
                    cpu[each.pid] = times.user + times.system
                    peaks[each.pid] = max(peaks.get(each.pid, 0), each.memory_full_info().uss)
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=sample)
    watcher.start()
    while process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    over.set()
    watcher.join()
    seconds = time.monotonic() - begin
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    others = [peak for pid, peak in peaks.items() if pid != process.pid]
    return seconds, sum(cpu.values()), peaks[process.pid], max(others, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workers", type=int, nargs="?", default=2)
    parser.add_argument("--record", action="store_true", help="write the figures to results/build.json")
    options = parser.parse_args()
    workers = options.workers
    files = [str(SHARED / f"data/warc/{name}.warc.gz") for name in NAMES]
    m3w = str(Path(sys.executable).with_name("m3w"))
    floor_begin = time.monotonic()
    subprocess.run([sys.executable, SHARED / "bench/floor.py", *files], check=True, stdout=subprocess.DEVNULL)
    floor = time.monotonic() - floor_begin
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "corpus"
        command = [m3w, "build", *files, "-o", str(root), "--", f"--direct_num_workers={workers}"]
        seconds, cpu, main_peak, worker_peak = measure(command)
        manifest = json.loads((root / "manifest.json").read_text())
    rows = {"documents": 0, "windows": 0}
    for entry in manifest["files"]:
        folder_name = entry["path"].partition("/")[0]
        if folder_name in rows and entry["path"].endswith(".parquet"):
            rows[folder_name] += entry["rows"]
    images = sum(entry["rows"] for entry in manifest["files"] if entry["path"].startswith("images/")
                 and entry["path"].endswith(".tar"))  # fmt: skip
    print(f"m3w build, {workers} workers: {seconds:.1f} s, {cpu:.1f} CPU s; floor on one core {floor:.1f} s")
    print(f"  ratio to the floor: {seconds / floor:.2f} wall, {cpu / floor:.2f} CPU")
    print(f"  peak memory: main {main_peak / 2**20:.0f} MiB, largest worker {worker_peak / 2**20:.0f} MiB")
    print(f"  {rows['documents']} documents, {images} images stored, {rows['windows']} windows")
    if options.record:
        found = [
            Figure(f"build of 3 sites, {workers} workers", round(seconds, 1), "s", "< 60"),
            Figure("build of 3 sites, CPU time", round(cpu, 1), "s"),
            Figure("build, wall time over the floor", round(seconds / floor, 1)),
            Figure("build, CPU time over the floor", round(cpu / floor, 1)),
            Figure("build, peak memory of the main process", main_peak >> 20, "MiB"),
            Figure("build, peak memory of a worker", worker_peak >> 20, "MiB", "< 1536"),
        ]
        record("build", found, "python -m tests.bench.build", f"3 sites crawled with wget: {', '.join(NAMES)}")


if __name__ == "__main__":
    main()
