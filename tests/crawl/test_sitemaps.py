"""Links of sitemaps, feeds and pages: every form, and hostile bytes."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl import sitemaps
from pipeline.crawl.links import links_of
from pipeline.crawl.sitemaps import sitemap_links
from pipeline.sources.http import Damaged, TooLarge

URL = "https://h.example/feeds/all"


def urlset(*urls: str) -> bytes:
    listed = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return (
        f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'.encode()
    )


RSS = b"""<?xml version="1.0"?><rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
<title>T</title><link>https://h.example/</link><atom:link rel="self" href="https://h.example/feeds/all"/>
<image><link>https://h.example/logo</link></image>
<item><title>&nbsp;A</title><link> /a?x=1&y=2
</link></item><item><link><![CDATA[https://h.example/b]]></link></item><item><link>c?copy=1&amp;copy=2</link>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><link href="https://h.example/"/>
<link rel="self" href="/feeds/all"/><entry><link rel="alternate" href="/a"/><link rel="edit" href="/edit"/></entry>
<entry><link href="../b"></link><content><p>not <link>/closed</content></entry></feed>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><link>https://h.example/</link></channel><item><link>https://h.example/a</link></item></rdf:RDF>"""
FEED = {
    "version": "https://jsonfeed.org/version/1.1",
    "items": [{"id": "https://h.example/a", "url": "https://h.example/b"}, {"id": "https://h.example/c"}, {"id": 7}, 8],
}
INDEX = b"""<sm:sitemapindex xmlns:sm="http://www.sitemaps.org/schemas/sitemap/0.9"><sm:sitemap><sm:loc>
https://h.example/maps?page=2 </sm:loc></sm:sitemap><sm:sitemap><sm:loc>https://h.example/feeds/all</sm:loc></sm:sitemap>
</sm:sitemapindex>"""
PICTURES = b"""<urlset xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url><loc>https://h.example/a</loc>
<image:image><image:loc>https://h.example/a.jpg</image:loc></image:image></url></urlset>"""
ROOT = "https://h.example"


@pytest.mark.parametrize(
    ("body", "pages", "further"),
    [
        (RSS, ["/", "/a?x=1&y=2", "/b", "/feeds/c?copy=1&copy=2"], []),
        (ATOM, ["/", "/a", "/b"], []),
        (RDF, ["/", "/a"], []),
        (json.dumps(FEED).encode(), ["/b", "/c"], []),
        (json.dumps(FEED)[:-1].encode() + b', "n": ' + b"1" * 5000 + b"}", ["/b", "/c"], []),
        (INDEX, [], ["/maps?page=2"]),
        (PICTURES, ["/a"], []),
        (urlset(f"{ROOT}/a?x=1&amp;y=2", f"{ROOT}/x.xml", "mailto:a@b"), ["/a?x=1&y=2", "/x.xml"], []),
        (b"\xef\xbb\xbf" + f"{ROOT}/a\r\n{ROOT}/b\nno URL".encode(), ["/a", "/b"], []),
        (b"<!doctype html><html><a href=x>", [], []),
        (b"", [], []),
    ],
    ids=["rss", "atom", "rdf", "json", "json of long numbers", "index", "pictures", "urlset", "text", "html", "empty"],
)
def test_forms(body: bytes, pages: list[str], further: list[str]) -> None:
    expected = [ROOT + path for path in pages], [ROOT + path for path in further]
    assert sitemap_links(body, URL) == (*expected, 0)
    assert sitemap_links(gzip.compress(body), f"{ROOT}/feeds/sitemap.xml.gz") == (
        (*expected, 0) if b"feeds/all<" not in body else (expected[0], [*expected[1], URL], 0)
    )


@pytest.mark.parametrize("kind", ["urlset", "index", "text", "json"])
def test_references_over_the_limit_are_counted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemaps, "MAX_URLS", 5)
    urls = [f"{ROOT}/{number % 9}" for number in range(12)]
    body = {
        "urlset": urlset(*urls),
        "index": urlset(*urls).replace(b"urlset", b"sitemapindex").replace(b"url>", b"sitemap>"),
        "text": "\n".join(urls).encode(),
        "json": json.dumps({"items": [{"url": url} for url in urls]}).encode(),
    }[kind]
    pages, further, over = sitemap_links(body, URL)
    assert (pages + further, over) == (urls[:5], 7)


ENTITIES = f"<!ENTITY e0 '{'x' * 1000}'>" + "".join(
    f"<!ENTITY e{number} '{f'&e{number - 1};' * 10}'>" for number in range(1, 12)
)
BOMB = f"<!DOCTYPE rss [{ENTITIES}]>"


@pytest.mark.parametrize(
    "body",
    [
        b"<rss>" + b"<link>" * 300_000,
        b"<rss>" + b"<item><link>" * 200_000,
        b"<rss><item><link>" + b"&x;" * 500_000,
        b"<rss><item><link>" + b"<![CDATA[" * 200_000,
        b"<feed " + b"a='' " * 300_000,
        f"{BOMB}<rss><item><link>http://h/&e11;</link></item></rss>".encode(),
        f"{BOMB}<feed><entry><link href='http://h/&e11;'/></entry></feed>".encode(),
        b"<!DOCTYPE rss [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><rss><item><link>http://h/&a;</link></item></rss>",
        b'{"items":' + b"[" * 500_000,
        b'{"items":[' + b"1" * 500_000 + b"]}",
        b"[" * 500_000,
    ],
)
def test_bodies_that_cost_much_to_read_wrongly(body: bytes) -> None:
    """Each is read in less than a second; regular expressions over the first take hours."""
    pages, further, _ = sitemap_links(body, URL)
    assert all("root:" not in url and len(url) < 3000 for url in pages) and not further


def test_gzip_within_the_limit() -> None:
    body = urlset(f"{ROOT}/a")
    assert sitemap_links(gzip.compress(body), URL, len(body)) == ([f"{ROOT}/a"], [], 0)
    with pytest.raises(TooLarge):
        sitemap_links(gzip.compress(bytes(50_000_000)), URL, 1_000_000)
    with pytest.raises(Damaged):
        sitemap_links(gzip.compress(body)[:10] + b"\xff" * 99, URL)


@given(
    st.lists(
        st.sampled_from(
            [b"<rss>", b"<link>", b"</link>", b"<item>", b"</item>", b"<loc>", b"<url>", b"<sitemap>", b"http://h/a",
             b"<link href='http://h/b'/>", b"<![CDATA[", b"]]>", b"&", b"&amp;", b"<!--", b"\0", b"\xff", b"\x1f\x8b",
             b'{"items":[{"url":"http://h/\\ud800"}]}', b"{", b"<?xml version='1.0' encoding='utf-16'?>", b"\n"]
        )
        | st.binary(max_size=9)
    )
)  # fmt: skip
def test_whatever_the_bytes(parts: list[bytes]) -> None:
    try:
        pages, further, _ = sitemap_links(b"".join(parts), URL)
    except Damaged:
        return
    assert all(url.startswith(("http://", "https://")) for url in pages + further)


def test_sources_belong_to_the_first_picture_of_their_element() -> None:
    source = '<source srcset="/wide.webp 1000w">'
    many = "".join(f'<source srcset="/{number}.webp {number + 1}w">' for number in range(500))
    for html, expected in (
        (f"<picture>{source}<img src=/a.jpg><img src=/b.jpg>{source}<img src=/c.jpg></picture>",
         ["wide.webp", "b.jpg", "c.jpg"]),
        (f"{source}<img src=/a.jpg><video>{source}</video><img src=/b.jpg>", ["a.jpg", "b.jpg"]),
        (f"<picture>{many}<img src=/a.jpg></picture><img src=/b.jpg>", ["63.webp", "b.jpg"]),
        (f"<picture>{source}</picture><img src=/a.jpg>", ["a.jpg"]),
    ):  # fmt: skip
        found = list(links_of(html.encode(), URL, "text/html").images)
        assert [url.rpartition("/")[2] for url in found if url != f"{ROOT}/a.jpg" or "a.jpg" in expected] == expected
