"""Progress of long work: one line with a bar on a terminal, a plain line every ten seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TextIO

INTERVAL = 10.0
"""Seconds between plain lines."""
REDRAW = 0.5
"""Seconds between updates on a terminal."""


class Status(NamedTuple):
    """Progress. `text` says what and how many of how many, `detail` is transient; `done` of `total` gives rate and time
    left, and `rate` formats a rate per second."""

    text: str
    done: float
    total: float
    rate: Callable[[float], str]
    detail: str = ""


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


@dataclass
class Display:
    """Writes to a stream, by default standard error."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def note(self, text: str) -> None:
        self.stream.write(f"{text}\n")
        self.stream.flush()

    @contextmanager
    def watch(self, look: Callable[[], Status]) -> Iterator[None]:
        """Show the result of `look` while the block runs, and once at its end."""
        pace = _Pace(look().done)
        over = threading.Event()
        show = self._draw if self.stream.isatty() else self._print
        thread = threading.Thread(target=show, args=(look, pace, over), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            status = look()
            self.note(", ".join([status.text, *pace.rate(status), duration(pace.seconds)]))

    def _print(self, look: Callable[[], Status], pace: "_Pace", over: threading.Event) -> None:
        while not over.wait(INTERVAL):
            status = look()
            self.note(", ".join([status.text, *pace.details(status)]))

    def _draw(self, look: Callable[[], Status], pace: "_Pace", over: threading.Event) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = [TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.fields[details]}")]
        console = Console(file=self.stream)
        with Progress(*columns, console=console, auto_refresh=False, transient=True) as bars:
            console.show_cursor()  # if the process is killed, the terminal stays usable
            status = look()
            task = bars.add_task(status.text, details="")
            while not over.wait(REDRAW):
                status = look()
                details = ", ".join(pace.details(status))
                bars.update(task, completed=status.done, total=status.total, description=status.text, details=details)
                bars.refresh()


class _Pace:
    """Rate and time left since the start, at which `before` was already done."""

    def __init__(self, before: float) -> None:
        self._before, self._begin = before, time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def _per_second(self, status: Status) -> float:
        return (status.done - self._before) / max(self.seconds, 1e-3)

    def rate(self, status: Status) -> list[str]:
        return [status.rate(self._per_second(status))] if status.done > self._before else []

    def details(self, status: Status) -> list[str]:
        found = [status.detail] if status.detail else []
        left = status.total - status.done
        if status.done > self._before and left > 0:
            return [*found, *self.rate(status), f"{duration(left / self._per_second(status))} left"]
        return found + self.rate(status)
