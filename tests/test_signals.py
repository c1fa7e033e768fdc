"""A signal while a program starts: one line, the status 128 + number, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.train_min.synthetic import write_corpus

M3W = "from pipeline.cli import main; main()"


@dataclass
class Ended:
    status: int
    errors: list[str]
    left: list[Path]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 100, held_out=3)


def start(command: list[str], temporary: Path) -> subprocess.Popen[bytes]:
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )


def caught(process: subprocess.Popen[bytes]) -> bool:
    """Whether SIGTERM has a handler: Python itself has only one for SIGINT."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << signal.SIGTERM - 1)
    return False


def seconds_to_output(command: list[str], temporary: Path) -> float:
    """From the moment at which signals are handled."""
    process = start(command, temporary)
    while not caught(process):
        time.sleep(0.001)
    began = time.monotonic()
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.monotonic() - began
    process.kill()
    process.communicate()
    return seconds


def ended(command: list[str], temporary: Path, seconds: float, number: int) -> Ended:
    """How a program ends if all its processes get a signal `seconds` after it can handle one."""
    process = start(command, temporary)
    while not caught(process):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(seconds)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=60)
    return Ended(process.returncode, errors.decode().splitlines(), [*temporary.glob("pymp-*")])


def ways(corpus: Path, run: Path) -> dict[str, list[str]]:
    return {
        "m3w train": ["-c", M3W, "train", str(corpus), "-o", str(run), "--workers", "2"],
        "python -m train_min": ["-m", "train_min", str(corpus), "-o", str(run), "--workers", "2"],
        "python -m pipeline.cli": ["-m", "pipeline.cli", "train", str(corpus), "-o", str(run), "--workers", "1"],
    }


WAYS = ["m3w train", "python -m train_min", "python -m pipeline.cli"]


def check(way: str, corpus: Path, folder: Path, moments: list[float]) -> None:
    program = "train_min" if "train_min" in way else "m3w"
    span = seconds_to_output(ways(corpus, folder / "first")[way], folder / "t")
    for turn, moment in enumerate(moments):
        number, word = (signal.SIGINT, "interrupted") if turn % 2 == 0 else (signal.SIGTERM, "terminated")
        command = ways(corpus, folder / f"run-{turn}")[way]
        found = ended(command, folder / f"t-{turn}", moment * span, number)
        expected = Ended(128 + number, [f"{program}: {word}; rerun the same command to resume"], [])
        assert found == expected, (way, moment, found)


@pytest.mark.parametrize("way", WAYS)
def test_a_signal_at_the_start_is_answered_in_one_line(way: str, corpus: Path, tmp_path: Path) -> None:
    check(way, corpus, tmp_path, [0.1, 0.7])


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_at_twenty_moments(way: str, corpus: Path, tmp_path: Path) -> None:
    check(way, corpus, tmp_path, [1.5 * part / 20 for part in range(20)])
