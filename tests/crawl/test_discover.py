"""A crawl interprets oddly labelled and framed responses like a build."""

import pytest

from filters import consent
from pipeline.crawl.discover import Scope, Verdict, judge, wanted
from pipeline.crawl.frontier import PAGE, Entry
from pipeline.crawl.options import CrawlOptions
from pipeline.fetch import Response
from pipeline.sources.http import read_head
from tests.fetch.answers import answering, get

XHTML = b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml">\r\n\r\n<a href="/next">x</a></html>'


def asked(head: bytes, body: bytes = XHTML) -> tuple[Response, Verdict]:
    with answering(head + body) as root:
        response = get(f"{root}/")
    entry = Entry(response.url, PAGE, 0)
    return response, judge(entry, response, response.body, Scope(CrawlOptions()))


def lines(*fields: str, status: str = "200 OK", end: str = "\n") -> bytes:
    said = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(XHTML)}", "", ""]
    return end.join(said).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "label", ["application/xml", "text/html charset=utf-8", "application/x-httpd-php", "text/html, text/html", "none"]
)
def test_a_page_is_known_by_its_bytes(end: str, label: str) -> None:
    response, verdict = asked(lines(f"Content-Type: {label}", end=end))
    assert response.body == XHTML and wanted(200, response.media_type)
    assert verdict.outcome == "fetched" and [entry.url for entry in verdict.further] == [f"{response.url}next"]


def test_what_is_kept_of_a_response_is_read_again_alike() -> None:
    fields = ("CONTENT-TYPE: text/html", "Content-Type: image/png", "X-Robots-Tag: index", "x-robots-tag: noai")
    response, verdict = asked(lines(*fields))
    assert (verdict.outcome, verdict.rule) == ("disallowed", "consent.noai")
    found = read_head(response.head + response.raw)
    assert found is not None
    assert (found.status, found.headers, found.end) == (response.status, response.headers, len(response.head))
    assert consent.refusal(found.headers, "") == "consent.noai"


@pytest.mark.parametrize(
    ("status", "field", "outcome"),
    [
        ("203 Changed", "A: b", "fetched"),
        ("206 Part", f"Content-Range: bytes 0-{len(XHTML) - 1}/{len(XHTML)}", "fetched"),
        ("206 Part", f"Content-Range: bytes 0-{len(XHTML) - 1}/{len(XHTML) + 1}", "failed"),
    ],
)
def test_whole_responses(status: str, field: str, outcome: str) -> None:
    _, verdict = asked(lines("Content-Type: text/html", field, status=status))
    assert verdict.outcome == outcome and bool(verdict.further) == (outcome == "fetched")


@pytest.mark.parametrize(
    "version", [b"HTTP", b"http/1.1", b"HTTP/1.0 ", b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1"]
)
def test_status_lines_that_browsers_read(version: bytes) -> None:
    head = lines("Content-Type: text/html", end="\r\n").replace(b"HTTP/1.1", version)
    response, verdict = asked(head)
    assert (response.status, response.body, verdict.outcome) == (200, XHTML, "fetched")
    assert response.head == head[head.rindex(b"HTTP/1.1 200") if b"103" in head else 0 :]  # as it was sent
    assert read_head(response.head + response.raw) is not None


def test_films_and_archives_are_not_read_to_their_end() -> None:
    for known in ("video/mp4", "application/zip", "application/x-tar", "application/pdf", "text/css", "font/woff2"):
        assert not wanted(200, known), known
    for known in ("", "image/x", "application/jpg", "application/x-download", "application/xml", "text/plain"):
        assert wanted(200, known), known
