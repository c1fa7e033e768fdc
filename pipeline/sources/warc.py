"""Read WARC files: whole, truncated, damaged, compressed by record, compressed as one stream, or not at all.

fastwarc frames the records. If it stops in the middle of a file, reading continues at the next recognisable record, and
the gap is reported as a record with the rule record.corrupt. warcio reads what fastwarc does not (ARC files, WARC
headers that end in a bare line feed).
"""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, ClassVar

import zstandard
from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator
from warcio.exceptions import ArchiveLoadFailed

from pipeline.errors import BuildError
from pipeline.media_type import essence
from pipeline.sources.framing import GZIP, LZ4, begins_member, blank, end_of, next_record
from pipeline.sources.http import (
    HEAD_BYTES,
    Damaged,
    ResponseHead,
    TooLarge,
    Truncated,
    first_values,
    payload_so_far,
    read_head,
    whole,
)
from pipeline.sources.record import CONTENT_LENGTH, LAST_CHUNK, Record
from pipeline.sources.section import DICTIONARY, ZSTD, Reads, Section, ZipMember, opened, unzstd
from pipeline.sources.source import Part, SingleFile, SourceEntry, part_bytes
from pipeline.urls import resolve
from shards.store import RemotePath, gathered

KINDS = ("warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation")
REDIRECTS = (301, 302, 303, 307, 308)
"""Approximate maximum and minimum bytes on disk of a part of a WARC file."""


@dataclass(frozen=True)
class WarcIndex:
    """The result of a first pass over a file. `cuts` are the offsets of the parts' starts, then the file's size.

    `reader` is "fastwarc", or "warcio" for a file that only warcio reads, always as one part. `seekable`: a record can
    be read from its offset."""

    cuts: tuple[int, ...]
    size: int
    sha256: str
    reader: str
    seekable: bool


@dataclass(frozen=True)
class WarcFile(SingleFile):
    """A WARC or ARC file. One that is not `seekable` (compressed as a whole, ARC) is read from its start. `within`: the
    bytes of the file to read, if not all."""

    kind: ClassVar[str] = "warc"
    reader: str = "fastwarc"
    seekable: bool = True
    within: ZipMember | None = None

    @classmethod
    def at(cls, path: Path) -> "WarcFile | None":
        return cls(path) if path.is_file() else None

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        found = index(self.path, part_bytes(total))
        entry = SourceEntry(name, self.kind, found.size, found.sha256, found.reader, found.seekable)
        return entry, [(start, stop, stop - start) for start, stop in pairwise(found.cuts)]

    def known(self, entry: SourceEntry) -> "WarcFile":
        return WarcFile(self.path, entry.reader, entry.seekable)

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        records = read(self.path, part.start, part.stop, self.reader, limit, skip, self.within)
        if self.seekable:
            return records
        # offsets inside a file compressed as a whole are of no use
        return (record if record.kind == "gap" else replace(record, offset=0, length=0) for record in records)

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        if self.seekable and isinstance(self.path, RemotePath):
            yield from _gathered(self.path, part, numbers, offsets(), limit)
            return
        if self.seekable:
            at = offsets()
            for number in numbers:
                yield number, read_at(self.path, at[number], limit, self.within).body
            return
        for record in self.read(part, "", limit, lambda number: False):
            if record.number in numbers:
                yield record.number, record.body


def index(path: Path, part_bytes: int) -> WarcIndex:
    """Find where a WARC file can be cut into parts of at least `part_bytes` on disk.

    Raises BuildError if the file cannot be read or has no records."""
    try:
        with opened(path) as file:
            cuts, reader, seekable = cuts_of(file, part_bytes)
            return WarcIndex(cuts, file.stop, sha256_of(path), reader, seekable)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BuildError(f"{path}: {error}") from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cuts_of(file: Section, part_bytes: int) -> tuple[tuple[int, ...], str, bool]:
    """The cuts, the reader and whether it is seekable, as in `WarcIndex`.

    Raises ValueError if the file has no records."""
    reader = _reader_for(file)
    if reader is None:
        raise ValueError("neither WARC nor ARC, plain or compressed with gzip, LZ4 or zstd")
    whole = (file.start, file.stop)
    if reader == "warcio":
        return whole, reader, False
    cuts, last, seekable = [file.start], -1, True
    compressed = file.peek(file.start, 4) != b"WARC"
    for raw, offset, _ in _frames(file, file.start, file.stop, 0):
        if raw is None:
            continue
        if compressed and raw.unseen_length and not _alone(file, offset, raw):
            return whole, "warcio", False
        # a member may hold several records
        seekable = seekable and offset > last and (not compressed or begins_member(file, offset))
        if offset - cuts[-1] >= part_bytes and raw.kind != "continuation":
            cuts.append(offset)
        last = offset
    return ((*cuts, file.stop) if seekable else whole), reader, seekable


