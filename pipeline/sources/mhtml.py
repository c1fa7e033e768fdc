"""MHTML: a page with its images in one file, as saved by browsers (RFC 2557)."""

import binascii
import mmap
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import quote

from pipeline.errors import BuildError
from pipeline.media_type import HTML, media_type
from pipeline.sources.http import END_OF_HEAD, HEAD_BYTES, fields_of
from pipeline.sources.record import Record
from pipeline.sources.reread import OnePartFile
from pipeline.sources.source import Part, SourceEntry
from pipeline.urls import resolve

MHTML = re.compile(rb"^content-type:\s*multipart/related", re.IGNORECASE | re.MULTILINE)
DEPTH = 4
"""Maximum nesting of multipart bodies. Browsers write one level, Word and mail programs two."""
BODIES = 100_000
"""Maximum number of bodies that are read; those behind are counted as one."""
CID = re.compile(rb"cid:([^\"'\s<>()]{1,500})")


class _Piece(NamedTuple):
    """A body of a multipart file: its fields by lower-case name, and the bytes [start, stop) of its content. `ended`: a
    boundary follows; `fault`: why it cannot be read."""

    fields: dict[str, str]
    start: int
    stop: int
    ended: bool
    fault: str = ""


@dataclass(frozen=True)
class Mhtml(OnePartFile):
    """An MHTML file, always one part."""

    kind: ClassVar[str] = "mhtml"

    @classmethod
    def at(cls, path: Path) -> "Mhtml | None":
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(1 << 16)
        end = END_OF_HEAD.search(head)
        return cls(path) if MHTML.search(head[: end.end() if end else 0]) else None

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        with self.path.open("rb") as file:
            if not _boundary(_fields(file.read(HEAD_BYTES))[0]):
                raise BuildError(f"{self.path}: an MHTML file without a boundary")
        return super().cut(name, total)

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            top, start = _fields(data[:HEAD_BYTES])
            named = top.get("snapshot-content-location") or top.get("content-location", "")
            base = resolve("".join(named.split()), "") or f"file:///{quote(self.path.name)}"
            date = _date(top.get("date", ""))
            pieces = partial(_first, BODIES, partial(_pieces, data, top, start, len(data), DEPTH))
            urls = [_url(piece, number, base) for number, piece in enumerate(pieces())]
            names = (piece.fields.get("content-id", "").strip("<> ") for piece in pieces())
            by_name = {name.encode("latin-1"): url.encode() for name, url in zip(names, urls, strict=True) if name}
            for number, (url, piece) in enumerate(zip(urls, pieces(), strict=True)):
                if skip(number):
                    yield Record(number, piece.start, 0, "file", url, rule="record.crashed")
                else:
                    yield _record(data, piece, number, url, date, by_name, limit)


def _fields(data: bytes) -> tuple[dict[str, str], int]:
    """The leading fields, and the position after the blank line."""
    if data[:1] == b"\n" or data[:2] == b"\r\n":
        return {}, 1 + data.index(b"\n")
    end = END_OF_HEAD.search(data, 0, HEAD_BYTES)
    stop = end.end() if end else len(data)
    return fields_of(data[:stop]), stop


def _boundary(fields: dict[str, str]) -> bytes:
    """The separator of a multipart body, b"" if it is not one."""
    message = Message()
    message["content-type"] = fields.get("content-type", "")
    if message.get_content_maintype() != "multipart":
        return b""
    return (message.get_boundary() or "").encode("latin-1", "replace")


def _pieces(data: mmap.mmap, fields: dict[str, str], start: int, stop: int, depth: int) -> Iterator[_Piece]:
    """The bodies between the boundaries of [start, stop), including nested ones."""
    line = re.compile(rb"\n--" + re.escape(_boundary(fields)) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    boundary = line.search(data, start - 1, stop)
    if boundary is None or boundary[1]:
        yield _Piece(fields, start, stop, True, "nothing between its boundaries")
    while boundary is not None and not boundary[1]:
        begin = boundary.end()
        # the line feed before a boundary may be the one that ends the previous boundary's line
        boundary = line.search(data, begin - 1, stop)
        end = stop if boundary is None else max(begin, boundary.start())
        if boundary is not None and data[end - 1 : end] == b"\r" and end > begin:
            end -= 1
        inside, length = _fields(data[begin : min(end, begin + HEAD_BYTES)])
        piece = _Piece(inside, begin + length, end, boundary is not None)
        if not _boundary(inside):
            yield piece
        elif depth == 0:
            yield piece._replace(fault="nested too deeply")
        else:
            yield from _pieces(data, inside, begin + length, end, depth - 1)


def _first(most: int, pieces: Callable[[], Iterator[_Piece]]) -> Iterator[_Piece]:
    for number, piece in enumerate(pieces()):
        if number == most:
            yield piece._replace(fault=f"more than {most:,} bodies")
            return
        yield piece


def _url(piece: _Piece, number: int, base: str) -> str:
    named = "".join(piece.fields.get("content-location", "").split())
    if not named:
        return base if number == 0 else f"{base.partition('?')[0]}/{number}"
    return resolve(named, base) or named


def _date(text: str) -> str:
    """A mail date in the form of WARC files, "" if there is none."""
    try:
        date = parsedate_to_datetime(text)
        # a date of zone -0000 is in UTC (RFC 5322, section 3.3)
        return (date.astimezone(UTC) if date.tzinfo else date).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, TypeError):
        return ""


def _record(
    data: mmap.mmap, piece: _Piece, number: int, url: str, date: str, by_name: dict[bytes, bytes], limit: int
) -> Record:
    label = piece.fields.get("content-type", "")
    coding = piece.fields.get("content-transfer-encoding", "").strip().lower()
    headers, length = {"content-type": label}, piece.stop - piece.start
    body, rule, detail = b"", None, piece.fault
    if piece.fault:
        rule = "record.corrupt"
    elif not piece.ended:
        rule, detail = "record.truncated", "the file ends inside it"
    elif length > limit * 3:  # a quoted byte takes three
        rule = "record.too_large"
    else:
        body = data[piece.start : piece.stop]
        try:
            if coding == "base64":
                body = binascii.a2b_base64(body)
            elif coding == "quoted-printable":
                body = binascii.a2b_qp(body)
        except binascii.Error as error:
            body, rule, detail = b"", "record.corrupt", str(error)
    if len(body) > limit:
        body, rule = b"", "record.too_large"
    if rule is None and not body:
        rule = "record.empty"
    if by_name and media_type(label, body) in HTML:
        body = CID.sub(lambda found: by_name.get(found[1], found[0]), body)
    if rule == "record.too_large":
        detail = f"over {limit} bytes"
    return Record(number, piece.start, length, "file", url, date, 200, headers, body, rule=rule, detail=detail)
