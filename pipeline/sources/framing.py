"""Where records of a damaged WARC file end and begin: found by their bytes alone, as it is on disk."""

import re
import zlib
from typing import BinaryIO

GZIP = b"\x1f\x8b\x08"
LZ4 = b"\x04\x22\x4d\x18"
CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
SEARCH_BLOCK = 1 << 20


def next_record(file: BinaryIO, start: int, size: int) -> int | None:
    """The offset of the next thing that looks like a WARC record: a gzip member that inflates to one, or a header
    line."""
    position = start
    while position < size:
        file.seek(position)
        block = file.read(SEARCH_BLOCK + 16)
        found = 0
        while True:
            zipped, plain = block.find(GZIP, found), block.find(b"WARC/1.", found)
            candidates = [at for at in (zipped, plain) if 0 <= at < SEARCH_BLOCK]
            if not candidates:
                break
            at = min(candidates)
            if at == plain and (position + at == 0 or block[at - 1 : at] == b"\n" or at == 0):
                return position + at
            if at == zipped and _inflates_to_warc(file, position + at):
                return position + at
            found = at + 1
        position += SEARCH_BLOCK
    return None


def _inflates_to_warc(file: BinaryIO, offset: int) -> bool:
    file.seek(offset)
    try:
        return zlib.decompressobj(31).decompress(file.read(512), 5) == b"WARC/"
    except zlib.error:
        return False


def end_of(file: BinaryIO, offset: int, size: int) -> tuple[int, int] | None:
    """Where the record at an offset ends on disk, without and with the blank line that belongs behind it. None if
    the file ends inside it or its framing is broken."""
    file.seek(offset)
    head = file.read(65536)
    if head[:4] == LZ4:
        return _end_of_lz4(file, head, offset, size)
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


def _end_of_lz4(file: BinaryIO, head: bytes, offset: int, size: int) -> tuple[int, int] | None:
    """`end_of` for an LZ4 frame (LZ4 Frame Format 1.6.3), block by block, without decompression."""
    flags = head[4] if len(head) > 4 else 0
    end = offset + 7 + 8 * (flags >> 3 & 1) + 4 * (flags & 1)  # the sizes of contents and dictionary are optional
    while end < size:
        file.seek(end)
        block = int.from_bytes(file.read(4), "little") & 0x7FFFFFFF  # the highest bit: not compressed
        end += 4 + block + (4 * (flags >> 4 & 1) if block else 4 * (flags >> 2 & 1))  # checksums are optional
        if block == 0:
            return (end, end) if end <= size else None
    return None


def blank(file: BinaryIO, start: int, stop: int) -> bool:
    """Some writers put more blank lines between records than the standard's one."""
    file.seek(start)
    return stop - start < 4096 and not file.read(stop - start).strip()
