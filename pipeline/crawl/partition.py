"""One partition in one round: an event loop that crawls all of its hosts politely and concurrently."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.crawl import frontier
from pipeline.crawl.discover import Scope
from pipeline.crawl.fetcher import Allowance, Fetcher
from pipeline.crawl.frontier import PAGE, Entry, Slice
from pipeline.crawl.hosts import Host, HostLoop, RoundEnd
from pipeline.crawl.ledger import Ledger
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.outbox import Outbox
from pipeline.crawl.rights import RightsFiles
from pipeline.crawl.store import CrawlStore, Lines
from pipeline.fetch import Client, Networks
from pipeline.json_files import read_json
from pipeline.urls import host_of
from shards.draws import hash64

ROUND_SECONDS = 300.0
"""After this many seconds at most a partition starts no request and leaves the rest to the next round, so that slow
hosts do not hold up all others."""


@dataclass(eq=False)
class PartitionRound:
    """The work of a partition in a round. `blocks` does it, yielding (target partition, packed links)."""

    store: CrawlStore
    options: CrawlOptions
    partitions: int
    partition: int
    round: int
    allowance: Allowance

    async def blocks(self) -> AsyncIterator[tuple[int, bytes]]:
        """Fetch the entries of the frontier that are not in the log."""
        done = read_json(self.store.part(self.round, self.partition, "done.json"))
        links, rows = self.store.part(self.round, self.partition, "links"), self.store.log(self.round, self.partition)
        with closing(Lines(links)) as found, closing(Lines(rows)) as log:
            outbox = Outbox(self.partitions, found)
            for entry in frontier.read_all(self.store.part(self.round, self.partition, "again")):
                outbox.hand_on(entry)
            for row in log.read():
                if row["outcome"] == "carried":
                    outbox.hand_on(_carried(row))
            if done is None:
                work = asyncio.ensure_future(self._work(log, outbox))
                while not work.done():
                    block = asyncio.ensure_future(outbox.ready.get())
                    await asyncio.wait({work, block}, return_when=asyncio.FIRST_COMPLETED)
                    if block.done():
                        yield block.result()
                    else:
                        block.cancel()
                work.result()
            for rest in outbox.rest():
                yield rest

    async def _work(self, log: Lines, outbox: Outbox) -> None:
        ledger = Ledger(self.store, self.options, self.partition, self.round, log)
        scope = Scope(self.options)
        begin = asyncio.get_running_loop().time()
        end = begin + ROUND_SECONDS
        if self.allowance.deadline is not None:
            end = min(end, begin + self.allowance.deadline - time.time())
        networks = Networks.parse(self.options.allow_private)
        async with Client(self.options.contact, networks, self.options.limits) as client:
            rights = RightsFiles(client, self.options, ledger, outbox, scope, not self.round)
            urls = read_json(self.store.part(self.round, self.partition, "frontier.json"))["total"]
            fetcher = Fetcher(client, rights, ledger, scope, outbox, self.allowance, RoundEnd(begin, end, urls))
            loop = HostLoop(fetcher.step, fetcher.end)
            watch = asyncio.ensure_future(self._watch(loop))
            try:
                await loop.run(self._hosts(ledger, rights, begin))
            finally:
                watch.cancel()
        if scope.left_out:
            ledger.counts["out_of_scope"] = scope.left_out
        if scope.over_limit:
            ledger.counts["limit.links"] = scope.over_limit
        ledger.close(fetcher.resume)

    async def _watch(self, loop: HostLoop) -> None:
        """Shorten the round once another partition has finished what it had to do."""
        others = [part for part in range(self.partitions) if part != self.partition]
        while others:
            await asyncio.sleep(1)
            ended = (read_json(self.store.part(self.round, part, "done.json")) for part in others)
            if any(done is not None and done["counts"] for done in ended):
                loop.shorten()
                return

    def _hosts(self, ledger: Ledger, rights: RightsFiles, begin: float) -> list[Host]:
        path = self.store.part(self.round, self.partition, "frontier")
        slices = frontier.slices(path)
        pages = _share(slices, self.allowance.pages)
        # a killed run may have sent a request to any of these hosts a moment ago
        wait = self.options.delay if ledger.resumed else 0.0
        known: dict[str, list[str]] = {}
        for origin in ledger.rights:
            known.setdefault(host_of(origin), []).append(origin)
        hosts = []
        for part in slices:
            host = Host(part.host, _entries(path, part, pages[part.host], ledger.done), self.options.delay, begin)
            for origin in known.get(part.host, ()):
                rights.recall(host, origin)
            if wait or host.origins:
                host.rest = begin + max(wait, host.delay)
            # staggered: hosts that start together would be requested together for the whole round
            host.rest += min(host.delay, 1.0) * (hash64(host.name) % 1000) / 1000
            ledger.recall(host, begin)
            hosts.append(host)
        return hosts


def _share(slices: list[Slice], allowance: int) -> dict[str, int]:
    """How many pages of each host fit the allowance: one of each host, then a second of each, and so on."""
    shares = {part.host: 0 for part in slices}
    rank = 0
    while more := [part.host for part in slices if part.pages > rank][:allowance]:
        for host in more:
            shares[host] += 1
        allowance -= len(more)
        rank += 1
    return shares


def _entries(path: Path, part: Slice, most_pages: int, done: set[int]) -> Iterator[Entry]:
    pages = 0
    for entry in frontier.read(path, part):
        if entry.kind == PAGE and not entry.left:
            pages += 1
            if pages > most_pages:
                entry = entry._replace(left="limit.pages")
        if hash64(entry.url) not in done:
            yield entry


def _carried(row: dict[str, Any]) -> Entry:
    """The entry of a row with the outcome `carried`."""
    asked = row["url"], row["kind"], row["depth"], row["hops"], row["via"]
    return Entry(*asked, known=True, owner=row.get("owner", ""), others=tuple(row.get("others", ())))
