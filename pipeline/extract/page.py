"""A page as a flat list of blocks: the rows made by the reader and their meaning."""

from dataclasses import dataclass, field

from pipeline.extract.hints import COUNT, names
from pipeline.extract.images import chosen, named_like_stand_in, widths_in
from pipeline.extract.licences import Statements
from pipeline.extract.metadata import Head

BLOCK = names(
    "address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset figcaption"
    " figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav noscript ol optgroup"
    " option p pre search section summary table tbody td tfoot th thead tr ul"
)
HEADINGS = names("h1 h2 h3 h4 h5 h6")
MAX_DOT = 3  # maximum pixels of a declared side of tracking pixels and rules
CODE_TAGS = names("code tt kbd samp")
PAGE_KINDS = ("article", "documentation", "service", "forum", "collection", "listing", "product")
"""The kinds of pages, as wcxb (Web Content Extraction Benchmark) defines them."""
PLAIN_INLINE, EMPTY, BLOCK_LEVEL, SPECIAL, MARKED = 0, 1, 2, 3, 4
INLINE = (PLAIN_INLINE, MARKED)
NUMBERING = ("start", "reversed", "type", "value", "style")  # attributes that change the numbers of a list
DELETED = names("del s strike")
SCRIPTS = names("sup sub")
FORMULA = names(
    "mi mn mo mtext ms mspace mrow mfrac msqrt mroot mstyle merror mpadded mphantom mfenced menclose msub msup msubsup"
    " munder mover munderover mmultiscripts mprescripts none mtable mtr mlabeledtr mtd maction semantics annotation"
    " annotation-xml"
)
KINDS = {
    **dict.fromkeys(BLOCK, BLOCK_LEVEL),
    # elements without page text, or that need special handling
    **dict.fromkeys(
        names(
            "script style template title textarea select datalist iframe object audio video canvas applet map"
            " noframes rp svg picture ruby rt math amp-img amp-anim graphic lazy-image"
            " gatsby-image nuxt-img time"
        ),
        SPECIAL,
    ),
    **dict.fromkeys(CODE_TAGS, SPECIAL),
    # inline elements without a row that say something of the text inside
    **dict.fromkeys((*DELETED, *SCRIPTS, *FORMULA, "q"), MARKED),
    **dict.fromkeys(
        names("area base br col embed hr img image input link meta param source track wbr basefont bgsound keygen"),
        EMPTY,
    ),
}
MARKED_TAGS = frozenset(tag for tag, kind in KINDS.items() if kind == MARKED)

# Flags that an element passes down to everything inside it
IN_LINK, HIDDEN, PREFORMATTED, SKIP, NOSCRIPT, IN_FIGURE, CODE = 1, 2, 4, 8, 16, 32, 64
IN_TABLE, IN_HEADING, INLINE_HIDDEN, JSON_LD, TITLE, RUBY, IN_LOCAL_LINK = 128, 256, 512, 1024, 2048, 4096, 8192
MAYBE_HIDDEN = 16384  # by a class name, which a style sheet may overrule
UNSEEN, SVG = 32768, 65536  # HIDDEN for everyone, not only for screen readers; inside a drawing
IN_FORMULA, TEX = 131072, 262144

_STATES = {
    "pre": PREFORMATTED,
    "figure": IN_FIGURE,
    "table": IN_TABLE,
    "noscript": NOSCRIPT,
    **dict.fromkeys(HEADINGS, IN_HEADING),
}
# Tags whose presence around a block matters, as bits above those of the hints
SCOPES = (
    *("nav", "header", "footer", "aside", "form", "article", "main", "section", "table", "ul", "ol", "dl"),
    *("figure", "blockquote", "details", "dialog", "address", "button"),
)
_SCOPES = {tag: 1 << COUNT + index for index, tag in enumerate(SCOPES)}


def scope_bits(*tags: str) -> int:
    """The bits of `Page.inherited` for being inside one of `tags`."""
    return sum(_SCOPES[tag] for tag in tags)


PLAIN = (PLAIN_INLINE, 0, 0)
TAGS = {tag: (kind, _STATES.get(tag, 0), _SCOPES.get(tag, 0)) for tag, kind in KINDS.items()}


@dataclass(slots=True)
class Picture:
    """An image element: what it offers, as written, and its place.

    `target` is the URL of a link around it, `link` the same if that is an image file, `label` its classes and id."""

    element: int
    urls: list[str]
    alt: str
    width: int | None
    height: int | None
    noscript: bool = False
    hidden: bool = False
    link: str = ""
    target: str = ""
    label: str = ""
    hints: int = 0
    block: int = -1
    captions: str = ""
    """The URL of the captions of a clip, as written."""
    left_out: str = ""
    """The rule under which the image is not part of the document."""

    def is_dot(self) -> bool:
        """Whether its declared size is that of a tracking pixel or a line."""
        return any(side is not None and 0 < side <= MAX_DOT for side in (self.width, self.height))

    def merge(self, twin: "Picture") -> None:
        """Merge the data of `twin`, the same image. URLs for browsers without scripts come last: they offer fewer
        sizes."""
        urls = twin.urls + self.urls if self.noscript else self.urls + twin.urls
        self.urls = chosen([url for url in urls if not named_like_stand_in(url)] or urls)
        self.alt = self.alt or twin.alt
        self.width, self.height = self.width or twin.width, self.height or twin.height
        self.noscript = self.noscript and twin.noscript
        self.hidden = self.hidden and twin.hidden
        self.link = self.link or twin.link
        self.target = self.target or twin.target
        self.captions = self.captions or twin.captions

    def merge_size(self, other: "Picture") -> None:
        """Merge another size of the same image: the URLs of the larger one come first."""
        larger = widths_in(other.urls[0]) > widths_in(self.urls[0])
        self.urls = chosen(other.urls + self.urls if larger else self.urls + other.urls)
        self.alt = self.alt or other.alt
        if larger:
            self.width, self.height = other.width or self.width, other.height or self.height
        self.noscript = self.noscript and other.noscript
        self.hidden = self.hidden and other.hidden
        self.link = self.link or other.link


LOCAL_LINK = 0.3
"""Weight of a character in a link within the page in `Block.link_chars` (Readability.js, _getLinkDensity)."""


@dataclass(slots=True)
class Block:
    """A run of text and images that no block element interrupts. `pieces` holds strings and indices of images."""

    element: int
    pieces: list[str | int]
    chars: int
    link_chars: int
    state: int
    text: str


@dataclass(slots=True)
class Page:
    """Elements as parallel lists in document order, blocks, images, and the data of the head.

    Elements `e : ends[e]` are element e and everything inside it, blocks `first[e] : last[e]` its blocks. `inherited`
    combines the hints of an element and of all its ancestors, and SCOPE bits for the tags around it."""

    tags: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    hints: list[int] = field(default_factory=list)
    inherited: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    numbering: dict[int, dict[str, str]] = field(default_factory=dict)
    """What ol and li elements say of their numbers."""
    head: Head = field(default_factory=Head)
    stated: Statements = field(default_factory=Statements)
    unscripted: int = 0
    """Characters in noscript elements."""