def read(
    path: Path,
    start: int,
    stop: int,
    reader: str,
    limit: int,
    skip: Callable[[int], bool] = lambda number: False,
    within: ZipMember | None = None,
) -> Iterator[Record]:
    """The records that start in [start, stop) of a file or of the bytes `within` it, with payloads up to `limit` bytes.

    Records for which `skip` is true (by number in the part) are not touched and returned as record.crashed."""
    with opened(path, within) as file:
        if reader == "warcio":
            yield from _read_with_warcio(file, limit, skip)
            return
        if within is not None and within.size:
            start, stop = file.start, file.stop
        for number, (raw, offset, length) in enumerate(_joined(_frames(file, start, stop, limit), limit)):
            if raw is None:
                yield Record(number, offset, length, "gap", rule="record.corrupt", detail="unreadable bytes")
            elif skip(number):
                yield Record(number, offset, length, "crashed", rule="record.crashed")
            else:
                yield _record(raw, number, offset, length, limit)


def read_at(path: Path, offset: int, limit: int, within: ZipMember | None = None) -> Record:
    """The record at an offset of a seekable file.

    Raises BuildError if there is none."""
    try:
        with opened(path, within) as file:
            return _record_at(path, file, offset, limit)
    except OSError:  # no readable file
        raise _changed(path, offset) from None


def _record_at(path: Path, file: Section, offset: int, limit: int) -> Record:
    for raw, _, _ in _joined(_from(file, offset, limit), limit):
        assert raw is not None
        return _record(raw, 0, offset, 0, limit)
    raise _changed(path, offset)


def _changed(path: Path, offset: int) -> BuildError:
    return BuildError(f"{path}: no record at offset {offset}; has the file changed during the build?")


def _gathered(
    path: RemotePath, part: Part, numbers: Collection[int], at: dict[int, int], limit: int
) -> Iterator[tuple[int, bytes]]:
    """(number, body) of some records of a part, from a store by few requests: a record ends where the next begins."""
    ends = dict(pairwise([*sorted(set(at.values())), part.stop]))
    read = gathered(path, [(at[number], ends[at[number]] - at[number]) for number in numbers])
    file = Section(Reads(path, read), 0, path.stat().st_size)
    for number in numbers:
        yield number, _record_at(path, file, at[number], limit).body


def _from(file: Section, position: int, limit: int) -> "Iterator[Frame]":
    """The records from a position on, up to one that cannot be read."""
    try:
        for raw, at in _records(file, position):
            yield _raw(raw, file, at, limit), at, 0
    except (OSError, ValueError):
        return


def _records(file: Section, position: int) -> Iterator[tuple[Any, int]]:
    """fastwarc's records from a position on, each with its offset."""
    stream, shift = file.from_record(position)
    for raw in ArchiveIterator(stream, parse_http=False, auto_decode="none"):
        yield raw, max(raw.stream_pos, 0) + shift


def _reader_for(file: Section) -> str | None:
    head = file.peek(file.start, 1 << 16)
    try:
        if head[:3] == GZIP:
            head = zlib.decompressobj(31).decompress(head, 4096)
        elif head[:4] in (ZSTD, DICTIONARY):
            head = unzstd(file, file.start).read(4096)
        elif head[:4] == LZ4:
            return "fastwarc"
    except zlib.error:
        return None
    except zstandard.ZstdError as error:
        raise ValueError(f"cannot be decompressed: {error}") from None
    if head.startswith(b"WARC/"):
        return "fastwarc" if head.split(b"\n", 1)[0].endswith(b"\r") else "warcio"
    return "warcio" if head.startswith(b"filedesc:") else None


@dataclass(frozen=True, slots=True)
class _Raw:
    """A reader's record, copied from its stream. `body` is what follows the head of an HTTP message; `unseen_length`:
    fastwarc, which knows one spelling of the field, does not see the record's length."""

    kind: str
    headers: dict[str, str]
    http: ResponseHead | None
    body: bytes
    missing: bool
    too_large: bool
    unseen_length: bool = False

    @property
    def segment(self) -> int:
        """WARC-Segment-Number (WARC 1.1, section 5.18), 0 without one."""
        return _number(self.headers, "warc-segment-number")


Frame = tuple[_Raw | None, int, int]
JOINED = "joined to the record before it"


