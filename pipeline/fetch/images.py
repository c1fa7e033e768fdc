"""Fetch many images politely: respect the rights of hosts, limit requests and rates per host, retry temporary
failures."""

import asyncio
import time
from dataclasses import dataclass, field

from filters import consent
from pipeline.fetch.client import Client, parts_of
from pipeline.fetch.response import CONNECTION_REASONS, RETRY_STATUSES, FetchFailed, Response
from pipeline.fetch.retry import ATTEMPTS, BUSY, LONGEST_WAIT, back_off, retry_after
from pipeline.fetch.rights import Rights

PER_HOST = 8
"""Concurrent requests per host, unless its robots.txt sets a delay. Browsers open six connections to a host."""


@dataclass(eq=False)
class _Host:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PER_HOST))
    delay: float = 0.0
    next_time: float = 0.0
    rest: float = 0.0
    refusals: int = 0


@dataclass(eq=False)
class ImageFetcher:
    """Fetches images on one event loop. Hosts must not be shared with another fetcher at the same time."""

    client: Client
    closed: dict[str, str] = field(default_factory=dict)
    """Hosts that are no longer contacted, and why: they refused too often, or ask for a long pause."""
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _rights: dict[str, "asyncio.Task[Rights]"] = field(default_factory=dict)

    async def fetch(self, url: str) -> bytes:
        """The bytes of an image. Raises FetchFailed: `http` with the status, `disallowed` with the rule, `busy` for a
        host of `closed`."""
        attempt = 0
        while True:
            attempt += 1
            wait = back_off(attempt, url)
            try:
                response = await self._follow(url)
                body = response.body
            except FetchFailed as error:
                if not error.may_heal or attempt >= ATTEMPTS:
                    raise
            else:
                if response.whole:
                    rule = consent.refusal(response.headers, "")
                    if rule is not None:
                        raise FetchFailed("disallowed", rule)
                    if not body:
                        raise FetchFailed("empty")
                    return body
                heals = response.status in RETRY_STATUSES and self._rest(response) <= LONGEST_WAIT
                if not heals or attempt >= ATTEMPTS:
                    raise FetchFailed("http", str(response.status))
            await asyncio.sleep(wait)

    async def _follow(self, url: str) -> Response:
        """The response after all redirects, each of which must be allowed by its host."""
        taken: list[asyncio.Semaphore] = []

        async def check(url: str) -> None:
            while taken:
                taken.pop().release()
            await self._allowed(url)
            host = self._host(url)
            slots = host.slots  # another origin of the host may have replaced them
            await slots.acquire()
            taken.append(slots)
            await self._turn(host)
            self._check_open(url)

        try:
            response, _ = await self.client.fetch(url, check)
            if response.status not in RETRY_STATUSES:
                self._host(response.url).refusals = 0
            return response
        finally:
            while taken:
                taken.pop().release()

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(parts_of(url).host, _Host())

    async def _turn(self, host: _Host) -> None:
        loop = asyncio.get_running_loop()
        when = max(host.next_time, loop.time())
        host.next_time = max(host.next_time, when + host.delay)
        while (left := max(when, host.rest) - loop.time()) > 0:
            await asyncio.sleep(left)

    def _rest(self, response: Response) -> float:
        """Pause a host that asks for it; close one that asks for a long pause or keeps refusing. Returns seconds."""
        asked = retry_after(response, time.time())
        if asked is None and response.status not in (429, 503):
            return 0.0
        name, now = parts_of(response.url).host, asyncio.get_running_loop().time()
        host = self._host(response.url)
        # responses to requests already in flight when it refused say nothing new
        host.refusals += now > host.rest
        pause = asked or min(back_off(host.refusals, name), LONGEST_WAIT)
        if pause > LONGEST_WAIT or host.refusals >= BUSY:
            self.closed[name] = (
                f"status {response.status}, Retry-After {response.headers.get('retry-after', 'not set')}"
            )
        else:
            host.rest = max(host.rest, now + pause)
        return pause

    def _check_open(self, url: str) -> None:
        if (name := parts_of(url).host) in self.closed:
            raise FetchFailed("busy", self.closed[name])

    async def _allowed(self, url: str) -> None:
        self._check_open(url)
        parts = parts_of(url)
        origin = f"{parts.scheme}://{parts.authority}"
        if origin not in self._rights:
            self._rights[origin] = asyncio.ensure_future(self._ask(origin))
        rule = (await self._rights[origin]).refusal(url)
        if rule is not None:
            raise FetchFailed("disallowed", rule)

    async def _ask(self, origin: str) -> Rights:
        """The rights of an origin. Raises FetchFailed if the host cannot be connected to."""
        rights = Rights()
        while (name := rights.missing) is not None:
            attempt = 0
            while True:
                attempt += 1
                answer: Response | FetchFailed
                try:
                    answer, _ = await self.client.fetch(f"{origin}/{name}")
                    heals = answer.status in RETRY_STATUSES and self._rest(answer) <= LONGEST_WAIT
                except FetchFailed as error:
                    answer, heals = error, error.may_heal
                if not heals or attempt >= ATTEMPTS:
                    break
                await self._turn(self._host(origin))
                await asyncio.sleep(back_off(attempt, origin))
            if isinstance(answer, FetchFailed) and answer.reason in CONNECTION_REASONS:
                raise FetchFailed(answer.reason, answer.detail)
            rights.learn(name, answer)
        if not rights.unreachable:
            host = self._host(origin)
            delay = rights.robots.delay or 0.0
            if delay and not host.delay:
                host.slots = asyncio.Semaphore(1)
            host.delay = max(host.delay, delay)
        return rights
