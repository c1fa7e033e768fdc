"""Records that are not complete responses: text without its page, parts of a capture, truncated bodies."""

import gzip
from pathlib import Path

import pytest

from pipeline.sources import warc
from pipeline.sources.http import Truncated, payload, payload_so_far
from pipeline.sources.record import Record
from pipeline.stages.pages import classify

LIMIT = 1_000_000
HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
JPEG = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n"


def written(kind: str, block: bytes, *fields: str) -> bytes:
    """A record of a plain WARC file."""
    lines = ["WARC/1.1", f"WARC-Type: {kind}", "WARC-Target-URI: http://mill.example/", *fields]
    return "\r\n".join([*lines, f"Content-Length: {len(block)}", "", ""]).encode() + block + b"\r\n\r\n"


def response(http: bytes, *fields: str) -> bytes:
    return written("response", http, "Content-Type: application/http", *fields)


def records(path: Path, data: bytes) -> list[Record]:
    path.write_bytes(data)
    found = warc.index(path, 1 << 20)
    return list(warc.read(path, 0, found.size, found.reader, LIMIT))


def test_text_without_its_page_and_parts_of_captures_have_rules_of_their_own(tmp_path: Path) -> None:
    whole = response(HTML + b"\r\n<p>whole")
    data = (
        written("conversion", b"The wheel turns.", "Content-Type: text/plain")
        + response(HTML + b"\r\n<p>the first half", "WARC-Segment-Number: 1")
        + written("continuation", b" and the second", "warc-segment-number: 2", "WARC-Segment-Total-Length: 90")
        + written("metadata", b"fetchTimeMs: 7")
        + whole
    )
    rules = [record.rule for record in records(tmp_path / "a.warc", data)]
    assert rules == ["record.conversion", "record.segment", "record.segment", "record.not_response", None]


@pytest.mark.parametrize(
    ("end", "ended"),
    [(b"0\r\n\r\n", True), (b"0\r\n", True), (b"0\n\n", True), (b"", False), (b"0", False), (b"0\r", False)],
)
def test_chunks_without_the_last_one_are_marked(end: bytes, ended: bool) -> None:
    chunked = {"transfer-encoding": "chunked"}
    body = b"6\r\n<p>one\r\n4\r\ntwo.\r\n" + end
    assert payload_so_far(chunked, body, LIMIT) == (b"<p>onetwo.", ended)
    if ended:
        assert payload(chunked, body, LIMIT) == b"<p>onetwo."
    else:
        with pytest.raises(Truncated):
            payload(chunked, body, LIMIT)
    assert payload_so_far(chunked, b"6\r\n<p>one" + end[:0], LIMIT) == (b"<p>one", False)
    for broken in (b"6\r\n<p>on", b"6\r\n<p>one\r\n4\r\ntw", b"6\r\n<p>one\r\n4"):
        with pytest.raises(Truncated):
            payload_so_far(chunked, broken, LIMIT)
    both = chunked | {"content-encoding": "gzip"}
    zipped = gzip.compress(b"<p>one")
    assert payload_so_far(both, b"%x\r\n%s\r\n" % (len(zipped), zipped) + end, LIMIT) == (b"<p>one", ended)


def test_pages_that_break_off_are_kept_and_marked_pictures_are_dropped(tmp_path: Path) -> None:
    cut = "WARC-Truncated: length"
    chunks = b"Transfer-Encoding: chunked\r\n\r\n4\r\n\xff\xd8\xff\xe0\r\n"
    data = (
        response(HTML + b"\r\n<p>as far as it goes", cut)
        + response(JPEG + b"\r\n\xff\xd8\xff\xe0half", cut)
        + response(HTML + b"Transfer-Encoding: chunked\r\n\r\n6\r\n<p>one\r\n")
        + response(JPEG + chunks)
        + response(HTML + b"\r\n<p>whole")
        + response(HTML + b"Content-Length: 9\r\n\r\n<p>half")
        + response(HTML + b"Content-Length: 7\r\n\r\n<p>all\n")
        + response(HTML + b"Content-Length: 40\r\nContent-Encoding: gzip\r\n\r\n<p>decoded")
        + response(JPEG + b"Content-Length: 900\r\n\r\n\xff\xd8\xff\xe0half")
        + response(HTML + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(range(256)) * 9)[:200], cut)
    )
    found = records(tmp_path / "a.warc", data)
    assert [(*classify(record), record.truncated) for record in found] == [
        ("page", None, "length"),
        (None, "record.truncated", "length"),
        ("page", None, "last chunk"),
        ("image", None, "last chunk"),
        ("page", None, ""),
        ("page", None, "content-length"),
        ("page", None, ""),
        ("page", None, ""),
        ("image", None, "content-length"),
        (None, "record.truncated", "length"),
    ]
    assert found[0].body == b"<p>as far as it goes" and found[2].body == b"<p>one"