def _joined(frames: Iterator[Frame], limit: int) -> Iterator[Frame]:
    """Records with the segments that directly follow them joined (WARC 1.1, section 7). Segments stay as they are if
    any of their record is missing or lies elsewhere."""
    held: list[tuple[_Raw, int, int]] = []
    size = 0
    for raw, offset, length in frames:
        if held and raw is not None and _continues(held, raw):
            size += len(raw.body)
            body = raw.body if size <= _most(limit) else b""
            held.append((replace(raw, body=body, too_large=size > _most(limit)), offset, length))
            continue
        yield from _join(held)
        held = []
        if raw is not None and raw.segment == 1 and raw.kind != "continuation":
            held, size = [(raw, offset, length)], len(raw.body)
        else:
            yield raw, offset, length
    yield from _join(held)


def _continues(held: Sequence[tuple[_Raw, int, int]], raw: _Raw) -> bool:
    named = "warc-target-uri"
    same = raw.headers.get(named) == held[0][0].headers.get(named)
    return raw.kind == "continuation" and raw.segment == len(held) + 1 and same


def _join(held: Sequence[tuple[_Raw, int, int]]) -> Iterator[Frame]:
    if len(held) < 2:
        yield from held
        return
    raws = [raw for raw, _, _ in held]
    missing, too_large = any(raw.missing for raw in raws), any(raw.too_large for raw in raws)
    block = b"" if too_large else b"".join(raw.body for raw in raws)
    headers = {name: value for name, value in raws[0].headers.items() if name != "warc-segment-number"}
    whole = _with_head(raws[0].kind, headers, block, missing, too_large)
    total = _number(raws[-1].headers, "warc-segment-total-length")
    if not total and whole.http is not None:
        total = whole.http.end + _number(whole.http.headers, "content-length")
    if not too_large and total != len(block):
        yield from held
        return
    (_, start, _), (_, last, length) = held[0], held[-1]
    yield whole, start, last + length - start
    for raw, offset, length in held[1:]:
        yield replace(raw, kind="segment", body=b""), offset, length


def _frames(file: Section, start: int, stop: int, limit: int) -> Iterator[Frame]:
    """(record, offset, bytes on disk) of each record that starts in [start, stop); None for unreadable bytes.

    With limit 0 the records' contents are not read. A record is returned once the next one is known, which gives its
    length on disk."""
    position, size = start, file.stop
    while position < stop:
        held: tuple[_Raw, int] | None = None
        last = position
        try:
            for raw, last in _records(file, position):
                if held is not None:
                    yield held[0], held[1], max(last - held[1], 0)
                    held = None
                if last >= stop < size:  # in a file that is a single gzip member every offset may be its end
                    return
                held = (_raw(raw, file, last, limit), last)
        except (OSError, ValueError):
            pass  # the bytes after the last record are examined below
        except BaseException as error:
            # fastwarc's Rust core panics with its own BaseException
            if type(error).__name__ != "PanicException":
                raise
        # a page may contain what looks like a record: if the last record is whole, its inside is not searched
        whole = end_of(file, last)
        following = next_record(file, last + 1 if whole is None else whole[0])
        end = size if following is None else following
        if held is None:
            yield None, last, end - last
        else:
            over = end if whole is None else min(whole[1], end)
            yield held[0], last, over - last
            if over < end and not blank(file, over, end):
                yield None, over, end - over
        position = end


def _raw(raw: Any, file: Section, offset: int, limit: int) -> _Raw:
    headers = first_values(raw.headers.items())
    kind = str(raw.record_type).rpartition(".")[2]
    if kind not in KINDS:  # fastwarc knows field names in one spelling only
        kind = next((known for known in KINDS if known == headers.get("warc-type", "").strip().lower()), kind)
    if limit == 0 or kind not in ("response", "resource", "revisit", "continuation"):
        return _Raw(kind, headers, None, b"", False, False, raw.content_length == 0 and _declared(headers) > 0)
    expected, most = raw.content_length, _most(limit)
    if expected == 0 and (expected := _declared(headers)) > 0:
        block = _block_at(file, offset, min(expected, most), headers.get("warc-record-id", ""))
    else:
        block = raw.reader.read(most)
    return _with_head(kind, headers, block, len(block) < min(expected, most), expected > most)


def _declared(headers: dict[str, str]) -> int:
    """The length declared in a record's headers, in any letter case."""
    return _number(headers, "content-length")


def _number(headers: dict[str, str], name: str) -> int:
    """The number in a field, 0 without one."""
    declared = headers.get(name, "").strip()
    return int(declared) if re.fullmatch("[0-9]{1,18}", declared) else 0


def _block_at(file: Section, offset: int, length: int, identity: str) -> bytes:
    """The block of the record with this WARC-Record-ID at an offset, b"" if another record is there."""
    stream = _plain(file, offset)
    try:
        return stream.read(length) if _passes_head(stream, identity) else b""
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return b""


