"""Reading WARC files: whole, clipped, damaged, gzipped by record, gzipped as one stream, or not at all.

fastwarc frames the records. Where it stops in the middle of a file, reading goes on at the next record that can be
recognised, and the gap is reported as a record of its own with the rule record.corrupt. What fastwarc does not read
(ARC files, WARC headers that end in a bare line feed) warcio does.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.exceptions import ArchiveLoadFailed

from pipeline.errors import BuildError
from pipeline.media_type import essence
from pipeline.sources.framing import GZIP, LZ4, blank, end_of, next_record
from pipeline.sources.http import (
    HEAD_BYTES,
    Damaged,
    Head,
    TooLarge,
    Truncated,
    first_values,
    payload_so_far,
    read_head,
    whole,
)
from pipeline.sources.record import Record
from pipeline.sources.source import SHARE, Part, SourceEntry
from pipeline.urls import resolve

KINDS = ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation")
REDIRECTS = (301, 302, 303, 307, 308)
PART_BYTES, FEWEST_BYTES = 64 << 20, 1 << 20
"""A part of a WARC file holds about at most and at least this many bytes on disk."""


@dataclass(frozen=True)
class WarcIndex:
    """What a first pass over a file found. `cuts` are the offsets at which parts begin, then the file's size.

    `reader` is "fastwarc", or "warcio" for a file that only that one reads, always as one part. `seekable` tells
    whether a record can be read from its offset."""

    cuts: tuple[int, ...]
    size: int
    sha256: str
    reader: str
    seekable: bool


@dataclass(frozen=True)
class WarcFile:
    """A WARC or ARC file. One that is not `seekable` (a single gzip member, ARC) is read from its start."""

    kind: ClassVar[str] = "warc"
    path: Path
    reader: str = "fastwarc"
    seekable: bool = True

    @classmethod
    def at(cls, path: Path) -> "WarcFile | None":
        return None if path.is_dir() else cls(path)

    def state(self) -> list[list[str | int]]:
        return []

    def amount(self) -> int:
        return self.path.stat().st_size

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        found = index(self.path, max(FEWEST_BYTES, min(PART_BYTES, total // SHARE)))
        entry = SourceEntry(name, self.kind, found.size, found.sha256, found.reader, found.seekable)
        return entry, [(start, stop, stop - start) for start, stop in pairwise(found.cuts)]

    def known(self, entry: SourceEntry) -> "WarcFile":
        return WarcFile(self.path, entry.reader, entry.seekable)

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        return read(self.path, part.start, part.stop, self.reader, limit, skip)

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        if self.seekable:
            at = offsets()
            for number in numbers:
                yield number, read_at(self.path, at[number], limit).body
            return
        for record in self.read(part, "", limit, lambda number: False):
            if record.number in numbers:
                yield record.number, record.body


def index(path: Path, part_bytes: int) -> WarcIndex:
    """Finds where a WARC file can be cut into parts of at least `part_bytes` on disk.

    Raises BuildError where the file cannot be read or holds no record."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            reader = _reader_for(file)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from None
    if reader is None:
        raise BuildError(f"{path}: neither WARC nor ARC, plain or gzip")
    if reader == "warcio":
        return WarcIndex((0, size), size, sha256, reader, False)
    cuts, last, seekable = [0], -1, True
    with path.open("rb") as file:
        for offset in _offsets(file, size):
            if offset <= last:
                seekable = False
                break
            if offset - cuts[-1] >= part_bytes:
                cuts.append(offset)
            last = offset
    if not seekable:
        cuts = [0]
    return WarcIndex((*cuts, size), size, sha256, reader, seekable)


def read(
    path: Path, start: int, stop: int, reader: str, limit: int, skip: Callable[[int], bool] = lambda number: False
) -> Iterator[Record]:
    """The records that begin in [start, stop), payloads up to `limit` bytes.

    `skip` names records (by number in the part) that are not to be touched: they come as record.crashed."""
    with path.open("rb") as file:
        if reader == "warcio":
            yield from _read_with_warcio(file, limit, skip)
            return
        size = path.stat().st_size
        for number, (raw, offset, length) in enumerate(_frames(file, start, stop, size, limit)):
            if raw is None:
                yield Record(number, offset, length, "gap", rule="record.corrupt", detail="unreadable bytes")
            elif skip(number):
                yield Record(number, offset, length, "crashed", rule="record.crashed")
            else:
                yield _record(raw, number, offset, length, limit)


