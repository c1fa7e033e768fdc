"""Pages that crash or hang a worker: the build drops them and continues."""

import ctypes
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.journal import Journal, blame
from pipeline.engine.progress import Progress
from pipeline.engine.run import EachTask, Engine, StageRun
from pipeline.engine.runner import Runner
from pipeline.engine.tasks import FileEntry, Stage, Task
from pipeline.engine.workers import WorkerDied
from pipeline.errors import BuildError
from pipeline.stages.parts import cut
from tests.corpora import M3W, SMALL, digests, start_build

# What a bug in native code does to a worker, on the pages that ask for it. Python imports sitecustomize at its start.
SABOTAGE = """
import ctypes, time
import dedup.near

def sabotaged(text):
    if "crashmeplease" in text:
        ctypes.string_at(0)  # of this thread: a signal to the process may reach another one later
    if "hangmeplease" in text:
        time.sleep(600)
    return original(text)

original, dedup.near.signature = dedup.near.signature, sabotaged
"""


def test_a_page_that_crashes_or_hangs_its_worker_is_set_aside(tmp_path: Path) -> None:
    site, path = tmp_path / "site", tmp_path / "path"
    site.mkdir()
    path.mkdir()
    (path / "sitecustomize.py").write_text(SABOTAGE)
    for number in range(60):
        word = {17: "crashmeplease", 42: "hangmeplease"}.get(number, "quiet")
        words = " ".join(f"word{number}x{index}" for index in range(80))
        page = (
            f"<html><body><article><h1>Page {number}</h1><p>{word} {words}.</p><img src=a.png></article></body></html>"
        )
        (site / f"{number:02d}.html").write_text(page)
    root = tmp_path / "corpus"
    done = subprocess.run(
        [*M3W, "build", str(site), "-o", str(root), "--set", "limits.record_seconds=4", "--", "--direct_num_workers=2"],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    tables = [pq.read_table(file) for file in sorted((root / "work/records").glob("*.parquet"))]
    rules = {row["url"]: row["rule"] for table in tables for row in table.select(["url", "rule"]).to_pylist()}
    assert len(rules) == 60
    crashed = {url for url, rule in rules.items() if rule == "record.crashed"}
    assert crashed == {"file:///17.html", "file:///42.html"}
    assert [rule for url, rule in rules.items() if url not in crashed] == [None] * 58


def test_a_record_that_cannot_be_passed_over_ends_the_build(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a.html").write_text("a page")
    corpus, task = CorpusDirectory(tmp_path / "corpus"), Task(0, 1)
    corpus.work("pages").mkdir(parents=True)
    cut(corpus, [site], "file:///")
    path = corpus.journal("pages", task.number)
    for set_aside in (set(), set(), {3}):
        journal = Journal(path)
        assert journal.set_aside == set_aside
        journal.begin(3)
        if not set_aside:
            assert blame(corpus, "pages", [task], os.getpid())
    with pytest.raises(BuildError, match=r"pages: number 3 of part 0 \(site, .*leave its file out"):
        blame(corpus, "pages", [task], os.getpid())


def test_a_record_is_not_stuck_because_the_machine_slept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock goes on in a suspended machine, the monotonic clock does not."""
    path = tmp_path / "journal"
    Journal(path).begin(3)

    def stuck() -> bool:
        journal = Journal.peek(path)
        assert journal is not None and journal.record == 3
        return journal.stuck(60)

    now, since_start = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert not stuck()
    monkeypatch.setattr(time, "monotonic", lambda: since_start() + 61)
    assert stuck()


@dataclass(eq=False)
class CrashBehind(EachTask):
    """A task whose worker crashes `times` between records, once task 0 is done."""

    corpus: CorpusDirectory
    times: int

    def work(self, task: Task) -> list[FileEntry]:
        crashed = self.corpus.root / "crashed"
        while task.number == 1 and not self.corpus.marker("pages", 0).exists():
            time.sleep(0.01)
        if task.number == 1 and (count := len(crashed.read_text())) < self.times:
            crashed.write_text("x" * (count + 1))
            ctypes.string_at(0)
        return []


@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_between_two_records_is_retried_while_tasks_get_done(tmp_path: Path, times: int) -> None:
    corpus, stage = CorpusDirectory(tmp_path), Stage("pages", "key", (Task(0, 1), Task(1, 1)))
    (tmp_path / "crashed").write_text("")
    corpus.work("pages").mkdir(parents=True)
    runner = Runner.from_options(["--direct_num_workers=2"], tmp_path / "log", 2, "pipeline.stages.preload")
    engine = Engine(corpus, runner, Progress(io.StringIO()), 60)
    try:
        if times == 1:
            assert engine.run([StageRun(stage, CrashBehind(corpus, times), False)], 1) == [[]]
        else:
            with pytest.raises(WorkerDied, match="SIGSEGV"):
                engine.run([StageRun(stage, CrashBehind(corpus, times), False)], 1)
    finally:
        runner.close()
    assert len((tmp_path / "crashed").read_text()) == times


@pytest.mark.parametrize("finished", ["", "work/pages/manifest.json"], ids=["start", "between"])
def test_a_forking_process_that_ends_while_it_has_no_worker_ends_the_build(
    web_warc: Path, tmp_path: Path, expected: dict[str, str], finished: str
) -> None:
    root = tmp_path / "corpus"
    build = start_build([web_warc], root)
    while True:
        assert build.poll() is None
        children = psutil.Process(build.pid).children()
        if children and (root / finished).exists() and not children[0].children():
            break
        time.sleep(0.002)
    assert children[0].cmdline() == psutil.Process(build.pid).cmdline(), "a fork, which need not import anything"
    children[0].send_signal(signal.SIGKILL)
    _, errors = build.communicate(timeout=120)  # it would wait for ever
    assert build.returncode == 1
    told = [line for line in errors.splitlines() if line.startswith("m3w: ")]
    assert len(told) == 1 and told[0].startswith("m3w: the process that starts workers was ended by SIGKILL"), errors
    assert "Traceback" not in errors
    if finished:
        build = start_build([web_warc], root)
        build.communicate(timeout=120)
        assert digests(root) == expected


# The command with one of its steps, in its own process, going on for longer than the test.
LONG = """
import sys, time
from pathlib import Path
import apache_beam as beam
import pipeline.build, pipeline.crawl.rounds

def last(*anything):
    Path("begun").touch()
    time.sleep(600)

def cut():
    pipeline.build.parts.cut = last

def join():
    pipeline.build.FindCopies.expand = lambda self, parts: parts | beam.Map(last)

def crawl():
    pipeline.crawl.rounds._program = last

{step}()
from pipeline.cli import main
main()
"""


@pytest.mark.parametrize("step", ["cut", "join", "crawl"])
def test_a_forking_process_that_ends_while_the_command_works_itself_ends_the_command(tmp_path: Path, step: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/a.html").write_text("a page")
    what = "https://a.example/" if step == "crawl" else "site"
    arguments = [
        "crawl" if step == "crawl" else "build",
        what,
        "-o",
        "out",
        *["--contact", "me@a.example"] * (step == "crawl"),
    ]
    command = subprocess.Popen(
        [sys.executable, "-c", LONG.format(step=step), *arguments, "--", "--direct_num_workers=2"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "begun").exists():
        assert command.poll() is None
        time.sleep(0.01)
    (forking,) = psutil.Process(command.pid).children()
    forking.kill()
    try:
        _, errors = command.communicate(timeout=30)
    finally:
        command.kill()
    assert command.returncode == 1
    told = [line for line in errors.splitlines() if line.startswith("m3w: ")]
    assert len(told) == 1 and told[0].startswith("m3w: the process that starts workers was ended by SIGKILL"), errors
    assert "Traceback" not in errors


def test_workers_import_the_standard_library_before_other_packages(
    web_warc: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    """site-packages may hold a package with the name of a standard module, such as PyPI's dataclasses 0.6."""
    unpacked = tmp_path / "site-packages"
    for package in ("pipeline", "dedup", "filters", "shards", "train_min"):
        shutil.copytree(Path(__file__).resolve().parents[2] / package, unpacked / package)
    (unpacked / "dataclasses.py").write_text("raise SystemExit('not the standard library')")
    program = f"import sys; sys.path.insert(-1, {str(unpacked)!r}); from pipeline.cli import main; main()"
    settings = [part for setting in SMALL for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "build", web_warc, "-o", tmp_path / "corpus", *settings],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "corpus") == expected