def _passes_head(stream: io.BufferedIOBase, identity: str) -> bool:
    """Read the head of a record; returns whether it has this WARC-Record-ID."""
    lines = islice(iter(lambda: stream.readline(8192).rstrip(b"\r\n"), b""), 1000)
    return identity != "" and identity.encode("latin-1", "replace") in b"".join(lines)


def _alone(file: Section, offset: int, raw: _Raw) -> bool:
    """Whether a record is the only content of its compressed member."""
    end = end_of(file, offset)
    if end is None:
        return False
    member = file.copy(offset)
    member.stop = end[0]
    stream, left = _plain(member, offset), _declared(raw.headers)
    try:
        if not _passes_head(stream, raw.headers.get("warc-record-id", "")):
            return False
        while left > 0 and (piece := stream.read(min(left, 1 << 20))):
            left -= len(piece)
        return left == 0 and not stream.read(1024).strip()
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        return False


def _plain(file: Section, position: int) -> io.BufferedIOBase:
    """The decompressed stream from a position on, or the file itself if it is not compressed."""
    head = file.peek(position, 4)
    if head[:3] == GZIP:
        return gzip.GzipFile(fileobj=file.copy(position))
    if head in (ZSTD, DICTIONARY):
        return io.BufferedReader(unzstd(file, position, across_frames=True))
    return io.BufferedReader(file.copy(position))


def _most(limit: int) -> int:
    """How much of a record's block to read: a head and chunked coding add to the payload."""
    return limit + limit // 8 + HEAD_BYTES


def _with_head(kind: str, headers: dict[str, str], block: bytes, missing: bool, too_large: bool) -> _Raw:
    if "warc-segment-number" in headers or essence(headers.get("content-type", "")) != "application/http":
        return _Raw(kind, headers, None, block, missing, too_large)
    http = read_head(block)
    return _Raw(kind, headers, http, block if http is None else block[http.end :], missing, too_large)


def _utf8(value: str) -> str:
    """Decode a header's value, which fastwarc reads as Latin-1, as the UTF-8 that servers send."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _record(raw: _Raw, number: int, offset: int, length: int, limit: int) -> Record:
    url = raw.headers.get("warc-target-uri", "").strip().removeprefix("<").removesuffix(">")
    date = raw.headers.get("warc-date", "")
    if raw.kind == "segment":
        return Record(number, offset, length, "continuation", url, date, rule="record.not_response", detail=JOINED)
    if raw.kind == "continuation" or "warc-segment-number" in raw.headers:
        return Record(number, offset, length, raw.kind, url, date, rule="record.segment")
    if raw.kind not in ("response", "resource", "revisit"):
        other = "record.conversion" if raw.kind == "conversion" else "record.not_response"
        return Record(number, offset, length, raw.kind, url, date, rule=other)
    if raw.kind == "response" and raw.http is None:
        return Record(number, offset, length, raw.kind, url, date, rule="record.not_response", detail="not HTTP")
    http = raw.http or ResponseHead(200, {"content-type": raw.headers.get("content-type", "")}, 0)
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
            rule, detail = "record.status", "a redirect without a valid URL"
    elif not whole(status, headers):
        rule = "record.status"
    elif raw.too_large:
        rule, detail = "record.too_large", f"over {limit} bytes"
    else:
        try:
            body, ended = payload_so_far(headers, raw.body, limit)
            truncated = truncated or ("" if ended else LAST_CHUNK) or _lacks_length(headers, raw.body)
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


def _lacks_length(headers: dict[str, str], body: bytes) -> str:
    """CONTENT_LENGTH if the body is shorter than declared; with a coding the headers may be the server's and the body
    decoded."""
    length = headers.get("content-length", "")
    coded = headers.get("content-encoding") or headers.get("transfer-encoding")
    short = not coded and re.fullmatch("[0-9]{1,18}", length) and len(body) < int(length)
    return CONTENT_LENGTH if short else ""


def _read_with_warcio(file: Section, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
    number = -1
    stream = _plain(file, file.start)

    def frames() -> Iterator[Frame]:
        for raw in WarcioIterator(stream, no_record_parse=True, arc2warc=True):
            block = raw.raw_stream.read(_most(limit) + 1)
            headers = first_values(raw.rec_headers.headers)
            yield _with_head(raw.rec_type, headers, block, False, len(block) > _most(limit)), 0, 0

    try:
        for number, (found, _, _) in enumerate(_joined(frames(), limit)):
            if found is None or skip(number):
                yield Record(number, 0, 0, "crashed", rule="record.crashed")
            else:
                yield _record(found, number, 0, 0, limit)
    except (ArchiveLoadFailed, OSError, ValueError, EOFError, zlib.error, zstandard.ZstdError) as error:
        yield Record(number + 1, 0, 0, "gap", rule="record.corrupt", detail=str(error)[:200])
