"""Fetches from a host: the next request, and how its response is handled."""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

from pipeline.crawl.discover import Scope, judge, wanted
from pipeline.crawl.exchange import exchange, failure, pause
from pipeline.crawl.frontier import IMAGE, SITEMAP, Entry, another
from pipeline.crawl.hosts import DOWN, Asking, Host, RoundEnd
from pipeline.crawl.ledger import Ledger, done
from pipeline.crawl.outbox import Outbox
from pipeline.crawl.rights import RightsFiles
from pipeline.fetch import Client, FetchFailed, Response
from pipeline.fetch.response import CONNECTION_REASONS
from pipeline.urls import origin_of


@dataclass(frozen=True)
class Allowance:
    """What a partition may use in a round. `deadline` is in seconds since the epoch."""

    pages: int
    sitemaps: int
    bytes: int
    deadline: float | None


@dataclass(eq=False)
class Fetcher:
    """Processes the queues of hosts, one request at a time, and records the results. No request starts after `end`.
    `resume` is when the first host left to the next round may be requested (seconds since the
    epoch)."""

    client: Client
    rights: RightsFiles
    ledger: Ledger
    scope: Scope
    outbox: Outbox
    allowance: Allowance
    end: RoundEnd
    resume: float | None = None

    async def step(self, host: Host) -> None:
        """At most one request to a host."""
        await self._step(host)
        self.ledger.keep(host, asyncio.get_running_loop().time())

    async def _step(self, host: Host) -> None:
        loop = asyncio.get_running_loop()
        count = 0
        while (when := host.wake()) is not None:
            if max(when, loop.time()) > self.end.time and not host.left:
                self._carry_over(host)
                return
            if (taken := host.take(math.inf if host.left else loop.time())) is None:
                return
            entry, attempts = taken
            count += 1
            if count % 100 == 0:
                await asyncio.sleep(0)
            skipped = self._skipped(host, entry)
            if skipped is not None:
                if skipped[0] == "failed":
                    self._without(entry, *skipped)
                else:
                    self.ledger.add(entry, *skipped)
                continue
            origin = origin_of(entry.url)
            asking = host.origins.setdefault(origin, Asking())
            if asking.rights.missing is not None:
                host.put_back(entry, attempts)
                host.sent()
                if not await self.rights.ask(host, origin, asking):
                    self._carry_over(host)
                return
            refused = asking.rights.refusal(entry.url)
            if refused is not None:
                self._without(entry, "disallowed", refused)
                continue
            host.sent()
            await self._fetch(host, entry, attempts + 1)
            return

    def _carry_over(self, host: Host) -> None:
        """Leave the rest of a host to the next round."""
        when = time.time() + max(0.0, host.next_time - asyncio.get_running_loop().time())
        self.resume = when if self.resume is None else min(self.resume, when)
        for left in host.drain():
            self.ledger.add(left, "carried", owner=left.owner, others=left.others)
            self.outbox.hand_on(left._replace(known=True))

    def _skipped(self, host: Host, entry: Entry) -> tuple[str, str] | None:
        """(outcome, rule) of an entry that is skipped whatever the host allows."""
        if entry.left:
            return "left", entry.left
        if self.ledger.counts.get("bytes", 0) >= self.allowance.bytes:
            return "left", "limit.bytes"
        if entry.kind == SITEMAP and done(self.ledger.counts, SITEMAP) >= self.allowance.sitemaps:
            return "left", "limit.pages"
        if host.left:
            return "left", host.left
        return ("failed", "host_down") if host.failures >= DOWN else None

    async def _fetch(self, host: Host, entry: Entry, attempts: int) -> None:
        answer = await exchange(self.client, host, entry.url, wanted)
        if isinstance(answer, Response):
            host.failures = 0
        else:
            host.failures += answer.reason in (*CONNECTION_REASONS, "timeout", "reset")
        wait = pause(host, entry.url, attempts, answer)
        if wait is not None:
            host.later(entry, attempts, asyncio.get_running_loop().time() + wait)
        elif isinstance(answer, Response):
            self._take(entry, answer)
        else:
            self._fail(entry, answer)

    def _take(self, entry: Entry, response: Response) -> None:
        try:
            verdict = judge(entry, response, response.body, self.scope)
        except FetchFailed as error:  # its body cannot be decoded
            self._fail(entry, error)
            return
        except Exception as error:
            # not stored either: it is unknown whether it opts out
            self._fail(entry, failure(error), response)
            return
        place = self.ledger.store(entry, response) if verdict.stored else {}
        self.outbox.add(verdict.further)
        about = {"canonical": verdict.canonical, "target": verdict.target} | place
        if verdict.outcome == "failed":
            self._without(entry, verdict.outcome, verdict.rule, response, **about)
        else:
            unusable = verdict.unusable or None
            self.ledger.add(entry, verdict.outcome, verdict.rule, response, unusable=unusable, **about)

    def _fail(self, entry: Entry, error: FetchFailed, response: Response | None = None) -> None:
        self._without(entry, "failed", error.reason, response, detail=error.detail[:200])

    def _without(self, entry: Entry, outcome: str, rule: str, response: Response | None = None, **about: Any) -> None:
        """Record a URL that did not arrive. If it is an image, its next candidate is requested."""
        self.outbox.add(another(entry))
        self.ledger.add(entry, outcome, rule, response, unusable=entry.kind == IMAGE or None, **about)
