"""What a page leads to, and what of it is over the limit."""

import pytest

from pipeline.crawl import links

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
