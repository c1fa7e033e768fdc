"""A build recognises pages and images by their bytes, however servers label and archives frame them."""

import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.miniweb import Web
from tests.corpora import build_here
from tests.records import record

WORDS = "The {0} ferry crosses the {0} river at noon, and the people on the {0} bank wave at it with both hands. "
MORE = (
    "At noon both banks are quiet again, for the {0} ferry rests and the {0} crew eats bread with cheese below deck. "
)
PAGE = '<html lang="en"><title>{0}</title><article><h1>{0}</h1><p>{1}</p><img src="/{0}.img" alt=""><p>{2}</p>'


def page(name: str) -> str:
    return PAGE.format(name, WORDS.format(name), MORE.format(name))


def framed(url: str, http: bytes, *fields: str) -> bytes:
    lines = ["WARC/1.0", "WARC-Type: response", *fields, f"WARC-Target-URI: {url}", f"WARC-Target-URI: {url}?again"]
    lines += ["Content-Type: application/http", f"Content-Length: {len(http)}", "WARC-Date: 2024-01-01T00:00:00Z"]
    return gzip.compress("\r\n".join([*lines, "", ""]).encode() + http + b"\r\n\r\n", mtime=0)


@pytest.fixture
def warc(web: Web, tmp_path: Path) -> Path:
    jpegs = [web.resources[url].body for url in sorted(web.pictures) if url.endswith(".jpg")]
    labels = {
        "xml": ("application/xml", "application/jpg"),
        "php": ("application/x-httpd-php", "text/html"),
        "twice": ("text/html\r\nContent-Type: text/html; charset=utf-8", "image/jpeg\r\nContent-Type: text/html"),
        "blank": ("text/html charset=utf-8", "application/octet-stream"),
    }
    records = []
    for (name, (of_page, of_picture)), jpeg in zip(labels.items(), jpegs, strict=False):
        records.append(record(f"http://h.example/{name}", page(name).encode(), of_page))
        records.append(record(f"http://h.example/{name}.img", jpeg, of_picture))
    for name, refusal in (("feeds", ""), ("refused", "X-Robots-Tag: index\nX-Robots-Tag: noai\n")):
        head = f"HTTP/1.0 100 Continue\n\nHTTP 203 OK\nContent-Type: text/html\n{refusal}\n"
        body = page(name).replace("<p>", "\r\n\r\n<p>").encode()
        records.append(framed(f"http://h.example/{name}", head.encode() + body))
    jpeg = jpegs[len(labels)]
    whole = f"HTTP/1.1 206 Part\nContent-Type: image/jpeg\nContent-Range: bytes 0-{len(jpeg) - 1}/{len(jpeg)}\n\n"
    records.append(framed("http://h.example/feeds.img", whole.encode() + jpeg))
    said = b"HTTP/1.1 200 OK\nContent-Type: application/x-download\n\nwords without any markup"
    records.append(framed("http://h.example/said", said, "WARC-Identified-Payload-Type: text/html"))
    german = page("westlich").replace("ferry", "F\xe4hre").encode("latin-1")
    records.append(record("http://h.example/header", german, "text/html; charset=windows-1251"))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(records))
    return path


def test_pages_and_pictures_are_what_their_bytes_say(warc: Path, tmp_path: Path) -> None:
    corpus = build_here([warc], tmp_path / "corpus")
    records = pq.read_table(corpus / "work/records/00000.parquet").to_pylist()
    uses = {row["url"].removeprefix("http://h.example/"): (row["use"], row["rule"]) for row in records}
    pages, pictures = ["xml", "php", "twice", "blank", "feeds"], ["xml", "php", "twice", "blank", "feeds"]
    expected = dict.fromkeys([*pages, "refused", "said", "header"], ("page", None))
    assert uses == expected | {f"{name}.img": ("image", None) for name in pictures}
    found = pq.read_table(corpus / "work/pages/00000.parquet").to_pylist()
    rules = {row["url"].removeprefix("http://h.example/"): row["rule"] for row in found}
    assert {name: rules[name] for name in [*pages, "refused"]} == dict.fromkeys(pages) | {"refused": "consent.noai"}
    verdicts = pq.read_table(corpus / "work/decisions/00000.parquet").to_pylist()
    verdicts = [row for row in verdicts if not row["url"].endswith("westlich.img")]  # a page without its picture
    assert len(verdicts) == len(pictures) and {row["rule"] for row in verdicts} == {None}
    texts = {row["url"].removeprefix("http://h.example/"): "".join(filter(None, row["texts"] or [])) for row in found}
    assert texts["feeds"].count("noon") == 2, "the body is whole"
    assert "Fдhre" in texts["header"], "the charset of the header counts"
