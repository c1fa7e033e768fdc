"""How far a build is: one line a stage, redrawn on a terminal, printed every ten seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from pipeline.engine.corpus import Corpus
from pipeline.engine.journal import Journal
from pipeline.engine.tasks import Stage, Task

INTERVAL = 10.0
"""Seconds between two plain lines."""


@dataclass
class Progress:
    """Writes progress to a stream (default: the terminal's error stream)."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def skip(self, name: str, tasks: int) -> None:
        self._line(f"{name:<10} already complete ({tasks} parts)")

    def note(self, text: str) -> None:
        self._line(text)

    @contextmanager
    def stage(self, stage: Stage, corpus: Corpus, pending: list[Task]) -> Iterator[None]:
        """Watches the markers of a stage while the block runs."""
        watch = _Watch(self, stage, corpus, pending)
        watch.start()
        try:
            yield
        finally:
            watch.stop()

    def _line(self, text: str, last: bool = True) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[K" + text + ("\n" if last else ""))
        elif last:
            self.stream.write(text + "\n")
        self.stream.flush()


class _Watch(threading.Thread):
    def __init__(self, progress: Progress, stage: Stage, corpus: Corpus, pending: list[Task]) -> None:
        super().__init__(name=f"progress_{stage.name}", daemon=True)
        self._progress, self._stage, self._corpus, self._pending = progress, stage, corpus, pending
        self._total = sum(task.weight for task in stage.tasks)
        self._before = self._total - sum(task.weight for task in pending)
        self._over = threading.Event()
        self._begin = time.monotonic()

    def run(self) -> None:
        shown = time.monotonic()
        while not self._over.wait(0.5):
            plain = not self._progress.stream.isatty()
            if plain and time.monotonic() - shown < INTERVAL:
                continue
            shown = time.monotonic()
            self._progress._line(self._text(), last=plain)

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._progress._line(self._text())

    def _text(self) -> str:
        stage = self._stage
        seconds = time.monotonic() - self._begin
        done = [task for task in self._pending if self._corpus.marker(stage.name, task.number).exists()]
        ready = len(stage.tasks) - len(self._pending) + len(done)
        finished = self._before + sum(task.weight for task in done)
        records = 0
        for task in self._pending:
            journal = Journal.peek(self._corpus.journal(stage.name, task.number))
            records += journal.done if journal else 0
        text = f"{stage.name:<10} {ready} of {len(stage.tasks)} parts"
        worked = finished - self._before
        if self._over.is_set():
            return f"{text}, {seconds:.1f} s"
        if records:
            text += f", {records} records in hand"
        if worked > 0:
            rate = worked / seconds
            # the work of fetching is counted in pictures, that of every other stage in bytes
            speed = f"{rate:.1f} pictures/s" if stage.name.startswith("fetched") else f"{rate / 1e6:.1f} MB/s"
            text += f", {speed}, {(self._total - finished) / rate:.0f} s left"
        return text
