"""Run independent jobs on processes of their own: on CPU, processes are faster than threads."""

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
# modules of the jobs, and what torch's optimizers import: some seconds, once for all workers
PRELOADED = ["train_min.against", "torch._dynamo"]


def keep_freed_memory() -> None:
    """Make glibc keep freed tensor memory instead of returning it to the system: without the page faults a nano step
    takes half the time. Does nothing without glibc."""
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
    """Yield `count` Python threads in which torch uses one thread each, as it does in the caller until they end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            yield threads
    finally:
        torch.set_num_threads(before)


def expect_jobs(workers: int) -> multiprocessing.context.BaseContext:
    """The multiprocessing context of `run_jobs`: a fork server, which imports modules while this process continues;
    plain spawn for one worker, or if TMPDIR is too long for a socket name."""
    if workers <= 1:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with signals.held():
        multiprocessing.resource_tracker.ensure_running()  # it unblocks signals
        with without_interrupts():
            try:
                multiprocessing.forkserver.ensure_running()
            except OSError:
                return multiprocessing.get_context("spawn")
    return context


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Block Ctrl-C in processes started here, which would print a traceback during their imports."""
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
    """Run `function(*job, log)` for each job. `log` takes small dicts, which reach `on_log` in this process; jobs write
    results to files, because a worker that dies halfway through a long message would block the reader. With one worker
    everything runs here. Raises the job's TrainError, or TrainError if a worker died."""
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
        # let them exit themselves, so that they release what they hold, such as a progress bar's semaphore
        for _ in processes:
            tasks.put(None)
        for process in processes:
            process.join(30)  # on a busy machine an interpreter takes seconds to end
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()


def _started(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int) -> tuple[list[Any], Any, Any]:
    """Start the processes; return them, their task queue and their message queue."""
    context = expect_jobs(workers)
    workers = min(workers, len(jobs))
    with signals.held():  # signal handlers clean up multiprocessing's state, which must not be half built
        tasks, messages = context.Queue(), context.Queue()
        tasks.cancel_join_thread()  # after an error nobody reads the remaining tasks
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
    """Yield messages forever. Raises TrainError if a process has ended, even while others send messages."""
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
                    f"a training process ended with status {dead[0]}, most likely out of memory: "
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
