"""The protocol of an input kind: a source is cut into parts, read part by part, and asked for single bodies later."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

from pipeline.sources.record import Record

SHARE, LARGE_SHARE = 16, 1024
"""Small inputs are cut into about this many parts, so that all workers have some; large ones into at least so many."""
FEWEST_BYTES, PART_BYTES, MOST_BYTES = 1 << 20, 64 << 20, 1 << 30
"""Bytes of a part of a small, a medium and a large input."""


def part_bytes(total: int) -> int:
    """The size of the parts of an input of `total` bytes: 64 MB; less below 1 GB, so that all workers have some; more
    above 64 GB, up to 1 GB, so that a dump has some hundred thousand parts and not millions."""
    return max(FEWEST_BYTES, min(PART_BYTES, total // SHARE), min(MOST_BYTES, total // LARGE_SHARE))


@dataclass(frozen=True)
class SourceEntry:
    """A source as listed in parts.json and the manifest. `name` is its path below the common folder of all inputs: no
    absolute path enters a corpus. `identity` is the sha256 of a file's bytes, or of a folder's listing: names, sizes
    and modification times. `reader` and `seekable` say how to read it again."""

    name: str
    kind: str
    size: int
    identity: str
    reader: str = ""
    seekable: bool = True


Cut = tuple[SourceEntry, Sequence[tuple[int, int, int]]]
"""A source, and (start, stop, weight) of each of its parts."""


@dataclass(frozen=True)
class Part:
    """Bytes [start, stop) of a file, or the files [start, stop) of a folder in the order of their paths. `weight` is in
    bytes."""

    number: int
    source: int
    start: int
    stop: int
    weight: int


@dataclass(frozen=True)
class SingleFile:
    """What the input kinds of one file share: its bytes identify it, so its cut needs no state."""

    path: Path

    def state(self) -> list[list[str | int]]:
        return []

    def amount(self) -> int:
        return self.path.stat().st_size


class Source(Protocol):
    """An input kind. A new one is a module here and its name in `pipeline.stages.parts.SOURCES`.

    The cut must depend only on the input. Values are sent to workers: they must be small and picklable."""

    kind: ClassVar[str]

    @property
    def path(self) -> Path:
        """Its path."""

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The source at a path, or None if it is of another kind. Reads as little as possible."""

    def state(self) -> list[list[str | int]]:
        """Names, sizes and modification times: while they are unchanged, so is the cut."""

    def amount(self) -> int:
        """The size of this kind: bytes on disk, or files."""

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        """The entry of this source and (start, stop, weight) of its parts; `total` is the amount of all sources of this
        kind. Raises BuildError if it cannot be read or has no readable content."""

    def known(self, entry: SourceEntry) -> Self:
        """This source with the findings of an earlier cut."""

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        """The records of a part, with payloads up to `limit` bytes. Records for which `skip` is true (by number in the
        part) are not touched and returned as record.crashed."""

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        """(number, body) of some records of a part. `offsets` holds the offset of each record, as reported by
        `read`."""
