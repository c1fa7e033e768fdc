"""The links of a page, and those over the limit."""

import pytest

from pipeline.crawl import links
from pipeline.extract import extract
from shards.records import Image

PAGES = "".join(f"<a href='/{number % 12}.html'>x</a>" for number in range(15))


def test_links_over_the_limit_of_a_page_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    html = f"<html><body>{PAGES}<img src='/a.jpg'></body></html>".encode()
    found = links.links_of(html, "https://e.example/", "text/html")
    assert (len(found.pages), found.over_limit) == (12, 0)
    monkeypatch.setattr(links, "MAX_LINKS", 5)
    found = links.links_of(html, "https://e.example/", "text/html")
    # pages 5 to 11; the three links behind lead to pages that are followed already
    assert len(found.pages) == 5 and len(found.images) == 1 and found.over_limit == 7
    monkeypatch.setattr(links, "MAX_LINKS", 2)
    found = links.links_of(html, "https://e.example/", "text/html")
    # 8 references are looked at: 2 pages taken, 6 over; then 7 pages and a picture are not looked at
    assert (len(found.pages), len(found.images), found.over_limit) == (2, 0, 14)


PAGE = """<body><article><p>{words}</p>
<amp-img src="/amp.jpg" width="600" height="400"></amp-img>
<p>{words}</p><video poster="/poster.jpg"></video>
<p>{words}</p><picture><source data-srcset="/wide.webp 1000w"><img src="/blank.gif" data-src="/narrow.jpg"></picture>
<p>{words}</p><noscript>&lt;img src="/escaped.jpg"&gt;</noscript>
<p>{words}</p><img src="/lazy.gif" data-original="/Low tide.jpg">
<p>{words}</p><svg><image xlink:href="/plate.png" width="600" height="800"/></svg>
<p>{words}</p><a href="/full.jpg"><img src="/thumb.jpg" width="120" height="90"></a>
<p>{words}</p><object type="image/png" data="/object.png"></object>
<p>{words}</p><nuxt-img src="/custom.jpg"></nuxt-img><my-own-image data-src="/own.jpg"></my-own-image>
<p>{words}</p><div data-image='{{"src": "/described.jpg"}}'></div>
<p>{words}</p></article></body>"""


def test_a_crawl_fetches_the_pictures_that_a_build_refers_to() -> None:
    html = PAGE.format(words="The keeper climbed the stairs every evening and lit the lamp. " * 4).encode()
    found = links.links_of(html, "https://e.example/", "text/html").images
    document = extract(html, "https://e.example/")
    assert document is not None
    named = [node.url for node in document.nodes if isinstance(node, Image)]
    assert len(named) == 11 and list(found) == named
    offered = {node.url: node.alternatives for node in document.nodes if isinstance(node, Image)}
    assert found == offered and offered["https://e.example/full.jpg"] == ("https://e.example/thumb.jpg",)
