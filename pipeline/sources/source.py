"""What an input kind is: a source that is cut into parts, read part by part, and asked for single bodies later."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

from pipeline.sources.record import Record

SHARE = 16
"""A small input is cut into about this many parts, so that all workers have some."""


@dataclass(frozen=True)
class SourceEntry:
    """A source as parts.json and the manifest name it. `name` is its path below the folder that all inputs share: no
    absolute path enters a corpus. `identity` is the sha256 of a file's bytes, or of a folder's listing: names, sizes
    and times of change. `reader` and `seekable` tell how to read it again."""

    name: str
    kind: str
    size: int
    identity: str
    reader: str = ""
    seekable: bool = True


@dataclass(frozen=True)
class Part:
    """Bytes [start, stop) of a file, or the files [start, stop) of a folder in the order of their paths. `weight` is in
    bytes."""

    number: int
    source: int
    start: int
    stop: int
    weight: int


class Source(Protocol):
    """An input kind. A new one is a module here and its name in `pipeline.stages.parts.SOURCES`.

    The cut must depend on the input alone. Values travel to workers: they are small and can be pickled."""

    kind: ClassVar[str]

    @property
    def path(self) -> Path:
        """Where it lies."""

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The source at a path, or None if it is of another kind. Reads as little as possible."""

    def state(self) -> list[list[str | int]]:
        """Names, sizes and times of change: while they stay the same, so does the cut."""

    def amount(self) -> int:
        """What parts of this kind are measured by: bytes on disk, or files."""

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        """The entry of this source and (start, stop, weight) of its parts; `total` is the amount of all sources of this
        kind. Raises BuildError if it cannot be read or holds nothing that can be."""

    def known(self, entry: SourceEntry) -> Self:
        """This source with what an earlier cut found out."""

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        """The records of a part, payloads up to `limit` bytes. `skip` names records (by number in the part) that are
        not to be touched: they come as record.crashed."""

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        """(number, body) of some records of a part. `offsets` gives the offset of each record, as `read` told it."""
