"""One partition in one round: an event loop over all of its hosts, each asked politely, all at once."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from filters import consent
from pipeline.crawl import frontier
from pipeline.crawl.frontier import IMAGE, PAGE, SITEMAP, Entry, Slice, host_of, normal, pack, partition_of
from pipeline.crawl.hosts import ATTEMPTS, DOWN, LONGEST_WAIT, Host, Rights, back_off, retry_after
from pipeline.crawl.links import Links, links_of, sitemap_links
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.store import CrawlStore, Lines
from pipeline.crawl.warc import WarcWriter, date_of
from pipeline.fetch import Client, FetchFailed, Networks, Response
from pipeline.fetch.client import redirect_target, user_agent
from pipeline.fetch.response import RETRY_STATUSES
from pipeline.fetch.robots import LIFETIME, UNREACHABLE, Rules, rules_of
from pipeline.jobs.corpus import read_json, write_json
from pipeline.jobs.pages import site_of

CONNECTIONS = 256
"""Requests in flight at once in one partition."""
ROUND_SECONDS = 300.0
"""After this a partition begins no request and hands what is left to the next round: one slow host does not hold up
all others."""
REDIRECTS = 10
"""Redirects from a URL found on a page to its content (the Fetch standard allows 20, RFC 9309 asks for 5)."""
BLOCK = 1000
HTML = ("text/html", "application/xhtml+xml")
XML = ("application/xml", "text/xml", "application/rss+xml", "application/atom+xml", "application/feed+json")
UNKNOWN = ("", "text/plain", "application/octet-stream", "binary/octet-stream")
GZIP = ("application/gzip", "application/x-gzip")
CONNECTION_REASONS = ("dns", "connect", "tls", "address", "contact")


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
    counts: dict[str, int] = field(default_factory=dict)

    async def blocks(self) -> AsyncIterator[tuple[int, bytes]]:
        """Fetches what the frontier holds and the log does not."""
        done = read_json(self.store.part(self.round, self.partition, "done.json"))
        found = Lines(self.store.part(self.round, self.partition, "links"))
        self._pending: list[list[Entry]] = [[] for _ in range(self.partitions)]
        self._ready: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        for row in found.read():
            self._hand_on(Entry(*row))
        self._log = Lines(self.store.log(self.round, self.partition))
        for row in self._log.read():
            if row["outcome"] == "carried":
                self._hand_on(Entry(row["url"], row["kind"], row["depth"], row["hops"], row["via"], known=True))
        if done is None:
            self._found = found
            work = asyncio.ensure_future(self._work())
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

    async def _work(self) -> None:
        self._open()
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
        wait = self.options.delay if self._resumed else 0.0
        self._hosts = len(slices)
        private = Networks.parse(self.options.allow_private)
        self.client = Client(self.options.contact, private, self.options.limits)
        async with self.client:
            for part in slices:
                host = Host(part.host, self._entries(path, part, chosen), self.options.delay, self._begin)
                self._recall(host)
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
        self._close()

    def _open(self) -> None:
        store, partition = self.store, self.partition
        before = read_json(store.part(self.round - 1, partition, "done.json")) if self.round else None
        end = tuple(before["warc"]) if before and before["warc"] else None
        self._done: set[int] = set()
        self._bytes = 0
        for row in self._log.read():
            self._count(row)
            if row["kind"] in (PAGE, IMAGE, SITEMAP):
                self._done.add(frontier.url_hash(row["url"]))
            if row.get("warc"):
                number = int(row["warc"].rpartition("-")[2].partition(".")[0])
                end = max(end or (0, 0), (number, row["offset"] + row["length"]))
        about = {
            "software": user_agent(None),
            "format": "WARC File Format 1.1",
            "http-header-user-agent": user_agent(self.options.contact),
            "operator": self.options.contact,
            "robots": "classic",
        }
        self._warc = WarcWriter(store.warc, f"{partition:05d}", end, about)
        self._robots = Lines(store.robots(partition))
        self._rights: dict[str, dict[str, Any]] = {}
        for row in self._robots.read():
            self._rights[row["origin"]] = row
        self._resumed = bool(self._done) or bool(self._rights and not before)
        self._include = [re.compile(pattern) for pattern in self.options.include]
        self._exclude = [re.compile(pattern) for pattern in self.options.exclude]

    def _close(self) -> None:
        self._warc.close()
        self._log.close()
        self._robots.close()
        write_json(
            self.store.part(self.round, self.partition, "done.json"),
            {"warc": [self._warc.number, self._warc.size] if self._warc.size else None, "counts": self.counts},
        )

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

    def _entries(self, path: Any, part: Slice, chosen: dict[str, int] | None) -> Iterator[Entry]:
        pages = 0
        for entry in frontier.read(path, part):
            if entry.kind == PAGE and not entry.left:
                pages += 1
                if chosen is not None and pages > chosen[part.host]:
                    entry = entry._replace(left="limit.pages")
            if frontier.url_hash(entry.url) not in self._done:
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
            left = entry.left or ("limit.bytes" if self._bytes >= self.allowance.bytes else "")
            if left:
                self._row(entry, "left", rule=left)
                continue
            if host.failures >= DOWN:
                self._row(entry, "failed", rule="host_down")
                continue
            parts = urlsplit(entry.url)
            origin = f"{parts.scheme}://{parts.netloc}"
            rights = host.origins.setdefault(origin, Rights())
            if rights.missing is not None:
                host.put_back(entry, attempts)
                host.sent()
                await self._ask_rights(host, origin, rights)
                return
            refused = self._refused(entry.url, rights)
            if refused is not None:
                self._row(entry, "disallowed", rule=refused)
                continue
            host.sent()
            await self._fetch(host, entry, attempts)
            return

    def _time_is_up(self, now: float) -> bool:
        deadline = self.allowance.deadline
        return now - self._begin > ROUND_SECONDS or (deadline is not None and time.time() > deadline)

    def _carry_over(self, host: Host, entry: Entry) -> None:
        for left in [entry, *host.drain()]:
            self._row(left, "carried")
            self._hand_on(left._replace(known=True))

    # what a host allows

    def _recall(self, host: Host) -> None:
        """Takes over what earlier rounds were told, if it is not too old."""
        for scheme in ("http", "https"):
            for origin in self._origins_of(f"{scheme}://{host.name}"):
                row = self._rights[origin]
                if time.time() - row["at"] < LIFETIME:
                    host.origins[origin] = Rights(Rules.parse(row["robots"]), Rules.parse(row["ai"]))
                    self._set_delay(host, host.origins[origin])

    def _origins_of(self, prefix: str) -> list[str]:
        if not hasattr(self, "_by_host"):
            self._by_host: dict[str, list[str]] = {}
            for origin in self._rights:
                parts = urlsplit(origin)
                self._by_host.setdefault(f"{parts.scheme}://{parts.hostname}", []).append(origin)
        return self._by_host.get(prefix, [])

    def _set_delay(self, host: Host, rights: Rights) -> None:
        asked = rights.robots.delay if rights.robots is not None else None
        if asked is not None:
            host.delay = asked if len(host.origins) == 1 else max(host.delay, asked)

    async def _ask_rights(self, host: Host, origin: str, rights: Rights) -> None:
        """One request for robots.txt or ai.txt. A redirect or a second attempt is another step."""
        name = rights.missing
        url = rights.url or f"{origin}/{name}"
        rights.attempts += 1
        answer: Response | FetchFailed
        try:
            answer = await self.client.exchange(url, sent=host.sent)
        except FetchFailed as error:
            answer = error
        loop = asyncio.get_running_loop()
        if isinstance(answer, Response):
            target = redirect_target(answer)
            if target is not None and rights.hops < self.options.limits.redirects:
                rights.url, rights.hops, rights.attempts = target, rights.hops + 1, 0
                self._store_rights(answer, url, name)
                return
            heals = answer.status in RETRY_STATUSES
            wait = retry_after(answer, time.time()) if heals else None
        else:
            heals, wait = answer.may_heal, None
            if answer.reason in CONNECTION_REASONS:
                host.failures += 1
        pause = back_off(rights.attempts, url) if wait is None else wait
        if heals and rights.attempts < ATTEMPTS and pause <= LONGEST_WAIT and host.failures < DOWN:
            host.rest = max(host.rest, loop.time() + pause)
            return
        rules = rules_of(answer)
        if isinstance(answer, FetchFailed):
            self._log.add(
                {"url": url, "kind": name, "date": date_of(time.time()), "outcome": "failed", "rule": answer.reason}
            )
        else:
            self._store_rights(answer, url, name)
        if name == "robots.txt":
            rights.robots = rules
            self._set_delay(host, rights)
            self._follow_sitemaps(host, origin, rules)
        else:
            rights.ai = rules
        rights.url, rights.hops, rights.attempts = "", 0, 0
        if rights.robots is UNREACHABLE:
            rights.ai = UNREACHABLE
        if rights.missing is None and rights.robots is not UNREACHABLE and rights.ai is not UNREACHABLE:
            assert rights.robots is not None and rights.ai is not None
            row = {"origin": origin, "at": time.time(), "robots": rights.robots.text, "ai": rights.ai.text}
            self._robots.add(row)

    def _store_rights(self, answer: Response, url: str, name: str | None) -> None:
        about = {"fetchTimeMs": round(answer.seconds * 1000)}
        file, offset, length = self._warc.add(answer, answer.started, about)
        self._log.add(
            {
                "url": url,
                "kind": name,
                "date": date_of(answer.started),
                "outcome": "fetched",
                "status": answer.status,
                "warc": file,
                "offset": offset,
                "length": length,
            }
        )

    def _refused(self, url: str, rights: Rights) -> str | None:
        assert rights.robots is not None
        if rights.robots.text is None:
            return "robots.unreachable"
        if not rights.robots.allows(url):
            return "robots.disallow"
        if rights.ai is None or not rights.ai.allows(url):
            return "consent.ai_txt"
        return None

    def _follow_sitemaps(self, host: Host, origin: str, rules: Rules) -> None:
        if not self.options.sitemaps or not self.options.depth or self.round:
            return  # of the seeds' hosts alone
        found = [normal(url) for url in rules.sitemaps[:100]]
        self._pass_on([Entry(url, SITEMAP, 0, 0, f"{origin}/robots.txt") for url in found if url])

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
                self._row(entry, "failed", rule=error.reason, detail=error.detail)
            return
        host.failures = 0
        self._bytes += len(response.head) + len(response.raw)
        if response.status in RETRY_STATUSES and attempts + 1 < ATTEMPTS:
            wait = retry_after(response, time.time())
            pause = back_off(attempts + 1, entry.url) if wait is None else wait
            if pause <= LONGEST_WAIT:
                if response.status in (429, 503):  # the server as a whole wants rest
                    host.rest = max(host.rest, loop.time() + pause)
                host.later(entry, attempts + 1, loop.time() + pause)
                return
        self._judge(entry, response, body)

    def _judge(self, entry: Entry, response: Response, body: bytes) -> None:
        """Stores a response, unless it opts out, and hands on what it leads to."""
        links: Links | None = None
        further: list[Entry] = []
        if response.status == 200 and entry.kind != IMAGE and is_html(response.media_type, body):
            links = links_of(body, response.url, response.headers.get("content-type"))
        rule = consent.refusal(response.headers, links.robots if links else "")
        if links is not None:
            header = Links(robots=response.headers.get("x-robots-tag", ""))
            follow = not (links.nofollow or header.nofollow)
            further = self._links(entry, links, follow, images=rule is None)
        elif response.status == 200 and entry.kind != IMAGE and looks_like_sitemap(entry, response.media_type, body):
            pages, maps = sitemap_links(body, response.url)
            further = self._accepted(entry, pages, PAGE, entry.depth) + [
                Entry(url, SITEMAP, entry.depth, 0, entry.url) for url in map(normal, maps) if url
            ]
        target = redirect_target(response)
        if target is not None and entry.hops < REDIRECTS:
            further = self._accepted(entry, [target], entry.kind, entry.depth, entry.hops + 1)
        elif response.location is not None:
            rule = rule or ("redirects" if target else "redirect_to_no_url")
        if rule is not None and rule.startswith("consent."):
            self._pass_on(further)
            self._row(entry, "disallowed", response, rule=rule)
            return
        about = {"fetchTimeMs": round(response.seconds * 1000), "via": entry.via or None, "depth": entry.depth}
        place = self._warc.add(response, response.started, about)
        self._pass_on(further)
        if response.status != 200 and not (response.location and rule is None):
            self._row(entry, "failed", response, rule=rule or "http", place=place)
            return
        self._row(entry, "fetched", response, place=place, canonical=links.canonical if links else "", target=target)

    def _links(self, entry: Entry, links: Links, follow: bool, images: bool) -> list[Entry]:
        further: list[Entry] = []
        if self.options.images and images:
            found = (normal(url) for url in links.images)
            further += [Entry(url, IMAGE, entry.depth, 0, entry.url) for url in found if url]
        if follow and entry.depth < self.options.depth:
            further += self._accepted(entry, list(links.pages), PAGE, entry.depth + 1)
            if self.options.sitemaps:
                further += self._accepted(entry, list(links.feeds), SITEMAP, entry.depth)
        return further

    def _accepted(self, entry: Entry, found: list[str], kind: str, depth: int, hops: int = 0) -> list[Entry]:
        """Those of the URLs found that belong to the crawl."""
        host = host_of(entry.url)
        site = site_of(entry.url) if self.options.scope == "domain" else ""
        accepted = []
        for reference in found:
            url = normal(reference)
            if url is None:
                continue
            inside = (
                self.options.scope == "any"
                or kind == IMAGE
                or (hops > 0 and entry.depth == 0)  # a seed may have moved
                or (host_of(url) == host if self.options.scope == "host" else site_of(url) == site)
            )
            if kind == PAGE and inside:
                inside = all(pattern.search(url) for pattern in self._include) and not any(
                    pattern.search(url) for pattern in self._exclude
                )
            if inside:
                accepted.append(Entry(url, kind, depth, hops, entry.url))
            else:
                self.counts["out_of_scope"] = self.counts.get("out_of_scope", 0) + 1
        return accepted

    # what is written down

    def _pass_on(self, entries: list[Entry]) -> None:
        if entries:
            self._found.add(*entries)
            for entry in entries:
                self._hand_on(entry)

    def _row(
        self,
        entry: Entry,
        outcome: str,
        response: Response | None = None,
        rule: str = "",
        detail: str = "",
        place: tuple[str, int, int] | None = None,
        canonical: str = "",
        target: str | None = None,
    ) -> None:
        row: dict[str, Any] = {
            "url": entry.url,
            "kind": entry.kind,
            "depth": entry.depth,
            "hops": entry.hops,
            "via": entry.via,
            "date": date_of(response.started if response else time.time()),
            "outcome": outcome,
        }
        if response is not None:
            row |= {
                "status": response.status,
                "media_type": response.media_type,
                "bytes": len(response.head) + len(response.raw),
                "seconds": round(response.seconds, 3),
            }
        if place is not None:
            row |= {"warc": place[0], "offset": place[1], "length": place[2]}
        named = {"rule": rule, "detail": detail[:200], "canonical": canonical, "target": target}
        row |= {name: value for name, value in named.items() if value}
        self._log.add(row)
        self._count(row)

    def _count(self, row: dict[str, Any]) -> None:
        if row["kind"] not in (PAGE, IMAGE, SITEMAP):
            return
        names = [row["outcome"], f"{row['kind']}s.{row['outcome']}"]
        if row.get("rule"):
            names.append(f"{row['outcome']}: {row['rule']}" + (f" {row['status']}" if row["rule"] == "http" else ""))
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        self.counts["bytes"] = self.counts.get("bytes", 0) + row.get("bytes", 0)


def wanted(status: int, media_type: str) -> bool:
    """Whether a response can be a page, a picture or a list of them: films and archives are not read to their end."""
    return status != 200 or media_type in (*HTML, *XML, *UNKNOWN, *GZIP) or media_type.startswith("image/")


def is_html(media_type: str, body: bytes) -> bool:
    if media_type in HTML:
        return True
    head = body[:1024].lower()
    return media_type in UNKNOWN and (head.lstrip()[:15] == b"<!doctype html>" or b"<html" in head)


def looks_like_sitemap(entry: Entry, media_type: str, body: bytes) -> bool:
    if media_type in XML or media_type in GZIP:
        return True
    return media_type in UNKNOWN and (entry.kind == SITEMAP or body.lstrip()[:5] == b"<?xml")
