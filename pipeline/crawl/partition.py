"""One partition in one round: an event loop over all of its hosts, each asked politely, all at once."""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.crawl import frontier
from pipeline.crawl.discover import Scope, judge, wanted
from pipeline.crawl.frontier import PAGE, SITEMAP, Entry, Slice, pack
from pipeline.crawl.hosts import DOWN, LONGEST_DELAY, Asking, Host
from pipeline.crawl.ledger import Ledger
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.store import CrawlStore, Lines
from pipeline.fetch import Client, FetchFailed, Networks, Response
from pipeline.fetch.client import redirect_target
from pipeline.fetch.response import CONNECTION_REASONS, RETRY_STATUSES
from pipeline.fetch.retry import ATTEMPTS, LONGEST_WAIT, back_off, retry_after
from pipeline.fetch.rights import ROBOTS, Rights
from pipeline.json_files import read_json
from pipeline.urls import host_of, normal, origin_of, partition_of

CONNECTIONS = 256
"""Requests in flight at once in one partition."""
ROUND_SECONDS = 300.0
"""After this a partition begins no request and hands what is left to the next round: one slow host does not hold up
all others."""
BLOCK = 1000
UNREADABLE = "unreadable"
"""The rule of a response at which this program itself failed; the row's `detail` tells how and where."""


