"""Quality and speed of interleaved extraction compared with other tools, in one run, on annotated pages in
../shared/data.

    python -m tests.bench.extraction [--systems NAME...] [--sets NAME...] [--limit N] [--record]

Text: F1 of words (bags) and of 4-word shingles per page, averaged. Images: F1 by file name per page with images,
averaged, and `placed`, the share of images within 12 words of their place. For the books, the last column but one is
the share of the `[Illustration]` marks of the .txt edition with an image at their place.

A second table gives what only some sets are annotated with, with 95 % intervals (bootstrap over pages): word F1, also
by kind of page; images without those that the page does not show and without its own lead where the expectation leaves
it out; snippets that must and must not appear; the images that the page's head names, also after what names them was
taken out. "locked" are pages that nothing was chosen by: those are the figures to
expect elsewhere. rs-trafilatura is measured if it is installed (pip install rs-trafilatura, which needs cargo).
"""

import argparse
import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.bench.annotated import (
    AnnotatedPage,
    Nodes,
    by_path,
    data_sets,
    gutenberg,
    interleave_score,
    postlight,
    wcxb_more,
)
from tests.bench.results import Figure, record


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

    return by_path("score_extraction").linear(Document(page.html.decode("utf8", "replace")).summary())


def resiliparse(page: AnnotatedPage) -> Nodes:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page.html.decode("utf8", "replace"))
    return [("text", extract_plain_text(tree, main_content=True, alt_texts=False))]


def rs_trafilatura(page: AnnotatedPage) -> Nodes:
    import rs_trafilatura as peer

    return [("text", peer.extract(page.html.decode("utf8", "replace"), url=page.url).main_content)]


def naive_walk(page: AnnotatedPage) -> Nodes:
    return by_path("score_extraction").linear(page.html.decode("utf8", "replace"))


SYSTEMS: dict[str, Callable[[AnnotatedPage], Nodes]] = {
    "openm3w": openm3w,
    "trafilatura": trafilatura,
    "trafilatura fast": lambda page: trafilatura(page, fast=True),
    "readability-lxml": readability_lxml,
    "resiliparse": resiliparse,
    "rs-trafilatura": rs_trafilatura,
    "naive walk": naive_walk,
}


@dataclass(frozen=True)
class Row:
    """One extractor on one page: what `interleave_score.score` counts, the F1 of words, CPU seconds, what `_adjusted`
    counts of images, and how many snippets were (found, wrongly found, expected)."""

    page: str
    score: dict[str, float]
    word_f1: float
    seconds: float
    kind: str = ""
    images: dict[str, int] | None = None
    snippets: tuple[int, int, int] | None = None


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
        text = " ".join(value for kind, value in got if kind == "text")
        expected = " ".join(value for kind, value in page.expected if kind == "text")
        bags = [Counter(interleave_score.words(words)) for words in (text, expected)]
        named, wanted = got, page.expected
        if page.pictures is not None:
            named, wanted = page.pictures.renamed(got), page.pictures.renamed(page.expected)
        result.append(
            Row(
                page.name,
                interleave_score.score(named, wanted),
                interleave_score.prf(*bags)[2],
                seconds,
                page.kind,
                _adjusted(page, named, wanted) if page.pictures is not None else None,
                _snippets(page, text) if page.present or page.absent else None,
            )
        )
    return result


def _adjusted(page: AnnotatedPage, named: Nodes, wanted: Nodes) -> dict[str, int]:
    """Images right, found and wanted, without what no extractor can answer for: expected ones that the page does not
    show, and the page's own lead where the expectation leaves it out; leads that stand in the page, and those kept."""
    expected = {value for kind, value in wanted if kind == "image" and page.pictures.answerable(value)}
    kept = {value for kind, value in named if kind == "image"}
    leads = page.pictures.leads()
    found = kept - (leads - expected)
    counts = (len(found & expected), len(found), len(expected), len(leads), len(leads & kept))
    return dict(zip(("right", "found", "wanted", "leads", "leads kept"), counts, strict=True))


def _snippets(page: AnnotatedPage, text: str) -> tuple[int, int, int]:
    def plain(value: str) -> str:
        return " ".join(interleave_score.words(value))

    whole = plain(text)
    return (
        sum(plain(snippet) in whole for snippet in page.present),
        sum(plain(snippet) in whole for snippet in page.absent),
        len(page.present),
    )


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


