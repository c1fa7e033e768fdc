"""Uncompressed USTAR archives whose bytes depend only on their members, with random access by offset.

tarfile, GNU tar and WebDataset read them. `tarfile.TarFile.addfile` is not used because it keeps every member in memory
and does not return the data offset; `TarInfo.tobuf` makes the same headers but takes four times as long, which doubles
the time of a 20 KB member (40 µs instead of 20).
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shards.store import located, read_range, read_ranges

BLOCK = 512


class TarWriter:
    """Writes members to a binary file one after another; owner and time are 0, the mode is 0644.

    The archive ends with the two zero blocks POSIX requires and is not padded to a 10,240-byte record. The file stays
    open: the caller names, flushes and closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._padding = b""  # of the member before, written with the next header

    def add(self, name: str, data: bytes) -> int:
        """Append a member and return the offset of its data in the archive.

        Raises ValueError if the name is empty, absolute, longer than 100 bytes of UTF-8 or contains `..` or a control
        character, or if the data has 8 GiB or more."""
        header = _header(name, len(data))
        offset = self._position + BLOCK
        padding = -len(data) % BLOCK
        self._file.write(self._padding + header)
        self._file.write(data)
        self._padding = bytes(padding)
        self._position = offset + len(data) + padding
        return offset

    def close(self) -> None:
        """Write the end of the archive."""
        self._file.write(self._padding + bytes(2 * BLOCK))
        self._padding = b""


_REST = b"0".ljust(101, b"\0") + b"ustar\x0000".ljust(88, b"\0") + bytes(167)
_REST_SUM = sum(_REST) + 8 * 32
"""The checksum is the sum of the header's bytes with eight spaces in the checksum field."""


def _header(name: str, size: int) -> bytes:
    encoded = name.encode("utf-8")
    if not encoded or len(encoded) > 100:
        raise ValueError(f"a member's name must have 1 to 100 bytes, not {len(encoded)}: {name!r}")
    if name.startswith("/") or ".." in name.split("/") or min(name) < " ":
        raise ValueError(f"not a relative path: {name!r}")
    if size >= 8**11:
        raise ValueError(f"{name}: {size} bytes do not fit a USTAR header")
    fields = b"%s0000644\x000000000\x000000000\x00%011o\x0000000000000\x00" % (encoded.ljust(100, b"\0"), size)
    return b"%s%06o\0 %s" % (fields, sum(fields) + _REST_SUM, _REST)


class Member(NamedTuple):
    """A member of an archive and the location of its data."""

    name: str
    offset: int
    length: int


def members(file: BinaryIO) -> Iterator[Member]:
    """The regular files of a seekable archive written by `TarWriter`, without reading their data.

    Raises ValueError for a damaged header, another type of member, or a truncated file."""
    end = file.seek(0, os.SEEK_END)
    position = 0
    while True:
        file.seek(position)
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise ValueError(f"the archive ends at byte {end}, before its closing blocks")
        if not any(header):
            return
        name, size = _parse(header, position)
        offset = position + BLOCK
        position = offset + size + (-size % BLOCK)
        if position > end:
            raise ValueError(f"{name}: {size} bytes at {offset}, but the archive ends at byte {end}")
        yield Member(name, offset, size)


def _parse(header: bytes, position: int) -> tuple[str, int]:
    name, size, checksum, kind = struct.unpack_from("100s 24x 12s 12x 8s c", header)
    try:
        if int(checksum.rstrip(b"\0 "), 8) != sum(header) - sum(checksum) + 8 * 32 or kind not in b"0\0":
            raise ValueError
        return name.rstrip(b"\0").decode("utf-8"), int(size.rstrip(b"\0 "), 8)
    except ValueError:
        raise ValueError(f"byte {position} is not the header of a regular USTAR member") from None


def read_member(path: str | Path, offset: int, length: int) -> bytes:
    """Read `length` bytes at `offset` of an archive. Raises ValueError if it is shorter."""
    return whole(path, offset, length, read_range(located(path), offset, length))


def read_members(path: str | Path, places: Sequence[tuple[int, int]]) -> list[bytes]:
    """Read (offset, length) of several members, from a store by few requests. Raises ValueError like `read_member`."""
    found = read_ranges(located(path), places)
    return [whole(path, *place, data) for place, data in zip(places, found, strict=True)]


def read_images(folder: Path, places: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Read images by (tar, offset, length), in this order. Raises ValueError like `read_member`."""
    found: dict[tuple[str, int, int], bytes] = {}
    for tar in dict.fromkeys(tar for tar, _, _ in places):
        inside = [(offset, length) for name, offset, length in places if name == tar]
        found |= {(tar, *place): data for place, data in zip(inside, read_members(folder / tar, inside), strict=True)}
    return [found[place] for place in places]


def whole(path: str | Path, offset: int, length: int, data: bytes) -> bytes:
    """The data read of a member. Raises ValueError if it is too short."""
    if len(data) != length:
        raise ValueError(f"{path}: only {len(data)} of {length} bytes at offset {offset}")
    return data