@dataclass(frozen=True)
class Allowance:
    """What a partition may use up in a round. `deadline` is in seconds since the epoch."""

    pages: int
    bytes: int
    deadline: float | None


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
        """Fetches what the frontier holds and the log does not."""
        done = read_json(self.store.part(self.round, self.partition, "done.json"))
        found = Lines(self.store.part(self.round, self.partition, "links"))
        self._pending: list[list[Entry]] = [[] for _ in range(self.partitions)]
        self._ready: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        for row in found.read():
            self._hand_on(Entry(*row))
        log = Lines(self.store.log(self.round, self.partition))
        for row in log.read():
            if row["outcome"] == "carried":
                self._hand_on(_carried(row))
        if done is None:
            self._found = found
            work = asyncio.ensure_future(self._work(log))
            while not work.done() or not self._ready.empty():
                block = asyncio.ensure_future(self._ready.get())
                await asyncio.wait({work, block}, return_when=asyncio.FIRST_COMPLETED)
                if block.done():
                    yield block.result()
                else:
                    block.cancel()
                    work.result()
        for target, entries in enumerate(self._pending):
            # an empty block too: every partition gets a frontier, if an empty one
            yield target, pack(entries)
        while not self._ready.empty():
            yield self._ready.get_nowait()
        found.close()

    def _hand_on(self, entry: Entry) -> None:
        target = partition_of(entry.host, self.partitions)
        self._pending[target].append(entry)
        if len(self._pending[target]) >= BLOCK:
            self._ready.put_nowait((target, pack(self._pending[target])))
            self._pending[target] = []

    async def _work(self, log: Lines) -> None:
        self._ledger = Ledger(self.store, self.options, self.partition, self.round, log)
        self._scope = Scope(self.options)
        path = self.store.part(self.round, self.partition, "frontier")
        loop = asyncio.get_running_loop()
        self._begin = loop.time()
        self._over = asyncio.Event()
        self._waiting: deque[Host] = deque()
        self._flying: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        slices = frontier.slices(path)
        chosen = self._choose(slices)
        # a run that was killed may have asked any of these hosts a moment ago
        wait = self.options.delay if self._ledger.resumed else 0.0
        known: dict[str, list[str]] = {}
        for origin in self._ledger.rights:
            known.setdefault(host_of(origin), []).append(origin)
        self._hosts = len(slices)
        private = Networks.parse(self.options.allow_private)
        self.client = Client(self.options.contact, private, self.options.limits)
        async with self.client:
            for part in slices:
                host = Host(part.host, self._entries(path, part, chosen), self.options.delay, self._begin)
                for origin in known.get(part.host, ()):
                    self._recall(host, origin)
                if wait or host.origins:
                    host.rest = self._begin + max(wait, host.delay)
                # not all at once: hosts that begin together would be asked together for the whole round
                host.rest += min(host.delay, 1.0) * (frontier.url_hash(host.name) % 1000) / 1000
                loop.call_at(host.next_time, self._wake, host)
            if self._hosts:
                await self._over.wait()
            for task in list(self._flying):
                task.cancel()
        if self._failure is not None:
            raise self._failure
        if self._scope.left_out:
            self._ledger.counts["out_of_scope"] = self._scope.left_out
        if self._scope.over_limit:
            self._ledger.counts["limit.links"] = self._scope.over_limit
        self._ledger.close()

    def _choose(self, slices: list[Slice]) -> dict[str, int] | None:
        """How many pages of each host are within the allowance: first one of each, then another one of each. None
        where all are."""
        total = sum(part.pages for part in slices)
        if total <= self.allowance.pages:
            return None
        chosen = {part.host: 0 for part in slices}
        left = self.allowance.pages
        rank = 0
        while left > 0:
            more = [part.host for part in slices if part.pages > rank][:left]
            if not more:
                break
            for host in more:
                chosen[host] += 1
            left -= len(more)
            rank += 1
        return chosen

    def _entries(self, path: Path, part: Slice, chosen: dict[str, int] | None) -> Iterator[Entry]:
        pages = 0
        for entry in frontier.read(path, part):
            if entry.kind == PAGE and not entry.left:
                pages += 1
                if chosen is not None and pages > chosen[part.host]:
                    entry = entry._replace(left="limit.pages")
            if frontier.url_hash(entry.url) not in self._ledger.done:
                yield entry

    # the polite loop over hosts

    def _wake(self, host: Host) -> None:
        if len(self._flying) >= CONNECTIONS:
            self._waiting.append(host)
            return
        task = asyncio.ensure_future(self._step(host))
        self._flying.add(task)
        task.add_done_callback(lambda task: self._landed(host, task))

    def _landed(self, host: Host, task: "asyncio.Task[None]") -> None:
        self._flying.discard(task)
        if task.cancelled():
            return
        if task.exception() is not None:
            self._failure = task.exception()
            self._over.set()
            return
        when = host.wake()
        if when is None:
            self._hosts -= 1
            if self._hosts == 0:
                self._over.set()
        else:
            asyncio.get_running_loop().call_at(when, self._wake, host)
        if self._waiting:
            self._wake(self._waiting.popleft())

    async def _step(self, host: Host) -> None:
        """At most one request to a host."""
        loop = asyncio.get_running_loop()
        count = 0
        while (taken := host.take(loop.time())) is not None:
            entry, attempts = taken
            count += 1
            if count % 100 == 0:
                await asyncio.sleep(0)
            if self._time_is_up(loop.time()):
                self._carry_over(host, entry)
                return
            left = entry.left or ("limit.bytes" if self._ledger.counts.get("bytes", 0) >= self.allowance.bytes else "")
            left = left or ("limit.delay" if host.too_slow else "")
            if left:
                self._ledger.add(entry, "left", left)
                continue
            if host.failures >= DOWN:
                self._ledger.add(entry, "failed", "host_down")
                continue
            origin = origin_of(entry.url)
            asking = host.origins.setdefault(origin, Asking())
            if asking.rights.missing is not None:
                host.put_back(entry, attempts)
                host.sent()
                await self._ask_rights(host, origin, asking)
                return
            refused = asking.rights.refusal(entry.url)
            if refused is not None:
                self._ledger.add(entry, "disallowed", refused)
                continue
            host.sent()
            await self._fetch(host, entry, attempts)
            return

    def _time_is_up(self, now: float) -> bool:
        deadline = self.allowance.deadline
        return now - self._begin > ROUND_SECONDS or (deadline is not None and time.time() > deadline)

    def _carry_over(self, host: Host, entry: Entry) -> None:
        for left in [entry, *host.drain()]:
            self._ledger.add(left, "carried", owner=left.owner)
            self._hand_on(left._replace(known=True))

    # what a host allows

    def _recall(self, host: Host, origin: str) -> None:
        """Takes over what an earlier round was told."""
        host.origins[origin] = Asking(self._ledger.rights[origin])
        self._set_delay(host, host.origins[origin].rights)

    def _set_delay(self, host: Host, rights: Rights) -> None:
        asked = rights.robots.delay
        if asked is not None and asked > LONGEST_DELAY:
            host.too_slow = True
        elif asked is not None:
            host.delay = asked if len(host.origins) == 1 else max(host.delay, asked)

    async def _ask_rights(self, host: Host, origin: str, asking: Asking) -> None:
        """One request for a file that says what an origin allows. A redirect or a second attempt is another step."""
        name = asking.rights.missing
        assert name is not None
        url = asking.url or f"{origin}/{name}"
        asking.attempts += 1
        answer: Response | FetchFailed
        wait: float | None = None
        try:
            answer = await self.client.exchange(url, sent=host.sent)
        except FetchFailed as error:
            answer, heals = error, error.may_heal
            host.failures += error.reason in CONNECTION_REASONS
        except Exception as error:
            answer, heals = FetchFailed(UNREADABLE, _told(error)), False
        else:
            target = redirect_target(answer)
            if target is not None and asking.hops < self.options.limits.redirects:
                asking.url, asking.hops, asking.attempts = target, asking.hops + 1, 0
                self._ledger.add_asked(name, url, answer)
                return
            heals = answer.status in RETRY_STATUSES
            wait = retry_after(answer, time.time()) if heals else None
        pause = back_off(asking.attempts, url) if wait is None else wait
        if heals and asking.attempts < ATTEMPTS and pause <= LONGEST_WAIT and host.failures < DOWN:
            host.rest = max(host.rest, asyncio.get_running_loop().time() + pause)
            return
        self._ledger.add_asked(name, url, answer)
        asking.rights.learn(name, answer)
        asking.url, asking.hops, asking.attempts = "", 0, 0
        if name == ROBOTS:
            self._set_delay(host, asking.rights)
            self._follow_sitemaps(origin, url, asking.rights)
        if asking.rights.lasting:
            self._ledger.remember(origin, asking.rights)

    def _follow_sitemaps(self, origin: str, owner: str, rights: Rights) -> None:
        """`owner` is where the robots.txt of `origin` lies: a seed may have moved as a whole."""
        if not self.options.sitemaps or not self.options.depth or self.round:
            return  # of the seeds' hosts alone
        found = [normal(url) for url in rights.robots.sitemaps[:100]]
        self._pass_on([Entry(url, SITEMAP, 0, 0, f"{origin}/{ROBOTS}", owner=owner) for url in found if url])

    # one URL

    async def _fetch(self, host: Host, entry: Entry, attempts: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            response = await self.client.exchange(entry.url, wanted, host.sent)
            body = response.body
        except FetchFailed as error:
            if error.reason in CONNECTION_REASONS or error.reason in ("timeout", "reset"):
                host.failures += 1
            if error.may_heal and attempts + 1 < ATTEMPTS and host.failures < DOWN:
                host.later(entry, attempts + 1, loop.time() + back_off(attempts + 1, entry.url))
            else:
                self._ledger.add(entry, "failed", error.reason, detail=error.detail[:200])
            return
        except Exception as error:
            self._ledger.add(entry, "failed", UNREADABLE, detail=_told(error))
            return
        host.failures = 0
        if response.status in RETRY_STATUSES and attempts + 1 < ATTEMPTS:
            wait = retry_after(response, time.time())
            pause = back_off(attempts + 1, entry.url) if wait is None else wait
            if pause <= LONGEST_WAIT:
                if response.status in (429, 503):  # the server as a whole wants rest
                    host.rest = max(host.rest, loop.time() + pause)
                host.later(entry, attempts + 1, loop.time() + pause)
                return
        try:
            verdict = judge(entry, response, body, self._scope)
        except Exception as error:
            # not stored either: whether it opts out is not known
            self._ledger.add(entry, "failed", UNREADABLE, response, detail=_told(error))
            return
        place = self._ledger.store(entry, response) if verdict.stored else {}
        self._pass_on(verdict.further)
        about = {"canonical": verdict.canonical, "target": verdict.target}
        self._ledger.add(entry, verdict.outcome, verdict.rule, response, **place, **about)

    def _pass_on(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._found.add(*entries)
            for entry in entries:
                self._hand_on(entry)


def _carried(row: dict[str, Any]) -> Entry:
    """The entry of a row with the outcome `carried`."""
    asked = row["url"], row["kind"], row["depth"], row["hops"], row["via"]
    return Entry(*asked, known=True, owner=row.get("owner", ""))


def _told(error: Exception) -> str:
    """What a defect of this program says, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}"[:200]
