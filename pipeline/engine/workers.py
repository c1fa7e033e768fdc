"""Warm local workers for Beam: one process that has imported everything forks a worker for every request.

A forked worker starts in a fraction of a second; Beam's own subprocess worker imports for 1.4 to 3.5 s on every run.
The forking process is itself a fork of the command, which has imported the same. A program that may have threads, and
so cannot be forked, gets a new process.
The processes die with their parent, whatever kills it, and the parent notices at once when a worker dies (Beam's stock
handler waits forever for a killed worker).
"""

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pipeline import signals
from pipeline.errors import BuildError

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# One thread per native library: the parallelism is the number of workers, and threads do not survive a fork.
SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
)


class WorkerDied(BuildError):
    """A worker process, or (`pid` 0) the forking process, ended before its work was done. `crashed` distinguishes a
    crash of its own from a kill from outside."""

    def __init__(self, status: int, pid: int) -> None:
        what = "a worker process" if pid else "the process that starts workers"
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        hint = " (out of memory?)" if status == -signal.SIGKILL else " (work/worker.log)" if status > 0 else ""
        super().__init__(f"{what} {how}{hint}; rerun the command to resume")
        self.pid = pid
        self.crashed = -status in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class WorkerPool:
    """The forking process, as seen by its parent. `death` holds the exit status and process id of the first worker that
    died during its work; the id is 0 for the forking process itself, whose death ends the m3w command at once.

    `start` requests a worker; its `on_exit` is called with the worker's exit status, negative for a signal, and process
    id when it ends: on a thread of the pool, or at once if the forking process is gone.
    """

    def __init__(self, log: Path, preload: str) -> None:
        self._process = _forked(log, preload) if _can_fork() else _started(log, preload)
        self._on_exit: dict[str, Callable[[int, int], None]] = {}
        self.pids: dict[str, int] = {}
        self.death: tuple[int, int] | None = None
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="worker_pool", daemon=True)
        self._reader.start()

    def start(self, worker: str, address: str, on_exit: Callable[[int, int], None]) -> None:
        self._on_exit[worker] = on_exit
        if not self._send({"start": worker, "address": address}):
            self._ended(worker, self._process.wait())

    def kill(self, worker: str) -> None:
        """Kill a worker if it is still running."""
        self._send({"kill": worker})

    def close(self) -> None:
        """End the forking process and with it every worker."""
        self._closing = True
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if not self._reader.is_alive():
                with suppress(BrokenPipeError):  # the request was never read
                    pipe.close()

    def _send(self, message: dict[str, Any]) -> bool:
        """Send a request. False if the forking process is gone."""
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _read(self) -> None:
        for line in self._process.stdout:
            message = json.loads(line)
            if "started" in message:
                self.pids[message["started"]] = message["pid"]
            else:
                self._ended(message["ended"], message["status"])
        # the forking process itself has ended, and all workers with it
        status = self._process.wait()
        if not self._closing:
            self.death = self.death or (status, 0)
            signals.fail(str(WorkerDied(status, 0)))
        for worker in list(self._on_exit):
            self._ended(worker, status)

    def _ended(self, worker: str, status: int) -> None:
        pid = self.pids.pop(worker, 0)
        on_exit = self._on_exit.pop(worker, None)
        if on_exit is not None:
            on_exit(status, pid)


@dataclass
class _Process:
    """The forking process: its requests and reports, how to wait for its end, and how to kill it."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    wait: Callable[[], int]
    kill: Callable[[], None]


def prepare_fork() -> None:
    """Keep native libraries at one thread. A command calls this before it imports them; its pool is then a fork."""
    os.environ.update(SINGLE_THREADED)


def _can_fork() -> bool:
    return threading.active_count() == 1 and SINGLE_THREADED.items() <= os.environ.items()


def _started(log: Path, preload: str) -> _Process:
    # Workers import from the same paths as this process, in the same order: the standard library before site-packages,
    # and (-P) never from the current directory, which may contain a folder named dedup or a file typing.py.
    program = f"import sys; sys.path[:] = {sys.path!r}; from pipeline.engine.workers import main; main({preload!r})"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | SINGLE_THREADED,
            start_new_session=True,  # Ctrl-C reaches only the parent, which then ends the workers
        )
    assert process.stdin is not None and process.stdout is not None
    return _Process(process.stdin, process.stdout, process.wait, process.kill)


def _forked(log: Path, preload: str) -> _Process:
    _import(preload)
    requests, to_child = os.pipe()
    from_child, reports = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()  # as start_new_session
            for ending in signals.ENDING:
                signal.signal(ending, signal.SIG_DFL)
            errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            for number, descriptor in enumerate((requests, reports, errors)):
                os.dup2(descriptor, number)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            main(preload)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(requests)
    os.close(reports)
    ended: list[int] = []
    waiting = threading.Lock()

    def wait() -> int:
        with waiting:
            if not ended:
                ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return ended[0]

    def kill() -> None:
        if not ended:
            os.kill(pid, signal.SIGKILL)

    return _Process(os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb"), wait, kill)


def _import(preload: str) -> None:
    importlib.import_module("pipeline.engine.harness")  # import Beam once, before the first fork
    importlib.import_module(preload)
    gc.freeze()  # workers need not look through what was imported, and go on sharing it


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(preload: str) -> None:
    """The forking process: imports `preload`, reads requests from stdin, one JSON object per line, and reports on
    stdout. Ends when stdin closes."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    import logging

    logging.getLogger().addHandler(logging.NullHandler())  # before importing Beam, which would log to the terminal
    _import(preload)
    workers: dict[int, str] = {}
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    buffer = b""
    while True:
        for event, _ in selector.select():
            if event.fd == wake_read:
                os.read(wake_read, 4096)
                _reap(workers)
                continue
            chunk = os.read(0, 65536)
            if not chunk:
                os._exit(0)
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                _obey(json.loads(line), workers)


def _wake(number: int, frame: FrameType | None) -> None:
    """set_wakeup_fd only reports SIGCHLD if a handler is set; the work is done in the loop."""


def _obey(message: dict[str, Any], workers: dict[int, str]) -> None:
    if "kill" in message:
        for pid, worker in workers.items():
            if worker == message["kill"]:
                os.kill(pid, signal.SIGKILL)
        return
    pid = os.fork()
    if pid == 0:
        _work(message["start"], message["address"])
    workers[pid] = message["start"]
    _report({"started": message["start"], "pid": pid})


def _reap(workers: dict[int, str]) -> None:
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _report({"ended": workers.pop(pid), "status": os.waitstatus_to_exitcode(status)})


def _report(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _work(worker: str, address: str) -> None:
    """A worker in the forked child: runs Beam's harness until the pipeline ends. Never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        die_with_parent()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        from pipeline.engine.harness import run_harness

        run_harness(address, worker)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
