"""Hostile bytes: no crash, no hang, memory and time in proportion to the page."""

import re
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.extract import ExtractOptions, PageDropped, extract
from pipeline.extract.blocks import BlockBuilder
from pipeline.extract.charset import codec, decode
from pipeline.extract.images import srcset
from pipeline.extract.reader import PageReader
from pipeline.urls import MAX_URL
from shards.records import Document, Text

URL = "https://example.org/a/b.html"
SENTENCE = "A sentence that is long enough, with a comma or two, to be a paragraph of an article."


def check(found: Document | None) -> None:
    """Invariants of every document."""
    if found is None:
        return
    assert found.nodes
    previous: object = None
    for node in found.nodes:
        if isinstance(node, Text):
            assert not isinstance(previous, Text), "two texts in a row"
            assert node.text and node.text == node.text.strip("\n ")
            assert "\n\n\n" not in node.text and "\0" not in node.text
            node.text.encode()
        else:
            assert re.match(r"(?:https?|file)://|data:sha256,[0-9a-f]{64}$", node.url) and len(node.url) <= MAX_URL
            assert node.url not in node.alternatives
            (node.url + "".join(node.alternatives) + node.alt + node.caption).encode()
        previous = node


def run(html: bytes, **options) -> Document | str | None:
    try:
        found = extract(html, URL, options=ExtractOptions(**options))
    except PageDropped as dropped:
        return dropped.rule
    check(found)
    return found


TAGS = [
    "p",
    "div",
    "a href=/x",
    "img src=a.jpg",
    "table",
    "tr",
    "td",
    "li",
    "ul",
    "b",
    "i",
    "noscript",
    "pre",
    "ruby",
    "rt",
]
TAGS += [
    "picture",
    "source srcset='a 1x,b 2x'",
    "script",
    "style",
    "svg",
    "math",
    "select",
    "template",
    "figure",
    "br",
    "base href=//[",
]
TAGS += [
    "figcaption",
    "textarea",
    "iframe",
    "object data=o.png",
    "video poster=p.jpg",
    "frameset",
    "form",
    "html",
    "body",
    "head",
]
PIECES = st.one_of(
    st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag.split()[0]}>" for tag in TAGS]),
    st.text(max_size=30),
    st.sampled_from(
        [SENTENCE, "&nbsp;", "&#0;", "&#x110000;", "<![CDATA[", "<!--", "-->", "\0", "<?xml", "\ud7ff", "​"]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, max_size=60), st.booleans(), st.booleans())
def test_tag_soup(pieces, comments, backgrounds):
    run("".join(pieces).encode("utf-8", "replace"), comments=comments, css_backgrounds=backgrounds)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from([None, "text/html; charset=utf-7", "text/html; charset=utf-16", "x; charset="]),
)
def test_random_bytes(data, content_type):
    try:
        check(extract(data, URL, content_type=content_type))
    except PageDropped as dropped:
        assert dropped.rule == "page.not_html"  # random bytes may begin as a GIF does


def test_every_prefix_of_a_page():
    body = (
        f'<!DOCTYPE html><meta charset=utf-8><title>T</title><p class="a b">{SENTENCE}<figure><picture>'
        f'<source srcset="a.webp 1x"><img src="é.jpg" alt="&quot;"></picture>'
        f"<figcaption>Ünïcode</figcaption></figure><pre>x\n\ny</pre><p>{SENTENCE}"
    ).encode()
    for stop in range(len(body)):
        run(body[:stop])


def test_html5lib_tree_construction(shared):
    cases = 0
    for path in sorted((shared / "data/vectors/html5lib/tree-construction").glob("**/*.dat")):
        for case in path.read_text("utf-8", "replace").split("#data\n")[1:]:
            run(case.split("\n#errors")[0].encode())
            cases += 1
    assert cases > 1000


