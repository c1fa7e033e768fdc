"""Converts HTML events to a flat page, in one linear pass.

No tree is built. libxml2's tokenizer calls back for every tag and every piece of text; elements become rows of parallel
lists, numbered in document order, so that sums over subtrees are differences of prefix sums."""

import re

from lxml import etree

from pipeline.extract import hints as H
from pipeline.extract import images
from pipeline.extract.blocks import CONTROL, BlockBuilder
from pipeline.extract.hints import bits
from pipeline.extract.mathml import Formula, of_source, tex
from pipeline.extract.page import (
    BLOCK_LEVEL,
    CODE,
    CODE_TAGS,
    DELETED,
    EMPTY,
    FORMULA,
    HIDDEN,
    IN_FORMULA,
    IN_LINK,
    IN_LOCAL_LINK,
    INLINE,
    INLINE_HIDDEN,
    JSON_LD,
    KINDS,
    LOCAL_LINK,
    MARKED_TAGS,
    MAYBE_HIDDEN,
    NOSCRIPT,
    NUMBERING,
    PLAIN,
    PREFORMATTED,
    RUBY,
    SCRIPTS,
    SKIP,
    SPECIAL,
    SVG,
    TAGS,
    TEX,
    TITLE,
    UNSEEN,
    Page,
)
from pipeline.extract.pictures import PictureReader
from pipeline.extract.quotation import OPENING, marks
from pipeline.extract.scripts import GAP, NOTE, SUB, SUPER

# How far up the open elements an end tag is matched
MAX_UNCLOSED = 128

_HIDING = ("none", "hidden", "collapse")
_HIDDEN_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))")
# Attributes besides class and id that say something of an element of any kind
_TELLING = images.DESCRIBING | {"hidden", "style", "aria-hidden", "lang", "itemprop", "itemtype"}
_BREAK = "\n"
_PERMALINKS = frozenset(("¶", "#", "§", "🔗", "\uf0c1"))  # texts of links from headings to themselves
_TO_TOP = re.compile(r"\W{0,9}(?:(?:back|return|go) )?(?:to )?(?:the )?top(?: of (?:the |this )?page)?\W{0,9}", re.I)
_TEMPLATES = frozenset(("text/template", "text/x-template", "text/html"))  # types of scripts that hold HTML
_NOTE = re.compile(r"\b(?:foot|end)?note|\breference\b|\bnoteref|\bfn(?:ref)?\b", re.I)
# Opened by a click, but not part of the text
_NEVER_OPENED = H.NAVIGATION | H.FORM | H.COOKIE | H.SHARE | H.RELATED
_BRACKETS = "brackets"  # the class of the notes of docutils, whose numbers its style sheet puts in brackets
SILENT = SKIP | INLINE_HIDDEN | NOSCRIPT
LANGUAGE_LEVELS = 32  # elements around a quotation whose lang attribute is looked at


