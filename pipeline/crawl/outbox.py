"""Links that a partition found, on their way to the partitions of their hosts."""

import asyncio
from collections.abc import Iterator, Sequence

from pipeline.crawl.frontier import Entry, pack
from pipeline.crawl.store import Lines
from pipeline.urls import partition_of

BLOCK = 1000


class Outbox:
    """Packs entries into blocks, one list for each of the `partitions`. What is `found` is written down as well, so
    that a run that resumes hands it on again. `ready` are full blocks: (target partition, packed entries)."""

    def __init__(self, partitions: int, found: Lines) -> None:
        self.ready: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._found = found
        self._pending: list[list[Entry]] = [[] for _ in range(partitions)]
        for row in found.read():
            self.hand_on(Entry(*row))

    def add(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._found.add(*entries)
            for entry in entries:
                self.hand_on(entry)

    def hand_on(self, entry: Entry) -> None:
        """An entry that is written down elsewhere already."""
        target = partition_of(entry.host, len(self._pending))
        self._pending[target].append(entry)
        if len(self._pending[target]) >= BLOCK:
            self.ready.put_nowait((target, pack(self._pending[target])))
            self._pending[target] = []

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """All that is left; an empty block too: every partition gets a frontier, if an empty one."""
        while not self.ready.empty():
            yield self.ready.get_nowait()
        for target, entries in enumerate(self._pending):
            yield target, pack(entries)
        self._found.close()
