"""What a generated web is: every response that its servers give, and the truth about each page."""

from collections.abc import Callable
from dataclasses import dataclass, field

Base = Callable[[str], str]
"""From the name of a host to what its URLs begin with: scheme, name and port, without a slash at the end."""

Node = tuple[str, str]
"""`("text", paragraphs separated by a blank line)` or `("image", absolute URL)`."""


def example_base(host: str) -> str:
    """`https://HOST.example`: names that RFC 2606 keeps out of use."""
    return f"https://{host}.example"


@dataclass(frozen=True, slots=True)
class Resource:
    """One HTTP response as captured at `date` (WARC-Date, UTC).

    `body` is the payload without transfer coding: who sends or stores it adds Content-Length, or frames it where
    `headers` say `Transfer-Encoding: chunked`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    date: str

    def header(self, name: str) -> str:
        """The value of the first header of this name, in any case; empty where there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a drawing shows, as indexes into the value lists of `pictures`, and its upright size in pixels."""

    colour: int
    shape: int
    count: int
    ground: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Mention:
    """A word that names an attribute of a picture, at `nodes[node][1][start:stop]`.

    `attribute` is colour, shape, count or ground, drawn uniformly from `choices` values and independently of everything
    else. Only where `first` is set does the word carry information (log2 `choices` bits): the other mentions repeat it.
    `picture` is the node of the picture, which may come after the mention; None where the picture was dropped."""

    attribute: str
    word: str
    choices: int
    node: int
    start: int
    stop: int
    picture: int | None
    first: bool


@dataclass(frozen=True, slots=True)
class PageTruth:
    """What must become of one captured response that is not a picture.

    rule: the id of the rule under which the whole record or page must be dropped; None where it must be kept.
    nodes: the kept page in reading order, without the pictures of `dropped`; text between two pictures is one node.
    extracted: the same before any rule on pictures: every picture of the main content, in reading order.
    dropped: (URL, rule id) of each picture of the main content that must go, in reading order; a URL can stand in both
        `nodes` and `dropped` where a page shows it twice.
    alternatives: for each URL in `extracted`, the other URLs under which the page offers the same picture.
    mentions: the attribute words of `nodes`.
    case: what is special about the page, empty where nothing is.
    twin: for copies, the URL of the page that stays. Which of two equal texts stays is a convention: here the newer
        capture, which also has the smaller URL and comes first.
    """

    url: str
    date: str
    language: str = ""
    rule: str | None = None
    nodes: tuple[Node, ...] = ()
    extracted: tuple[Node, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    alternatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    mentions: tuple[Mention, ...] = ()
    case: str = ""
    twin: str | None = None


@dataclass(slots=True)
class Web:
    """`captures`: every response in the order of the crawl, a URL more than once where it was visited more than once.
    `truth`: a row for each capture but those of pictures. `pictures`: what each drawing shows, by URL."""

    base: Base = example_base
    captures: list[tuple[str, Resource]] = field(default_factory=list)
    truth: list[PageTruth] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, Resource]:
        """The newest capture of each URL: what a server of this web answers."""
        newest: dict[str, Resource] = {}
        for url, resource in self.captures:
            if url not in newest or newest[url].date < resource.date:
                newest[url] = resource
        return newest
