"""Builds a small corpus on Flink or Spark while processes are killed, and compares it with a local build.

    python -m tests.cluster flink|spark JARS [--record]

JARS is the folder that `make flink-test` and `make spark-test` fill. All servers run on loopback and end with the test.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.miniweb import generate, write_warc
from tests.bench.results import Figure, record
from tests.cluster.servers import HOST, Flink, Servers, Spark
from tests.corpora import digests, start_build

PAGES = 120
SECONDS = 900.0
"""After which a build counts as hanging."""
IMAGES = "distinct_images"


@dataclass
class Comparison:
    """Builds of one input in `folder`; `expected` are the bytes of the local one."""

    folder: Path
    cluster: Servers | None = None
    expected: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_warc(generate(pages=PAGES, seed=5), self.folder / "web.warc.gz")
        self.build("local")
        self.expected = digests(self.folder / "local")

    def start(self, name: str, *options: str) -> "subprocess.Popen[str]":
        beam = [*self.cluster.beam_options, *options] if self.cluster else []
        return start_build([self.folder / "web.warc.gz"], self.folder / name, "--no-fetch", beam_options=beam)

    def build(self, name: str, disturb: Callable[["Comparison", str], None] | None = None) -> None:
        """One corpus, with a disturbance; it must be finished and have the bytes of the local one."""
        begin = time.monotonic()
        build = self.start(name)
        if disturb is not None:
            self.reach(build, name, IMAGES if disturb is not worker_pool else "pages")
            disturb(self, name)
        self.end(build, name, 0)
        self.check(name, begin)

    def reach(self, build: "subprocess.Popen[str]", name: str, stage: str) -> None:
        """Wait until a task of a stage has a record in hand. A build that was killed left its journals."""
        folder, begin = self.folder / name / "work" / stage, time.time()
        while not any(path.stat().st_mtime > begin for path in folder.glob("*.journal")):
            assert build.poll() is None, build.communicate()[1]
            time.sleep(0.05)

    def end(self, build: "subprocess.Popen[str]", name: str, status: int) -> str:
        """Wait for the end of a build. Returns its last line."""
        try:
            _, said = build.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            build.kill()
            _, said = build.communicate()
            self.problems.append(f"{name}: hangs")
        lines = [line for line in said.splitlines() if line.startswith("m3w:")]
        if build.returncode != status or "Traceback" in said or len(lines) != (status > 0):
            self.problems.append(f"{name}: status {build.returncode}, not {status}: {said[-3000:]}")
        return lines[-1] if lines else ""

    def check(self, name: str, begin: float) -> None:
        self.seconds[name] = time.monotonic() - begin
        with suppress(FileNotFoundError):
            found = digests(self.folder / name)
            different = sorted(path for path in self.expected | found if self.expected.get(path) != found.get(path))
            self.problems += [f"{name}: {path} differs" for path in different if self.expected]
            left = [str(path) for path in (self.folder / name).rglob(".*.tmp")]
            self.problems += [f"{name}: {path} is left" for path in left]
        print(f"{name}: {self.seconds[name]:.0f} s, {len(self.problems)} problems so far", flush=True)


def task_manager(comparison: Comparison, name: str) -> None:
    """Kill a task manager that works; the spare one takes its place."""
    flink = comparison.cluster
    assert isinstance(flink, Flink)
    victim = flink.busy()[0]
    flink.kill(victim)
    flink.task_manager(int(victim.removeprefix("tm")))


def worker_pool(comparison: Comparison, name: str) -> None:
    """Kill the worker pool and all workers, and start another one at its port."""
    flink = comparison.cluster
    assert isinstance(flink, Flink)
    flink.kill("pool")
    time.sleep(2)
    flink.pool()


def ended(comparison: Comparison, name: str) -> None:
    """End the command three times, in three ways, and rerun it each time."""
    flink = comparison.cluster
    assert isinstance(flink, Flink)
    begin = time.monotonic()

    build = comparison.start(name)
    comparison.reach(build, name, "pages")
    build.send_signal(signal.SIGTERM)
    said = comparison.end(build, name, 128 + signal.SIGTERM)
    if "may still run: cancel it on the cluster" not in said or not flink.running_jobs():
        comparison.problems.append(f"{name}: SIGTERM without --flink_master: {said}")
    flink.cancel_jobs()

    build = comparison.start(name, f"--flink_master={HOST}:{flink.ports['rest']}")
    comparison.reach(build, name, IMAGES)
    build.send_signal(signal.SIGTERM)
    said = comparison.end(build, name, 128 + signal.SIGTERM)
    if said != "m3w: terminated; rerun the same command to resume" or flink.running_jobs():
        comparison.problems.append(f"{name}: SIGTERM with --flink_master: {said}, {flink.running_jobs()}")

    build = comparison.start(name)
    comparison.reach(build, name, IMAGES)
    build.kill()
    build.communicate()
    flink.cancel_jobs()

    build = comparison.start(name)
    comparison.reach(build, name, IMAGES)
    flink.kill("job server")
    said = comparison.end(build, name, 1)
    if "may still run: cancel it on the cluster" not in said:
        comparison.problems.append(f"{name}: the job server was killed: {said}")
    flink.cancel_jobs()
    flink.job_server()

    comparison.end(comparison.start(name), name, 0)
    comparison.check(name, begin)


def on_flink(comparison: Comparison, folder: Path, jars: Path) -> list[Figure]:
    with Flink(folder, jars) as flink:
        comparison.cluster = flink
        comparison.build("undisturbed")
        jobs = len(flink.jobs())
        comparison.build("task manager killed", task_manager)
        comparison.build("worker pool killed", worker_pool)
        ended(comparison, "ended by signals, and the job server killed")
    return [Figure("Flink: jobs of a build", jobs)]


def on_spark(comparison: Comparison, folder: Path, jars: Path) -> list[Figure]:
    with Spark(folder, jars) as spark:
        comparison.cluster = spark
        comparison.build("undisturbed")
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runner", choices=("flink", "spark"))
    parser.add_argument("jars", type=Path)
    parser.add_argument("--record", action="store_true", help="write the figures to results/cluster.json")
    options = parser.parse_args()
    runner = str(options.runner).capitalize()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "servers").mkdir()
        comparison = Comparison(Path(name))
        run = on_flink if options.runner == "flink" else on_spark
        figures = run(comparison, Path(name) / "servers", options.jars.resolve())
    print(*comparison.problems, sep="\n")
    print(f"{runner}: {len(comparison.seconds) - 1} builds, {len(comparison.expected)} files each, "
          f"{len(comparison.problems)} problems")  # fmt: skip
    if options.record:
        local = comparison.seconds.pop("local")
        differing = sum(problem.endswith("differs") for problem in comparison.problems)
        figures += [
            Figure(f"{runner}: files that differ from a local build", differing, goal="<= 0"),
            Figure(f"{runner}: other problems", len(comparison.problems) - differing, goal="<= 0"),
            *(
                Figure(f"{runner}, {name}: time of a build", round(one, 1), "s")
                for name, one in comparison.seconds.items()
            ),
            Figure(f"{runner}: the local build beside it", round(local, 1), "s"),
        ]
        record("cluster", figures, f"make {options.runner}-test", f"miniweb, {PAGES} pages, parallelism 2")
    sys.exit(bool(comparison.problems))


if __name__ == "__main__":
    main()
