"""The quality gate: figures on annotated real pages may not fall below their pinned floors.

The floors lie a little under what was measured when they were set, and never under trafilatura's figures on the same
pages. The fingerprint pins the pages: floors mean nothing on others. The classifier's coefficients were fitted to these
pages; `python -m tests.bench.fit_extraction --folds 4` prints what it reaches on pages that it has not seen."""

import hashlib
from pathlib import Path

import pytest

from pipeline.extract import extract
from shards.records import Text

FINGERPRINT = "8e03ceceb10754133cf168e5e6abebcc"

# word F1, shingle F1, image F1, placed of matched, placed of all; None where the set has no such annotation
FLOORS: dict[str, tuple[float | None, ...]] = {
    "readability": (0.965, 0.953, 0.885, 0.990, 0.935),
    "defuddle": (0.925, 0.844, 0.650, 0.975, 0.710),
    "scrapinghub": (0.957, 0.952, None, None, None),
    "wcxb": (0.870, 0.843, None, None, None),
}
# word F1 and shingle F1 of trafilatura 2.3.1 in the run that set the floors
TRAFILATURA = {
    "readability": (0.912, 0.899),
    "defuddle": (0.892, 0.809),
    "scrapinghub": (0.952, 0.947),
    "wcxb": (0.829, 0.793),
}
# the share of a book's illustration marks at whose place an image stands
ILLUSTRATIONS = {"pg16351": 0.89, "pg17645": 0.92, "pg20170": 0.96, "pg20171": 0.94}


@pytest.fixture(scope="module")
def bench(shared: Path):
    from tests.bench import extraction

    return extraction


@pytest.fixture(scope="module")
def sets(shared: Path):
    from tests.bench import annotated

    return annotated


def test_fingerprint(shared: Path):
    digest = hashlib.sha256()
    for folder in ("extract", "gutenberg"):
        for path in sorted((shared / "data" / folder).rglob("*")):
            if path.is_file() and path.suffix in (".html", ".htm", ".gz", ".json", ".md", ".txt"):
                digest.update(f"{path.relative_to(shared).as_posix()} {path.stat().st_size}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    assert digest.hexdigest()[:32] == FINGERPRINT


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_floors(bench, sets, name):
    figures = bench.measure(bench.openm3w, getattr(sets, name)())
    reached = (
        figures.word_f1,
        figures.shingle_f1,
        figures.image_f1,
        figures.placed_matched,
        figures.placed_all,
    )
    for got, floor in zip(reached, FLOORS[name], strict=True):
        assert floor is None or got >= floor, figures


# floors of the figures on locked pages, by which nothing was chosen
LOCKED = {
    "postlight": {"word F1": 0.93, "images R": 0.80, "images macro F1": 0.74, "leads kept": 0.95},
    "wcxb_more": {"word F1": 0.875, "snippets P": 0.93, "snippets R": 0.91},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "wcxb_more" else ()) for name in sorted(LOCKED)]
)
def test_floors_of_locked_pages(bench, sets, name):
    pages = [page for page in getattr(sets, name)() if page.locked]
    found = bench.detailed(bench.rows(bench.openm3w, pages))
    assert all(found[figure][0] >= floor for figure, floor in LOCKED[name].items()), found


def test_illustrations_of_books(bench, sets):
    shares = {page.name: round(bench.illustrations(bench.openm3w, page), 3) for page in sets.gutenberg()}
    assert all(shares[name] >= floor for name, floor in ILLUSTRATIONS.items()), shares


def test_captions_of_books(bench, sets):
    (page,) = (page for page in sets.gutenberg() if page.name == "pg20170")
    whole = " ".join(value for kind, value in bench.openm3w(page) if kind == "text")
    assert all(caption in whole for caption in ("St. Piran's Chapel", "Truro Cathedral", "Welsh National Costume"))


def test_verses_of_a_book_stay(shared: Path):
    book = (shared / "data/gutenberg/pg20170/20170-h/20170-h.htm").read_bytes()
    document = extract(book, "https://example.org/20170-h.htm")
    assert document is not None
    words = "\n\n".join(node.text for node in document.nodes if isinstance(node, Text))
    song = [words.index(line) for line in ("Robin Hood and little John,", "With Halantow,", "And Winter is a-gone, O!")]
    assert song == sorted(song)


def test_floors_are_above_trafilatura():
    for name, theirs in TRAFILATURA.items():
        assert all(floor > figure for floor, figure in zip(FLOORS[name][:2], theirs, strict=True)), name


@pytest.mark.slow
def test_not_below_trafilatura(bench, sets):
    ours, theirs = [], []
    for pages in sets.data_sets().values():
        ours.append(bench.measure(bench.openm3w, pages).word_f1)
        theirs.append(bench.measure(bench.trafilatura, pages).word_f1)
    assert all(a >= b for a, b in zip(ours, theirs, strict=True)), (ours, theirs)
    assert sum(ours) > sum(theirs)
