"""Progress of a crawl round, read from its log while workers write it."""

import json
from collections import Counter
from pathlib import Path

from pipeline.crawl.store import CrawlStore
from pipeline.display import Status


class RoundLog:
    """The outcomes in the log of a round, as written so far at each call."""

    def __init__(self, store: CrawlStore, number: int, partitions: int, total: int) -> None:
        self._number, self._total = number, total
        self._offsets = {store.log(number, part): 0 for part in range(partitions)}
        self._counts: Counter[str] = Counter()

    def __call__(self) -> Status:
        for path in self._offsets:
            self._read(path)
        done = self._counts.total()
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self._counts.items()))
        text = f"round {self._number}: {done} of {self._total} URLs ({counts or 'none yet'})"
        return Status(text, done, self._total, lambda rate: f"{rate:.1f}/s")

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[path] += len(whole)
        for line in whole.splitlines():
            row = json.loads(line)
            if row["kind"] in ("page", "image", "sitemap"):
                self._counts[row["outcome"]] += 1
