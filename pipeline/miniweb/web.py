"""A generated web: every response of its servers, and the truth about each page."""

from collections.abc import Callable
from dataclasses import dataclass, field

Base = Callable[[str], str]
"""Maps a host name to the start of its URLs: scheme, name and port, without a trailing slash."""

Node = tuple[str, str]
"""`("text", paragraphs separated by a blank line)` or `("image", absolute URL)`."""


def example_base(host: str) -> str:
    """`https://HOST.example`, a domain reserved by RFC 2606."""
    return f"https://{host}.example"


@dataclass(frozen=True, slots=True)
class Resource:
    """One HTTP response as captured at `date` (WARC-Date, UTC).

    `body` is the payload without transfer coding: whoever sends or stores it adds Content-Length, or chunks it if
    `headers` say `Transfer-Encoding: chunked`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    date: str

    def header(self, name: str) -> str:
        """The value of the first header with this name (case-insensitive); empty if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True)
class Drawing:
    """The attributes of a drawing, as indices into the value lists of `pictures`, and its upright size in pixels."""

    colour: int
    shape: int
    count: int
    ground: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Mention:
    """A word that names an attribute of an image, at `nodes[node][1][start:stop]`.

    `attribute` is colour, shape, count or ground, drawn uniformly from `choices` values and independently of everything
    else. Only a word with `first` set carries information (log2 `choices` bits): other mentions repeat it. `picture` is
    the node of the image, which may come after the mention; None if the image was dropped."""

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
    """The expected outcome for a captured response that is not an image.

    rule: the id of the rule that must drop the whole record or page; None if it must be kept. nodes: the kept page in
    reading order, without the images in `dropped`; text between two images is one node. extracted: the same before
    rules on images: every image of the main content, in reading order. dropped: (URL, rule id) of each image of the
    main content that must be dropped, in reading order; a URL can be in both `nodes` and `dropped` if a page shows it
    twice. alternatives: for each URL in `extracted`, the other URLs the page offers for the same image. mentions: the
    attribute words of `nodes`. case: what is special about the page, or empty. twin: for copies, the URL of the page
    that is kept. Which of two equal texts is kept is a convention: here the newer capture, which also has the smaller
    URL and comes first.
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
    """`captures`: every response in crawl order; a URL occurs several times if visited several times. `truth`: a row
    for each capture except images. `pictures`: what each drawing shows, by URL."""

    base: Base = example_base
    captures: list[tuple[str, Resource]] = field(default_factory=list)
    truth: list[PageTruth] = field(default_factory=list)
    pictures: dict[str, Drawing] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, Resource]:
        """The newest capture of each URL, which a server of this web returns."""
        newest: dict[str, Resource] = {}
        for url, resource in self.captures:
            if url not in newest or newest[url].date < resource.date:
                newest[url] = resource
        return newest
