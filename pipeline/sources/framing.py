"""Finds record boundaries in damaged WARC files by their bytes alone."""

import re
import zlib

import zstandard

from pipeline.sources.section import ZSTD, Section, unzstd

GZIP = b"\x1f\x8b\x08"
LZ4 = b"\x04\x22\x4d\x18"
SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""Starts a zstd frame without data."""
CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
SEARCH_BLOCK = 1 << 20
BEGINNINGS = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|WARC/1\.")


def next_record(file: Section, start: int) -> int | None:
    """The offset of the next position that looks like a WARC record: a gzip member or zstd frame that inflates to one,
    or a header line."""
    position = start
    while position < file.stop:
        block = file.peek(position, SEARCH_BLOCK + 16)
        for candidate in BEGINNINGS.finditer(block, 0, SEARCH_BLOCK + 6):
            at = position + candidate.start()
            if candidate[0] != b"WARC/1.":
                found = _inflates_to_warc(file, at)
            else:
                found = at == start or file.peek(at - 1, 1) == b"\n"
            if found:
                return at
        position += SEARCH_BLOCK
    return None


def _inflates_to_warc(file: Section, offset: int) -> bool:
    try:
        if file.peek(offset, 4) == ZSTD:
            return unzstd(file, offset).read(5) == b"WARC/"
        return zlib.decompressobj(31).decompress(file.peek(offset, 512), 5) == b"WARC/"
    except (zlib.error, zstandard.ZstdError):
        return False


def begins_member(file: Section, offset: int) -> bool:
    """Whether a gzip member, or an LZ4 or zstd frame, starts at an offset."""
    head = file.peek(offset, 4)
    return head[:3] == GZIP or head in (LZ4, ZSTD)


def end_of(file: Section, offset: int) -> tuple[int, int] | None:
    """Where the record at an offset ends on disk, without and with the blank line that follows it. None if the file
    ends inside it or its framing is broken."""
    head, size = file.peek(offset, 65536), file.stop
    if head[:4] == LZ4:
        return _end_of_lz4(file, head, offset, size)
    if head[:4] == ZSTD:
        return _end_of_zstd(file, head, offset, size)
    if SKIPPABLE.match(head):
        end = offset + 8 + int.from_bytes(head[4:8], "little")
        return (end, end) if end <= size else None
    if head[:3] != GZIP:
        gap = head.find(b"\r\n\r\n")
        length = CONTENT_LENGTH.search(head, 0, gap + 2) if head.startswith(b"WARC/") and gap >= 0 else None
        end = size + 1 if length is None else offset + gap + 4 + int(length[1])
        return None if end > size else (end, end + 4)
    file.seek(offset)
    inflater = zlib.decompressobj(31)
    try:
        while not inflater.eof:
            data = file.read(SEARCH_BLOCK)
            if not data:
                return None
            while data and not inflater.eof:
                inflater.decompress(data, SEARCH_BLOCK)
                data = inflater.unconsumed_tail
    except zlib.error:
        return None
    end = file.tell() - len(inflater.unused_data)
    return end, end


def _end_of_lz4(file: Section, head: bytes, offset: int, size: int) -> tuple[int, int] | None:
    """`end_of` for an LZ4 frame (LZ4 Frame Format 1.6.3), block by block, without decompression."""
    flags = head[4] if len(head) > 4 else 0
    end = offset + 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)  # content size and dictionary id are optional
    while end < size:
        block = int.from_bytes(file.peek(end, 4), "little") & 0x7FFFFFFF  # highest bit: not compressed
        end += 4 + block + (4 * (flags >> 4 & 1) if block else 4 * (flags >> 2 & 1))  # checksums are optional
        if block == 0:
            return (end, end) if end <= size else None
    return None


def _end_of_zstd(file: Section, head: bytes, offset: int, size: int) -> tuple[int, int] | None:
    """`end_of` for a zstd frame (RFC 8878, section 3.1.1), block by block, without decompression."""
    try:
        end = offset + zstandard.frame_header_size(head)
        checksum = 4 if zstandard.get_frame_parameters(head).has_checksum else 0
    except zstandard.ZstdError:
        return None
    while end < size:
        block = int.from_bytes(file.peek(end, 3), "little")
        last, kind, length = block & 1, block >> 1 & 3, block >> 3
        if kind == 3:  # reserved
            return None
        end += 3 + (1 if kind == 1 else length)  # one repeated byte
        if last:
            return (end + checksum, end + checksum) if end + checksum <= size else None
    return None


def blank(file: Section, start: int, stop: int) -> bool:
    """Whether only blank lines or skippable zstd frames are left: some writers put more of them between records."""
    while SKIPPABLE.match(head := file.peek(start, 8)) and start < stop:
        start += 8 + int.from_bytes(head[4:], "little")
    return stop - start < 4096 and not file.peek(start, stop - start).strip()
