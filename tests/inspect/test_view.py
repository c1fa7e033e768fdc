"""The viewer, served and requested over loopback."""

import hashlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from filters.rules import EXTRACTION
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.view import server
from shards.readers import read_documents


@contextmanager
def served(corpus: Path) -> Iterator[tuple[str, int]]:
    serving = server(open_corpus(corpus))
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield "127.0.0.1", serving.server_address[1]
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(scope="module")
def address(small_corpus: Path) -> Iterator[tuple[str, int]]:
    with served(small_corpus) as where:
        yield where


def ask(address: tuple[str, int], path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=20)
    headers = {"Host": f"{address[0]}:{address[1]}" if host is None else host}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert "default-src 'none'" in (response.getheader("Content-Security-Policy") or "")
    body = response.read()
    connection.close()
    return response.status, response.getheader("Content-Type") or "", body


def text(address: tuple[str, int], path: str) -> str:
    status, kind, body = ask(address, path)
    assert status == 200 and kind == "text/html; charset=utf-8", (status, body)
    return body.decode()


def documents_of(corpus: Path) -> list[dict[str, Any]]:
    opened = open_corpus(corpus)
    return list(read_documents(opened.path(entry) for entry in opened.files("documents")))


def numbers(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'href="/document/(\d+)"', page)]


def follow(address: tuple[str, int], path: str) -> list[int]:
    """The documents of all pages of a list."""
    found = []
    while True:
        page = text(address, path)
        found += numbers(page)
        more = re.search(r'href="([^"]*)">next<', page)
        if more is None:
            return found
        path = more[1].replace("&amp;", "&")


def test_paging_shows_every_document_once(address: tuple[str, int], small_corpus: Path) -> None:
    assert follow(address, "/documents") == list(range(len(documents_of(small_corpus))))


def test_filters_show_what_they_say(address: tuple[str, int], small_corpus: Path) -> None:
    rows = documents_of(small_corpus)
    language = rows[-1]["language"]
    host = rows[0]["url"].split("/")[2]
    word = rows[3]["texts"][0 if rows[3]["texts"][0] else 1].split()[0]
    for query, passes in (
        ("split=validation", lambda row: row["split"] == "validation"),
        (f"language={language}", lambda row: row["language"] == language),
        (f"host={host}", lambda row: row["url"].split("/")[2] == host),
        ("split=nothing", lambda row: False),
        (f"q={quote(word)}", lambda row: any(word.casefold() in (node or "").casefold() for node in row["texts"])),
    ):
        assert follow(address, f"/documents?{query}") == [index for index, row in enumerate(rows) if passes(row)]


def test_pictures_are_the_stored_bytes(address: tuple[str, int], small_corpus: Path) -> None:
    row = documents_of(small_corpus)[2]
    for node, image in enumerate(row["images"]):
        status, kind, body = ask(address, f"/image/2/{node}")
        if image is None:
            assert status == 404
        else:
            assert (status, kind) == (200, "image/jpeg")
            assert hashlib.sha256(body).digest() == image["stored_sha256"]


def test_windows_show_their_pictures(address: tuple[str, int], small_corpus: Path) -> None:
    page = text(address, "/windows?split=validation")
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert sources and all(ask(address, source)[0] == 200 for source in sources)
    assert "image at token" in page and ">train<" not in page.split("</form>")[1]


def test_each_rule_lists_as_much_as_the_funnel_counts(address: tuple[str, int], small_corpus: Path) -> None:
    levels = {level["level"]: level["rules"] for level in funnel(small_corpus)["levels"]}
    counted: Counter[str] = Counter()  # pages, their pictures and records may have opted out under one rule
    for name in ("records", "pages", "images"):
        counted.update({row["rule"]: row["count"] for row in levels[name]})
    counted_alone = {rule.id for rule in EXTRACTION}
    for rule in {row["rule"] for name in ("pages", "images") for row in levels[name]} - counted_alone:
        found, path = 0, f"/dropped?rule={rule}"
        while path:
            page = text(address, path)
            found += page.count("<li>") - page.count("Nothing found.")
            more = re.search(r'href="([^"]*)">next<', page)
            path = more[1].replace("&amp;", "&") if more else ""
        assert found == counted[rule], rule


@pytest.mark.parametrize(
    "path",
    [
        "/image/0/999999", "/image/999999/0", "/image/-1/0", "/image/../0", "/image/0/0/../../../etc/passwd",
        "/document/x", "/document/99999999999999999999", "/etc/passwd", "//etc/passwd", "/documents?from=-1",
        "/documents?from=x", "/dropped?rule=no.such", "/documents/1", "/image/%2e%2e/0", "/documents?" + "a=1&" * 50,
    ],
)  # fmt: skip
def test_what_there_is_not(address: tuple[str, int], path: str) -> None:
    assert ask(address, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80", ""])
def test_another_host_gets_nothing(address: tuple[str, int], host: str) -> None:
    status, _, body = ask(address, "/documents", host=host)
    assert status == 421 and b"document/" not in body


def test_nothing_can_be_sent(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.request("POST", "/documents", body=b"x")
    assert connection.getresponse().status == 501
    assert ask(address, "/documents", method="HEAD")[2] == b""


def test_a_browser_shows_hostile_pages_without_running_them(hostile_corpus: Path, browser: Any) -> None:
    said: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append("dialog"))
    with served(hostile_corpus) as (host, port):
        for path in ("/", "/documents", "/document/0", "/windows", "/dropped", "/documents?q=%3C/style%3E"):
            page.goto(f"http://{host}:{port}{path}")
            assert page.title() != "taken"
            assert all(page.evaluate("[...document.images].map(image => image.naturalWidth > 0)"))
    # a browser asks for /favicon.ico by itself
    assert [words for words in said if "favicon" not in words and "404" not in words] == []
    page.close()