def test_html5lib_encodings(shared):
    """Declared encodings: the bytes decode, and mostly as the standard says."""
    right = total = 0
    for path in sorted((shared / "data/vectors/html5lib/encoding").glob("*.dat")):
        for case in path.read_bytes().split(b"#data\n")[1:]:
            data, _, expected = case.partition(b"#encoding\n")
            name = expected.split(b"\n")[0].strip().decode()
            decode(data)
            if codec(name) and not data.isascii():
                total += 1
                right += decode(data) == data.decode(codec(name), "replace").removeprefix("\ufeff")
    # two files hold UTF-8 whatever they declare
    assert total == 7 and right == 5


@given(st.text(alphabet="a1,. wx\t/:h", max_size=60))
def test_srcset_never_fails(value):
    for url, number, unit in srcset(value):
        assert url and not url.startswith(",") and number >= 0 and unit in "wxh"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_too_many_bytes():
    assert run(b"<p>" + b"x" * 1000, max_bytes=1000) == "page.too_large"


def test_too_deep():
    assert run(b"<div>" * 100_000 + SENTENCE.encode()) == "page.too_deep"
    assert isinstance(run(b"<div>" * 3_900 + SENTENCE.encode()), Document)


def test_too_many_elements():
    assert run(b"<p>x</p>" * 1_000_000) == "page.too_large"


@pytest.mark.parametrize("options", [{}, {"engine": "trafilatura"}])
def test_limits_hold_for_both_engines(options):
    assert run(b"<div>" * 100_000, **options) == "page.too_deep"


def test_not_html():
    assert run(b"%PDF-1.7\n" + bytes(range(256)) * 20) == "page.not_html"
    assert run(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20) == "page.not_html"
    assert run(b"\x1f\x8b\x08\0" + bytes(range(256)) * 20) == "page.not_html"


