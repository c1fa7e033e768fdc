"""Builds a small corpus again and again while signals end its processes at random, and compares what comes out.

    python -m tests.chaos [KILLS] [--seed N] [--record]

Each kill is SIGKILL, SIGTERM or SIGSEGV to the main process, the one that forks workers, or a worker, at a random
moment of a build; the next build resumes. No build may hang, leave a process behind, end with a traceback or with more
than one line, and every corpus that is finished must be the same, byte for byte, as one of an undisturbed build."""

import argparse
import collections
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.miniweb import generate, write_warc
from tests.bench.results import Figure, record
from tests.corpora import digests, start_build

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV)
TARGETS = ("main", "forking", "worker")
PATIENCE = 180.0
"""Seconds after which a build counts as hanging."""


@dataclass
class Chaos:
    """The builds of one run, in `folder`."""

    folder: Path
    draw: random.Random
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    builds: int = 0
    finished: int = 0

    def run(self, wanted: int) -> None:
        write_warc(generate(pages=120, seed=5), self.folder / "web.warc.gz")
        (self.folder / "tmp").mkdir()
        begin = time.monotonic()
        assert self._end(self._start("undisturbed"), "undisturbed") == 0, self.problems
        self.seconds = time.monotonic() - begin
        self.expected = digests(self.folder / "undisturbed")
        while self.kills.total() < wanted and not self.problems:
            self._disturbed(wanted)

    def _start(self, name: str) -> "subprocess.Popen[str]":
        self.builds += 1
        environment = {"TMPDIR": str(self.folder / "tmp")}
        return start_build([self.folder / "web.warc.gz"], self.folder / name, "--no-fetch", environment=environment)

    def _disturbed(self, wanted: int) -> None:
        """One corpus, until it is finished."""
        status = 1
        while status != 0 and not self.problems:
            process = self._start("corpus")
            what = "nothing"
            if self.kills.total() < wanted:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self.draw.uniform(0, self.seconds))
                what = self._kill(process)
                self.kills[what] += what != "nothing"
            status = self._end(process, what)
            print(
                f"{self.kills.total():3} of {wanted}: {what}, status {status}", *self.problems, sep="\n    ", flush=True
            )
        if status == 0 and not self.problems:
            self.finished += 1
            found = digests(self.folder / "corpus")
            different = sorted(path for path in self.expected | found if self.expected.get(path) != found.get(path))
            self.problems += [f"{path} differs" for path in different]
            if not self.problems:
                shutil.rmtree(self.folder / "corpus")

    def _kill(self, process: "subprocess.Popen[str]") -> str:
        """Sends a signal to a process of the build, of those kinds that run now."""
        if process.poll() is not None:
            return "nothing"
        try:
            main = psutil.Process(process.pid)
            forking = main.children()
            running = {
                "main": [main],
                "forking": forking,
                "worker": [child for one in forking for child in one.children()],
            }
            target = self.draw.choice([name for name in TARGETS if running[name]])
            number = self.draw.choice(SIGNALS)
            self.draw.choice(running[target]).send_signal(number)
        except psutil.NoSuchProcess:
            return "nothing"
        return f"{number.name} to {target}"

    def _end(self, process: "subprocess.Popen[str]", what: str) -> int:
        """Waits for the end of a build, and looks at what it says and leaves behind."""
        others = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        try:
            _, said = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.problems.append(f"hangs after {what}")
            for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                each.kill()
            process.communicate()
            return 1
        _, left = psutil.wait_procs(others, timeout=20)
        if left:
            self.problems.append(f"{len(left)} processes are left after {what}")
        lines = [line for line in said.splitlines() if line.startswith("m3w:")]
        # SIGTERM has no handler while Python starts and while it ends
        quiet = process.returncode in (0, -signal.SIGTERM) or what in ("SIGKILL to main", "SIGSEGV to main")
        if "Traceback" in said or len(lines) != (not quiet):
            self.problems.append(f"after {what}, status {process.returncode}: {said}")
        return process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write the figures to results/build.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        chaos = Chaos(Path(name), random.Random(options.seed))
        chaos.run(options.kills)
        left = sorted(path.name for path in (chaos.folder / "tmp").iterdir())
    print(dict(sorted(chaos.kills.items())))
    hangs = sum(problem.startswith("hangs") for problem in chaos.problems)
    differing = sum(problem.endswith("differs") for problem in chaos.problems)
    print(f"{chaos.kills.total()} kills in {chaos.builds} builds, {chaos.finished} corpora finished: {hangs} hangs, "
          f"{differing} files that differ, {len(chaos.problems) - hangs - differing} other problems, "
          f"left in TMPDIR: {left or 'nothing'}")  # fmt: skip
    if options.record:
        figures = [
            Figure("chaos: kills at random", chaos.kills.total(), goal=">= 50"),
            Figure("chaos: builds that hang", hangs, goal="<= 0"),
            Figure("chaos: files that differ from an undisturbed build", differing, goal="<= 0"),
        ]
        record("build", figures, "make chaos", "miniweb, 120 pages, 2 workers")
    sys.exit(bool(chaos.problems))


if __name__ == "__main__":
    main()
