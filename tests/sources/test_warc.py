"""WARC files as found in practice: whole, damaged, truncated, in odd dialects."""

import gzip
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.sources import warc
from pipeline.sources.http import Damaged, TooLarge, Truncated, payload
from pipeline.sources.record import Record

LIMIT = 20_000_000


def records(path: Path, part_bytes: int = 1 << 20) -> list[Record]:
    found = warc.index(path, part_bytes)
    return [
        record
        for start, stop in zip(found.cuts, found.cuts[1:], strict=False)
        for record in warc.read(path, start, stop, found.reader, LIMIT)
    ]


def counts(path: Path) -> Counter[str]:
    return Counter(record.rule or record.kind for record in records(path))


@pytest.fixture(scope="module")
def hugin(shared: Path) -> bytes:
    return (shared / "data/warc/hugin.warc.gz").read_bytes()


# kind or rule -> how many; what warcio and the file's name say of it
ODD = {
    "1memento_noContentType.warc": {"record.not_response": 1, "response": 1},
    "2mementos_htmlXhtml.warc": {"record.not_response": 1, "response": 2},
    "HTTP204.warc": {"record.not_response": 1, "record.status": 1, "response": 1, "record.corrupt": 1},
    "HTTP404.warc": {"record.not_response": 1, "record.status": 1},
    "baconIpsum_chunked.warc": {"record.not_response": 3, "response": 1, "resource": 2},
    "block-sized-records.warc": {"record.not_response": 3},
    "block-sized-records.warc.gz": {"record.not_response": 3},
    "block-sized-records.warc.lz4": {"record.not_response": 3},
    "broken.warc": {"record.not_response": 4, "response": 1, "record.status": 1, "record.corrupt": 1},
    "clipped.warc.gz": {"record.truncated": 1},
    "clueweb-quirk.warc.gz": {"record.not_response": 1, "response": 29},
    "example-bad-non-chunked.warc.gz": {"record.not_response": 4, "response": 1, "revisit": 1},
    "example-bad.warc.gz.bad": {"record.not_response": 3, "response": 2, "revisit": 1},
    "example-iana.org-chunked.warc": {"record.not_response": 2, "response": 1},
    "example-resource.warc.gz": {"record.not_response": 2, "resource": 1},
    "example-trunc.warc": {"record.not_response": 3, "response": 1},
    "example-wget-bad-target-uri.warc.gz": {"record.not_response": 3, "response": 1, "resource": 2},
    "example-wrong-chunks.warc.gz": {"response": 1, "record.not_response": 1},
    "example.arc": {"record.not_response": 1, "response": 1},
    "example.arc.gz": {"record.not_response": 1, "response": 1},
    "example.warc": {"record.not_response": 4, "response": 1, "revisit": 1},
    "example.warc.gz": {"record.not_response": 4, "response": 1, "revisit": 1},
    "redirect.warc": {"record.not_response": 1, "response": 1},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files(shared: Path, name: str) -> None:
    assert counts(shared / "data/warc/odd" / name) == ODD[name]


def test_bodies_are_decoded(shared: Path) -> None:
    odd = shared / "data/warc/odd"
    for name in ("example.warc.gz", "example-wrong-chunks.warc.gz", "example.arc", "example-bad-non-chunked.warc.gz"):
        bodies = [record.body for record in records(odd / name) if record.kind == "response"]
        assert [b"Example Domain" in body for body in bodies] == [True], name
    (bacon,) = [record.body for record in records(odd / "baconIpsum_chunked.warc") if record.kind == "response"]
    assert b"extraMetadata" not in bacon and b"\r\n1efe" not in bacon


def test_redirects_and_revisits_name_their_target(shared: Path) -> None:
    odd = shared / "data/warc/odd"
    targets = [record.target for record in records(odd / "redirectRelative.warc") if record.target]
    assert targets and all(target.startswith("http") for target in targets)
    (revisit,) = [record for record in records(odd / "example.warc.gz") if record.kind == "revisit"]
    assert revisit.target == "http://example.com/"


def test_the_same_records_plain_gzipped_whole_and_in_parts(hugin: bytes, tmp_path: Path) -> None:
    whole = tmp_path / "a.warc.gz"
    whole.write_bytes(hugin)
    expected = [(record.url, record.body, record.rule) for record in records(whole)]
    assert len(expected) == 734
    assert [(r.url, r.body, r.rule) for r in records(whole, 1 << 40)] == expected
    plain = tmp_path / "b.warc"
    plain.write_bytes(gzip.decompress(hugin))
    assert [(r.url, r.body, r.rule) for r in records(plain)] == expected
    single = tmp_path / "c.warc.gz"
    single.write_bytes(gzip.compress(gzip.decompress(hugin)))
    assert not warc.index(single, 1 << 20).seekable
    assert [(r.url, r.body, r.rule) for r in records(single)] == expected


def test_every_record_is_found_again_at_its_offset(hugin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(hugin)
    for record in records(path)[::40]:
        again = warc.read_at(path, record.offset, LIMIT)
        assert (again.url, again.body) == (record.url, record.body)
        assert gzip.decompress(hugin[record.offset : record.offset + record.length]).startswith(b"WARC/")


@pytest.mark.parametrize("at", [1000, 1_000_000, 3_000_000])
def test_damage_costs_the_damaged_record_alone(hugin: bytes, tmp_path: Path, at: int) -> None:
    data = bytearray(hugin)
    data[at : at + 200] = random.Random(at).randbytes(200)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data)
    found = records(path)
    assert len(found) == 734
    (lost,) = [record for record in found if record.rule == "record.corrupt"]
    assert lost.offset <= at < lost.offset + lost.length


def test_inserted_bytes_a_clipped_end_and_a_garbage_tail_are_counted(hugin: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(hugin[:500] + b"x" * 400 + hugin[500:])
    assert counts(path)["record.corrupt"] == 1
    path.write_bytes(hugin[:3_000_000])
    assert counts(path)["record.truncated"] == 1
    path.write_bytes(hugin + b"hello" * 1000)
    (tail,) = [record for record in records(path) if record.rule == "record.corrupt"]
    assert (tail.offset, tail.length) == (len(hugin), 5000)


def test_a_broken_header_in_a_plain_file_costs_one_record(hugin: bytes, tmp_path: Path) -> None:
    data = bytearray(gzip.decompress(hugin))
    at = data.index(b"WARC/1.0", 2_000_000)
    data[at : at + 100] = b"q" * 100
    path = tmp_path / "a.warc"
    path.write_bytes(data)
    assert len(records(path)) == 734
    assert counts(path)["record.corrupt"] == 1


def response(url: str, body: bytes) -> bytes:
    """A response record of a plain WARC file."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http\r\n"
    return f"{head}Content-Length: {len(http)}\r\n\r\n".encode() + http + b"\r\n\r\n"


def test_a_record_inside_a_page_is_none(tmp_path: Path) -> None:
    """In the last page too, behind which a search begins, and where bytes that are no record follow."""
    page = b"<p>How a WARC file looks:\n" + response("https://bank.example/", b"<p>forged") + b"the end"
    first, last = response("https://e.org/1", b"<p>one"), response("https://e.org/2", page)
    path = tmp_path / "a.warc"
    for data, rules in (
        (first + last, []),
        (first + last[:-4], []),
        (first + last + b"\r\n" * 5, []),
        (first + last + b"garbage", ["record.corrupt"]),
        (last + b"garbage\n" + first, ["record.corrupt"]),
    ):
        path.write_bytes(data)
        found = records(path)
        bodies = {record.url: record.body for record in found if record.rule is None}
        assert bodies == {"https://e.org/1": b"<p>one", "https://e.org/2": page}
        assert [record.rule for record in found if record.rule] == rules
        assert sum(record.length for record in found) in (len(data), len(data) - 10)  # but for further blank lines


def test_a_record_inside_a_page_of_an_lz4_file_is_none(tmp_path: Path) -> None:
    """Where LZ4 does not compress, a page's bytes stand in the file as they are."""

    def frame(record: bytes) -> bytes:
        head = bytes.fromhex("04224d18604082")
        return head + (len(record) | 1 << 31).to_bytes(4, "little") + record + bytes(4)

    page = b"<p>How a WARC file looks:\n" + response("https://bank.example/", b"<p>forged") + b"the end"
    first, last = frame(response("https://e.org/1", b"<p>one")), frame(response("https://e.org/2", page))
    path = tmp_path / "a.warc.lz4"
    path.write_bytes(first + last)
    found = [(record.url, record.rule, record.offset, record.length) for record in records(path)]
    assert found == [("https://e.org/1", None, 0, len(first)), ("https://e.org/2", None, len(first), len(last))]
    path.write_bytes(first + last + b"garbage")
    assert [record.rule for record in records(path)] == [None, None, "record.corrupt"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nothing_escapes_from_mutilated_files(
    hugin_head: bytes, tmp_path_factory: pytest.TempPathFactory, data
) -> None:
    mutilated = bytearray(hugin_head)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(len(mutilated) - 1, 0)))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "drop"]))
        if action == "flip" and mutilated:
            mutilated[at] ^= data.draw(st.integers(1, 255))
        elif action == "cut":
            del mutilated[max(at, 20) :]
        elif action == "insert":
            mutilated[at:at] = data.draw(st.binary(max_size=40))
        else:
            del mutilated[at : at + data.draw(st.integers(1, 200))]
    path = tmp_path_factory.mktemp("mutilated") / "a.warc.gz"
    path.write_bytes(mutilated)
    try:
        found = records(path)
    except BuildError:
        return
    assert [record.number for record in found] == list(range(len(found)))


