"""Licences and authors of single images, and of the page around them."""

import json
from typing import Any

import pytest

from pipeline.extract import extract
from shards.records import Document, Image

BY, SA = "https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by-sa/3.0/"
WORDS = "The old bridge over the river was painted green in spring, and nobody in the town could say who had done it. "
THING = 'itemscope itemtype="https://schema.org/ImageObject"'


def document(markup: str, head: str = "") -> Document:
    html = f"<html><head>{head}</head><body><article><h1>Bridges</h1><p>{WORDS * 3}</p>{markup}<p>{WORDS * 3}</p>"
    found = extract(html.encode(), "https://example.org/a/page.html")
    assert found is not None
    return found


def terms(found: Document) -> dict[str, tuple[str, str]]:
    images = [node for node in found.nodes if isinstance(node, Image)]
    return {image.url.rsplit("/", 1)[1]: (image.licence, image.author) for image in images}


def data(value: Any) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


def test_a_licence_in_a_figure_is_that_of_its_image() -> None:
    figure = f'<figure><img src="one.jpg"><figcaption>One, <a rel="license" href="{BY}">CC BY</a></figcaption></figure>'
    found = document(f'{figure}<p>{WORDS}</p><figure><img src="two.jpg"></figure>')
    assert terms(found) == {"one.jpg": (BY, ""), "two.jpg": ("", "")}
    assert found.metadata.licence == ""
    assert document(f'{figure}<p>Text under <a rel="license" href="{SA}">CC BY-SA</a>.</p>').metadata.licence == SA


@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        (f'<div {THING}><img src="one.jpg"><p><a itemprop="license" href="/terms">Terms</a></p></div>',
         ("https://example.org/terms", "")),
        (f'<figure {THING}><img src="one.jpg"><meta itemprop="creditText" content="A. Painter">'
         f'<link itemprop="license" href="{BY}"></figure>', (BY, "A. Painter")),
        (f'<div {THING}><figure><img src="one.jpg"></figure><meta itemprop="acquireLicensePage" content="/buy"></div>',
         ("https://example.org/buy", "")),
        (f'<img src="one.jpg"><div {THING}><meta itemprop="contentUrl" content="one.jpg">'
         f'<meta itemprop="license" content="{BY}"></div>', (BY, "")),
        (f'<figure><img src="one.jpg"><figcaption>One <a href="{BY}">CC</a></figcaption></figure>',
         (BY, "")),
    ],
)  # fmt: skip
def test_terms_in_markup(markup: str, wanted: tuple[str, str]) -> None:
    assert terms(document(markup)) == {"one.jpg": wanted}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"@type": "ImageObject", "contentUrl": "one.jpg", "license": BY, "creator": {"name": "A. Painter"}},
         (BY, "A. Painter")),
        ({"@graph": [{"@type": ["ImageObject"], "url": "https://example.org/a/one.jpg", "license": {"@id": BY}}]},
         (BY, "")),
        ({"@type": "Article", "license": SA, "image": [{"@type": "ImageObject", "url": "one-1200x800.jpg",
          "acquireLicensePage": "/buy", "creator": [{"name": "A"}, {"name": "B"}]}]},
         ("https://example.org/buy", "A, B")),
        ({"@type": "ImageObject", "contentUrl": "other.jpg", "license": BY}, ("", "")),
        ({"@type": "ImageObject", "contentUrl": ["one.jpg"], "license": 7, "creator": None}, ("", "")),
        ({"@type": "ImageObject", "contentUrl": "one.jpg", "license": "CC \ud800 by"}, ("CC \ufffd by", "")),
    ],
)  # fmt: skip
def test_terms_in_json_ld(value: Any, wanted: tuple[str, str]) -> None:
    found = document('<img src="one.jpg">', data(value))
    assert terms(found) == {"one.jpg": wanted}
    assert found.metadata.licence == (SA if value.get("@type") == "Article" else "")
