"""Independent pieces of a run on processes of their own: on CPU processes beat threads of one process."""

import ctypes
import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from pipeline import signals
from train_min import TrainError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
# what jobs are made of, and what torch's optimizers import once they are there: some seconds, once for all workers
PRELOADED = ["train_min.against", "torch._dynamo"]


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of giving it back to the system: getting it again costs page faults, and
    a nano step takes half the time without them. Elsewhere than on glibc nothing happens."""
    if sys.platform.startswith("linux"):
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):
            return
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """`count` Python threads in which torch has one thread each, as it has in the calling one until they end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads
    finally:
        torch.set_num_threads(before)


def expect_jobs(workers: int) -> multiprocessing.context.BaseContext:
    """What starts the processes of `run_jobs`: a server forks them, which imports what they need while this process
    goes on with something else. There is none for one worker, or where TMPDIR is too long for the name of a socket."""
    if workers <= 1:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with signals.held():
        multiprocessing.resource_tracker.ensure_running()  # which unblocks signals
        with without_interrupts():
            try:
                multiprocessing.forkserver.ensure_running()
            except OSError:
                return multiprocessing.get_context("spawn")
    return context


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes started here know no Ctrl-C, which they would answer with a traceback while they import."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    on_log: Callable[[dict[str, Any]], None],
) -> None:
    """`function(*job, log)` for each job. `log` takes small dicts, which reach `on_log` in this process; results are
    what jobs write to files, because a worker that dies with half of a long message in the pipe would be waited for.
    With one worker everything runs here. Raises TrainError as the job did, or where a worker died."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            function(*job, on_log)
        return
    processes, tasks, messages = _started(function, jobs, workers)
    try:
        left = len(jobs)
        for kind, payload in _messages(processes, messages):
            if kind == "log":
                on_log(payload)
            elif kind == "error":
                raise payload
            else:
                left -= 1
            if not left:
                break
        # on their own they give back what they hold: a semaphore of a progress bar, say, of which nobody else knows
        for _ in processes:
            tasks.put(None)
        for process in processes:
            process.join(5)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()


def _started(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int) -> tuple[list[Any], Any, Any]:
    """Processes, their tasks and their messages."""
    context = expect_jobs(workers)
    workers = min(workers, len(jobs))
    with signals.held():  # handlers remove what multiprocessing has: it must not be halfway there
        tasks, messages = context.Queue(), context.Queue()
        tasks.cancel_join_thread()  # after an error nobody reads what is still to be handed out
        for job in jobs:
            tasks.put(job)
        arguments = (function, tasks, messages, max(1, available_cores() // workers))
        processes = [
            context.Process(target=_work, args=arguments, daemon=True)  # type: ignore[attr-defined]
            for _ in range(workers)
        ]
        with without_interrupts():
            for process in processes:
                process.start()
    return processes, tasks, messages


def _messages(processes: list[Any], messages: Any) -> Iterator[tuple[str, Any]]:
    """Without end. Raises TrainError where a process has ended, also while others talk."""
    looked = time.monotonic()
    while True:
        message = None
        try:
            message = messages.get(timeout=1.0)
        except queue.Empty:
            pass
        if message is None or time.monotonic() - looked >= 1.0:
            looked = time.monotonic()
            dead = [process.exitcode for process in processes if process.exitcode is not None]
            if dead:
                raise TrainError(
                    f"a training process ended with status {dead[0]}, most likely for want of memory: "
                    "try --workers 1 or a smaller --lm"
                )
        if message is not None:
            yield message


def _end_with_the_run() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _work(function: Callable[..., Any], tasks: Any, messages: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends its workers
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    while (job := tasks.get()) is not None:
        try:
            function(*job, lambda row: messages.put(("log", row)))
        except TrainError as error:
            messages.put(("error", error))
        except OSError as error:
            messages.put(("error", TrainError(f"{error.filename or 'a file'}: {error.strerror or error}")))
        except Exception as error:
            import traceback

            text = "".join(traceback.format_exception(error))
            messages.put(("error", RuntimeError(f"in a training process:\n{text}")))
        else:
            messages.put(("done", None))
