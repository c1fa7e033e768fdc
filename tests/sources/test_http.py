"""Heads of HTTP responses, as servers and crawlers write them."""

from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import consent
from pipeline.sources import warc
from pipeline.sources.http import HEAD_BYTES, first_values, read_head, whole
from pipeline.sources.record import Record

BODY = b"<html>\r\n<p>one</p>\r\n\r\n<p>two</p>\n\n<p>three</p>"


@pytest.mark.parametrize("ends", [("\r\n", "\r\n"), ("\n", "\n"), ("\r\n", "\n"), ("\n", "\r\n")])
def test_a_head_ends_at_the_first_blank_line_however_lines_end(ends: tuple[str, str]) -> None:
    line, blank = ends
    head = line.join(["HTTP/1.1 200 OK", "Content-Type: text/html", "X-Robots-Tag: noai"]) + line + blank
    found = read_head(head.encode() + BODY)
    assert found is not None
    assert (found.status, found.headers["content-type"], found.end) == (200, "text/html", len(head))
    assert consent.refusal(found.headers, "") == "consent.noai"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200", 200),
        ("HTTP 200 Document follows", 200),
        ("http/1.0 404 gone", 404),
        ("ICY 200 OK", 200),
        ("HTTP/1.1  301  Moved", 301),
        ("HTTP/1.1 2000 OK", 0),
        ("HTTP/1.1 099", 0),
        ("200 OK", 0),
        ("", 0),
    ],
)
def test_status_lines(line: str, status: int) -> None:
    found = read_head(f"{line}\r\nContent-Type: text/html\r\n\r\n".encode())
    assert found is not None and found.status == status


def test_interim_responses_are_passed_over() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\nLink: </a.css>\nContent-Type: a/b\n\n"
    head = interim + b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    found = read_head(head + BODY)
    assert found is not None
    assert (found.status, found.headers, found.end) == (200, {"content-type": "text/html"}, len(head))
    alone = read_head(b"HTTP/1.1 103 Early Hints\r\n\r\n" + BODY)
    assert alone is not None and alone.status == 103
    many = read_head(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000)
    assert many is None


def test_of_a_repeated_field_the_first_value_counts_but_every_refusal_is_heard() -> None:
    lines = [
        b"HTTP/1.1 301 Moved",
        b"CONTENT-TYPE: text/html",
        b"content-type: image/png",
        b"Location:",
        b"Location: /one",
        b"location : /two",
        b"X-Folded: a",
        b"\t b",
        b"no field",
        b"X-Robots-Tag: index",
        b"x-robots-TAG: noimageai",
        b"TDM-Reservation: 0",
        b"tdm-reservation: 1",
    ]
    found = read_head(b"\r\n".join(lines) + b"\r\n\r\n")
    assert found is not None
    assert [found.headers[name] for name in ("content-type", "location", "x-folded")] == ["text/html", "/one", "a b"]
    assert consent.refusal(found.headers, "") == "consent.noimageai"
    del found.headers["x-robots-tag"]
    assert consent.refusal(found.headers, "") == "consent.tdm_reservation"


def test_a_head_without_end_is_bounded() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    found = read_head(cut)
    assert found is not None and (found.status, found.end) == (200, len(cut))
    assert read_head(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * HEAD_BYTES) is None


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (200, "", True),
        (203, "", True),
        (206, "bytes 0-9/10", True),
        (206, "bytes 0-8/10", False),
        (206, "bytes 1-9/10", False),
        (206, "bytes 0-9/*", False),
        (206, "", False),
        (204, "", False),
        (404, "bytes 0-9/10", False),
    ],
)
def test_a_response_is_whole(status: int, said: str, expected: bool) -> None:
    assert whole(status, {"content-range": said}) is expected


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,12}", fullmatch=True).filter(
    lambda name: name.lower() not in ("content-length", "transfer-encoding", "connection")
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
ENDS = st.sampled_from([b"\r\n", b"\n"])


