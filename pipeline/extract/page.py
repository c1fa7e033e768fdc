"""A page as a flat list of blocks: HTML events in, runs of text and images in reading order out, in one linear pass.

No tree is built. libxml2's tokenizer calls back for every tag and every piece of text; elements become rows of parallel
lists, numbered in document order, so that sums over subtrees are one loop from the last row to the first."""

import re
from dataclasses import dataclass, field

from lxml import etree

from pipeline.extract import images
from pipeline.extract.hints import Hints, names
from pipeline.extract.metadata import Head

BLOCK = names(
    "address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption"
    " figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav noscript ol optgroup"
    " option p pre search section summary table tbody td tfoot th thead tr ul"
)
VOID = names("area base br col embed hr img input link meta param source track wbr")
HEADINGS = names("h1 h2 h3 h4 h5 h6")
# Elements whose content is never text of the page
SKIPPED = names(
    "script style template title textarea select datalist iframe object audio video canvas applet map noframes rp-none"
    " annotation annotation-xml svg xmp-none frameset"
)
IMAGE_TAGS = names("img amp-img amp-anim image graphic lazy-image gatsby-image nuxt-img")

# What an element hands down to everything inside it
IN_LINK, HIDDEN, PREFORMATTED, SKIP, NOSCRIPT, IN_FIGURE, CODE = 1, 2, 4, 8, 16, 32, 64
IN_TABLE, IN_HEADING, INLINE_HIDDEN, JSON_LD, TITLE, RUBY, IN_LOCAL_LINK = 128, 256, 512, 1024, 2048, 4096, 8192

_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.I)
_HIDDEN_CLASS = re.compile(
    r"(?:^|\s)(?:visually-?hidden|sr-only|screen-reader(?:-text|-only)?|screenreader\S*|hidden|hide|d-none|is-hidden|u-hidden"
    r"|visuallyhidden|offscreen|print-only|a11y-hidden|noprint-none)(?:\s|$)",
    re.I,
)
_DROPPED_CHARACTERS = re.compile("[\u00ad\ufeff\u2060\u200e\u200f]")
_BREAK = "\n"
_EMOJI_CLASS = re.compile(r"emoji|smiley|smilie|emoticon|wp-smiley", re.I)
_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
    "[\ufe0f\u200d\u20e3\U0001f000-\U0001faff\u2640\u2642\u2764]*$"
)
_MARKUP = re.compile("<img", re.I)


