"""Records as careless writers write them, read as warcio reads them."""

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.sources import warc

LIMIT = 1_000_000
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
}
PIECES = st.lists(
    st.binary(min_size=1, max_size=30)
    | st.sampled_from([b"\r\n", b"\n\n", b"WARC/1.0\r\n", b"0\r\n\r\n", b"<p>words"]),
    max_size=6,
)


@dataclass(frozen=True)
class Written:
    """A response as it is written: `end` ends the lines of the HTTP head, `blank` is the line behind it."""

    pieces: list[bytes]
    spelling: str
    end: bytes
    blank: bytes
    chunked: bool
    last_chunk: bool
    doubled: bool

    def http(self) -> bytes:
        fields = [b"Content-Type: text/html", b"Content-Type: image/png" if self.doubled else b"Server: mill"]
        body = b"".join(self.pieces)
        if self.chunked:
            fields.append(b"Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in self.pieces)
            body += b"0\r\n\r\n" if self.last_chunk or not self.pieces else b""
        head = b"".join(line + self.end for line in (b"HTTP/1.1 200 OK", *fields))
        return head + self.blank + body

    def record(self, number: int) -> bytes:
        spell, http = SPELLINGS[self.spelling], self.http()
        fields = {
            "WARC-Type": "response",
            "WARC-Record-ID": f"<urn:uuid:{number}>",
            "WARC-Target-URI": f"http://mill.example/{number}",
            "WARC-Date": "2026-01-01T00:00:00Z",
            "Content-Type": "application/http; msgtype=response",
            "Content-Length": str(len(http)),
        }
        lines = ["WARC/1.1", *(f"{spell(name)}: {value}" for name, value in fields.items())]
        if self.doubled:
            lines.insert(4, f"{spell('WARC-Target-URI')}: http://other.example/")
        return "\r\n".join([*lines, "", ""]).encode() + http + b"\r\n\r\n"


ENDS = st.sampled_from([b"\r\n", b"\n"])
RESPONSES = st.builds(
    Written,
    pieces=PIECES,
    spelling=st.sampled_from(sorted(SPELLINGS)),
    end=ENDS,
    blank=ENDS,
    chunked=st.booleans(),
    last_chunk=st.booleans(),
    doubled=st.booleans(),
)
WRITERS: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain": b"".join,
    "by record": lambda records: b"".join(map(gzip.compress, records)),
    "as a whole": lambda records: gzip.compress(b"".join(records)),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / "a.warc"


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=80)
@given(responses=st.lists(RESPONSES, min_size=1, max_size=4))
def test_records_are_read_as_warcio_reads_them(path: Path, writer: str, responses: list[Written]) -> None:
    records = [response.record(number) for number, response in enumerate(responses)]
    path.write_bytes(WRITERS[writer](records))
    found = warc.index(path, 1 << 20)
    ours = list(warc.read(path, 0, found.size, found.reader, LIMIT))
    theirs = []
    for record in ArchiveIterator(io.BytesIO(b"".join(records))):
        body = record.content_stream().read()
        label = record.http_headers.get_header("Content-Type")
        theirs.append((record.rec_headers.get_header("WARC-Target-URI"), label, body))
    assert [(record.url, record.content_type, record.body) for record in ours] == theirs
    assert {record.rule for record in ours} <= {None, "record.empty"}
    marks = ["last chunk" if one.chunked and one.pieces and not one.last_chunk else "" for one in responses]
    assert [record.truncated for record in ours] == marks
    if found.seekable:
        assert [warc.read_at(path, record.offset, LIMIT).body for record in ours] == [body for *_, body in theirs]
