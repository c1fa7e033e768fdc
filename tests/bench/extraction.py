"""Quality and speed of interleaved extraction compared with other tools, in one run, on annotated pages in
../shared/data.

    python -m tests.bench.extraction [--systems NAME...] [--sets NAME...] [--limit N] [--record]

Text: F1 of words (bags) and of 4-word shingles per page, averaged. Images: F1 by file name per page with images,
averaged, and `placed`, the share of images within 12 words of their place. For the books, the last column but one is
the share of the `[Illustration]` marks of the .txt edition with an image at their place.
"""

import argparse
import gzip
import importlib.util
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.bench.results import Figure, record

SHARED = Path(os.environ.get("OPENM3W_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
READABILITY_URL = "http://fakehost/test/page.html"
Nodes = list[tuple[str, str]]
Expected = list[tuple[str, str | tuple[str, ...]]]


def _by_path(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SHARED / "bench" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(SHARED / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interleave_score = _by_path("interleave_score")


@dataclass(frozen=True)
class AnnotatedPage:
    """A page and its expected content; an expected image is a tuple of all URLs the page offers for it."""

    name: str
    html: bytes
    url: str
    content_type: str | None
    expected: Expected


_MARKDOWN_IMAGE = re.compile(r"!\[(?:[^\]\\]|\\.)*\]\(([^)\s]*)[^)]*\)")
_MARKDOWN_LINK = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")


def markdown_nodes(text: str) -> Expected:
    """Text and images of a Markdown file of defuddle, without its header."""
    text = re.sub(r"^```json\n.*?\n```\n", "", text, count=1, flags=re.S)
    nodes: Expected = []

    def plain(part: str) -> None:
        part = re.sub(r"<[^>]{1,300}>", " ", part)
        part = re.sub(r"^\[\^?[^\]]*\]:", "", part, flags=re.M)
        for _ in range(2):
            part = _MARKDOWN_LINK.sub(r"\1", part)
        part = re.sub(r"\[\^\w+\]", "", part.replace("\\", ""))
        if part.strip():
            nodes.append(("text", part))

    position = 0
    for match in _MARKDOWN_IMAGE.finditer(text):
        plain(text[position : match.start()])
        nodes.append(("image", match[1]))
        position = match.end()
    plain(text[position:])
    return nodes


def readability() -> list[AnnotatedPage]:
    linear = _by_path("score_extraction").linear
    pages = []
    for folder in sorted((SHARED / "data/extract/readability").iterdir()):
        if folder.is_dir():
            expected = "<html><body>" + (folder / "expected.html").read_text("utf8", "replace") + "</body></html>"
            html = (folder / "source.html").read_text("utf8", "replace").encode()
            pages.append(
                AnnotatedPage(folder.name, html, READABILITY_URL, "text/html; charset=utf-8", linear(expected, True))
            )
    return pages


def defuddle() -> list[AnnotatedPage]:
    root = SHARED / "data/extract/defuddle"
    return [
        AnnotatedPage(
            path.stem,
            path.read_bytes(),
            "https://example.com/a/b",
            "text/html; charset=utf-8",
            markdown_nodes((root / "expected" / f"{path.stem}.md").read_text("utf8")),
        )
        for path in sorted((root / "fixtures").glob("*.html"))
        if (root / "expected" / f"{path.stem}.md").exists()
    ]


def scrapinghub() -> list[AnnotatedPage]:
    root = SHARED / "data/extract/scrapinghub"
    truth = json.loads((root / "ground-truth.json").read_text("utf8"))
    return [
        AnnotatedPage(
            name,
            gzip.decompress((root / "html" / f"{name}.html.gz").read_bytes()),
            page["url"],
            None,
            [("text", page["articleBody"])],
        )
        for name, page in sorted(truth.items())
    ]


def wcxb() -> list[AnnotatedPage]:
    root = SHARED / "data/extract/wcxb"
    pages = []
    for path in sorted((root / "ground-truth").glob("*.json")):
        truth = json.loads(path.read_text("utf8"))
        text = truth["ground_truth"].get("main_content")
        if text:
            kind = truth["_internal"]["page_type"]["primary"]
            html = gzip.decompress((root / "html" / f"{path.stem}.html.gz").read_bytes())
            url = truth.get("url") or "https://example.org/page"
            pages.append(AnnotatedPage(f"{path.stem}-{kind}", html, url, None, [("text", text)]))
    return pages


def gutenberg() -> list[AnnotatedPage]:
    """Four books: the words of the .txt edition, with its illustration marks as images without a name."""
    pages = []
    for folder in sorted((SHARED / "data/gutenberg").iterdir()):
        source = next(folder.glob("*-h/*.htm"))
        text = next(folder.glob("[0-9]*[0-9].txt")).read_text("ascii", "replace").replace("_", "")
        nodes: Expected = []
        position = 0
        for match in re.finditer(r"\[Illustration(?::\s*([^\]]*))?\]", text):
            nodes += [("text", text[position : match.start()]), ("image", ""), ("text", match[1] or "")]
            position = match.end()
        nodes.append(("text", text[position:]))
        url = f"https://example.org/{folder.name}/{source.name}"
        pages.append(AnnotatedPage(folder.name, source.read_bytes(), url, None, nodes))
    return pages


def data_sets() -> dict[str, list[AnnotatedPage]]:
    """The sets whose pages are annotated with their main content."""
    return {"readability": readability(), "defuddle": defuddle(), "scrapinghub": scrapinghub(), "wcxb": wcxb()}


def openm3w(page: AnnotatedPage) -> Nodes:
    from pipeline.extract import extract

    document = extract(page.html, page.url, content_type=page.content_type)
    nodes = document.nodes if document else ()
    # no set names pictures that are part of the page
    named = (n for n in nodes if hasattr(n, "text") or not n.url.startswith("data:"))
    return [("text", n.text) if hasattr(n, "text") else ("image", n.url) for n in named]


def trafilatura(page: AnnotatedPage, fast: bool = False) -> Nodes:
    import trafilatura as peer

    document = peer.bare_extraction(page.html, url=page.url, include_images=True, include_comments=False, fast=fast)
    if document is None:
        return []
    return _in_order(document.body)


def _in_order(root) -> Nodes:  # type: ignore[no-untyped-def]
    """Words and images of a tree of trafilatura in document order."""
    from lxml import etree

    nodes: Nodes = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if event == "start":
            if element.tag == "graphic":
                nodes.append(("image", element.get("src", "")))
            if element.text:
                nodes.append(("text", element.text))
        elif element.tail and element is not root:
            nodes.append(("text", element.tail))
    return _joined(nodes)


def _joined(nodes: Nodes) -> Nodes:
    joined: Nodes = []
    for kind, value in nodes:
        if kind == "text" and joined and joined[-1][0] == "text":
            joined[-1] = ("text", f"{joined[-1][1]} {value}")
        else:
            joined.append((kind, value))
    return joined


def readability_lxml(page: AnnotatedPage) -> Nodes:
    from readability import Document

    return _by_path("score_extraction").linear(Document(page.html.decode("utf8", "replace")).summary())


def resiliparse(page: AnnotatedPage) -> Nodes:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page.html.decode("utf8", "replace"))
    return [("text", extract_plain_text(tree, main_content=True, alt_texts=False))]


def naive_walk(page: AnnotatedPage) -> Nodes:
    return _by_path("score_extraction").linear(page.html.decode("utf8", "replace"))


SYSTEMS: dict[str, Callable[[AnnotatedPage], Nodes]] = {
    "openm3w": openm3w,
    "trafilatura": trafilatura,
    "trafilatura fast": lambda page: trafilatura(page, fast=True),
    "readability-lxml": readability_lxml,
    "resiliparse": resiliparse,
    "naive walk": naive_walk,
}


@dataclass(frozen=True)
class Row:
    """One extractor on one page: what `interleave_score.score` counts, the F1 of words, and CPU seconds."""

    page: str
    score: dict[str, float]
    word_f1: float
    seconds: float


def rows(system: Callable[[AnnotatedPage], Nodes], pages: list[AnnotatedPage]) -> list[Row]:
    """One extractor on each page. A page on which it raises counts as an empty result."""
    result = []
    for page in pages:
        start = time.process_time()
        try:
            got = system(page)
        except Exception:
            got = []
        seconds = time.process_time() - start
        bags = [
            Counter(interleave_score.words(" ".join(v for kind, v in nodes if kind == "text")))
            for nodes in (got, page.expected)
        ]
        result.append(
            Row(page.name, interleave_score.score(got, page.expected), interleave_score.prf(*bags)[2], seconds)
        )
    return result


@dataclass(frozen=True)
class Figures:
    """Means over the pages of a set; shares in [0, 1], CPU time in milliseconds per page."""

    pages: int
    word_f1: float
    shingle_f1: float
    image_f1: float | None
    placed_matched: float | None
    placed_all: float | None
    milliseconds: float


def figures(of: list[Row]) -> Figures:
    """The figures of one extractor over some pages."""
    with_images = [row.score for row in of if row.score["n_img"]]

    def ratio(above: str, below: str) -> float | None:
        total = sum(row[below] for row in with_images)
        return sum(row[above] for row in with_images) / total if total else None

    return Figures(
        len(of),
        sum(row.word_f1 for row in of) / len(of),
        sum(row.score["text_f1"] for row in of) / len(of),
        sum(row["img_f1"] for row in with_images) / len(with_images) if with_images else None,
        ratio("placed", "matched"),
        ratio("placed", "n_img"),
        1000 * sum(row.seconds for row in of) / len(of),
    )


def measure(system: Callable[[AnnotatedPage], Nodes], pages: list[AnnotatedPage]) -> Figures:
    """The figures of one extractor on one set."""
    return figures(rows(system, pages))


def header() -> str:
    """The head of a Markdown table of figures."""
    shares = ("word F1", "shingle F1", "image F1", "placed of matched", "placed of all")
    columns = ("set", "system", "pages", *shares, "CPU ms/page")
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def line(name: str, system: str, found: Figures) -> str:
    """A line of that table."""
    shares = (found.word_f1, found.shingle_f1, found.image_f1, found.placed_matched, found.placed_all)
    cells = ["-" if share is None else f"{share:.3f}" for share in shares]
    return f"| {name} | {system} | {found.pages} | {' | '.join(cells)} | {found.milliseconds:.1f} |"


def illustrations(system: Callable[[AnnotatedPage], Nodes], page: AnnotatedPage, tolerance: int = 12) -> float:
    """The share of a book's illustration marks that have an image within `tolerance` words of their place."""
    stream, anchors = interleave_score.stream, interleave_score.anchors
    got_words, got = stream(system(page))
    words, marks = stream(page.expected)
    pairs = anchors(got_words, words)
    if not pairs or not marks:
        return 0.0
    import bisect

    xs = [x for x, _ in pairs]
    places = []
    for _, position in got:
        after = bisect.bisect_left(xs, position)
        low = pairs[after - 1][1] + position - xs[after - 1] if after else 0
        high = pairs[after][1] - (xs[after] - position) if after < len(pairs) else len(words)
        places.append((min(low, high) - tolerance, max(low, high) + tolerance))
    free = sorted(places)
    found = 0
    for _, mark in marks:
        hit = next((place for place in free if place[0] <= mark <= place[1]), None)
        if hit is not None:
            free.remove(hit)
            found += 1
    return found / len(marks)


def recorded(measured: dict[tuple[str, str], Figures]) -> list[Figure]:
    """Figures for results/extraction.json, of sets the rules were tuned on."""
    found = []
    for (name, system), ours in measured.items():
        if system != "openm3w":
            continue
        if name == "readability" and ours.image_f1 is not None and ours.placed_all is not None:
            found += [
                Figure("tuned-on pages: readability, text F1", round(ours.shingle_f1, 3)),
                Figure("tuned-on pages: readability, image F1", round(ours.image_f1, 3)),
                Figure("tuned-on pages: readability, images placed", round(ours.placed_all, 3)),
            ]
        else:
            found.append(Figure(f"tuned-on pages: {name}, word F1", round(ours.word_f1, 3)))
        peer = measured.get((name, "trafilatura"))
        if peer is not None:
            ratio = round(ours.milliseconds / peer.milliseconds, 2)
            found.append(Figure(f"CPU time over trafilatura's: {name}", ratio, "", "<= 0.333"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--sets", nargs="*", default=["readability", "defuddle", "scrapinghub", "wcxb", "gutenberg"])
    parser.add_argument("--limit", type=int, default=None, help="only the first pages of each set")
    parser.add_argument("--record", action="store_true", help="write the figures to results/extraction.json")
    arguments = parser.parse_args()
    measured: dict[tuple[str, str], Figures] = {}
    books = None
    sets = {**data_sets(), "gutenberg": gutenberg()}
    print(header())
    for name in arguments.sets:
        pages = sets[name][: arguments.limit]
        for system in arguments.systems:
            SYSTEMS[system](pages[0])
            if name == "gutenberg":
                start = time.process_time()
                share = sum(illustrations(SYSTEMS[system], page) for page in pages) / len(pages)
                elapsed = 1000 * (time.process_time() - start) / len(pages)
                print(f"| {name} | {system} | {len(pages)} | - | - | - | - | {share:.3f} | {elapsed:.0f} |", flush=True)
                books = share if system == "openm3w" else books
                continue
            measured[name, system] = measure(SYSTEMS[system], pages)
            print(line(name, system, measured[name, system]), flush=True)
    if arguments.record:
        command = "python -m tests.bench.extraction"
        seen = "the pages of ../shared/data/extract; rules and coefficients were chosen on them"
        record("extraction", recorded(measured), command, seen)
        if books is not None:
            found = [Figure("books: illustration marks with an image", round(books, 3))]
            record("extraction", found, command, "4 books of Project Gutenberg")


if __name__ == "__main__":
    main()