@given(
    status=st.integers(200, 599),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=8),
    body=st.binary(max_size=60),
    data=st.data(),
)
def test_heads_are_read_as_h11_reads_them(
    status: int, fields: list[tuple[str, str]], body: bytes, data: st.DataObject
) -> None:
    lines = [f"HTTP/1.1 {status} said", *(f"{name}: {value}" for name, value in fields), ""]
    head = b"".join(line.encode() + data.draw(ENDS) for line in lines)
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    connection.receive_data(head + body)
    event = connection.next_event()
    assert isinstance(event, h11.Response)
    found = read_head(head + body)
    assert found is not None
    assert (found.status, found.end) == (event.status_code, len(head))
    assert found.headers == first_values((name.decode(), value.decode()) for name, value in event.headers)


@given(st.binary(max_size=400) | st.lists(st.sampled_from([b"HTTP/1.1 100 x", b"\r", b"\n", b" ", b":", b"a"])))
def test_any_bytes_have_a_head(message: bytes | list[bytes]) -> None:
    message = message if isinstance(message, bytes) else b"".join(message)
    found = read_head(message)
    assert found is not None
    assert 0 <= found.end <= len(message) and (found.status == 0 or 100 <= found.status <= 999)


def capture(http: bytes, length: str = "Content-Length", kind: str = "WARC-Type", **fields: str) -> bytes:
    """A record of a plain WARC file with further fields; underscores of their names are hyphens."""
    named = {"Content-Type": "application/http; msgtype=response"}
    named |= {name.replace("_", "-"): value for name, value in fields.items()}
    lines = ["WARC/1.0", f"{kind}: response", "WARC-Record-ID: <urn:uuid:1>", "WARC-Target-URI: http://h.example/"]
    lines += [f"{name}: {value}" for name, value in named.items()] + [f"{length}: {len(http)}", "", ""]
    return "\r\n".join(lines).encode() + http + b"\r\n\r\n"


def read(path: Path, data: bytes) -> list[Record]:
    path.write_bytes(data)
    found = warc.index(path, 1 << 20)
    return list(warc.read(path, 0, found.size, found.reader, 20_000_000))


HTTP = b"HTTP/1.1 200 OK\nContent-Type: text/html\nX-Robots-Tag: noai\n\n" + BODY


def test_records_in_every_spelling(tmp_path: Path) -> None:
    """The one after it, too, is found."""
    for odd in (
        capture(HTTP),
        capture(HTTP, length="content-length", kind="warc-type"),
        capture(HTTP, length="CONTENT-LENGTH"),
        capture(HTTP, Content_Type="Application/HTTP"),
        capture(HTTP, Content_Type="application/http;msgtype=response", Warc_Target_Uri="http://other.example/"),
    ):
        for before in (b"", capture(HTTP)):
            records = read(tmp_path / "a.warc", before + odd + capture(HTTP))
            said = {(record.kind, record.url, record.status, record.rule, record.body) for record in records}
            assert said == {("response", "http://h.example/", 200, None, BODY)}
            assert len(records) == 2 + bool(before)
            assert all(consent.refusal(record.headers, "") == "consent.noai" for record in records)
            for record in records:
                again = warc.read_at(tmp_path / "a.warc", record.offset, 20_000_000)
                assert (again.url, again.body) == (record.url, BODY)


def test_a_head_that_never_ends_costs_its_record(tmp_path: Path) -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * (HEAD_BYTES // 8)
    first, second = read(tmp_path / "a.warc", capture(endless) + capture(HTTP))
    assert first.rule == "record.not_response" and second.body == BODY


def test_redirects_with_two_targets_lead_to_the_first(tmp_path: Path) -> None:
    http = b"HTTP/1.1 301 Moved\r\nLocation: /real.jpg\r\nLocation: /other.jpg\r\n\r\n"
    (record,) = read(tmp_path / "a.warc", capture(http))
    assert record.target == "http://h.example/real.jpg"
