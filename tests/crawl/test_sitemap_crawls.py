"""Sitemaps and feeds, and whose pages they list, seen by a whole crawl."""

import gzip
from pathlib import Path

from pipeline.miniweb.web import Resource
from tests.crawl.faulty import Web, page, run
from tests.ports import PORT


def test_sitemaps_and_feeds(tmp_path: Path) -> None:
    root = f"http://127.4.0.1:{PORT}"
    index = f'<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>{root}/s2.xml</loc></sitemap></sitemapindex>'
    urls = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{root}/in/?a=1&amp;b=2</loc></url><url><loc>http://127.4.0.2:{PORT}/other</loc></url></urlset>'
    feed = f"<rss><channel><item><link>{root}/story/</link></item></channel></rss>"
    xml = (("Content-Type", "application/xml"),)
    web = Web(
        h1={"/": page(head='<link rel="alternate" type="application/rss+xml" href="/feed">'),
            "/robots.txt": Resource(200, (), f"Sitemap: {root}/s1.xml".encode(), ""),
            "/s1.xml": Resource(200, xml, index.encode(), ""), "/s2.xml": Resource(200, xml, urls.encode(), ""),
            "/in/?a=1&b=2": page(), "/feed": Resource(200, xml, feed.encode(), ""), "/story/": page()},
    )  # fmt: skip
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert set(found) == {"1/", "1/s1.xml", "1/s2.xml", "1/in/?a=1&b=2", "1/feed", "1/story/"}
    assert set(found.values()) == {"fetched"}


XML = (("Content-Type", "application/xml"),)
GZIP = (("Content-Type", "application/gzip"),)


def urlset(*urls: str) -> bytes:
    listed = "".join(f"<url><loc>{url}</loc></url>" for url in urls)
    return (
        f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{listed}</urlset>'.encode()
    )


def robots(*sitemaps: str) -> Resource:
    return Resource(200, (), "".join(f"Sitemap: {url}\n" for url in sitemaps).encode(), "")


def test_a_sitemap_lists_pages_of_the_host_whose_robots_txt_names_it(tmp_path: Path) -> None:
    seed, other, cdn = (f"http://127.4.0.{number}:{PORT}" for number in (1, 2, 3))
    index = f"<sitemapindex><sitemap><loc>{cdn}/deep.xml.gz</loc></sitemap></sitemapindex>".encode()
    web = Web(
        h1={"/": page(), "/robots.txt": robots(f"{other}/s.xml", f"{cdn}/index.xml", f"{cdn}/bomb.xml.gz"),
            "/from-cdn": page(), "/from-other": page()},
        h2={"/s.xml": Resource(200, XML, urlset(f"{other}/page", f"{seed}/from-other"), ""), "/page": page()},
        h3={"/index.xml": Resource(302, (("Location", "/moved.xml"),), b"", ""),
            "/moved.xml": Resource(200, XML, index, ""),
            "/deep.xml.gz": Resource(200, GZIP, gzip.compress(urlset(f"{seed}/from-cdn", f"{cdn}/page")), ""),
            "/bomb.xml.gz": Resource(200, GZIP, gzip.compress(bytes(300_000)), ""), "/page": page()},
    )  # fmt: skip
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert found == {
        "1/": "fetched",
        "1/from-cdn": "fetched",
        "1/from-other": "fetched",
        "2/s.xml": "fetched",
        "3/index.xml": "fetched",
        "3/moved.xml": "fetched",
        "3/deep.xml.gz": "fetched",
        "3/bomb.xml.gz": "failed too_large",
    }


def test_a_seed_that_has_moved_takes_its_sitemap_along(tmp_path: Path) -> None:
    home = f"http://127.4.0.2:{PORT}"
    web = Web(
        h1={"/": Resource(301, (("Location", f"{home}/"),), b"", ""),
            "/robots.txt": Resource(301, (("Location", f"{home}/robots.txt"),), b"", "")},
        h2={"/": page(), "/robots.txt": robots(f"{home}/s.xml"), "/a": page(),
            "/s.xml": Resource(200, XML, urlset(f"{home}/a"), "")},
    )  # fmt: skip
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert set(found) == {"1/", "2/", "2/s.xml", "2/a"} and set(found.values()) == {"fetched"}