class PageLimit(Exception):
    """A page exceeded a limit while it was read; `rule` is the id of the rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _hidden(attributes: dict[str, str], hints: int) -> int:
    """HIDDEN, with UNSEEN unless it is hidden only from screen readers; 0 if it is shown.

    Panels of tabs and accordions are shown: a click opens them."""
    if ("hidden" in attributes and attributes["hidden"].lower() != "until-found") or (
        "style" in attributes and _hides(attributes["style"])
    ):
        state = HIDDEN | UNSEEN
    elif attributes.get("aria-hidden") == "true":
        state = HIDDEN | UNSEEN if hints & H.HIDDEN_CLASS else HIDDEN
    else:
        return 0
    role = attributes.get("role")
    opened = role == "tabpanel" or (role == "region" and "aria-labelledby" in attributes) or hints & H.TAB
    return 0 if opened and not hints & _NEVER_OPENED else state


def _hides(style: str) -> bool:
    """Whether a style attribute hides its element."""
    style = style[:2000].lower()
    # searching for words first takes a fifth of the time of the expression
    return any(word in style for word in _HIDING) and _HIDDEN_STYLE.search(style) is not None


def _named(attributes: dict[str, str]) -> int:
    """The hints of the class and the role of an element."""
    hints = bits(attributes["class"]) if "class" in attributes else 0
    return hints | H.ROLES.get(attributes["role"], 0) if "role" in attributes else hints


class PageReader:
    """The target of libxml2's HTML parser. `close` returns the `Page`.

    What an element passes down is kept in plain lists by element number and in attributes for the innermost open one: a
    container per element would keep Python's garbage collector busy."""

    __slots__ = (
        *("page", "tags", "parents", "states", "hints", "inherited", "depths", "first", "last", "ends", "blocks"),
        *("building", "pictures", "run", "max_depth", "max_elements", "css_backgrounds", "block", "stack", "top"),
        *("state", "raw", "raw_type", "typeset", "formula", "quotations", "languages", "scripts", "application"),
        *("own", "bracketed"),
    )

    def __init__(
        self,
        max_depth: int,
        max_elements: int,
        max_image_width: int,
        css_backgrounds: bool,
        typeset: bool,
        scripts: bool,
        url: str,
        videos: bool,
    ) -> None:
        self.page = page = Page()
        self.tags, self.parents, self.states, self.hints = page.tags, page.parents, page.states, page.hints
        self.inherited, self.depths, self.first, self.last = page.inherited, page.depths, page.first, page.last
        self.ends, self.blocks = page.ends, page.blocks
        self.building = BlockBuilder(page)
        self.pictures = PictureReader(self.building, max_image_width, videos)
        self.run = self.building.run
        self.max_depth, self.max_elements, self.css_backgrounds = max_depth, max_elements, css_backgrounds
        self.block = 0  # the innermost block element
        # open elements: tag, number (-1 for inline ones, which have none), and the state and the block outside
        self.stack: list[tuple[str, int, int, int]] = []
        self.top = -1  # the innermost open element that has a number
        self.state = 0
        self.raw: list[str] = []
        self.raw_type = ""
        self.typeset = typeset  # by MathJax, which keeps the source of each formula in a script beside it
        self.formula = Formula({})
        self.quotations: list[str] = []  # the marks that close the open ones
        self.languages: dict[int, str] = {}
        self.scripts = scripts
        self.application = False  # whether the open script holds an application's data
        # before the "#" of a link into the page itself; saved pages and manuals name their own file
        whole = url.partition("#")[0]
        self.own = ("", whole, whole.rpartition("/")[2])
        self.bracketed = False  # whether a style sheet puts the next text in brackets

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        kind, flags, scope = TAGS.get(tag, PLAIN)
        if kind == EMPTY:
            self.empty(tag, attributes)
            return
        stack = self.stack
        if len(stack) >= self.max_depth:
            raise PageLimit("page.too_deep")
        if kind in INLINE:
            stack.append((tag, -1, self.state, 0))
            if kind:
                self.begin(tag, attributes)
            if attributes and not self.state & SKIP:
                self.inline(tag, attributes)
            return
        element = len(self.tags)
        if element >= self.max_elements:
            raise PageLimit("page.too_large")
        hints = 0
        if kind == BLOCK_LEVEL:
            if self.state & IN_FORMULA:
                self.leave_formula()
            if self.run:
                self.building.flush(self.block, self.state)
            state = self.state
            stack.append((tag, element, state, self.block))
            self.block = element
            state |= flags
            if flags & NOSCRIPT:
                self.raw = []
                if not self.scripts:
                    state &= ~NOSCRIPT
            elif tag == "html":
                self.page.head.root(attributes)
        else:
            state = self.state
            stack.append((tag, element, state, self.block))
            state |= flags
        if attributes:
            state, hints = self.marked(tag, kind, attributes, state)
        if kind == SPECIAL:
            state = self.special(tag, attributes, state)
        top = self.top
        self.tags.append(tag)
        self.parents.append(top)
        self.states.append(state)
        self.hints.append(hints)
        self.inherited.append(hints | scope | self.inherited[top] if top >= 0 else hints)
        self.depths.append(len(stack))
        self.first.append(len(self.blocks))
        self.last.append(0)
        self.ends.append(0)
        self.top = element
        self.state = state

    def marked(self, tag: str, kind: int, attributes: dict[str, str], state: int) -> tuple[int, int]:
        """(the state inside an element, the hints of its names) from its attributes."""
        hints = 0
        telling = self.css_backgrounds or not _TELLING.isdisjoint(attributes)
        if tag == "body" or tag == "html":
            self.page.head.body(attributes)
        else:
            hints = _named(attributes)
            if "id" in attributes:
                hints |= bits(attributes["id"])
            if (hidden := _hidden(attributes, hints) if telling else 0) or hints & H.NUMBERING:
                state |= hidden or HIDDEN | UNSEEN
                state |= 0 if kind == BLOCK_LEVEL or not hidden else INLINE_HIDDEN
            elif hints & H.HIDDEN_CLASS:
                state |= MAYBE_HIDDEN if kind == BLOCK_LEVEL else HIDDEN | UNSEEN | INLINE_HIDDEN
        if tag == "li" or tag == "ol":
            self.page.numbering[len(self.tags)] = {name: attributes[name] for name in NUMBERING if name in attributes}
        if self.typeset and "MathJax" in attributes.get("class", ""):
            state |= SKIP
        if telling:
            if "lang" in attributes:
                self.languages[len(self.tags)] = attributes["lang"]
            if attributes.get("itemtype", "").endswith("/ImageObject"):
                self.page.stated.objects.add(len(self.tags))
            self.told(tag, attributes, self.state)
        return state, hints

    def inline(self, tag: str, attributes: dict[str, str]) -> None:
        """The state inside an inline element. It gets no row, since it does not separate blocks."""
        telling = self.css_backgrounds or not _TELLING.isdisjoint(attributes)
        hints = _named(attributes)
        if telling and (hidden := _hidden(attributes, hints)):
            self.state |= hidden | INLINE_HIDDEN
        elif hints & (H.HIDDEN_CLASS | H.NUMBERING):
            self.state |= HIDDEN | UNSEEN | INLINE_HIDDEN
            if hints & H.NUMBERING:
                self.building.mark(GAP)
        if self.typeset and "MathJax" in attributes.get("class", ""):
            self.state |= SKIP
        if "class" in attributes and _BRACKETS in attributes["class"]:
            self.bracketed = _BRACKETS in attributes["class"].split()
        if tag == "a":
            self.state = self.anchor(attributes, self.state)
        elif "-" in tag and (shown := self.pictures.shown(tag, attributes)):
            self.image(shown)
        if telling:
            self.told(tag, attributes, 0)

    def told(self, tag: str, attributes: dict[str, str], state: int) -> None:
        """What an element says of the page and of images; `state` is the one around it."""
        if "itemprop" in attributes:
            self.page.head.item(tag, attributes)
            self.page.stated.item(self.top, attributes)
        if "itemtype" in attributes:
            self.page.head.schema(attributes["itemtype"])
        if not state & SKIP and (self.css_backgrounds or not images.DESCRIBING.isdisjoint(attributes)):
            self.described(tag, attributes)

    def described(self, tag: str, attributes: dict[str, str]) -> None:
        """The image that the attributes of an element describe which is not an image itself."""
        if tag in images.DESCRIBED_TAGS and (shown := self.pictures.shown(tag, attributes)):
            self.image(shown)
        elif self.css_backgrounds and (url := images.background(attributes)):
            self.image({"src": url})

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """An inline element that says something of its text begins."""
        state, building = self.state, self.building
        if state & IN_FORMULA:
            if tag in FORMULA:
                self.formula.start(tag, attributes)
        elif state & SILENT:
            return
        elif tag in DELETED:
            building.mark(GAP)
            self.state = state | HIDDEN | UNSEEN | INLINE_HIDDEN
        elif tag in SCRIPTS:
            note = (state & IN_LOCAL_LINK and building.link_start == len(self.run)) or (
                attributes and _NOTE.search(f"{attributes.get('class', '')} {attributes.get('role', '')}")
            )
            building.begin_script(SUB if tag == "sub" else NOTE if note else SUPER)
        elif tag == "q":
            before = next((piece for piece in reversed(self.run) if piece != " "), "")
            marked = isinstance(before, str) and before.rstrip()[-1:] in OPENING and before.rstrip() != ""
            opening, closing = ("", "") if marked else marks(self.language(), len(self.quotations))
            self.quotations.append(closing)
            self.run.append(opening)

    def finish(self, tag: str, outside: int) -> None:
        """An inline element that says something of its text ends; `outside` is the state around it."""
        if outside & IN_FORMULA:
            self.formula.end(tag)
        elif outside & SILENT:
            return
        elif tag in SCRIPTS:
            self.building.end_script()
        elif tag == "q":
            self.run.append(self.quotations.pop())

    def language(self) -> str:
        """The language that the page declares for the text at this place."""
        element = self.top
        for _ in range(LANGUAGE_LEVELS):
            if element < 0 or element in self.languages:
                break
            element = self.parents[element]
        return self.languages.get(element, self.page.head.root_language)

    def leave_formula(self) -> None:
        """A block ends a formula that was not closed, as in browsers."""
        while self.state & IN_FORMULA:
            self.leave()

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
        elif tag == "source" or tag == "track":
            self.pictures.shown(tag, attributes)
        elif tag in ("meta", "link", "base"):
            self.page.head.element(tag, attributes)
            if "itemprop" in attributes:
                self.page.stated.item(self.top, attributes)

    def anchor(self, attributes: dict[str, str], state: int) -> int:
        """The state inside a link; an anchor without href is not one."""
        href = attributes.get("href")
        if href is None:
            return state & ~(IN_LINK | IN_LOCAL_LINK)
        self.pictures.link, self.building.link_start = href, len(self.run)
        self.building.links += 1
        if ("rel" in attributes and "license" in attributes["rel"].lower()) or "creativecommons.org/" in href:
            self.page.stated.say(self.top, "license", href)
        place, sign, _name = href.partition("#")
        return state | (IN_LINK | IN_LOCAL_LINK if sign and place in self.own else IN_LINK)

    def special(self, tag: str, attributes: dict[str, str], state: int) -> int:
        """The state inside an element that is neither block nor plain inline."""
        if tag in CODE_TAGS:
            return state | CODE
        if tag == "time":
            self.page.head.time(attributes)
            return state
        known = "-" in tag or (tag in images.PICTURE_TAGS and not (tag == "video" and state & SKIP))
        shown = self.pictures.shown(tag, attributes) if known else None
        if shown and not state & SKIP:
            self.image(shown)
        if tag == "template" and attributes.get("shadowrootmode", "").lower() in ("open", "closed"):
            return state  # a browser shows it in place of the element around it
        if tag == "picture" or (shown and tag != "object" and tag != "video"):
            return state
        if tag == "ruby":
            return state | RUBY
        if tag == "rt":
            if state & RUBY:
                self.run.append("(")
        elif tag == "math":
            # pages hide it where they show a picture of it, and say it in no other text
            if state & (SKIP | NOSCRIPT):
                return state | SKIP
            self.formula = Formula(attributes)
            return state | SKIP | IN_FORMULA
        elif tag == "script":
            self.raw = []
            self.raw_type = kind = attributes.get("type", "").lower()
            self.application = attributes.get("id") == "__NEXT_DATA__"
            data = self.application or "ld+json" in kind or kind in _TEMPLATES
            source = JSON_LD if data else TEX if kind.startswith("math/") and not state & SILENT else 0
            return (state | SKIP | source) & ~IN_FORMULA
        elif tag == "title":
            self.raw = []
            return state | SKIP | TITLE
        elif tag == "object":
            return state | SKIP if shown else state
        elif tag == "svg":
            return state | SKIP if state & SKIP else state | SKIP | SVG
        else:
            return (state | SKIP) & ~IN_FORMULA
        return state

    def end(self, tag: str) -> None:
        stack = self.stack
        if not stack:
            return
        opened, element, outside, _ = stack[-1]
        if opened == tag:
            if element >= 0:
                self.leave()
                return
            if tag == "a" and 0 < len(self.run) - self.building.link_start <= CONTROL:
                self.building.end_link(self.state)
            elif tag in MARKED_TAGS:
                self.finish(tag, outside)
            stack.pop()
            self.state = outside
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
        tag, element, outside, block = self.stack[-1]
        if element < 0:
            if tag in MARKED_TAGS:
                self.finish(tag, outside)
            self.stack.pop()
            self.state = outside
            return
        if KINDS[tag] == BLOCK_LEVEL:
            if self.run:
                self.building.flush(self.block, self.state)
            if tag == "noscript" and self.raw:
                self.noscript_source()
        else:
            self.left(tag, self.states[element], outside)
        self.last[element] = len(self.blocks)
        self.ends[element] = len(self.tags)
        self.stack.pop()
        self.top = self.parents[element]
        self.block = block
        self.state = outside

    def left(self, tag: str, state: int, outside: int) -> None:
        """A special element ends; `state` is that inside, `outside` the one around it."""
        if tag == "rt":
            if state & RUBY:
                self.run.append(")")
        elif tag == "picture":
            self.pictures.end_picture()
        elif tag == "video":
            if not outside & SKIP and (shown := self.pictures.end_video()):
                self.image(shown)
        elif tag == "math":
            if state & IN_FORMULA and not outside & IN_FORMULA:
                self.building.add_formula(self.formula.close())
        elif state & (JSON_LD | TITLE | TEX) and self.raw:
            self.source("".join(self.raw), state)

    def source(self, text: str, state: int) -> None:
        """What an element says whose text is not shown: a title, a script."""
        self.raw = []
        if state & JSON_LD and self.application:
            self.page.head.application_data(text)
        elif state & JSON_LD and self.raw_type in _TEMPLATES:
            self.page.head.template(text)
        elif state & JSON_LD:
            self.page.head.json_ld(text, self.page.stated)
        elif state & TITLE:
            self.page.head.title(text)
        else:
            line = of_source(text) if "mml" in self.raw_type else tex(text)
            self.building.add_formula(f" {line} " if "display" in self.raw_type else line)

    def data(self, text: str) -> None:
        state = self.state
        if state & SILENT:
            if state & IN_FORMULA:
                self.formula.data(text)
            elif state & (JSON_LD | TITLE | TEX) or (state & NOSCRIPT and not state & SKIP):
                self.raw.append(text)
                if state & NOSCRIPT and not text.isspace():
                    self.page.unscripted += len(text)
            return
        if not state & PREFORMATTED:
            if text.isspace():
                if self.run:
                    self.run.append(" ")
                return
            if "\n" in text:
                text = text.replace("\n", " ")
        if state & IN_LOCAL_LINK and (text in _PERMALINKS or _TO_TOP.fullmatch(text)):
            return
        if self.bracketed:
            text, self.bracketed = f"[{text}]" if text.isalnum() else text, False
        self.run.append(text)
        if state & IN_LINK:
            self.building.link_chars += len(text.strip()) * (LOCAL_LINK if state & IN_LOCAL_LINK else 1)

    def close(self) -> Page:
        while self.stack:
            self.leave()
        self.building.flush(self.block, self.state)
        for licence in self.page.stated.settle(self.parents, self.tags):
            self.page.head.licence_link(licence)
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
    text: str | bytes,
    *,
    max_depth: int,
    max_elements: int,
    max_image_width: int,
    css_backgrounds: bool = False,
    scripts: bool = True,
    url: str = "",
    videos: bool = False,
) -> Page:
    """The flat page of an HTML text or of its UTF-8 bytes, which stands at `url`.

    Without `scripts`, text in noscript elements counts as shown. With `videos`, the URLs of a video's files come before
    its poster.

    Raises PageLimit if it is nested deeper or has more elements than allowed."""
    source = text.encode("utf-8", "replace") if isinstance(text, str) else text
    typeset = b"math/tex" in source or b"math/mml" in source
    reader = PageReader(max_depth, max_elements, max_image_width, css_backgrounds, typeset, scripts, url, videos)
    parser = etree.HTMLParser(target=reader, encoding="utf-8", huge_tree=True)
    try:
        page: Page = etree.fromstring(source, parser)
    except etree.XMLSyntaxError:
        return reader.close()
    return page
