"""A captured HTTP response: its head, and its payload with transfer and content coding undone, within limits."""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import brotli
import pyarrow as pa

GZIP = 31
"""zlib's window bits for the gzip format."""
BROKEN_OFF = "the body ends inside its coding"
HEX = re.compile(rb"[0-9A-Fa-f]+")
HEAD_BYTES = 256 << 10
"""Maximum bytes of the heads of a response (Chromium's limit, net/http/http_stream_parser.h)."""
END_OF_HEAD = re.compile(rb"\n\r?\n")
"""The first blank line, with any line ends (RFC 9112, section 2.2; as in browsers and h11)."""
STATUS_LINE = re.compile(rb"(?:HTTP\S{0,16}|ICY)[ \t]+([1-9][0-9]{2})(?![0-9])", re.IGNORECASE)
FOLD = re.compile(rb"\r?\n[ \t]+")
LISTS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-encoding", "transfer-encoding")
"""Fields of which all values count: every refusal must be respected, and codings are undone one after another."""
RANGE = re.compile(r"bytes[ \t]+0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)


class TooLarge(Exception):
    """The payload is larger than the limit."""


class Damaged(Exception):
    """The payload cannot be decoded as declared in its headers."""


class Truncated(Damaged):
    """The payload ends inside a coding."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of a response: `status` 0 if there is none, `headers` as returned by `first_values`, and where the body
    starts."""

    status: int
    headers: dict[str, str]
    end: int


def first_values(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields by lower-case name. Of a repeated field the first non-empty value, of LISTS all values, joined by
    ", "."""
    headers: dict[str, str] = {}
    for name, value in items:
        name = name.lower()
        if not headers.get(name):
            headers[name] = value
        elif name in LISTS:
            headers[name] += f", {value}"
    return headers


def read_head(message: bytes) -> ResponseHead | None:
    """The head of an HTTP response; interim ones before it (RFC 9110, section 15.2) are skipped. A message without a
    blank line is all head. None if there is no blank line within HEAD_BYTES."""
    start = 0
    while True:
        blank = END_OF_HEAD.search(message, start, HEAD_BYTES)
        if blank is None and len(message) > HEAD_BYTES:
            return None
        end = len(message) if blank is None else blank.end()
        first, _, rest = message[start:end].partition(b"\n")
        found = STATUS_LINE.match(first)
        status = 0 if found is None else int(found[1])
        if not (100 <= status < 200 and status != 101 and STATUS_LINE.match(message, end)):
            break
        start = end
    return ResponseHead(status, fields_of(rest), end)


def fields_of(lines: bytes) -> dict[str, str]:
    """The fields in some lines, as returned by `first_values`."""
    found = (line.partition(b":") for line in FOLD.sub(b" ", lines).split(b"\n"))
    fields = ((name.strip(), value.strip()) for name, colon, value in found if colon)
    return first_values((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)


def whole(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a response is complete: 200, 203 (modified by a proxy), or a 206 whose range is everything."""
    found = RANGE.fullmatch(headers.get("content-range", "").strip()) if status == 206 else None
    return status in (200, 203) or (found is not None and int(found[1]) + 1 == int(found[2]))


def payload(headers: dict[str, str], body: bytes, limit: int) -> bytes:
    """The payload of a body as sent. Raises like `payload_so_far`, and Truncated if the last chunk is missing."""
    found, whole = payload_so_far(headers, body, limit)
    if not whole:
        raise Truncated(BROKEN_OFF)
    return found


def payload_so_far(headers: dict[str, str], body: bytes, limit: int) -> tuple[bytes, bool]:
    """The payload of a body as sent, and whether chunked coding ends properly: a server that stops between two chunks
    may or may not have sent everything.

    Captures often disagree with their headers: a crawler may have decoded the body and kept the headers. A coding that
    the body's first bytes do not show is therefore assumed to be undone already. Raises TooLarge over `limit` bytes,
    Truncated if the body ends inside a coding, Damaged if one is broken."""
    ended = True
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body, ended = _dechunk(body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        coding = coding.strip()
        if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
            body = _inflate(body, GZIP, limit)
        elif coding == "deflate" and body and not _markup(body):
            # RFC 9110 8.4.1.2 means the zlib format; many servers send raw deflate
            zlib_header = body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
            body = _inflate(body, 15 if zlib_header else -15, limit)
        elif coding == "br" and body and not _markup(body):
            body = _unbrotli(body, limit)
        elif coding == "zstd" and body[:4] == b"\x28\xb5\x2f\xfd":
            body = _unzstd(body, limit)
    if len(body) > limit:
        raise TooLarge
    return body, ended


def _markup(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    """Inflate gzip of one or more members (RFC 1952 2.2), zlib or raw deflate; anything after it is ignored."""
    pieces: list[bytes] = []
    size = position = 0
    while True:
        inflater, first = zlib.decompressobj(window), len(pieces)
        while not inflater.eof:
            # small blocks, because what follows a member in a block is copied
            data = body[position : position + 4096]
            if not data:
                if _lacks_only_checksum(inflater, window, b"".join(pieces[first:])):
                    return b"".join(pieces)
                raise Truncated(BROKEN_OFF)
            try:
                piece = inflater.decompress(data, limit + 1 - size)
            except zlib.error as error:
                raise Damaged(str(error)) from None
            size += len(piece)
            if size > limit:
                raise TooLarge
            pieces.append(piece)
            position += len(data) - len(inflater.unused_data)
        if window != GZIP or body[position : position + 2] != b"\x1f\x8b":
            return b"".join(pieces)


def _lacks_only_checksum(inflater: "zlib._Decompress", window: int, out: bytes) -> bool:
    """Whether a stream is complete except for some bytes of its final checksum, which some captures cut off."""
    if window == GZIP:
        trailer = zlib.crc32(out).to_bytes(4, "little") + (len(out) & 0xFFFFFFFF).to_bytes(4, "little")
    else:
        trailer = zlib.adler32(out).to_bytes(4, "big") if window > 0 else b""
    for missing in range(1, len(trailer) + 1):
        rest = inflater.copy()
        try:
            rest.decompress(trailer[-missing:], 1)
        except zlib.error:
            continue
        if rest.eof:
            return True
    return False


def _unbrotli(body: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(body), 65536):
            data = body[start : start + 65536]
            while True:  # 77 bytes may hold 50 MB: output is also requested in pieces
                piece = decoder.process(data, output_buffer_limit=1 << 20)
                data = b""
                size += len(piece)
                if size > limit:
                    raise TooLarge
                pieces.append(piece)
                if decoder.can_accept_more_data():
                    break
    except brotli.error as error:
        if not pieces:
            return body
        raise Damaged(str(error)) from None
    if not decoder.is_finished():
        raise Truncated(BROKEN_OFF)
    return b"".join(pieces)


def _unzstd(body: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            while piece := stream.read(min(1 << 20, limit + 1 - size)):
                size += len(piece)
                if size > limit:
                    raise TooLarge
                pieces.append(piece)
    except OSError as error:
        raise (Truncated(BROKEN_OFF) if "Truncated" in str(error) else Damaged(str(error))) from None
    return b"".join(pieces)


def _dechunk(body: bytes) -> tuple[bytes, bool]:
    """Undo chunked coding (RFC 9112 7.1), leniently: a body that does not start with a chunk is returned unchanged.
    False if the last chunk is missing.

    Raises Truncated if the body ends inside a chunk, Damaged if something else follows a chunk."""
    pieces: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\n", position, position + 1024)
        size = body[position:end].split(b";")[0].strip() if end >= 0 else b""
        if not HEX.fullmatch(size):
            if position == 0:
                return body, True
            if body[position:] in (b"", b"\r", b"0", b"0\r"):
                return b"".join(pieces), False
            if end < 0 and len(body) - position < 1024:
                raise Truncated(BROKEN_OFF)
            raise Damaged("something else follows a chunk")
        length = int(size, 16)
        if length == 0:
            return b"".join(pieces), True
        piece = body[end + 1 : end + 1 + length]
        if len(piece) < length:
            raise Truncated(BROKEN_OFF)
        pieces.append(piece)
        position = end + 1 + length
        if body[position : position + 2] == b"\r\n":
            position += 2
        elif body[position : position + 1] == b"\n":
            position += 1