@pytest.fixture(scope="module")
def hugin_head(hugin: bytes) -> bytes:
    return hugin[:30_000]


def test_what_is_no_warc_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    for content in (b"", b"hello", b"<html>", gzip.compress(b"hello"), b"\x1f\x8b\x08broken"):
        path.write_bytes(content)
        with pytest.raises(BuildError, match="neither WARC nor ARC"):
            warc.index(path, 1 << 20)
    with pytest.raises(BuildError, match="No such file"):
        warc.index(tmp_path / "missing", 1 << 20)


def test_a_payload_is_what_the_server_meant() -> None:
    import zlib

    import brotli
    import pyarrow as pa

    text = b"<html>" + b"words " * 500
    raw = zlib.compressobj(wbits=-15)
    for coding, body in {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "Deflate": raw.compress(text) + raw.flush(),
        "br": brotli.compress(text),
        "zstd": pa.compress(text, "zstd", asbytes=True),
        "identity": text,
    }.items():
        assert payload({"content-encoding": coding}, body, LIMIT) == text, coding
        # a crawler that decoded the body and kept the header
        assert payload({"content-encoding": coding}, text, LIMIT) == text, coding
    chunked = b"5\r\nhello\r\n6;name=value\r\n world\r\n0\r\n\r\n"
    assert payload({"transfer-encoding": "chunked"}, chunked, LIMIT) == b"hello world"
    assert payload({"transfer-encoding": "chunked"}, text, LIMIT) == text


