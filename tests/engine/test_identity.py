"""The same input and recipe give the same bytes: on any number of workers, however often the build was stopped."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from pipeline.stages import step
from tests.corpora import build_here, digests, start_build

STAGES = [
    *("pages", "verdicts", "dedup", "references", "distinct_images", "images", "decisions"),
    *("split", "documents", "tokenizer", "windows", "shards"),
]
IN_WORKERS = ["pages", "verdicts", "distinct_images", "images", "documents", "tokenizer", "windows", "shards"]
"""The stages whose parts go to worker processes; the others join all parts in the main process."""


def test_two_workers_give_the_same_bytes(web_warc: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    assert digests(build_here([web_warc], tmp_path / "corpus", workers=2)) == expected


def test_the_number_of_partitions_does_not_matter(
    web_warc: Path, tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "partitions", lambda parts: 64)
    assert digests(build_here([web_warc], tmp_path / "corpus")) == expected


def test_every_bundle_twice_gives_the_same_bytes(web_warc: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    twice = ["--direct_runner_bundle_repeat=1"]
    assert digests(build_here([web_warc], tmp_path / "corpus", options=twice)) == expected


@pytest.mark.parametrize("stages", [["pages", "split"], pytest.param(STAGES, marks=pytest.mark.slow)])
def test_killed_in_a_stage_and_continued(
    web_warc: Path, tmp_path: Path, expected: dict[str, str], stages: list[str]
) -> None:
    root = tmp_path / "corpus"
    for stage in stages:
        before = STAGES[STAGES.index(stage) - 1] if stage != "pages" else None
        build = start_build([web_warc], root)
        assert build.stderr is not None
        if before is None:
            while not (root / "work/pages/queue").exists():
                assert build.poll() is None
        else:
            # a stage's line is printed when it is over, or was found complete
            while not (line := build.stderr.readline()).startswith(f"{before} "):
                assert line, f"the build ended before {stage}"
        time.sleep(0.02)
        build.send_signal(signal.SIGKILL)
        build.communicate(timeout=60)
        assert not (root / f"work/{stage}/manifest.json").exists(), f"{stage} was over before the kill"
        assert not (root / "manifest.json").exists()
    build = start_build([web_warc], root)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert digests(root) == expected
    assert not list(root.rglob("*.tmp")), "what a killed writer left is cleared"


DYING_WORKER = """
import os, signal, sys, time

def killed_at_its_work():
    run = sys.modules["pipeline.engine.run"]
    mark = run._mark
    def die(corpus, stage, *rest):
        if stage == os.environ["DIES_IN"]:
            with open(os.environ["DIED_AT"] + str(os.getpid()), "w") as file:
                file.write(str(time.time()))
            os.rename(file.name, os.environ["DIED_AT"])  # whole, though another worker dies at the same time
            os.kill(os.getpid(), signal.SIGKILL)
        return mark(corpus, stage, *rest)
    run._mark = die

os.register_at_fork(after_in_child=lambda: killed_at_its_work() if "pipeline.engine.run" in sys.modules else None)
"""


@pytest.mark.parametrize("stages", [["pages", "documents"], pytest.param(IN_WORKERS, marks=pytest.mark.slow)])
def test_a_worker_killed_in_a_stage_ends_the_command_with_one_line(
    web_warc: Path, tmp_path: Path, expected: dict[str, str], stages: list[str]
) -> None:
    root, died_at = tmp_path / "corpus", tmp_path / "died_at"
    (tmp_path / "sitecustomize.py").write_text(DYING_WORKER)
    for stage in stages:
        died_at.unlink(missing_ok=True)
        dying = {"PYTHONPATH": str(tmp_path), "DIES_IN": stage, "DIED_AT": str(died_at)}
        build = start_build([web_warc], root, environment=dying)
        _, errors = build.communicate(timeout=60)
        assert time.time() - float(died_at.read_text()) < 5
        assert build.returncode == 1, stage
        lines = [line for line in errors.splitlines() if line.startswith("m3w:")]
        assert len(lines) == 1 and "SIGKILL" in lines[0] and "rerun the command" in lines[0]
        assert "Traceback" not in errors
        assert not (root / f"work/{stage}/manifest.json").exists()
    build = start_build([web_warc], root)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert digests(root) == expected


@pytest.mark.parametrize(("number", "status", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_interrupted_ends_at_once_with_one_line(
    web_warc: Path, tmp_path: Path, number: signal.Signals, status: int, workers: int
) -> None:
    root = tmp_path / "corpus"
    build = start_build([web_warc], root, workers=workers)
    while not (root / "work/pages/queue").exists():
        assert build.poll() is None
        time.sleep(0.01)
    children = psutil.Process(build.pid).children(recursive=True)
    begin = time.monotonic()
    build.send_signal(number)
    _, errors = build.communicate(timeout=30)
    assert time.monotonic() - begin < 5
    assert build.returncode == status
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("m3w:")]) == 1
    end = time.monotonic() + 5
    while any(alive(child) for child in children):
        assert time.monotonic() < end, [child for child in children if alive(child)]
        time.sleep(0.05)


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a process without a parent may lie about dead until init comes round."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
