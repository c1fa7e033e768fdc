"""Converts HTML events to a flat page, in one linear pass.

No tree is built. libxml2's tokenizer calls back for every tag and every piece of text; elements become rows of parallel
lists, numbered in document order, so that sums over subtrees are differences of prefix sums."""

import re

from lxml import etree

from pipeline.extract import images
from pipeline.extract.blocks import CONTROL, BlockBuilder
from pipeline.extract.hints import HIDDEN_CLASS, NUMBERING, bits
from pipeline.extract.page import (
    BLOCK_LEVEL,
    CODE,
    CODE_TAGS,
    EMPTY,
    HIDDEN,
    IN_LINK,
    IN_LOCAL_LINK,
    INLINE_HIDDEN,
    JSON_LD,
    KINDS,
    LOCAL_LINK,
    MAYBE_HIDDEN,
    NOSCRIPT,
    PLAIN,
    PREFORMATTED,
    RUBY,
    SKIP,
    SPECIAL,
    SVG,
    TAGS,
    TITLE,
    UNSEEN,
    Page,
)
from pipeline.extract.pictures import PictureReader

# How far up the open elements an end tag is matched
MAX_UNCLOSED = 128

_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.I)
_BREAK = "\n"
_PERMALINKS = frozenset(("¶", "#", "§", "🔗", "\uf0c1"))  # texts of links from headings to themselves


