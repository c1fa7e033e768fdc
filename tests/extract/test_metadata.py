"""Metadata of pages."""

import json

import pytest

from pipeline.extract import extract
from pipeline.extract.metadata import iso_date
from shards.records import Metadata

URL = "https://example.org/blog/post.html"
TEXT = "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the hour into the log."


def metadata(head: str, body: str = "", root: str = "") -> Metadata:
    html = f"<!DOCTYPE html><html {root}><head>{head}</head><body><article><p>{TEXT}</p>{body}</article></body></html>"
    found = extract(html.encode(), URL)
    assert found is not None
    return found.metadata


def test_nothing_said():
    assert metadata("") == Metadata()


def test_meta_elements():
    head = (
        '<title>Keeper | Example</title><meta property="og:title" content="The  keeper">'
        '<meta name=author content="A. Holm"><meta property="article:published_time" '
        'content="2021-03-04T05:06:07+01:00"><meta property="og:site_name" '
        'content="Example"><meta name="description" content="A story."><link rel=canonical href="/keeper">'
        '<meta name="robots" content="NoAI, noimageai"><link rel="license" '
        'href="https://creativecommons.org/licenses/by/4.0/">'
    )
    assert metadata(head, root='lang="en_GB"') == Metadata(
        title="The keeper",
        author="A. Holm",
        date="2021-03-04T05:06:07+01:00",
        language="en-GB",
        licence="https://creativecommons.org/licenses/by/4.0/",
        site_name="Example",
        description="A story.",
        canonical_url="https://example.org/keeper",
        robots="noai, noimageai",
    )


def test_title_element_alone():
    assert metadata("<title>\n The keeper &amp; the lamp </title>").title == "The keeper & the lamp"


def json_ld(*things) -> str:
    return "".join(f'<script type="application/ld+json">{json.dumps(thing)}</script>' for thing in things)


def test_json_ld():
    article = {
        "@type": "NewsArticle",
        "headline": "The keeper",
        "datePublished": "2020-02-03",
        "author": [{"@type": "Person", "name": "Anna Holm"}, {"name": "B. Lind"}],
        "publisher": {"name": "Example News"},
        "license": "https://example.org/licence",
        "inLanguage": "da",
    }
    found = metadata(json_ld({"@context": "https://schema.org", "@graph": [{"@type": "WebSite"}, article]}))
    assert (found.title, found.author, found.date) == ("The keeper", "Anna Holm, B. Lind", "2020-02-03")
    assert (found.site_name, found.licence, found.language) == ("Example News", "https://example.org/licence", "da")


@pytest.mark.parametrize(
    "broken", ["{", "[" * 5000, '"text"', "null", '{"@type": 3}', '{"@graph": [[[{"@type": []}]]]}']
)
def test_broken_json_ld(broken):
    assert metadata(f'<script type="application/ld+json">{broken}</script>').title == ""


def test_microdata():
    body = (
        '<span itemprop="author" content="Anna Holm"></span>'
        '<time itemprop="datePublished" datetime="2019-01-02">x</time>'
    )
    found = metadata("", body)
    assert (found.author, found.date) == ("Anna Holm", "2019-01-02")


def test_licence_link_in_the_page():
    licence = "https://creativecommons.org/licenses/by-sa/3.0/"
    assert metadata("", f'<p>Text under <a rel="license" href="{licence}">CC</a>.</p>').licence == licence
    assert metadata("", f'<p>Text under <a href="{licence}">CC</a>.</p>').licence == licence


def test_reservation_of_text_and_data_mining():
    head = '<meta name="tdm-reservation" content="1"><meta name="robots" content="index">'
    assert metadata(head).robots == "tdm-reservation=1, index"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2021-03-04", "2021-03-04"),
        ("2021-03-04 05:06", "2021-03-04T05:06"),
        ("2021-03-04T05:06:07.890Z", "2021-03-04T05:06:07Z"),
        ("2021-13-04", ""),
        ("19 Nov 2019 07:09 GMT", "2019-11-19"),
        ("November 9, 2019, 07:47 PM EST", "2019-11-09"),
        ("01:38:07 PM IST Nov 20, 2019", "2019-11-20"),
        ("41 Nov 2019", ""),
        ("yesterday", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_dates(text, date):
    assert iso_date(text) == date


def test_date_of_a_time_element_and_of_the_address():
    assert metadata("", '<p>Posted <time datetime="2018-07-06T10:00">in July</time></p>').date == "2018-07-06T10:00"
    html = f"<p>{TEXT}</p>".encode()
    for url, date in (("/2017/05/04/keeper", "2017-05-04"), ("/2017/55/04/keeper", ""), ("/2017/keeper", "")):
        found = extract(html, f"https://example.org{url}")
        assert found is not None and found.metadata.date == date
