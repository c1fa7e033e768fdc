"""What input kinds of one file without an index of its records share: bodies are found by reading a part again."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from pipeline.sources.record import Record
from pipeline.sources.source import Part, SingleFile, SourceEntry
from pipeline.sources.warc import sha256_of


@dataclass(frozen=True)
class RereadFile(SingleFile):
    """An input kind whose parts are read again for single bodies."""

    kind: ClassVar[str]

    def known(self, entry: SourceEntry) -> Self:
        return self

    @abstractmethod
    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        """See `Source.read`."""

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        for record in self.read(part, "", limit, lambda number: number not in numbers):
            if record.number in numbers:
                yield record.number, record.body


@dataclass(frozen=True)
class OnePartFile(RereadFile):
    """An input kind whose file is always one part."""

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        size = self.amount()
        return SourceEntry(name, self.kind, size, sha256_of(self.path)), [(0, size, size)]
