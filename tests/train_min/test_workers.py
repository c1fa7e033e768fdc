"""Worker processes of a run: their errors, their deaths, and the signals that end them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from train_min import TrainError
from train_min.training.workers import run_jobs


def fail(number: int, log: Callable[[dict], None]) -> None:
    if number == 3:
        raise TrainError("three is too many")
    if number == 4:
        Path("nowhere/lies.npz").read_bytes()
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    log({"square": number * number})


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_tell_what_they_do_and_their_errors(workers: int) -> None:
    rows: list[dict] = []
    run_jobs(fail, [(1,), (2,), (6,)], workers, rows.append)
    assert sorted(row["square"] for row in rows) == [1, 4, 36]
    if workers == 1:
        with pytest.raises(TrainError, match="three is too many"):
            run_jobs(fail, [(1,), (3,)], workers, rows.append)
    else:
        with pytest.raises(TrainError, match=r"nowhere/lies\.npz: No such file"):
            run_jobs(fail, [(1,), (4,)], workers, rows.append)


def test_a_worker_that_is_killed_ends_the_run_in_one_line() -> None:
    with pytest.raises(TrainError, match="most likely out of memory"):
        run_jobs(fail, [(1,), (5,)], 2, lambda row: None)


HOLDER = """
import multiprocessing
from train_min.training.workers import run_jobs

def hold(number, log):
    global lock
    lock = multiprocessing.RLock()  # as a progress bar does
    log(number)

if __name__ == "__main__":
    run_jobs(hold, [(number,) for number in range(4)], 2, print)
"""


def test_workers_give_back_what_they_hold(tmp_path: Path) -> None:
    script, temporary = tmp_path / "holder.py", tmp_path / "t"
    script.write_text(HOLDER)
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, sorted(done.stdout.split()), done.stderr) == (0, ["0", "1", "2", "3"], "")
    assert not [*temporary.glob("pymp-*")]


def test_workers_start_where_the_folder_for_temporary_files_has_a_long_name(tmp_path: Path) -> None:
    """The server that forks workers listens at a socket in it, whose name may have 107 bytes."""
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    program = "from train_min.training.workers import expect_jobs; print(expect_jobs(2).get_start_method())"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "spawn\n", "")


REFUSER = """
from train_min import TrainError
from train_min.training.workers import run_jobs

def refuse(jobs, log):
    raise TrainError("no")

if __name__ == "__main__":
    try:
        run_jobs(refuse, [(bytes(1 << 20),)] * 8, 2, print)
    except TrainError as error:
        print(error)
"""


def test_an_error_ends_a_run_whose_jobs_were_not_all_handed_out(tmp_path: Path) -> None:
    script = tmp_path / "refuser.py"
    script.write_text(REFUSER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no\n", "")


def chatter(number: int, folder: Path, log: Callable[[dict], None]) -> None:
    """Job 0 ends its process once job 1 logs; job 1 logs without a pause for a minute."""
    began = folder / "began"
    if number == 0:
        while not began.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    for step in range(6000):
        log({"step": step})
        began.touch()
        time.sleep(0.01)


def test_a_worker_that_is_killed_is_noticed_while_the_others_talk(tmp_path: Path) -> None:
    rows: list[dict] = []
    with pytest.raises(TrainError, match="most likely out of memory"):
        run_jobs(chatter, [(0, tmp_path), (1, tmp_path)], 2, rows.append)
    assert 0 < len(rows) < 6000


MODULE, CONSOLE = ["-m", "train_min"], ["-c", "from pipeline.cli import main; main()", "train"]


@pytest.mark.parametrize(
    ("program", "number", "moment"),
    [
        (MODULE, signal.SIGINT, "libtorch"),
        pytest.param(CONSOLE, signal.SIGINT, "forkserver", marks=pytest.mark.slow),
        pytest.param(CONSOLE, signal.SIGTERM, "images, ", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_says_so_in_one_line(
    corpus_folder: Path, tmp_path: Path, program: list[str], number: int, moment: str
) -> None:
    """Ctrl-C reaches all processes of a terminal, also one that has only begun to import."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    command = [sys.executable, *program, str(corpus_folder), "-o", str(tmp_path / "run"), "--workers", "2"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    if moment == "images, ":
        while moment not in process.stdout.readline():
            assert process.poll() is None
    while moment == "forkserver" and moment not in descendants(process.pid):
        assert process.poll() is None
        time.sleep(0.01)
    while moment == "libtorch" and moment not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error.count("\n") == 1 and ("interrupted" in error or "terminated" in error)
    assert not [*temporary.glob("pymp-*")]


STARTER = """
import os, signal, sys, threading
from train_min.training import workers

def end(number, frame):
    print("ended by", number)
    sys.exit(7)

def wait(number, log):
    signal.pause()

if __name__ == "__main__":
    workers.PRELOADED = ["imported_slowly"]
    signal.signal(signal.SIGTERM, end)
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
    workers.run_jobs(wait, [(1,), (2,)], 2, print)
"""


def test_a_signal_while_workers_start_reaches_its_handler(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    (tmp_path / "imported_slowly.py").write_text("import time; time.sleep(2)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (7, f"ended by {signal.SIGTERM}\n", "")


def descendants(pid: int) -> str:
    return subprocess.run(["pgrep", "-a", "-P", str(pid)], capture_output=True, text=True).stdout


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(corpus_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train_min", str(corpus_folder), "-o", str(tmp_path / "run"), "--workers", "2"]
    command += ["--lm-steps", "2", "--steps", "2000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "trainings" in line:
            break
    time.sleep(8)

    def children(pid: str) -> list[str]:
        return subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True).stdout.split()

    pids = children(str(process.pid))
    pids += [pid for server in pids for pid in children(server)]
    assert len(pids) >= 4  # a server that forks, a tracker of semaphores, and two workers
    process.kill()
    process.communicate()
    time.sleep(2)
    assert not any(Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text() for pid in pids)
