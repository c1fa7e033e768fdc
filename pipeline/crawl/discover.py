"""Interpret a response for the crawl: whether it may be stored, and which URLs it leads to."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from filters import consent
from pipeline.crawl.frontier import IMAGE, PAGE, SITEMAP, Entry, another
from pipeline.crawl.links import Links, links_of
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.sitemaps import sitemap_links
from pipeline.fetch import Response
from pipeline.fetch.client import redirect_target
from pipeline.images.probe import is_usable
from pipeline.media_type import HTML, XML, media_type, vague
from pipeline.sources.http import Damaged, TooLarge
from pipeline.urls import host_of, normal, site_of

REDIRECTS = 10
"""Maximum redirects from a URL found on a page (the Fetch standard allows 20, RFC 9309 asks for 5), and maximum nesting
of sitemaps below a robots.txt (sitemaps.org has two levels)."""
FEEDS = (*XML, "application/rss+xml", "application/atom+xml", "application/feed+json")
GZIP = ("application/gzip", "application/x-gzip")


class Verdict(NamedTuple):
    """`outcome` is that of the log's row, `rule` the reason why it is not fetched. `further`: what the response leads
    to, `target`: where it redirects to. `unusable`: an image, of which the next candidate is requested."""

    outcome: str
    rule: str = ""
    further: tuple[Entry, ...] = ()
    canonical: str = ""
    target: str | None = None
    unusable: bool = False

    @property
    def stored(self) -> bool:
        return self.outcome != "disallowed"


@dataclass
class Scope:
    """Which URLs belong to a crawl. `left_out` counts the others, `over_limit` links over the limit of a page, of a
    sitemap, of the sitemaps in a robots.txt, or of the nesting of sitemaps."""

    options: CrawlOptions
    left_out: int = 0
    over_limit: int = 0
    _include: list[re.Pattern[str]] = field(init=False)
    _exclude: list[re.Pattern[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._include = [re.compile(pattern) for pattern in self.options.include]
        self._exclude = [re.compile(pattern) for pattern in self.options.exclude]

    def accept(self, entry: Entry, found: list[str], kind: str, depth: int, hops: int = 0) -> list[Entry]:
        """Entries for those URLs found at `entry` that belong to the crawl."""
        host = host_of(entry.owner or entry.url)
        site = site_of(entry.owner or entry.url) if self.options.scope == "domain" else ""
        owner = entry.owner if kind == SITEMAP else ""
        accepted = []
        for url in filter(None, map(normal, found)):
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
                accepted.append(Entry(url, kind, depth, hops, entry.url, owner=owner))
            else:
                self.left_out += 1
        return accepted


def judge(entry: Entry, response: Response, body: bytes, scope: Scope) -> Verdict:
    """Decide what to do with a response. Opt-outs come first; links are followed even then."""
    links: Links | None = None
    further: list[Entry] = []
    broken = ""
    found = media_type(response.headers.get("content-type", ""), body)
    if response.whole and entry.kind != IMAGE and found in HTML:
        links = links_of(body, response.url, response.headers.get("content-type"))
    refusal = consent.refusal(response.headers, links.robots if links else "")
    if links is not None:
        scope.over_limit += links.over_limit
        follow = "nofollow" not in consent.directives(f"{response.headers.get('x-robots-tag', '')}, {links.robots}")
        further = _linked(entry, links, scope, follow, images=refusal is None)
    elif response.whole and entry.kind != IMAGE and looks_like_sitemap(entry, response.media_type, found):
        try:
            pages, maps, over = sitemap_links(body, response.url, response.limit)
        except (TooLarge, Damaged) as error:
            broken = "too_large" if isinstance(error, TooLarge) else "coding"
        else:
            scope.over_limit += over
            further = scope.accept(entry, pages, PAGE, entry.depth)
            named = list(filter(None, map(normal, maps)))
            if entry.hops < REDIRECTS:
                further += [
                    Entry(url, SITEMAP, entry.depth, entry.hops + 1, entry.url, owner=entry.owner) for url in named
                ]
            else:
                scope.over_limit += len(named)
    target = redirect_target(response)
    if target is not None and entry.hops < REDIRECTS:
        moved = scope.accept(entry, [target], entry.kind, entry.depth, entry.hops + 1)
        further = [one._replace(others=entry.others) for one in moved]
    if refusal is not None:
        return Verdict("disallowed", refusal, tuple(further))
    if broken:
        return Verdict("failed", broken)
    if response.location is not None and target is None:
        return Verdict("failed", "redirect_to_no_url")
    if target is not None and entry.hops >= REDIRECTS:
        return Verdict("failed", "redirects")
    if not response.whole and target is None:
        return Verdict("failed", "http")
    unusable = entry.kind == IMAGE and target is None and not is_usable(body)
    if unusable:
        further += another(entry)
    return Verdict("fetched", "", tuple(further), links.canonical if links else "", target, unusable)


def _linked(entry: Entry, links: Links, scope: Scope, follow: bool, images: bool) -> list[Entry]:
    further: list[Entry] = []
    if scope.options.images and images:
        for url, others in links.images.items():
            further += [one._replace(others=others) for one in scope.accept(entry, [url], IMAGE, entry.depth)]
    if follow and entry.depth < scope.options.depth:
        further += scope.accept(entry, list(links.pages), PAGE, entry.depth + 1)
        if scope.options.sitemaps:
            further += scope.accept(entry, list(links.feeds), SITEMAP, entry.depth + 1)
    return further


def wanted(status: int, known: str) -> bool:
    """Whether a response can be a page, an image or a sitemap: videos and archives are not read to their end."""
    return status not in (200, 203) or known in (*HTML, *FEEDS, *GZIP) or known.startswith("image/") or vague(known)


def looks_like_sitemap(entry: Entry, known: str, found: str) -> bool:
    """Decides by the label `known` and by `found`, the type of the bytes."""
    return known in FEEDS or known in GZIP or found in XML or (vague(known) and entry.kind == SITEMAP)
