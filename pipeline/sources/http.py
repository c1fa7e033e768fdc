"""The payload of a captured HTTP response: transfer and content coding undone, within a limit."""

import re
import zlib

import brotli
import pyarrow as pa

GZIP = 31
"""zlib's window bits for the gzip format."""
BROKEN_OFF = "the body breaks off inside its coding"
HEX = re.compile(rb"[0-9A-Fa-f]+")


class TooLarge(Exception):
    """The payload is larger than the limit."""


class Damaged(Exception):
    """The payload cannot be decoded as its headers say."""


class Truncated(Damaged):
    """The payload breaks off inside a coding."""


def payload(headers: dict[str, str], body: bytes, limit: int) -> bytes:
    """The bytes that the server meant, from those that it sent.

    Captures disagree with their headers often: a crawler may have decoded the body and kept the headers. So a coding
    that the body does not show at its first bytes is taken as already undone.
    Raises TooLarge over `limit` bytes, Truncated where the body ends inside a coding, Damaged where one is broken."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunk(body)
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
    return body


def _markup(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    """gzip of one member or several (RFC 1952 2.2), zlib or raw deflate; what else follows is left out."""
    pieces: list[bytes] = []
    size = position = 0
    while True:
        inflater, first = zlib.decompressobj(window), len(pieces)
        while not inflater.eof:
            # small blocks, because what of one lies behind a member is copied
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
    """Whether all of a stream is there but for some bytes of the checksum at its end, which some captures cut off."""
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
            while True:  # 77 bytes may hold 50 MB: output is asked for in pieces too
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


def _dechunk(body: bytes) -> bytes:
    """RFC 9112 7.1, leniently: a body that does not begin with a chunk is as it is.

    Raises Truncated where the body ends before the last chunk, Damaged where something else than a chunk follows."""
    pieces: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\n", position, position + 1024)
        size = body[position:end].split(b";")[0].strip() if end >= 0 else b""
        if not HEX.fullmatch(size):
            if position == 0:
                return body
            if end < 0 and len(body) - position < 1024:
                raise Truncated(BROKEN_OFF)
            raise Damaged("something else follows a chunk")
        length = int(size, 16)
        if length == 0:
            return b"".join(pieces)
        piece = body[end + 1 : end + 1 + length]
        if len(piece) < length:
            raise Truncated(BROKEN_OFF)
        pieces.append(piece)
        position = end + 1 + length
        if body[position : position + 2] == b"\r\n":
            position += 2
        elif body[position : position + 1] == b"\n":
            position += 1
