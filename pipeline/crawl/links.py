"""What a page leads to: links, images, its canonical URL, and what it refuses. One pass of libxml2's parser, no
tree."""

from dataclasses import dataclass, field

from lxml import etree

from filters import consent
from pipeline import urls
from pipeline.crawl.frontier import MOST_OTHERS
from pipeline.extract.charset import decode
from pipeline.extract.images import (
    CUSTOM,
    DESCRIBED_TAGS,
    DESCRIBING,
    PICTURE_TAGS,
    PictureElements,
    dimension,
    elements,
    is_picture_file,
    with_link,
)

MAX_LINKS = 10_000
MAX_IMAGE_WIDTH = 1024
"""The widest candidate of a srcset up to this is taken, as in extraction (`extract.max_image_width`)."""
READ = PICTURE_TAGS | {"a", "area", "noscript", "frame", "iframe", "link", "meta", "base"}
"""Elements that are read, besides custom ones and DESCRIBED_TAGS; most are skipped, since a crawl reads every page."""
ENDED = frozenset(("a", "picture", "noscript"))
FEEDS = ("application/rss+xml", "application/atom+xml", "application/feed+json")


@dataclass(slots=True)
class Links:
    """Absolute URLs in page order, without repeats; of an image those of its further candidates, in their order.
    `robots` is in the form of `Metadata.robots`."""

    pages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    feeds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    canonical: str = ""
    robots: str = ""
    over_limit: int = 0
    """References beyond MAX_LINKS of a kind, which are not followed."""


def links_of(html: bytes, url: str, content_type: str | None) -> Links:
    """The links of a page."""
    reader = _LinkTarget(url)
    parser = etree.HTMLParser(target=reader, no_network=True, huge_tree=True)
    # without NUL, at which libxml2 stops
    text = decode(html, content_type).replace("\0", "")
    try:
        parser.feed(text)
        parser.close()
    except (etree.LxmlError, ValueError, AssertionError):
        pass  # what was read so far counts
    return reader.finish()


class _LinkTarget:
    """The target of lxml's parser."""

    def __init__(self, url: str) -> None:
        self.base = url
        self.based = False
        self.found: list[tuple[str, str, tuple[str, ...]]] = []
        self.over_limit = 0
        self.robots: list[str] = []
        self.canonical = ""
        self.pictures = PictureElements(MAX_IMAGE_WIDTH)
        self.anchor = ""  # the image file that the open link leads to
        self.unscripted: list[str] | None = None  # text of the open noscript element

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag not in READ and "-" not in tag:
            if tag in DESCRIBED_TAGS and not DESCRIBING.isdisjoint(attributes):
                self.picture(tag, attributes)
            return
        if tag == "a" or tag == "area":
            href = attributes.get("href")
            self.anchor = href if href and is_picture_file(href) else ""
            if href and "nofollow" not in attributes.get("rel", "").lower():
                self.add("page", href)
        elif tag in PICTURE_TAGS or tag.endswith(CUSTOM):
            self.picture(tag, attributes)
        elif tag == "noscript":
            self.unscripted = []
        elif tag in ("frame", "iframe"):
            if attributes.get("src"):
                self.add("page", attributes["src"])
        elif tag == "link":
            self.link(attributes.get("rel", "").lower().split(), attributes)
        elif tag == "meta":
            self.meta(attributes)
        elif tag == "base" and not self.based and attributes.get("href"):
            self.based = True
            self.base = urls.resolve(attributes["href"], self.base) or self.base

    def end(self, tag: str) -> None:
        if tag not in ENDED:
            return
        if tag == "a":
            self.anchor = ""
        elif tag == "picture":
            self.pictures.end_picture()
        elif tag == "noscript" and self.unscripted is not None:
            for attributes in elements("".join(self.unscripted)):
                self.picture("img", attributes)
            self.unscripted = None

    def data(self, data: str) -> None:
        if self.unscripted is not None:
            self.unscripted.append(data)

    def picture(self, tag: str, attributes: dict[str, str]) -> None:
        """The candidates of an element, the best first."""
        shown = self.pictures.shown(tag, attributes)
        if shown is None:
            return
        offered = with_link(self.pictures.offered(shown), self.anchor, dimension(shown, "width"))
        if offered:
            self.add("image", offered[0], tuple(offered[1 : 1 + MOST_OTHERS]))

    def comment(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def add(self, kind: str, reference: str, others: tuple[str, ...] = ()) -> None:
        if len(self.found) < 4 * MAX_LINKS:
            self.found.append((kind, reference, others))
        else:
            self.over_limit += 1

    def link(self, rel: list[str], attributes: dict[str, str]) -> None:
        href = attributes.get("href")
        if not href:
            return
        if "canonical" in rel:
            self.canonical = self.canonical or href
        elif "alternate" in rel and attributes.get("type", "").lower() in FEEDS:
            self.add("feed", href)
        elif "next" in rel or "prev" in rel:
            self.add("page", href)

    def meta(self, attributes: dict[str, str]) -> None:
        content = attributes.get("content", "")
        name = (attributes.get("name") or attributes.get("http-equiv") or "").lower().strip()
        if said := consent.of_meta(attributes):
            self.robots.append(said)
        elif name == "refresh":
            target = content.partition("=")[2].strip().strip("'\"")
            if target and "url" in content.lower():
                self.add("page", target)

    def absolute(self, *references: str) -> list[str]:
        """The http URLs among them."""
        found = (urls.resolve(reference, self.base) for reference in references)
        return [url for url in dict.fromkeys(found) if url and url.startswith("http")]

    def finish(self) -> Links:
        links = Links(robots=", ".join(dict.fromkeys(self.robots)), over_limit=self.over_limit)
        for kind, reference, others in self.found:
            known = {"page": links.pages, "image": links.images, "feed": links.feeds}[kind]
            url, *others_here = self.absolute(reference, *others) or [""]
            if url and url not in known:
                if len(known) < MAX_LINKS:
                    known[url] = tuple(others_here)
                else:
                    links.over_limit += 1
        links.canonical = (urls.resolve(self.canonical, self.base) if self.canonical else None) or ""
        return links