Interval = tuple[float, float, float]
"""A figure and its 95 % interval."""


def bootstrap(
    table: list[tuple[float, ...]], figure: Callable[[np.ndarray], np.ndarray], draws: int = 1000
) -> Interval:
    """A figure of pages: `figure` takes sums over pages [..., columns] of the rows of `table` and returns [...]."""
    values = np.array(table, float)
    weights = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), draws)
    drawn = figure(weights @ values)
    low, high = (np.nan, np.nan) if np.isnan(drawn).all() else np.nanquantile(drawn, (0.025, 0.975))
    return float(figure(values.sum(0))), float(low), float(high)


def share(sums: np.ndarray) -> np.ndarray:
    """The first column over the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


def detailed(of: list[Row]) -> dict[str, Interval]:
    """The figures of the second table for one extractor on one set."""
    found = {"word F1": bootstrap([(row.word_f1, 1) for row in of], share)}
    kinds = sorted({row.kind for row in of if row.kind})
    for kind in kinds:
        found[f"word F1, {kind}"] = bootstrap([(row.word_f1, 1) for row in of if row.kind == kind], share)
    images = [row.images for row in of if row.images is not None]
    shown = [row for row in images if row["wanted"]]
    if shown:
        found["images P"] = bootstrap([(row["right"], row["found"]) for row in shown], share)
        found["images R"] = bootstrap([(row["right"], row["wanted"]) for row in shown], share)
        f1 = [2 * row["right"] / (row["found"] + row["wanted"]) for row in shown]
        found["images macro F1"] = bootstrap([(value, 1) for value in f1], share)
        none = [row for row in images if not row["wanted"]]
        if none:
            found["pages without images that get one"] = bootstrap([(row["found"] > 0, 1) for row in none], share)
        found["leads kept"] = bootstrap([(row["leads kept"], row["leads"]) for row in images], share)
    snippets = [row.snippets for row in of if row.snippets is not None]
    if snippets:
        found["snippets P"] = bootstrap([(right, right + wrong) for right, wrong, _ in snippets], share)
        found["snippets R"] = bootstrap([(right, wanted) for right, _, wanted in snippets], share)
    return found


_HEAD_IMAGE = re.compile(
    rb"<(?:meta|link)\b[^>]{0,4000}?(?:og:image|twitter:image|image_src|thumbnail|itemprop=[\"']?image)[^>]{0,4000}>",
    re.I,
)
_HEAD_DATA = re.compile(rb"<script\b[^>]{0,2000}?ld\+json[^>]{0,2000}>.*?</script>", re.I | re.S)


def lead_figures(system: Callable[[AnnotatedPage], Nodes], pages: list[AnnotatedPage]) -> dict[str, Interval]:
    """The share of images named by a page's head (og:image, twitter:image, JSON-LD) and shown on the page that are
    kept: of the page as it is, and after all that names them was taken out of it."""
    counts: dict[str, list[tuple[float, ...]]] = {"leads kept": [], "leads kept, not named by the head": []}
    for page in pages:
        shown = page.pictures or by_path("pictures").Pictures(page.html.decode("utf8", "replace"))
        leads = {lead for lead in shown.leads() if shown.answerable(lead)}
        if not leads:
            continue
        silent = dataclasses.replace(page, html=_HEAD_DATA.sub(b"", _HEAD_IMAGE.sub(b"", page.html)))
        for name, seen in zip(counts, (page, silent), strict=True):
            kept = {value for kind, value in shown.renamed(system(seen)) if kind == "image"}
            counts[name].append((len(leads & kept), len(leads)))
    return {name: bootstrap(table, share) for name, table in counts.items() if table}


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


GOALS = {
    "postlight, locked: images P": ">= 0.75",
    "postlight, locked: images R": ">= 0.82",
    "postlight, locked: images macro F1": ">= 0.82",
    "postlight, locked: pages without images that get one": "<= 0.125",
    "postlight, locked: word F1": ">= 0.95",
    "postlight, locked: leads kept": ">= 0.95",
    "postlight, locked: leads kept, not named by the head": ">= 0.80",
    "wcxb more, locked: leads kept": ">= 0.95",
    "wcxb more, locked: leads kept, not named by the head": ">= 0.80",
    "wcxb more, locked: word F1": ">= 0.88",
    "wcxb more, locked: word F1, collection": ">= 0.76",
    "wcxb more, locked: word F1, listing": ">= 0.76",
    "wcxb more, locked: word F1, forum": ">= 0.81",
    "wcxb more, locked: word F1, product": ">= 0.70",
    "wcxb more, locked: word F1, service": ">= 0.87",
    "wcxb more, locked: snippets P": ">= 0.94",
}
UNSEEN = ("postlight, open", "postlight, locked", "wcxb more, open", "wcxb more, locked")


def all_sets() -> dict[str, list[AnnotatedPage]]:
    """Every set: those tuned on, the open and the locked pages of the others, and the books."""
    sets = data_sets()
    for name, pages in (("postlight", postlight()), ("wcxb more", wcxb_more())):
        sets[f"{name}, open"] = [page for page in pages if not page.locked]
        sets[f"{name}, locked"] = [page for page in pages if page.locked]
    return sets | {"gutenberg": gutenberg()}


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
            found += [Figure(f"tuned-on pages: {name}, word F1", round(ours.word_f1, 3))] if name not in UNSEEN else []
        peer = measured.get((name, "trafilatura"))
        if peer is not None:
            ratio = round(ours.milliseconds / peer.milliseconds, 2)
            found.append(Figure(f"CPU time over trafilatura's: {name}", ratio, "", "<= 0.333"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--sets", nargs="*", default=None)
    parser.add_argument("--limit", type=int, default=None, help="only the first pages of each set")
    parser.add_argument("--record", action="store_true", help="write the figures to results/extraction.json")
    arguments = parser.parse_args()
    measured: dict[tuple[str, str], Figures] = {}
    details: dict[tuple[str, str], dict[str, Interval]] = {}
    books = None
    sets = all_sets()
    systems = []
    for system in arguments.systems:
        try:
            SYSTEMS[system](sets["readability"][0])
            systems.append(system)
        except ImportError as error:
            print(f"{system}: not installed ({error})")
    print(header())
    for name in arguments.sets or sets:
        pages = sets[name][: arguments.limit]
        for system in systems:
            if name == "gutenberg":
                start = time.process_time()
                share = sum(illustrations(SYSTEMS[system], page) for page in pages) / len(pages)
                elapsed = 1000 * (time.process_time() - start) / len(pages)
                print(f"| {name} | {system} | {len(pages)} | - | - | - | - | {share:.3f} | {elapsed:.0f} |", flush=True)
                books = share if system == "openm3w" else books
                continue
            scored = rows(SYSTEMS[system], pages)
            measured[name, system] = figures(scored)
            details[name, system] = detailed(scored)
            if system == "openm3w" and name in (*UNSEEN, "readability"):
                details[name, system] |= lead_figures(openm3w, pages)
            print(line(name, system, measured[name, system]), flush=True)
    print(f"\n| set | figure | {' | '.join(systems)} |\n|---|---|{'---|' * len(systems)}")
    for name in dict.fromkeys(name for name, _ in details):
        for figure in details[name, systems[0]]:
            found = (details[name, system].get(figure) for system in systems)
            cells = ("-" if values is None else "{:.3f} [{:.3f}, {:.3f}]".format(*values) for values in found)
            print(f"| {name} | {figure} | {' | '.join(cells)} |", flush=True)
    if arguments.record:
        record_all(measured, details, books)


def record_all(
    measured: dict[tuple[str, str], Figures], details: dict[tuple[str, str], dict[str, Interval]], books: float | None
) -> None:
    command = "python -m tests.bench.extraction"
    seen = "the pages of ../shared/data/extract; rules and coefficients were chosen on them"
    record("extraction", recorded(measured), command, seen)
    for name in UNSEEN:
        found = [
            Figure(
                f"{name}: {figure}",
                round(value, 3),
                goal=GOALS.get(f"{name}: {figure}", ""),
                interval=(round(low, 3), round(high, 3)),
            )
            for figure, (value, low, high) in details.get((name, "openm3w"), {}).items()
        ]
        data = "pages of ../shared/data/pages that nothing was chosen by"
        if name.endswith("open"):
            data = "the other pages of ../shared/data/pages; coefficients were fitted to them"
        record("extraction", found, command, data)
    if books is not None:
        found = [Figure("books: illustration marks with an image", round(books, 3), goal=">= 0.98")]
        record("extraction", found, command, "4 books of Project Gutenberg")


if __name__ == "__main__":
    main()