class PageLimit(Exception):
    """A page went over a limit while it was read; `rule` is the id of the rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


@dataclass(slots=True)
class Picture:
    """An image element: what it offers, as written, and where it stands."""

    element: int
    urls: list[str]
    alt: str
    width: int | None
    height: int | None
    noscript: bool = False
    hidden: bool = False
    link: str = ""
    hints: int = 0
    block: int = -1


@dataclass(slots=True)
class Block:
    """A run of text and images that no block element interrupts. `pieces` holds strings and indexes of pictures."""

    element: int
    pieces: list[str | int]
    chars: int
    link_chars: int
    state: int
    text: str


@dataclass(slots=True)
class Page:
    """Elements as parallel lists in document order, blocks, pictures, and what the head says.

    Blocks `first[e] : last[e]` lie inside element e."""

    tags: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    hints: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    head: Head = field(default_factory=Head)


class PageReader:
    """The target of libxml2's HTML parser. `close` returns the `Page`."""

    def __init__(self, max_depth: int, max_elements: int, max_image_width: int, css_backgrounds: bool) -> None:
        self.page = Page()
        self.max_depth, self.max_elements = max_depth, max_elements
        self.max_image_width, self.css_backgrounds = max_image_width, css_backgrounds
        self.stack: list[int] = []
        self.open: dict[str, int] = {}
        self.hinter = Hints()
        self.state = 0
        self.block_element = 0
        self.run: list[str | int] = []
        self.link_chars = 0.0
        self.sources: list[tuple[str, float, str]] | None = None
        self.link = ""
        self.raw: list[str] = []
        self.areas: dict[str, str] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        page = self.page
        state = self.state
        if tag in ("br", "hr", "wbr"):
            if tag == "br" and not state & SKIP:
                self.run.append(_BREAK)
            elif tag == "hr":
                self.flush()
            if tag != "wbr":
                return
            return
        if tag in ("meta", "link", "base"):
            page.head.element(tag, attributes)
            return
        if tag in ("input", "source", "area", "col", "param", "embed", "track") and tag != "source":
            return
        if tag in IMAGE_TAGS:
            if not state & SKIP or state & NOSCRIPT:
                self.image(tag, attributes)
            if tag == "img" or tag == "image":
                return
        if tag == "source":
            if self.sources is not None:
                for name in ("srcset", *images.LAZY_SETS, "data-src", "src"):
                    if value := attributes.get(name):
                        self.sources += images.srcset(value[:100_000])
            return
        element = len(page.tags)
        if element >= self.max_elements:
            raise PageLimit("page.too_large")
        stack = self.stack
        if len(stack) >= self.max_depth:
            raise PageLimit("page.too_deep")
        hints = 0
        if attributes:
            label = attributes.get("class", "")
            if identifier := attributes.get("id"):
                label = f"{label} {identifier}"
            if role := attributes.get("role"):
                label = f"{label} role:{role}"
            if label:
                hints = self.hinter[label]
            if (
                "hidden" in attributes
                or attributes.get("aria-hidden") == "true"
                or ("style" in attributes and _HIDDEN_STYLE.search(attributes["style"][:2000]))
                or (label and _HIDDEN_CLASS.search(label[:1000]))
            ) and tag not in ("html", "body"):
                state |= HIDDEN if tag in BLOCK else HIDDEN | INLINE_HIDDEN
            if "itemprop" in attributes:
                page.head.item(tag, attributes)
        is_block = tag in BLOCK
        if is_block:
            if self.run:
                self.flush()
            self.block_element = element
            if tag == "pre":
                state |= PREFORMATTED
            elif tag == "figure":
                state |= IN_FIGURE
            elif tag == "table":
                state |= IN_TABLE
            elif tag in HEADINGS:
                state |= IN_HEADING
            elif tag == "noscript":
                state |= NOSCRIPT
                self.raw = []
        elif tag == "a":
            href = attributes.get("href")
            if href is not None:
                state |= IN_LINK
                if href.startswith("#"):
                    state |= IN_LOCAL_LINK
                self.link = href
            else:
                state &= ~(IN_LINK | IN_LOCAL_LINK)
            if attributes.get("rel") == "license" or attributes.get("rel") == "license noopener":
                page.head.licence_link(href or "")
        elif tag in SKIPPED:
            state |= SKIP
            if tag == "script":
                if "ld+json" in attributes.get("type", "").lower():
                    state |= JSON_LD
                    self.raw = []
            elif tag == "title":
                state |= TITLE
                self.raw = []
            elif tag == "video" and attributes.get("poster"):
                self.image(
                    tag,
                    {
                        "src": attributes["poster"],
                        "alt": attributes.get("title", ""),
                        "width": attributes.get("width", ""),
                        "height": attributes.get("height", ""),
                    },
                )
            elif tag == "object":
                kind = attributes.get("type", "")
                data = attributes.get("data", "")
                if kind.startswith("image/") or (not kind and images.PICTURE_FILE.search(data[-300:])):
                    self.image(tag, {**attributes, "src": data})
                else:
                    state &= ~SKIP
            elif tag == "svg":
                pass
        elif tag == "picture":
            self.sources = []
        elif tag == "ruby":
            state |= RUBY
        elif tag in ("rt", "rp"):
            if tag == "rt" and state & RUBY and not (self.run and self.run[-1] == "("):
                self.run.append("(")
            elif tag == "rp":
                state |= SKIP
        elif tag == "html":
            page.head.root(attributes)
        elif tag == "math" and (text := attributes.get("alttext")):
            self.run.append(text)
            state |= SKIP
        elif tag in ("code", "tt", "kbd", "samp"):
            state |= CODE
        if self.css_backgrounds and "style" in attributes and not state & SKIP:
            found = images.BACKGROUND.search(attributes["style"][:10_000])
            if found:
                self.image(tag, {"src": next(filter(None, found.groups()))})
        page.tags.append(tag)
        page.parents.append(stack[-1] if stack else -1)
        page.states.append(state)
        page.hints.append(hints)
        page.first.append(len(page.blocks))
        page.last.append(-1)
        stack.append(element)
        self.open[tag] = self.open.get(tag, 0) + 1
        self.state = state

    def end(self, tag: str) -> None:
        if not self.open.get(tag):
            if tag == "p":
                self.flush()
            return
        page = self.page
        stack = self.stack
        while stack:
            element = stack.pop()
            name = page.tags[element]
            self.open[name] -= 1
            self.leave(element, name)
            if name == tag:
                break

    def leave(self, element: int, tag: str) -> None:
        page = self.page
        if tag in BLOCK:
            if self.run:
                self.flush()
            if tag == "noscript":
                self.noscript_source()
        elif tag == "rt":
            self.run.append(")")
        elif tag == "picture":
            self.sources = None
        elif tag in ("script", "title") and self.raw:
            state = page.states[element]
            if state & JSON_LD:
                page.head.json_ld("".join(self.raw))
                self.raw = []
            elif state & TITLE:
                page.head.title("".join(self.raw))
                self.raw = []
        page.last[element] = len(page.blocks)
        parent = page.parents[element]
        self.state = page.states[parent] if parent >= 0 else 0
        if tag in BLOCK:
            while parent >= 0 and page.tags[parent] not in BLOCK:
                parent = page.parents[parent]
            self.block_element = max(parent, 0)

    def data(self, text: str) -> None:
        state = self.state
        if state & (SKIP | INLINE_HIDDEN | NOSCRIPT):
            if state & (JSON_LD | TITLE):
                self.raw.append(text)
            elif state & NOSCRIPT and not state & (SKIP | INLINE_HIDDEN):
                self.run.append(text)
                if _MARKUP.search(text):
                    self.raw.append(text)
            return
        self.run.append(text if state & PREFORMATTED else text.replace("\n", " "))
        if state & IN_LINK:
            self.link_chars += len(text.strip()) * (0.3 if state & IN_LOCAL_LINK else 1)

    def close(self) -> Page:
        page = self.page
        while self.stack:
            element = self.stack.pop()
            self.leave(element, page.tags[element])
        self.flush()
        return page

    def image(self, tag: str, attributes: dict[str, str]) -> None:
        page = self.page
        state = self.state
        alt = " ".join(attributes.get("alt", "")[:10_000].split())
        width, height = images.dimension(attributes, "width"), images.dimension(attributes, "height")
        label = f"{attributes.get('class', '')} {attributes.get('id', '')}"
        if alt and (_EMOJI.match(alt) or (_EMOJI_CLASS.search(label) and len(alt) <= 32)):
            self.data(alt)
            return
        urls = images.offered(attributes, self.sources or [], self.max_image_width)
        noscript = bool(state & NOSCRIPT)
        link = self.link if state & IN_LINK and images.PICTURE_FILE.search(self.link[-300:]) else ""
        element = self.stack[-1] if self.stack else 0
        previous = self.last_picture()
        if previous is not None and (noscript or previous.noscript) and self.twin(previous, urls, noscript):
            previous.urls = list(dict.fromkeys(previous.urls + urls if not previous.noscript else urls + previous.urls))
            previous.alt = previous.alt or alt
            previous.width, previous.height = previous.width or width, previous.height or height
            previous.noscript = previous.noscript and noscript
            previous.link = previous.link or link
            return
        picture = Picture(
            element,
            urls,
            alt,
            width,
            height,
            noscript,
            bool(state & HIDDEN),
            link,
            self.hinter[label] if label != " " else 0,
        )
        self.run.append(len(page.pictures))
        page.pictures.append(picture)

    def last_picture(self) -> Picture | None:
        """The picture before this place if no word stands between."""
        for piece in reversed(self.run):
            if isinstance(piece, int):
                return self.page.pictures[piece]
            if piece.strip():
                return None
        if (
            self.page.blocks
            and self.page.blocks[-1].pieces
            and isinstance(piece := self.page.blocks[-1].pieces[-1], int)
        ):
            return self.page.pictures[piece]
        return None

    def twin(self, previous: Picture, urls: list[str], noscript: bool) -> bool:
        """Whether the picture now met is `previous` again, one of the two for browsers without scripts."""
        if previous.noscript == noscript:
            return False
        if not previous.urls or not urls or set(previous.urls) & set(urls):
            return True
        stack = self.stack
        tags = self.page.tags
        holder = next((e for e in reversed(stack) if tags[e] == "noscript"), -1)
        here = self.page.parents[holder] if noscript else (stack[-1] if stack else -1)
        there = previous.element
        if previous.noscript:
            while there >= 0 and tags[there] != "noscript":
                there = self.page.parents[there]
            there = self.page.parents[there] if there >= 0 else -1
        return here == there

    def noscript_source(self) -> None:
        """Images that stand in a noscript element as escaped markup."""
        source = "".join(self.raw)
        self.raw = []
        if not source:
            return
        reader = _ImageTags()
        try:
            etree.fromstring(
                source[:100_000].encode("utf-8", "replace"), etree.HTMLParser(target=reader, encoding="utf-8")
            )
        except etree.XMLSyntaxError:
            return
        for attributes in reader.found:
            self.image("img", attributes)
        self.flush()

    def flush(self) -> None:
        run = self.run
        if not run:
            return
        self.run, link_chars, self.link_chars = [], self.link_chars, 0.0
        pieces: list[str | int] = []
        texts: list[str] = []
        pre = self.state & PREFORMATTED
        for piece in run:
            if isinstance(piece, int):
                if texts:
                    pieces.append(_normalise("".join(texts), pre))
                    texts = []
                pieces.append(piece)
            else:
                texts.append(piece)
        if texts:
            pieces.append(_normalise("".join(texts), pre))
        text = (
            pieces[0]
            if len(pieces) == 1 and isinstance(pieces[0], str)
            else "".join(p for p in pieces if isinstance(p, str))
        )
        if not text.strip():
            pieces = [p for p in pieces if isinstance(p, int)]
            text = ""
            if not pieces:
                return
        page = self.page
        for piece in pieces:
            if isinstance(piece, int):
                page.pictures[piece].block = len(page.blocks)
        element = self.block_element
        state = page.states[element] if page.states else 0
        if self.state & NOSCRIPT:
            state |= NOSCRIPT
        page.blocks.append(Block(element, pieces, len(text), min(int(link_chars), len(text)), state, text))