def read_at(path: Path, offset: int, limit: int) -> Record:
    """The one record that begins at an offset of a seekable file.

    Raises BuildError where there is none."""
    with path.open("rb") as file:
        file.seek(offset)
        for raw in ArchiveIterator(file, parse_http=False, auto_decode="none"):
            return _record(_raw(raw, file, offset, limit), 0, offset, 0, limit)
    raise BuildError(f"{path}: no record at offset {offset}; has the file changed during the build?")


def _reader_for(file: BinaryIO) -> str | None:
    file.seek(0)
    head = file.read(1 << 16)
    if head[:3] == GZIP:
        try:
            head = zlib.decompressobj(31).decompress(head, 4096)
        except zlib.error:
            return None
    elif head[:4] == LZ4:
        return "fastwarc"
    if head.startswith(b"WARC/"):
        return "fastwarc" if head.split(b"\n", 1)[0].endswith(b"\r") else "warcio"
    return "warcio" if head.startswith(b"filedesc:") else None


def _offsets(file: BinaryIO, size: int) -> Iterator[int]:
    for raw, offset, _ in _frames(file, 0, size, size, 0):
        if raw is not None:
            yield offset


@dataclass(frozen=True, slots=True)
class _Raw:
    """What a reader's record holds, out of its stream. `body` is what follows the head of an HTTP message."""

    kind: str
    headers: dict[str, str]
    http: Head | None
    body: bytes
    missing: bool
    too_large: bool


def _frames(file: BinaryIO, start: int, stop: int, size: int, limit: int) -> Iterator[tuple[_Raw | None, int, int]]:
    """(record, offset, bytes on disk) of each record that begins in [start, stop); None for unreadable bytes.

    With limit 0 the records' contents are not read. A record is handed out when the next one is known, which gives its
    length on disk."""
    position = start
    while position < stop:
        file.seek(position)
        held: tuple[_Raw, int] | None = None
        last = position
        try:
            for raw in ArchiveIterator(file, parse_http=False, auto_decode="none"):
                last = max(raw.stream_pos, 0)
                if held is not None:
                    yield held[0], held[1], max(last - held[1], 0)
                    held = None
                if last >= stop < size:  # in a file that is one gzip member every offset may be its end
                    return
                held = (_raw(raw, file, last, limit), last)
        except (OSError, ValueError):
            pass  # the bytes behind the last record are looked at below
        except BaseException as error:
            # fastwarc's Rust core panics as a BaseException of its own
            if type(error).__name__ != "PanicException":
                raise
        # a page may hold what looks like a record: where the last one is whole, nothing is looked for inside it
        whole = end_of(file, last, size)
        following = next_record(file, last + 1 if whole is None else whole[0], size)
        end = size if following is None else following
        if held is None:
            yield None, last, end - last
        else:
            over = end if whole is None else min(whole[1], end)
            yield held[0], last, over - last
            if over < end and not blank(file, over, end):
                yield None, over, end - over
        position = end


def _raw(raw: Any, file: BinaryIO, offset: int, limit: int) -> _Raw:
    headers = first_values(raw.headers.items())
    kind = str(raw.record_type).rpartition(".")[2]
    if kind not in KINDS:  # fastwarc knows the names of fields in one spelling only
        kind = next((known for known in KINDS if known == headers.get("warc-type", "").strip().lower()), kind)
    if limit == 0 or kind not in ("response", "resource", "revisit"):
        return _Raw(kind, headers, None, b"", False, False)
    expected, most = raw.content_length, _most(limit)
    declared = headers.get("content-length", "0").strip()
    if expected == 0 and re.fullmatch("[0-9]{1,18}", declared) and int(declared) > 0:
        expected = int(declared)
        block = _block_at(file, offset, min(expected, most), headers.get("warc-record-id", ""))
    else:
        block = raw.reader.read(most)
    return _with_head(kind, headers, block, len(block) < min(expected, most), expected > most)


