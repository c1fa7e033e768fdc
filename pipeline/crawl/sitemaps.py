"""URLs in sitemaps (XML or text, sitemaps.org) and feeds (RSS, Atom, JSON Feed). One pass of libxml2's parser, no tree,
no entities."""

import json
import re
from collections.abc import Iterable

from lxml import etree

from pipeline import urls
from pipeline.fetch.response import Limits
from pipeline.sources.http import payload

MAX_URLS = 50_000
"""sitemaps.org, "Sitemap protocol": the maximum URLs of a sitemap."""
MAX_EVENTS = 3_000_000
"""Maximum start tags and text pieces read from one file: 50,000 URLs with translations and images have fewer."""
MAX_DEPTH = 200
FEED_PARENTS = ("item", "entry", "channel", "feed")
WEB = re.compile(r"https?://", re.I)
AMPERSAND = re.compile(r"&amp;|&(?!#?[A-Za-z0-9]{1,32};)")
PIECE = 1 << 16


def sitemap_links(body: bytes, url: str, limit: int = Limits.body_bytes) -> tuple[list[str], list[str], int]:
    """(pages, further sitemaps, number of references over MAX_URLS) in a sitemap or feed: absolute URLs in its order,
    on any host.

    A gzip file is inflated to at most `limit` bytes. A broken file counts up to the fault. Raises TooLarge, Damaged."""
    text = payload({"content-encoding": "gzip"}, body, limit).decode("utf-8-sig", "replace").lstrip()
    pages: Iterable[str]
    further: Iterable[str] = ()
    if text.startswith("<"):
        # an HTML page served instead of a sitemap
        if "<html" in text[:1000].lower():
            return [], [], 0
        pages, further = _xml(text)
    elif text.startswith("{"):
        pages = _json_feed(text)
    else:
        pages = (line for line in text.splitlines() if WEB.match(line.lstrip()))
    (listed, over), (maps, more) = _absolute(pages, url), _absolute(further, url)
    return listed, [found for found in maps if found != url], over + more


def _absolute(references: Iterable[str], base: str) -> tuple[list[str], int]:
    """(distinct URLs, number of references over MAX_URLS)."""
    found: dict[str, None] = {}
    over = 0
    for reference in references:
        if len(found) == MAX_URLS:
            over += 1
            continue
        # escaped twice, or inside CDATA
        url = urls.resolve(reference.strip().replace("&#38;", "&").replace("&amp;", "&"), base)
        if url and url.startswith("http"):
            found[url] = None
    return list(found), over


def _xml(text: str) -> tuple[list[str], list[str]]:
    reader = _SitemapTarget()
    parser = etree.XMLParser(
        target=reader, encoding="utf-8", recover=True, huge_tree=True, resolve_entities=False, no_network=True
    )
    # Many do not escape the & of a query; libxml2 then omits the word after it, and from then on also omits &amp;
    # (xmlParseReference), but not the equivalent numeric reference.
    data = AMPERSAND.sub("&#38;", text).encode("utf-8", "replace")
    try:
        for start in range(0, len(data), PIECE):
            parser.feed(data[start : start + PIECE])
            if reader.full:
                break
        parser.close()
    except (etree.LxmlError, ValueError, AssertionError):
        pass  # what was read so far counts
    return reader.pages, reader.further


class _SitemapTarget:
    """The target of lxml's parser."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.further: list[str] = []
        self.path: list[str] = []
        self.events = 0
        self.text: list[str] | None = None
        """Text of the innermost element that holds a URL; None outside."""

    @property
    def full(self) -> bool:
        return self.events > MAX_EVENTS or len(self.path) > MAX_DEPTH

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.events += 1
        self.text = None  # a URL contains no markup
        name = tag[tag.rfind("}") + 1 :]
        parent = self.path[-1] if self.path else ""
        self.path.append(name)
        if name == "link" and parent in FEED_PARENTS:
            if "href" in attributes:
                # RFC 4287, section 4.2.7.2: a link without rel points to the entry's page
                if attributes.get("rel", "alternate") == "alternate":
                    self.pages.append(attributes["href"])
            else:
                self.text = []
        elif name == "loc" and parent in ("url", "sitemap"):
            self.text = []

    def data(self, data: str) -> None:
        self.events += 1
        if self.text is not None:
            self.text.append(data)

    def end(self, tag: str) -> None:
        name = self.path.pop() if self.path else ""
        if self.text is None:
            return
        found = "".join(self.text).strip()
        self.text = None
        further = name == "loc" and self.path and self.path[-1] == "sitemap"
        if found and (name == "link" or WEB.match(found)):
            (self.further if further else self.pages).append(found)

    def comment(self, text: str) -> None:
        pass

    def pi(self, target: str, data: str | None = None) -> None:
        pass

    def close(self) -> None:
        pass


def _json_feed(text: str) -> list[str]:
    """jsonfeed.org, version 1.1: an item's `url`, or its `id` if that is a URL."""
    try:
        # numbers stay text: Python refuses to parse long ones
        feed = json.loads(text, parse_int=str)
    except (ValueError, RecursionError):
        return []
    items = feed.get("items")
    found = []
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            names = (item.get("url"), item.get("external_url"), item.get("id"))
            found += [name for name in names if isinstance(name, str) and WEB.match(name)][:1]
    return found
