"""SIGINT and SIGTERM end a program with one line and the status 128 + number.

The handler ends the process itself and raises nothing: an exception that is raised while numpy or torch are being
imported is swallowed there and comes out as another one. `handle` is called before anything heavy is imported, and this
module imports nothing that takes time.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

_program: str | None = None
_ending = threading.Lock()


def handle(program: str) -> None:
    """From now on SIGINT and SIGTERM end this process. Of several that torchrun started only the first says so."""

    global _program
    _program = program

    def end(number: int, frame: FrameType | None) -> None:
        for other in ENDING:
            signal.signal(other, _end_at_once)
        _end(f"{WORDS[signal.Signals(number)]}; rerun the same command to resume", 128 + number)

    for number in ENDING:
        signal.signal(number, end)


def fail(message: str) -> None:
    """Ends the program with one line and status 1, from any thread. Does nothing in a program that `handle` was not
    called for: another program that uses this one as a library is not ours to end."""
    if _program is not None:
        _end(message, 1)


def _end(message: str, status: int) -> None:
    if not _ending.acquire(blocking=False):
        return  # another thread is ending the program
    if os.environ.get("RANK", "0") == "0":
        _say(f"{_program}: {message}\n")
    # Files are whole or absent at any moment, and workers end with this process. Only multiprocessing, where it is
    # in use, has something to remove: the folder of its socket and its semaphores.
    if util := sys.modules.get("multiprocessing.util"):
        util._exit_function()
    os._exit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _say(line: str) -> None:
    try:
        os.write(2, (f"\n{line}" if os.isatty(2) else line).encode())
    except OSError:  # nobody reads it
        pass


@contextmanager
def held() -> Iterator[None]:
    """SIGINT and SIGTERM reach their handlers at the end of the block. A signal mask would not do: threads that
    libraries have started still take them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)