def _block_at(file: BinaryIO, offset: int, length: int, identity: str) -> bytes:
    """The block of the record of this WARC-Record-ID that begins at an offset, b"" where another one does."""
    file.seek(offset)
    zipped = file.read(3) == GZIP
    file.seek(offset)
    stream = gzip.GzipFile(fileobj=file) if zipped else file
    try:
        lines = islice(iter(lambda: stream.readline(8192).rstrip(b"\r\n"), b""), 1000)
        found = identity != "" and identity.encode("latin-1", "replace") in b"".join(lines)
        return stream.read(length) if found else b""
    except (OSError, EOFError, zlib.error):
        return b""


def _most(limit: int) -> int:
    """How much of a record's block is read: a head and chunked coding add to the payload."""
    return limit + limit // 8 + HEAD_BYTES


def _with_head(kind: str, headers: dict[str, str], block: bytes, missing: bool, too_large: bool) -> _Raw:
    if essence(headers.get("content-type", "")) != "application/http":
        return _Raw(kind, headers, None, block, missing, too_large)
    http = read_head(block)
    return _Raw(kind, headers, http, block if http is None else block[http.end :], missing, too_large)


def _utf8(value: str) -> str:
    """A header's value, which fastwarc reads as Latin-1, as the UTF-8 that servers send."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _record(raw: _Raw, number: int, offset: int, length: int, limit: int) -> Record:
    url = raw.headers.get("warc-target-uri", "").strip().removeprefix("<").removesuffix(">")
    date = raw.headers.get("warc-date", "")
    if raw.kind == "continuation" or "warc-segment-number" in raw.headers:
        return Record(number, offset, length, raw.kind, url, date, rule="record.segment")
    if raw.kind not in ("response", "resource", "revisit"):
        other = "record.conversion" if raw.kind == "conversion" else "record.not_response"
        return Record(number, offset, length, raw.kind, url, date, rule=other)
    if raw.kind == "response" and raw.http is None:
        return Record(number, offset, length, raw.kind, url, date, rule="record.not_response", detail="not HTTP")
    http = raw.http or Head(200, {"content-type": raw.headers.get("content-type", "")}, 0)
    status, headers = http.status, http.headers
    target, rule, detail, body = "", None, "", b""
    truncated = raw.headers.get("warc-truncated", "").strip()[:40]
    if raw.missing:
        rule, detail = "record.truncated", "the file ends inside the record"
    elif raw.kind == "revisit":
        target = raw.headers.get("warc-refers-to-target-uri", url).strip().removeprefix("<").removesuffix(">")
    elif status in REDIRECTS and headers.get("location"):
        target = resolve(_utf8(headers["location"]), url) or ""
        if not target:
            rule, detail = "record.status", "a redirect to no URL"
    elif not whole(status, headers):
        rule = "record.status"
    elif raw.too_large:
        rule, detail = "record.too_large", f"over {limit} bytes"
    else:
        try:
            body, ended = payload_so_far(headers, raw.body, limit)
            truncated = truncated or ("" if ended else "last chunk")
        except TooLarge:
            rule, detail = "record.too_large", f"over {limit} bytes"
        except Truncated as error:
            rule, detail = "record.truncated", str(error)
        except Damaged as error:
            rule, detail = "record.corrupt", f"content coding: {error}"
        if rule is None and not body:
            rule = "record.empty"
    digest = raw.headers.get("warc-payload-digest", "")
    identified = raw.headers.get("warc-identified-payload-type", "")
    about = (url, date, status, headers, body, digest, target, rule, detail, identified, truncated)
    return Record(number, offset, length, raw.kind, *about)


def _read_with_warcio(file: BinaryIO, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
    file.seek(0)
    number = -1
    try:
        for number, raw in enumerate(WarcioIterator(file, no_record_parse=True, arc2warc=True)):
            if skip(number):
                yield Record(number, 0, 0, "crashed", rule="record.crashed")
                continue
            block = raw.raw_stream.read(_most(limit) + 1)
            fields = _with_head(
                raw.rec_type, first_values(raw.rec_headers.headers), block, False, len(block) > _most(limit)
            )
            yield _record(fields, number, 0, 0, limit)
    except (ArchiveLoadFailed, OSError, ValueError, EOFError) as error:
        yield Record(number + 1, 0, 0, "gap", rule="record.corrupt", detail=str(error)[:200])
