"""Records that are not complete responses: text without its page, parts of a capture, truncated bodies."""

import gzip
from collections.abc import Callable
from itertools import pairwise
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


def segments(*blocks: bytes, total: int | None = None, named: str = "1") -> list[bytes]:
    """A capture in segments; the last one has the length of all."""
    first, *others = blocks
    fields = [f"WARC-Segment-Number: {number}" for number in range(2, len(blocks) + 1)]
    if total is not None:
        fields[-1] += f"\r\nWARC-Segment-Total-Length: {total}"
    continued = [written("continuation", block, field) for block, field in zip(others, fields, strict=True)]
    return [response(first, f"WARC-Segment-Number: {named}"), *continued]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_segments_that_follow_each_other_are_joined(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    body = b"<p>" + b"mill " * 300
    http = HTML + b"Content-Length: %d\r\n\r\n" % len(body) + body
    blocks = [http[:40], http[40:700], http[700:]]
    other = written("metadata", b"fetchTimeMs: 7")
    data = [other, *segments(*blocks, total=len(http)), *segments(*blocks), response(HTML + b"\r\n<p>last")]
    path = tmp_path / "a.warc"
    path.write_bytes(b"".join(map(pack, data)))
    found = warc.index(path, 100)
    parts = pairwise(found.cuts)
    read = [record for part in parts for record in warc.read(path, *part, found.reader, LIMIT)]
    pages = [record for record in read if record.rule is None]
    assert [record.body for record in pages] == [body, body, b"<p>last"]
    assert {*found.cuts[1:-1]} == {record.offset for record in read[1:] if record.kind != "continuation"}
    assert [record.detail for record in read if record.kind == "continuation"] == [warc.JOINED] * 4
    assert [warc.read_at(path, record.offset, LIMIT).body for record in pages] == [body, body, b"<p>last"]
    start, stop = pages[0].offset, pages[0].offset + pages[0].length
    assert path.read_bytes()[start:stop] == b"".join(map(pack, data[1:4]))
    limited = [record.rule for record in warc.read(path, 0, found.size, found.reader, 200)]
    assert limited == [
        *(["record.not_response", "record.too_large", "record.not_response"] * 2),
        "record.not_response",
        None,
    ]
    whole = tmp_path / "b.warc.gz"
    whole.write_bytes(gzip.compress(b"".join(data)))
    assert [record.body for record in records(whole, whole.read_bytes()) if record.rule is None][:2] == [body, body]


def test_segments_are_not_joined_if_any_is_missing(tmp_path: Path) -> None:
    one, two, three = segments(HTML + b"\r\n<p>one ", b"two ", b"three", total=len(HTML) + 18)
    other = written("metadata", b"fetchTimeMs: 7")
    elsewhere = two.replace(b"mill.example", b"dam.example")
    for kept in ([one, three], [two, three], [one, two], [one, other, two, three], [one, elsewhere, three]):
        read = records(tmp_path / "a.warc", b"".join(kept))
        assert {record.rule for record in read} - {"record.not_response"} == {"record.segment"}
    cut = b"".join([one, two, three])[:-7]
    assert {record.rule for record in records(tmp_path / "a.warc", cut)} == {"record.segment"}
    assert next(record.rule for record in records(tmp_path / "a.warc", one + two + three)) is None


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
    assert [(*classify(record, False), record.truncated) for record in found] == [
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
