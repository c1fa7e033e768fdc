"""Links found by a partition, to be sent to the partitions of their hosts."""

import asyncio
from collections.abc import Iterator, Sequence

from pipeline.crawl.frontier import Entry, pack
from pipeline.crawl.store import Lines
from pipeline.urls import partition_of

BLOCK = 1000


class Outbox:
    """Packs entries into blocks, one list per partition. `found` entries are also written to disk, so that a resumed
    run sends them again. `ready` are full blocks: (target partition, packed entries)."""

    def __init__(self, partitions: int, found: Lines) -> None:
        self.ready: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._found = found
        self._pending: list[list[Entry]] = [[] for _ in range(partitions)]
        for row in found.read():
            self.hand_on(Entry.of_row(row))

    def add(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._found.add(*entries)
            for entry in entries:
                self.hand_on(entry)

    def hand_on(self, entry: Entry) -> None:
        """Send an entry that is already on disk elsewhere."""
        target = partition_of(entry.host, len(self._pending))
        self._pending[target].append(entry)
        if len(self._pending[target]) >= BLOCK:
            self.ready.put_nowait((target, pack(self._pending[target])))
            self._pending[target] = []

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """All remaining blocks, including empty ones: every partition gets a frontier, even if empty."""
        while not self.ready.empty():
            yield self.ready.get_nowait()
        for target, entries in enumerate(self._pending):
            yield target, pack(entries)
