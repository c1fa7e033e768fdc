"""The three tables of coefficients: what they are read with, and that their results do not depend on chance."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract import ExtractOptions, classifier, flat_page, image_classifier, kind
from pipeline.extract import features as block_features
from pipeline.extract.content import candidate, sums
from pipeline.extract.page import PAGE_KINDS
from pipeline.extract.selection import choose_text
from tests.extract.pages import AFTER, BEFORE, FOOTER, MENU, STORY

ROOT = Path(__file__).resolve().parents[2]
TABLES = (
    (kind, kind.NAMES, (len(kind.NAMES), len(PAGE_KINDS))),
    (classifier, block_features.NAMES, (len(block_features.NAMES), 4 + len(PAGE_KINDS))),
    (image_classifier, image_classifier.NAMES, (len(image_classifier.NAMES),)),
)


@pytest.mark.parametrize(("module", "names", "shape"), TABLES)
def test_each_feature_has_coefficients_under_its_name(module, names, shape):
    assert len(set(names)) == len(names)
    table, intercept = module.coefficients()
    assert table.shape == shape
    assert np.isfinite(table).all() and np.isfinite(intercept).all()


@pytest.mark.parametrize("module", [kind, classifier, image_classifier])
def test_a_table_of_other_features_is_refused(module, tmp_path, monkeypatch):
    header, intercept, first, *rest = module.COEFFICIENTS.read_text("ascii").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([header, intercept, f"other {first}", *rest]), "ascii")
    monkeypatch.setattr(module, "COEFFICIENTS", other)
    with pytest.raises(ValueError, match="other features"):
        module.coefficients.__wrapped__()


THREAD = "".join(
    f'<div class="post"><a class="username" href="/u/{n}">user{n}</a><div class="message">{BEFORE} {n}</div>'
    f'<a href="#reply">Reply</a></div>'
    for n in range(6)
)
SHOP = (
    '<div class="product"><h1>Desk lamp</h1><span class="price">$ 89.00</span><button>Add to cart</button>'
    f'<div class="description">{AFTER}</div></div>'
)


@pytest.mark.parametrize(
    ("expected", "url", "head", "body"),
    [
        ("article", "https://example.org/blog/2024/05/the-keeper-of-the-light", "", STORY),
        (
            "forum",
            "https://forum.example.org/t/which-oil/1234",
            '<meta name="generator" content="Discourse 3.2">',
            f"<h1>Which oil?</h1>{THREAD}",
        ),
        (
            "product",
            "https://shop.example.org/products/desk-lamp",
            '<meta property="og:type" content="product"><script type="application/ld+json">{"@type": "Product",'
            ' "offers": {"@type": "Offer"}, "aggregateRating": {"@type": "AggregateRating"}}</script>',
            SHOP,
        ),
    ],
)
def test_kinds_of_plain_pages(expected, url, head, body):
    html = f"<html><head><title>A page</title>{head}</head><body>{MENU}{body}{FOOTER}</body></html>"
    page = flat_page(html, ExtractOptions())
    total = sums(page)
    text, _ = choose_text(page, url, total, candidate(page, total))
    assert PAGE_KINDS[int(text.kinds.argmax())] == expected
    assert abs(float(text.kinds.sum()) - 1) < 1e-5


@pytest.mark.parametrize(
    ("name", "votes"), [("article", True), ("forum", True), ("product", False), ("listing", False)]
)
def test_the_best_part_has_a_vote_on_pages_of_prose_alone(name, votes, monkeypatch):
    one = np.array([kind_ == name for kind_ in PAGE_KINDS], np.float32)
    monkeypatch.setattr(kind, "probabilities", lambda features: one)
    page = flat_page(f"<body>{MENU}{STORY}{FOOTER}</body>", ExtractOptions())
    total = sums(page)
    found = candidate(page, total)
    chars = np.array([block.chars for block in page.blocks], np.float32)
    classified = classifier.probabilities(*block_features.features(page, total, found), chars, one)
    text, _ = choose_text(page, "https://a.example/", total, found)
    assert bool(np.abs(text.probability - classified).max() > 0.01) == votes


@given(st.lists(st.text(max_size=40), max_size=8), st.text(max_size=60))
def test_any_page_and_any_address_has_features(parts, url):
    html = "".join(
        f"<div class={n}><p>{part}</p><a href='{part}'><img src='/{n}.jpg' alt='x'></a></div>"
        for n, part in enumerate(parts)
    )
    page = flat_page(html, ExtractOptions())
    if not page.blocks or not page.tags:
        return
    total = sums(page)
    found = candidate(page, total)
    text, _ = choose_text(page, url, total, found)
    rows = image_classifier.features(page, total, found, text)
    assert rows.shape == (len(image_classifier.candidates(page)), len(image_classifier.NAMES))
    assert np.isfinite(rows).all() and np.isfinite(text.kinds).all() and np.isfinite(text.probability).all()


@pytest.mark.parametrize("name", ["sunset_300x200.jpg?w=3", "sunset.png", "Sunset-large.webp#top", "sunset@2x.jpg"])
def test_versions_of_an_image_meet_under_one_name(name):
    assert image_classifier.stem(f"https://a.example/uploads/{name}") == "sunset"


def test_threads_of_blas_do_not_change_a_bit():
    program = (
        "import sys; from pipeline.extract import ExtractOptions, flat_page;"
        "from pipeline.extract.content import candidate, sums; from pipeline.extract.selection import choose_text;"
        f"page = flat_page({STORY + MENU + FOOTER!r} * 60, ExtractOptions()); total = sums(page);"
        "text, _ = choose_text(page, 'https://a.example/', total, candidate(page, total));"
        "sys.stdout.buffer.write(text.probability.tobytes() + text.kinds.tobytes())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(outputs) == 1 and len(outputs.pop()) > 1000