# Steps of the interpreter do not depend on how busy the machine is.
def steps(html: bytes) -> int:
    """How many events and characters the reader handled."""
    count = 0
    originals = [(PageReader, "end"), (PageReader, "data"), (PageReader, "leave"), (BlockBuilder, "flush")]

    def counted(original):
        def call(self, *arguments):
            nonlocal count
            count += 1 + (len(self.run) if original.__name__ == "flush" else 0)
            return original(self, *arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in originals:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        run(html)
    return count


GROWING = {
    "siblings": lambda n: b"<p>word word</p>" * n,
    "unclosed": lambda n: b"<p>word<b>word<i>word" * n if n < 400 else b"<p>word<b>word</b>" * n,
    "stray end tags": lambda n: b"<div>" * 2_000 + b"</b></i></p>x" * n,
    "images": lambda n: b"<img src=a.jpg>" * n,
    "twins": lambda n: b"<img data-src=a.jpg><noscript><img src=a.jpg></noscript>" * n,
    "cells": lambda n: b"<table>" + b"<tr><td>x<td>y" * n + b"</table>",
}


@pytest.mark.parametrize("kind", sorted(GROWING))
def test_work_grows_in_proportion(kind):
    small, large = steps(GROWING[kind](1_000)), steps(GROWING[kind](4_000))
    assert large < 5 * small


@pytest.mark.parametrize(
    "html",
    [
        b'<p>word<img src=a.jpg alt="' + b"x" * 10_000_000 + b'"><p>' + SENTENCE.encode(),
        b'<p class="' + b"nav " * 2_500_000 + b'">' + SENTENCE.encode(),
        b'<p><img src="data:image/png;base64,' + b"A" * 12_000_000 + b'">' + SENTENCE.encode(),
        b'<p><img srcset="' + b"a 1x," * 2_000_000 + b'">' + SENTENCE.encode(),
        b'<p style="' + b"background:url(" * 700_000 + b'">' + SENTENCE.encode(),
        b"<p>" + SENTENCE.encode() + b"&" * 5_000_000,
        b"<p>" + SENTENCE.encode() + b"<" * 3_000_000,
        b"<!--" + b"-" * 8_000_000 + SENTENCE.encode(),
        b'<meta charset="' + b" " * 8_000_000 + b"<p>" + SENTENCE.encode(),
        b'<script type="application/ld+json">' + b"[" * 5_000_000 + b"</script><p>" + SENTENCE.encode(),
        b"<title>" + b"word " * 2_000_000 + b"</title><p>" + SENTENCE.encode(),
        b"<p>" + b"word, " * 2_000_000,
        b"<p>" + b"\n\n \n" * 3_000_000 + SENTENCE.encode(),
        b"<pre>" + b"\t\n" * 2_000_000 + SENTENCE.encode(),
    ],
    ids=lambda html: html[:24].decode(),
)
def test_large_attributes_and_texts(html):
    """Quadratic behaviour on any of these would take minutes, not the second that all of them take."""
    run(html, css_backgrounds=True)


@pytest.mark.slow
def test_million_siblings():
    found = run(b"<p>word word word, word.</p>" * 200_000)
    assert isinstance(found, Document)


def test_memory_stays_in_proportion():
    html = b"<p>word word word</p>" * 5_000
    tracemalloc.start()
    try:
        run(html)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150 * len(html)


# -- encodings ---------------------------------------------------------------------------------------------------------

GERMAN = "Der Leuchtturmwärter stieg jeden Abend über die Treppe, zündete die Lampe an und schrieb die Stunde auf."
JAPANESE = "灯台守は毎晩、階段を登って灯を点し、時刻を日誌に書き留めた。四十年の間、だれもその日誌を読まなかった。"
RUSSIAN = "Смотритель маяка каждый вечер поднимался по лестнице, зажигал лампу и записывал час в журнал."


def content(html: bytes, content_type: str | None = None) -> str:
    found = extract(html, URL, content_type=content_type)
    assert found is not None
    return found.nodes[0].text


@pytest.mark.parametrize(
    ("sentence", "encoding", "header", "meta"),
    [
        (GERMAN, "utf-8", None, None),
        (GERMAN, "utf-8-sig", "text/html; charset=iso-8859-1", "iso-8859-1"),
        (GERMAN, "utf-16", None, None),
        (GERMAN, "utf-16-le", None, "utf-8"),
        (GERMAN, "utf-16-be", None, None),
        (GERMAN, "utf-8", "text/html; charset=iso-8859-1", "windows-1252"),  # both wrong
        (GERMAN, "iso-8859-1", "text/html; charset=utf-8", "iso-8859-1"),  # the header is wrong
        (GERMAN, "iso-8859-1", "text/html; charset=iso-8859-1", "utf-8"),  # the page is wrong
        (GERMAN, "cp1252", "text/html", "utf-16"),
        (GERMAN, "cp1252", None, "no-such-charset"),
        (JAPANESE, "shift_jis", None, "Shift_JIS"),
        (JAPANESE, "euc_jp", "text/html; charset=EUC-JP", None),
        (JAPANESE, "iso2022_jp", None, "iso-2022-jp"),
        (JAPANESE, "shift_jis", None, None),
        (RUSSIAN, "cp1251", None, "windows-1251"),
        (RUSSIAN, "koi8-r", "text/html;charset='koi8-r'", None),
        (RUSSIAN, "cp1251", None, None),
    ],
)
def test_charset(sentence, encoding, header, meta):
    tag = f'<meta http-equiv=content-type content="text/html; charset={meta}">' if meta else ""
    html = f"<html><head>{tag}<title>x</title></head><body><p>{sentence}</p><p>{sentence[::-1]}</p></body></html>"
    assert content(html.encode(encoding), header).startswith(sentence)


def test_utf7_is_not_honoured():
    html = b'<meta charset="utf-7"><p>' + SENTENCE.encode() + b" +ADw-script+AD4-alert(1)+ADw-/script+AD4-</p>"
    assert "+ADw-script" in content(html)


def test_stray_bytes_in_utf8():
    html = f"<p>{GERMAN}</p><p>{GERMAN[::-1]}</p>".encode() * 3 + b"<p>\xff broken</p>"
    assert content(html).startswith(GERMAN)


def test_page_cut_inside_a_character():
    assert content(f"<p>{GERMAN} ä".encode()[:-1]).startswith(GERMAN)