@settings(max_examples=60)
@given(texts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), data=st.data())
def test_a_body_is_whole_or_said_to_break_off(texts: list[bytes], data: st.DataObject) -> None:
    """Every prefix of every coding: all of the payload where only a checksum is missing, else an error."""
    import zlib

    import brotli
    import pyarrow as pa

    text = b"<" + b"".join(texts) + b">"
    raw = zlib.compressobj(wbits=-15)
    members = b"".join(map(gzip.compress, [b"<", *texts, b">"]))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [b"<", *texts, b">"] if piece)
    for header, coding, body, first, checksum in (
        ("content-encoding", "gzip", gzip.compress(text), 2, 8),
        ("content-encoding", "deflate", zlib.compress(text), 2, 4),
        ("content-encoding", "deflate", raw.compress(text) + raw.flush(), 2, 0),
        ("content-encoding", "br", brotli.compress(text), 2, 0),
        ("content-encoding", "zstd", pa.compress(text, "zstd", asbytes=True), 4, 0),
        ("transfer-encoding", "chunked", chunks + b"0\r\n\r\n", 4, 2),
        ("content-encoding", "gzip", members, 2, None),
    ):
        assert payload({header: coding}, body, LIMIT) == text, coding
        if checksum is None:
            continue  # cut between members it is whole
        end = data.draw(st.integers(first, len(body) - 1))
        if end >= len(body) - checksum:
            assert payload({header: coding}, body[:end], LIMIT) == text, coding
        else:
            with pytest.raises(Truncated):
                payload({header: coding}, body[:end], LIMIT)
    with pytest.raises(Truncated):
        payload({"content-encoding": "gzip"}, members + gzip.compress(b"more")[:-10], LIMIT)
    assert payload({"content-encoding": "gzip"}, members + bytes(512), LIMIT) == text, "padding follows"


def test_a_page_that_breaks_off_is_counted(tmp_path: Path) -> None:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
    http += gzip.compress(random.Random(1).randbytes(5000))[:3000]
    head = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(http)}\r\n\r\n"
    path = tmp_path / "a.warc"
    path.write_bytes(head.encode() + http + b"\r\n\r\n")
    (record,) = records(path)
    assert (record.rule, record.body) == ("record.truncated", b"") and "ends inside" in record.detail


def test_bombs_stop_at_the_limit() -> None:
    import brotli
    import pyarrow as pa

    zeros = bytes(50_000_000)
    for coding, body in {
        "gzip": gzip.compress(zeros),
        "br": brotli.compress(zeros),
        "zstd": pa.compress(zeros, "zstd", asbytes=True),
    }.items():
        with pytest.raises(TooLarge):
            payload({"content-encoding": coding}, body, 1_000_000)
    with pytest.raises(TooLarge):
        payload({"content-encoding": "gzip"}, gzip.compress(bytes(40_000)) * 30, 1_000_000)
    with pytest.raises(Damaged):
        payload({"content-encoding": "gzip"}, b"\x1f\x8b" + bytes(30), LIMIT)
    with pytest.raises(Damaged):
        payload({"transfer-encoding": "chunked"}, b"5\r\nhello\r\nno chunk\r\n" + bytes(2000), LIMIT)
    with pytest.raises(Damaged):
        payload({"content-encoding": "zstd"}, b"\x28\xb5\x2f\xfd" + b"\xff" * 30, LIMIT)
