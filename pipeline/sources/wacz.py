"""WACZ files (https://specs.webrecorder.net/wacz/), and other zip files with WARC files. Records are read in place, so
offsets are those of the zip file and it can be cut into parts; a deflated member is one part, inflated when read."""

import io
import os
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from pipeline.errors import BuildError
from pipeline.sources import warc
from pipeline.sources.record import Record
from pipeline.sources.section import ZipMember, opened
from pipeline.sources.source import Part, SingleFile, SourceEntry, part_bytes

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
WARC_NAMES = (
    *(".warc", ".warc.gz", ".warc.zst", ".warc.lz4", ".arc", ".arc.gz"),
    *(".warc.wet", ".warc.wet.gz", ".warc.wat", ".warc.wat.gz"),
)
"""Extensions of WARC files, in lower case."""
INFLATION = 100
"""Maximum ratio of the content of a deflated member to its bytes. WARC files of text have up to about 10."""
LIST_BYTES = 8 << 20
"""Maximum bytes of a zip's member list: enough for 80,000 members."""
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""PKWARE APPNOTE 4.3.7: signature, length of the name and of the extra field."""


@dataclass(frozen=True)
class Wacz(SingleFile):
    """A zip file of WARC files: its `members`, and `readers` as in `WarcIndex`, one per member."""

    kind: ClassVar[str] = "wacz"
    members: tuple[ZipMember, ...] = ()
    readers: tuple[str, ...] = ()
    seekable: bool = True

    @classmethod
    def at(cls, path: Path) -> "Wacz | None":
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return cls(path) if file.read(4) in ZIP else None

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        size = part_bytes(total)
        readers: list[str] = []
        bounds: list[tuple[int, int, int]] = []
        seekable = True
        for member, place in members_of(self.path):
            try:
                with opened(self.path, place) as file:
                    cuts, reader, found = warc.cuts_of(file, size)
            except ValueError as error:
                raise BuildError(f"{self.path}: {member!r}: {error}") from None
            readers.append(reader)
            seekable = seekable and found and not place.size
            edges = (place.start, place.stop) if place.size else cuts
            bounds += [(one, other, other - one) for one, other in pairwise(edges)]
        entry = SourceEntry(name, self.kind, self.amount(), warc.sha256_of(self.path), " ".join(readers), seekable)
        return entry, bounds

    def known(self, entry: SourceEntry) -> "Wacz":
        members = tuple(place for _, place in members_of(self.path))
        return Wacz(self.path, members, tuple(entry.reader.split(" ")), entry.seekable)

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        return self._member(part).read(part, root_url, limit, skip)

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        return self._member(part).bodies(part, numbers, offsets, limit)

    def _member(self, part: Part) -> warc.WarcFile:
        number = bisect_right(self.members, part.start, key=lambda member: member.start) - 1
        return warc.WarcFile(self.path, self.readers[number], self.seekable, self.members[number])


class _Bounded(io.FileIO):
    """A file that reads at most LIST_BYTES at once: the member list of a zip is read at once."""

    def read(self, size: int | None = -1) -> Any:
        left = os.fstat(self.fileno()).st_size - self.tell()
        if (left if size is None or size < 0 else min(size, left)) > LIST_BYTES:
            raise zipfile.BadZipFile(f"the list of its members is larger than {LIST_BYTES >> 20} MB")
        return super().read(size)


def members_of(path: Path) -> list[tuple[str, ZipMember]]:
    """Name and place of each WARC file of a zip, in the order of their positions.

    Raises BuildError if the zip is damaged or holds no WARC file, or one that is encrypted or compressed otherwise."""
    found: list[tuple[str, ZipMember]] = []
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            infos = [one for one in archive.infolist() if one.filename.lower().endswith(WARC_NAMES) and one.file_size]
            end = 0
            for info in sorted(infos, key=lambda info: info.header_offset):
                if how := _unreadable(info):
                    raise BuildError(f"{path}: {info.filename!r} is {how} inside the zip: unzip it and pass the folder")
                file.seek(max(0, info.header_offset))  # a damaged list may hold negative ones, refused below
                signature, *lengths = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
                start = info.header_offset + LOCAL_HEADER.size + sum(lengths)
                stop = start + info.compress_size
                if signature != ZIP[0] or info.header_offset < end or stop > os.fstat(file.fileno()).st_size:
                    raise zipfile.BadZipFile(f"{info.filename!r} is not where the member list says")
                size = info.file_size if info.compress_type == zipfile.ZIP_DEFLATED else 0
                found.append((info.filename, ZipMember(start, end := stop, size)))
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, NotImplementedError) as error:
        raise BuildError(f"{path}: a damaged zip file: {error}") from None
    if not found:
        raise BuildError(f"{path}: a zip file without WARC files")
    return found


def _unreadable(info: zipfile.ZipInfo) -> str:
    """Why a member cannot be read, or ""."""
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed by a method other than deflate"
    return "compressed to less than a hundredth" if info.file_size > INFLATION * info.compress_size else ""
