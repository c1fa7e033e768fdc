"""A host's queue (next entry, when it may be requested, what the host allows), and the loop over all hosts."""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.crawl.frontier import Entry
from pipeline.fetch.retry import BUSY, LONGEST_WAIT, back_off
from pipeline.fetch.rights import Rights

CONNECTIONS = 256
"""Concurrent requests in one partition."""
MARGIN = 1.05
"""Delays are multiplied by this: requests sent a second apart may arrive slightly closer together."""
LONGEST_DELAY = 120.0
"""Hosts that ask for more seconds between requests (Crawl-delay) are not crawled: the three files of `Rights` would not
fit into one round."""
LONGEST_REST = 24 * 3600.0
"""A host that asks to come back after more seconds than this (Retry-After) is skipped."""
SHORTEST_ROUND, CARRY_SECONDS = 30.0, 0.02
"""A round is not shortened to fewer seconds, nor to fewer for each of its URLs: the start of a round takes one or two
seconds, and what it leaves is written again."""
DOWN = 6
"""Consecutive failed connections after which a host counts as down for the round."""


@dataclass
class Asking:
    """What an origin allows, and the progress of requesting its files: attempts per file, redirects, and the URL they
    led to."""

    rights: Rights = field(default_factory=Rights)
    attempts: dict[str, int] = field(default_factory=dict)
    hops: int = 0
    url: str = ""


@dataclass(eq=False)
class Host:
    """The polite queue of one host. Times are on the event loop's clock: `last` is when the last request was sent, none
    is sent before `rest`. `refusals` counts consecutive 429 and 503 responses. `left` is the limit under which the
    remaining entries are skipped."""

    name: str
    fresh: Iterator[Entry]
    delay: float
    rest: float
    last: float = -math.inf
    failures: int = 0
    refusals: int = 0
    left: str = ""
    origins: dict[str, Asking] = field(default_factory=dict)
    _again: list[tuple[float, int, int, Entry]] = field(default_factory=list)
    _head: list[Entry] = field(default_factory=list)
    _count: int = 0
    _over: bool = False

    @property
    def next_time(self) -> float:
        return max(self.rest, self.last + self.delay * MARGIN)

    def sent(self) -> None:
        """The moment a request is sent: a connection that opened slowly must not bring the next request closer."""
        self.last = asyncio.get_running_loop().time()

    def take(self, now: float) -> tuple[Entry, int] | None:
        """The next entry and its number of attempts; None if there is none, or none yet."""
        if self._again and self._again[0][0] <= now:
            _, _, attempts, entry = heapq.heappop(self._again)
            return entry, attempts
        if self._head:
            return self._head.pop(), 0
        fresh = next(self.fresh, None)
        self._over = self._over or fresh is None
        return None if fresh is None else (fresh, 0)

    def put_back(self, entry: Entry, attempts: int) -> None:
        """Put an entry first: something else must be requested before it."""
        if attempts:
            self.later(entry, attempts, 0.0)
        else:
            self._head.append(entry)

    def later(self, entry: Entry, attempts: int, when: float) -> None:
        self._count += 1
        heapq.heappush(self._again, (when, self._count, attempts, entry))

    def refused(self, asked: float | None, now: float) -> float:
        """Handle a response that asks for a pause, of `asked` seconds if given. Returns the length of the pause: as
        requested, else longer each time."""
        self.refusals += 1
        pause = asked or min(back_off(self.refusals, self.name), LONGEST_WAIT)
        self.rest = max(self.rest, now + pause)
        if self.refusals >= BUSY or pause > LONGEST_REST:
            self.left = "limit.busy"
        return pause

    def drain(self) -> Iterator[Entry]:
        """All unfinished entries, emptying the queue."""
        yield from self._head
        yield from (entry for _, _, _, entry in sorted(self._again))
        self._head, self._again, self._over = [], [], True
        yield from self.fresh

    def wake(self) -> float | None:
        """When there is something to do; None if all is done."""
        if self._head or not self._over:
            return self.next_time
        return max(self.next_time, self._again[0][0]) if self._again else None


class RoundEnd:
    """When a round ends, on the event loop's clock: at `latest`, or earlier if hosts that are done would wait for
    others much longer than they took."""

    def __init__(self, begin: float, latest: float, urls: int) -> None:
        """`urls`: how many the round has."""
        self.begin, self.time = begin, latest
        self.soonest = begin + max(SHORTEST_ROUND, CARRY_SECONDS * urls)

    def shorten(self) -> None:
        """Some hosts are done: the others get as long again."""
        now = asyncio.get_running_loop().time()
        self.time = min(self.time, max(self.soonest, now + (now - self.begin)))


class HostLoop:
    """Takes a step with each host as soon as it may be requested, with at most `CONNECTIONS` hosts at once; immediately
    for hosts that may not be requested before `end`, or at all. When half of the hosts are done, the round is
    shortened."""

    def __init__(self, step: Callable[[Host], Coroutine[None, None, None]], end: RoundEnd) -> None:
        self._step, self._end = step, end
        self._left = self._half = 0
        self._timers: dict[Host, asyncio.TimerHandle] = {}
        self._waiting: deque[Host] = deque()
        self._flying: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, hosts: Sequence[Host]) -> None:
        """Run until the queues of all hosts are empty. Raises what a step raises."""
        self._left, self._half = len(hosts), len(hosts) // 2
        for host in hosts:
            self._schedule(host, host.next_time)
        if hosts:
            await self._over.wait()
        for task in list(self._flying):
            task.cancel()
        if self._failure is not None:
            raise self._failure

    def shorten(self) -> None:
        """Some hosts are done: end the round earlier."""
        self._end.shorten()
        for host, timer in self._timers.items():
            if not timer.cancelled() and timer.when() > self._end.time:
                timer.cancel()
                self._schedule(host, timer.when())

    def _wake(self, host: Host) -> None:
        self._timers.pop(host, None)
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
            self._left -= 1
            if self._left == 0:
                self._over.set()
            elif self._left == self._half:
                self.shorten()
        else:
            self._schedule(host, when)
        if self._waiting:
            self._wake(self._waiting.popleft())

    def _schedule(self, host: Host, when: float) -> None:
        at = 0.0 if host.left or when > self._end.time else when
        self._timers[host] = asyncio.get_running_loop().call_at(at, self._wake, host)
