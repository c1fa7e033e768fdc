"""How far a crawl is, read from its log while workers write it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from pipeline.crawl.store import CrawlStore

INTERVAL = 10.0
"""Seconds between two plain lines."""


@dataclass
class Watch:
    """Writes a line a round to a stream, redrawn on a terminal."""

    store: CrawlStore
    stream: TextIO

    @contextmanager
    def round(self, number: int, partitions: int, total: int) -> Iterator[None]:
        thread = _Watching(self, number, partitions, total)
        thread.start()
        try:
            yield
        finally:
            thread.stop()

    def line(self, text: str, last: bool) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[K" + text + ("\n" if last else ""))
        elif last:
            self.stream.write(text + "\n")
        self.stream.flush()


class _Watching(threading.Thread):
    def __init__(self, watch: Watch, number: int, partitions: int, total: int) -> None:
        super().__init__(name=f"progress_round_{number}", daemon=True)
        self._watch, self._number, self._total = watch, number, total
        self._paths = [watch.store.log(number, part) for part in range(partitions)]
        self._offsets = [0] * partitions
        self._counts: dict[str, int] = {}
        self._begin = time.monotonic()
        self._over = threading.Event()
        self._before: int | None = None

    def run(self) -> None:
        shown = time.monotonic()
        while not self._over.wait(1.0):
            self._read()
            plain = not self._watch.stream.isatty()
            if plain and time.monotonic() - shown < INTERVAL:
                continue
            shown = time.monotonic()
            self._watch.line(self._text(), last=plain)

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._read()
        self._watch.line(self._text(), last=True)

    def _read(self) -> None:
        for index, path in enumerate(self._paths):
            try:
                with path.open("rb") as file:
                    file.seek(self._offsets[index])
                    data = file.read()
            except FileNotFoundError:
                continue
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[index] += len(whole)
            for line in whole.splitlines():
                row = json.loads(line)
                if row["kind"] in ("page", "image", "sitemap"):
                    self._counts[row["outcome"]] = self._counts.get(row["outcome"], 0) + 1
        if self._before is None:
            self._before = sum(self._counts.values())

    def _text(self) -> str:
        done = sum(self._counts.values())
        seconds = time.monotonic() - self._begin
        rate = (done - (self._before or 0)) / max(seconds, 1e-3)
        parts = [f"{count} {outcome}" for outcome, count in sorted(self._counts.items())]
        text = f"round {self._number}: {done} of {self._total} URLs ({', '.join(parts) or 'none yet'}), {rate:.1f}/s"
        left = self._total - done
        return text + (f", {left / rate:.0f} s left" if rate > 0 and left else f", {seconds:.1f} s")
