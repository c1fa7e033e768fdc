"""Features of an image by its place beside the title and the first paragraph, and the lead images they tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract import ExtractOptions, extract, flat_page, image_places
from shards.records import Image
from tests.extract.pages import AFTER, BEFORE, FOOTER, MENU, MIDDLE, URL

TITLE = "<h1>The keeper of the light</h1>"
TEXT = f"<p>{BEFORE}</p><p>{MIDDLE}</p><p>{AFTER}</p>"


def image(name: str, more: str = "") -> str:
    return f'<img src="/i/{name}.jpg" {more}>'


def places(body: str, title: str = "The keeper of the light", unlikely=(), linked=()) -> list[set[str]]:
    """The features that each image of a page has, all paragraphs kept."""
    page = flat_page(f"<html><head><title>{title}</title></head><body>{body}</body></html>", ExtractOptions())
    chars = np.array([block.chars for block in page.blocks], np.float32)
    kept = np.array([page.tags[block.element] == "p" for block in page.blocks])
    flags = [np.array([index in of for index in range(len(page.pictures))]) for of in (unlikely, linked)]
    large = np.array([(picture.width or 0) >= image_places.LARGE for picture in page.pictures])
    rows = image_places.features(page, page.pictures, kept, chars, *flags, large)
    return [{name for name, value in zip(image_places.NAMES, row, strict=True) if value == 1} for row in rows]


def test_the_last_image_before_the_title_may_be_its_lead():
    logo, hero, inside = places(
        image("logo") + image("hero", 'width="900"') + TITLE + TEXT + image("end"), unlikely={0}
    )
    assert "last before the title, large" in hero and "first likely, before text" in hero
    assert "last before the title" not in logo | inside and "first likely" not in logo | inside
    far = places(image("hero") + f"<p>{BEFORE}</p>" + TITLE + TEXT)
    assert "last before the title" not in far[0]


def test_the_first_image_after_the_title_is_told_from_later_ones():
    icon, lead, later = places(TITLE + image("icon", 'width="16"') + image("lead") + TEXT + image("later") + TEXT)
    assert "first after the title, not linked, before text" in lead
    assert "first after the title" not in icon | later
    assert "between kept texts" in later and "between kept texts" not in lead
    (linked,) = places(TITLE + f'<a href="/other">{image("lead")}</a>' + TEXT, linked={0})
    assert "first after the title" in linked and "first after the title, not linked, before text" not in linked


def test_without_an_h1_the_heading_that_repeats_the_title_counts():
    body = "<h2>More stories</h2>" + image("a") + "<h2>Keeper of the light</h2>" + image("b") + TEXT
    assert ["after the title" in found for found in places(body)] == [False, True]
    assert not any("after the title" in found for found in places(body, title="Something else entirely"))


WIDE = f"<div>{image('lead', 'width=1200')}</div>"


@pytest.mark.parametrize(
    "body",
    [
        f"<main>{WIDE}<div>{TITLE}<div class=meta>By A. Writer, 3 May</div></div>{TEXT}</main>",
        f"<div class=top>{TITLE}<p class=by>By A. Writer</p>{WIDE}</div><div class=story>{TEXT}</div>",
    ],
)
def test_a_lead_that_the_head_does_not_name_is_kept(body):
    teasers = "".join(f'<li><a href="/t/{n}">{image(f"t{n}", "width=300 height=200")}Story {n}</a></li>' for n in "abc")
    whole = f"{MENU}{body}<aside><ul>{teasers}</ul></aside>{FOOTER}"
    document = extract(f"<html><head><title>A page</title></head><body>{whole}</body></html>".encode(), URL)
    assert [node.url.rsplit("/", 1)[1] for node in document.nodes if isinstance(node, Image)] == ["lead.jpg"]


@given(
    st.lists(st.sampled_from([TITLE, TEXT, image("a"), image("b", 'width="500"'), "<h2>The keeper</h2>", "<p>x</p>"]))
)
def test_any_order_has_features(parts):
    rows = places("".join([image("first"), *parts]))
    assert len(rows) >= 1
    for name in ("last before the title", "first after the title", "first likely"):
        assert sum(name in row for row in rows) <= 1
