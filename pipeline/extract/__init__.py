"""HTML to a `Document`: main content in reading order, images at their places."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pipeline.extract import data_urls
from pipeline.extract.charset import decode
from pipeline.extract.document import inline_svg, left_out, nodes
from pipeline.extract.page import NOSCRIPT, Page
from pipeline.extract.reader import PageLimit, read
from pipeline.extract.selection import select, select_around
from pipeline.urls import resolve
from shards.records import Document, Text

__all__ = ["ExtractOptions", "PageDropped", "embedded", "extract"]

# Signatures of files that servers send as text/html: PDF, PNG, GIF, JPEG, gzip, ZIP, RIFF (WebP, AVI), ISO media (AVIF,
# MP4)
NOT_HTML = re.compile(
    rb"%PDF-|\x89PNG\r\n|GIF8[79]a|\xff\xd8\xff|\x1f\x8b\x08|PK\x03\x04|RIFF....WE|RIFF....AV|....ftyp", re.S
)

LITTLE = 300  # characters; a page that shows less text than this may have its text in its data


class PageDropped(ValueError):
    """A page exceeds a limit. `rule` is the id of the rule under which it is counted."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """Options of extraction.

    `engine` selects the main content: "openm3w", or "trafilatura" with the same image placement. `comments` keeps
    readers' comments, `css_backgrounds` the background images of style attributes, `videos` the files of videos, whose
    URLs then come before the poster's. `max_image_width` (pixels) selects among the sizes of one image;
    `max_bytes`, `max_depth` and `max_elements` limit a page."""

    engine: Literal["openm3w", "trafilatura"] = "openm3w"
    comments: bool = False
    css_backgrounds: bool = False
    videos: bool = False
    max_image_width: int = 1024
    max_bytes: int = 16_000_000
    max_depth: int = 4_000
    max_elements: int = 250_000


def extract(
    html: bytes, url: str, *, content_type: str | None = None, options: ExtractOptions = ExtractOptions()
) -> Document | None:
    """Extract the main content of a page at `url`, None if there is none.

    `content_type` is the value of the HTTP header. Raises PageDropped with `page.too_large`, `page.too_deep` or
    `page.not_html`."""
    text = decoded(html, content_type, options)
    page = flat_page(text, options, url)
    if not page.blocks or not page.tags:
        return None
    base = (resolve(page.head.base, url) if page.head.base else None) or url
    if options.engine == "trafilatura":
        # imported here: it takes a second to load and only this engine needs it
        from pipeline.extract.trafilatura_engine import trafilatura_blocks

        kept = trafilatura_blocks(text, url, page, options.comments)
        pictures = select_around(page, kept, url)
    else:
        selection = select(page, url, options.comments)
        kept, pictures = selection.text.kept, selection.images.indices
    found, listings = nodes(page, kept.tolist(), pictures, base)
    if not any(isinstance(node, Text) for node in found):
        return None
    canonical = (resolve(page.head.canonical, base) if page.head.canonical else None) or ""
    svg = inline_svg(page, kept.tolist())
    return Document(url, found, page.head.metadata(url, canonical), svg, left_out(page), listings)


def decoded(html: bytes, content_type: str | None, options: ExtractOptions) -> str:
    """The text of a page. Raises PageDropped if it is too large or no HTML, TypeError if it is decoded already."""
    if isinstance(html, str):
        raise TypeError("html must be bytes, as they were sent: not str")
    if len(html) > options.max_bytes:
        raise PageDropped("page.too_large")
    if NOT_HTML.match(html):
        raise PageDropped("page.not_html")
    # HTML's tree construction ignores U+0000 in text; libxml2 would replace it by U+FFFD
    return decode(html, content_type).replace("\0", "")


def flat_page(text: str, options: ExtractOptions, url: str = "") -> Page:
    """The rows of a page at `url`. If most of its text is only for browsers without scripts, those of what they show;
    else, if it shows little, those of the text that its data hold. Raises PageDropped."""
    reader = partial(
        read,
        max_depth=options.max_depth,
        max_elements=options.max_elements,
        max_image_width=options.max_image_width,
        css_backgrounds=options.css_backgrounds,
        url=url,
        videos=options.videos,
    )
    try:
        page = reader(text)
        shown = sum(block.chars - block.link_chars for block in page.blocks if not block.state & NOSCRIPT)
        if page.unscripted > shown:
            return reader(text, scripts=False)
        if page.head.bodies and shown < LITTLE:
            told = reader(f"<body><article>{''.join(dict.fromkeys(page.head.bodies))}</article>")
            told.head = page.head
            told.stated.by_url |= page.stated.by_url
            return told
        return page
    except PageLimit as limit:
        raise PageDropped(limit.rule) from None


def embedded(html: bytes, options: ExtractOptions = ExtractOptions()) -> Iterator[bytes]:
    """The bytes of the images that are part of a page (`data:` URLs), in document order."""
    try:
        page = flat_page(decoded(html, None, options), options)
    except PageDropped:
        return
    urls = (url for picture in page.pictures for url in picture.urls if data_urls.is_data(url))
    yield from filter(None, map(data_urls.read, urls))
