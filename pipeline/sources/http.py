"""The payload of a captured HTTP response: transfer and content coding undone, within a limit."""

import zlib

import brotli


class TooLarge(Exception):
    """The payload is larger than the limit."""


class Damaged(Exception):
    """The payload cannot be decoded as its headers say."""


def payload(headers: dict[str, str], body: bytes, limit: int) -> bytes:
    """The bytes that the server meant, from those that it sent.

    Captures disagree with their headers often: a crawler may have decoded the body and kept the headers. So a coding
    that the body does not show at its first bytes is taken as already undone.
    Raises TooLarge over `limit` bytes, Damaged where a coding breaks off."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunk(body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        coding = coding.strip()
        if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
            body = _inflate(body, 31, limit)
        elif coding == "deflate" and body and not _markup(body):
            # RFC 9110 8.4.1.2 means the zlib format; many servers send raw deflate
            zlib_header = body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
            body = _inflate(body, 15 if zlib_header else -15, limit)
        elif coding == "br" and not _markup(body):
            body = _unbrotli(body, limit)
    if len(body) > limit:
        raise TooLarge
    return body


def _markup(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(window)
    try:
        out = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from None
    if len(out) > limit:
        raise TooLarge
    return out


def _unbrotli(body: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    pieces, size = [], 0
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
    return b"".join(pieces)


def _dechunk(body: bytes) -> bytes:
    """RFC 9112 7.1, leniently: a body that does not begin with a chunk is as it is, and a broken end ends it."""
    pieces, position = [], 0
    while True:
        end = body.find(b"\n", position, position + 1024)
        if end < 0:
            break
        size = body[position:end].split(b";")[0].strip()
        try:
            length = int(size, 16) if size else -1
        except ValueError:
            length = -1
        if length < 0:
            if position == 0:
                return body
            break
        if length == 0:
            break
        pieces.append(body[end + 1 : end + 1 + length])
        position = end + 1 + length
        if body[position : position + 2] == b"\r\n":
            position += 2
        elif body[position : position + 1] == b"\n":
            position += 1
    return b"".join(pieces) if pieces or body[:1] == b"0" else body