class _ImageTags:
    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "img":
            self.found.append(dict(attributes))

    def close(self) -> None:
        return None


def _normalise(text: str, pre: int) -> str:
    """White space as a browser shows it: runs become one space, line breaks stay, two or more make a paragraph."""
    if not text.isascii():
        text = _DROPPED_CHARACTERS.sub("", text)
    if pre:
        lines = [line.rstrip() for line in text.expandtabs(4).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    if "\n" not in text:
        stripped = " ".join(text.split())
        if not stripped:
            return " " if text else ""
        return (" " if text[0].isspace() else "") + stripped + (" " if text[-1].isspace() else "")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lead = "\n" if not lines[0] else (" " if text[0].isspace() else "")
    trail = "\n" if not lines[-1] else (" " if text[-1].isspace() else "")
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n"))
    return lead + joined + trail if joined else "\n"


def read(text: str, *, max_depth: int, max_elements: int, max_image_width: int, css_backgrounds: bool = False) -> Page:
    """The flat page of an HTML text. Raises PageLimit where it is nested deeper or holds more elements than allowed."""
    reader = PageReader(max_depth, max_elements, max_image_width, css_backgrounds)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True)
    try:
        page: Page = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        return reader.close()
    return page


__all__ = ["Block", "Page", "PageLimit", "Picture", "read"]
