"""Requests the files that say what hosts allow, one request at a time."""

import asyncio
from dataclasses import dataclass

from pipeline.crawl.discover import Scope
from pipeline.crawl.exchange import exchange, pause
from pipeline.crawl.frontier import SITEMAP, Entry
from pipeline.crawl.hosts import LONGEST_DELAY, Asking, Host
from pipeline.crawl.ledger import Ledger
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.outbox import Outbox
from pipeline.fetch import Client, FetchFailed, Response
from pipeline.fetch.client import redirect_target
from pipeline.fetch.response import CONNECTION_REASONS
from pipeline.fetch.rights import ROBOTS, Rights
from pipeline.urls import normal

MOST_SITEMAPS = 100
"""Maximum sitemaps followed from one robots.txt."""
SECONDS = 20.0
"""Maximum seconds to fetch a file. It is retried in the next round, so that other hosts of this one do not wait for
it."""


@dataclass(eq=False)
class RightsFiles:
    """Requests robots.txt and similar files. `first_round`: sitemaps named by robots.txt are followed, but only those
    of the seeds' hosts."""

    client: Client
    options: CrawlOptions
    ledger: Ledger
    outbox: Outbox
    scope: Scope
    first_round: bool

    def recall(self, host: Host, origin: str) -> None:
        """Take over what an earlier round learnt."""
        host.origins[origin] = Asking(self.ledger.rights[origin])
        _set_delay(host, host.origins[origin].rights)

    async def ask(self, host: Host, origin: str, asking: Asking) -> bool:
        """One request for the next file of an origin. A redirect or a retry is a separate step. Returns False if the
        host is so slow that the next step belongs to another round."""
        name = asking.rights.missing
        assert name is not None
        url = asking.url or f"{origin}/{name}"
        attempts = asking.attempts.get(name, 0) + 1
        asking.attempts[name] = attempts
        answer = await exchange(self.client, host, url, seconds=SECONDS)
        if isinstance(answer, Response):
            target = redirect_target(answer)
            if target is not None and asking.hops < self.options.limits.redirects:
                asking.url, asking.hops, asking.attempts[name] = target, asking.hops + 1, 0
                self.ledger.add_asked(name, url, answer)
                return True
        else:
            host.failures += answer.reason in CONNECTION_REASONS
        wait = pause(host, url, attempts, answer)
        if wait is not None:
            host.rest = max(host.rest, asyncio.get_running_loop().time() + wait)
            return isinstance(answer, Response) or answer.reason not in ("timeout", "slow")
        self.ledger.add_asked(name, url, answer)
        self._learn(host, origin, asking, name, url, answer)
        return True

    def _learn(
        self, host: Host, origin: str, asking: Asking, name: str, url: str, answer: Response | FetchFailed
    ) -> None:
        asking.rights.learn(name, answer)
        asking.url, asking.hops, asking.attempts[name] = "", 0, 0
        if name == ROBOTS:
            _set_delay(host, asking.rights)
            if self.first_round and self.options.sitemaps and self.options.depth:
                # `url` is the location of this robots.txt: a seed may have moved as a whole
                sitemaps = asking.rights.robots.sitemaps
                self.scope.over_limit += max(0, len(sitemaps) - MOST_SITEMAPS)
                found = filter(None, map(normal, sitemaps[:MOST_SITEMAPS]))
                self.outbox.add([Entry(named, SITEMAP, 0, 0, f"{origin}/{ROBOTS}", owner=url) for named in found])
        if asking.rights.lasting:
            self.ledger.remember(origin, asking.rights)


def _set_delay(host: Host, rights: Rights) -> None:
    asked = rights.robots.delay
    if asked is not None and asked > LONGEST_DELAY:
        host.left = "limit.delay"
    elif asked is not None:
        host.delay = asked if len(host.origins) == 1 else max(host.delay, asked)
