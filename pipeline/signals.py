"""End a program on SIGINT and SIGTERM with one line and status 128 + number.

The handler ends the process itself and raises nothing: an exception raised while numpy or torch are being imported
would be swallowed there and replaced by another one. `handle` is called before anything heavy is imported, and this
module imports nothing slow.
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

RESUME = "rerun the same command to resume"

_program: str | None = None
_advice = RESUME
_ending = threading.Lock()


def handle(program: str) -> None:
    """End this process on SIGINT and SIGTERM from now on. Of several processes started by torchrun only the first
    prints."""

    global _program
    _program = program

    def end(number: int, frame: FrameType | None) -> None:
        for other in ENDING:
            signal.signal(other, _end_at_once)
        _end(f"{WORDS[signal.Signals(number)]}; {_advice}", 128 + number)

    for number in ENDING:
        signal.signal(number, end)


def handled() -> bool:
    """Whether this process is a command, which `handle` was called for."""
    return _program is not None


def advise(what: str) -> None:
    """Set what the line of a signal tells the user to do."""
    global _advice
    _advice = what


def fail(message: str) -> None:
    """End the program with one line and status 1, from any thread. Does nothing unless `handle` was called: a program
    that uses this one as a library must not be ended."""
    if _program is not None:
        _end(message, 1)


def _end(message: str, status: int) -> None:
    if not _ending.acquire(blocking=False):
        return  # another thread is already ending the program
    if os.environ.get("RANK", "0") == "0":
        _say(f"{_program}: {message}\n")
    # Files are written atomically, and workers end with this process. Only multiprocessing, if used, leaves something
    # to remove: its socket's folder and its semaphores.
    if util := sys.modules.get("multiprocessing.util"):
        util._exit_function()
    os._exit(status)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def _say(line: str) -> None:
    try:
        os.write(2, (f"\n{line}" if os.isatty(2) else line).encode())
    except OSError:  # stderr is closed
        pass


@contextmanager
def held() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block. A signal mask would not suffice: threads started by
    libraries still receive them."""
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