class PageLimit(Exception):
    """A page exceeded a limit while it was read; `rule` is the id of the rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _hidden(attributes: dict[str, str]) -> int:
    """HIDDEN, with UNSEEN unless it is hidden only from screen readers; 0 if it is shown."""
    if "hidden" in attributes or ("style" in attributes and _HIDDEN_STYLE.search(attributes["style"][:2000])):
        return HIDDEN | UNSEEN
    return HIDDEN if attributes.get("aria-hidden") == "true" else 0


class PageReader:
    """The target of libxml2's HTML parser. `close` returns the `Page`.

    What an element passes down is kept in plain lists by element number and in attributes for the innermost open one: a
    container per element would keep Python's garbage collector busy."""

    def __init__(self, max_depth: int, max_elements: int, max_image_width: int, css_backgrounds: bool) -> None:
        self.page = page = Page()
        self.tags, self.parents, self.states, self.hints = page.tags, page.parents, page.states, page.hints
        self.inherited, self.depths, self.first, self.last = page.inherited, page.depths, page.first, page.last
        self.ends, self.blocks = page.ends, page.blocks
        self.building = BlockBuilder(page)
        self.pictures = PictureReader(self.building, max_image_width)
        self.run = self.building.run
        self.max_depth, self.max_elements, self.css_backgrounds = max_depth, max_elements, css_backgrounds
        self.block_of: list[int] = []  # the innermost block element at each element
        self.block = 0  # the innermost block element
        # open elements: tag, number (-1 for inline ones, which have none), and the state outside
        self.stack: list[tuple[str, int, int]] = []
        self.top = -1  # the innermost open element that has a number
        self.state = 0
        self.raw: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        kind, flags, scope = TAGS.get(tag, PLAIN)
        if kind == EMPTY:
            self.empty(tag, attributes)
            return
        stack = self.stack
        if len(stack) >= self.max_depth:
            raise PageLimit("page.too_deep")
        if not kind:
            stack.append((tag, -1, self.state))
            if attributes and not self.state & SKIP:
                self.inline(tag, attributes)
            return
        element = len(self.tags)
        if element >= self.max_elements:
            raise PageLimit("page.too_large")
        stack.append((tag, element, self.state))
        top = self.top
        state = self.state | flags
        hints = 0
        if kind == BLOCK_LEVEL:
            if self.run:
                self.building.flush(self.block, self.state)
            self.block = element
            if tag == "noscript":
                self.raw = []
            elif tag == "html":
                self.page.head.root(attributes)
        self.block_of.append(self.block)
        if attributes:
            state, hints = self.marked(tag, kind, attributes, state)
        if kind == SPECIAL:
            state = self.special(tag, attributes, state)
        inherited = hints | scope | self.inherited[top] if top >= 0 else hints
        self.tags.append(tag)
        self.parents.append(top)
        self.states.append(state)
        self.hints.append(hints)
        self.inherited.append(inherited)
        self.depths.append(len(stack))
        self.first.append(len(self.blocks))
        self.last.append(0)
        self.ends.append(0)
        self.top = element
        self.state = state

    def marked(self, tag: str, kind: int, attributes: dict[str, str], state: int) -> tuple[int, int]:
        """(the state inside an element, the hints of its names) from its attributes."""
        hints = 0
        root = tag in ("body", "html")
        if not root:
            if "class" in attributes or "role" in attributes:
                hints = bits(attributes.get("class", ""), attributes.get("role", ""))
            if "id" in attributes:
                hints |= bits(attributes["id"])
        if hidden := _hidden(attributes):
            if hints & HIDDEN_CLASS:
                hidden |= UNSEEN
            if not root:
                state |= hidden if kind == BLOCK_LEVEL else hidden | INLINE_HIDDEN
        elif hints & NUMBERING:
            state |= HIDDEN | UNSEEN
        elif hints & HIDDEN_CLASS:
            state |= MAYBE_HIDDEN if kind == BLOCK_LEVEL else HIDDEN | UNSEEN | INLINE_HIDDEN
        if "itemprop" in attributes:
            self.page.head.item(tag, attributes)
        if self.css_backgrounds and not self.state & SKIP and (url := images.background(attributes)):
            self.image({"src": url})
        return state, hints

    def inline(self, tag: str, attributes: dict[str, str]) -> None:
        """The state inside an inline element. It gets no row, since it does not separate blocks."""
        hidden = _hidden(attributes)
        if ("class" in attributes or "role" in attributes) and bits(
            attributes.get("class", ""), attributes.get("role", "")
        ) & (HIDDEN_CLASS | NUMBERING):
            hidden = HIDDEN | UNSEEN
        if hidden:
            self.state |= hidden | INLINE_HIDDEN
        if tag == "a":
            self.state = self.anchor(attributes, self.state)
        elif "-" in tag and (shown := self.pictures.shown(tag, attributes)):
            self.image(shown)
        if "itemprop" in attributes:
            self.page.head.item(tag, attributes)
        if self.css_backgrounds and not self.state & SKIP and (url := images.background(attributes)):
            self.image({"src": url})

    def empty(self, tag: str, attributes: dict[str, str]) -> None:
        """An element without content."""
        state = self.state
        if tag == "br":
            if not state & SKIP:
                self.run.append(_BREAK)
        elif tag == "img" or tag == "image":
            if (not state & SKIP or state & NOSCRIPT or (state & SVG and tag == "image")) and (
                shown := self.pictures.shown(tag, attributes)
            ) is not None:
                self.image(shown)
        elif tag == "hr":
            self.building.flush(self.block, self.state)
        elif tag == "source":
            self.pictures.shown(tag, attributes)
        elif tag in ("meta", "link", "base"):
            self.page.head.element(tag, attributes)

    def anchor(self, attributes: dict[str, str], state: int) -> int:
        """The state inside a link; an anchor without href is not one."""
        href = attributes.get("href")
        if href is None:
            return state & ~(IN_LINK | IN_LOCAL_LINK)
        self.pictures.link, self.building.link_start = href, len(self.run)
        if ("rel" in attributes and "license" in attributes["rel"].lower()) or "creativecommons.org/" in href:
            self.page.head.licence_link(href)
        return state | (IN_LINK | IN_LOCAL_LINK if href[:1] == "#" else IN_LINK)

    def special(self, tag: str, attributes: dict[str, str], state: int) -> int:
        """The state inside an element that is neither block nor plain inline."""
        if tag in CODE_TAGS:
            return state | CODE
        if tag == "time":
            self.page.head.time(attributes)
            return state
        shown = self.pictures.shown(tag, attributes)
        if shown and not state & SKIP:
            self.image(shown)
        if tag == "picture" or (shown and tag != "object" and tag != "video"):
            return state
        if tag == "ruby":
            return state | RUBY
        if tag == "rt":
            if state & RUBY:
                self.run.append("(")
        elif tag == "math":
            if text := attributes.get("alttext"):
                self.run.append(text)
                return state | SKIP
        elif tag == "script":
            self.raw = []
            return state | (SKIP | JSON_LD if "ld+json" in attributes.get("type", "").lower() else SKIP)
        elif tag == "title":
            self.raw = []
            return state | SKIP | TITLE
        elif tag == "object":
            return state | SKIP if shown else state
        elif tag == "svg":
            return state | SKIP if state & SKIP else state | SKIP | SVG
        else:
            return state | SKIP
        return state

    def end(self, tag: str) -> None:
        stack = self.stack
        if stack and stack[-1][0] == tag:
            if stack[-1][1] < 0:
                if tag == "a" and 0 < len(self.run) - self.building.link_start <= CONTROL:
                    self.building.end_link(self.state)
                self.state = stack.pop()[2]
            else:
                self.leave()
            return
        if KINDS.get(tag, 0) == EMPTY:
            return
        # libxml2 closes some elements silently
        for back in range(2, min(len(stack), MAX_UNCLOSED) + 1):
            if stack[-back][0] == tag:
                for _ in range(back):
                    self.leave()
                return

    def leave(self) -> None:
        """Close the innermost open element."""
        tag, element, outside = self.stack[-1]
        if element < 0:
            self.stack.pop()
            self.state = outside
            return
        kind = KINDS[tag]
        if kind == BLOCK_LEVEL:
            if self.run:
                self.building.flush(self.block, self.state)
            if tag == "noscript" and self.raw:
                self.noscript_source()
        elif kind == SPECIAL:
            state = self.states[element]
            if tag == "rt":
                if state & RUBY:
                    self.run.append(")")
            elif tag == "picture":
                self.pictures.end_picture()
            elif state & (JSON_LD | TITLE) and self.raw:
                text = "".join(self.raw)
                self.raw = []
                if state & JSON_LD:
                    self.page.head.json_ld(text)
                else:
                    self.page.head.title(text)
        self.last[element] = len(self.blocks)
        self.ends[element] = len(self.tags)
        self.stack.pop()
        self.top = top = self.parents[element]
        self.block = self.block_of[top] if top >= 0 else 0
        self.state = outside

    def data(self, text: str) -> None:
        state = self.state
        if state & (SKIP | INLINE_HIDDEN | NOSCRIPT):
            if state & (JSON_LD | TITLE) or (state & NOSCRIPT and not state & SKIP):
                self.raw.append(text)
            return
        if not state & PREFORMATTED:
            if text.isspace():
                if self.run:
                    self.run.append(" ")
                return
            if "\n" in text:
                text = text.replace("\n", " ")
        if state & IN_LOCAL_LINK and text in _PERMALINKS:
            return
        self.run.append(text)
        if state & IN_LINK:
            self.building.link_chars += len(text.strip()) * (LOCAL_LINK if state & IN_LOCAL_LINK else 1)

    def close(self) -> Page:
        while self.stack:
            self.leave()
        self.building.flush(self.block, self.state)
        return self.page

    def image(self, attributes: dict[str, str]) -> None:
        if text := self.pictures.read(attributes, max(self.top, 0), self.state):
            self.data(text)

    def noscript_source(self) -> None:
        """Images in a noscript element as escaped markup."""
        source = "".join(self.raw)
        self.raw = []
        for attributes in images.elements(source):
            self.image(attributes)
        self.building.flush(self.block, self.state)


def read(
    text: str | bytes, *, max_depth: int, max_elements: int, max_image_width: int, css_backgrounds: bool = False
) -> Page:
    """The flat page of an HTML text or of its UTF-8 bytes.

    Raises PageLimit if it is nested deeper or has more elements than allowed."""
    reader = PageReader(max_depth, max_elements, max_image_width, css_backgrounds)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True)
    try:
        page: Page = etree.fromstring(text.encode("utf-8", "replace") if isinstance(text, str) else text, parser)
    except etree.XMLSyntaxError:
        return reader.close()
    return page
