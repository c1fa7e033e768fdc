"""The bytes of a file that form a WARC file: all of it, or a member of a zip. Files compressed by zstd with a
dictionary can be read from any record (IIPC, "Use of the Zstandard compression format with WARC files")."""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import zstandard

from pipeline.errors import BuildError
from shards.store import Positioned, RemotePath, positional

ZSTD = b"\x28\xb5\x2f\xfd"
DICTIONARY = b"\x5d\x2a\x4d\x18"
"""Starts the skippable frame that holds a dictionary."""
DICTIONARY_BYTES = 16 << 20
"""Maximum bytes of a dictionary. Those of published collections have about 100 kB."""
WINDOW_BYTES = 128 << 20
"""Maximum memory of a frame, as in the zstd program and fastwarc."""


class DictionaryRefused(ValueError):
    """The dictionary of a zstd file is damaged or too large."""


class Reads:
    """`read(size, position)` of a file. After an error every read raises BuildError: readers of records would take the
    error for damage, and go on behind it."""

    def __init__(self, path: Path, read: Callable[[int, int], bytes]) -> None:
        self._path, self._read = path, read
        self._error: BuildError | None = None

    @classmethod
    def of(cls, path: Path, file: BinaryIO) -> "Reads":
        return cls(path, partial(os.pread, file.fileno()))

    def __call__(self, size: int, position: int) -> bytes:
        if self._error is None:
            try:
                return self._read(size, position)
            except OSError as error:
                self._error = BuildError.of(OSError(error.errno, error.strerror, str(self._path)))
        raise self._error


class Section(Positioned):
    """Bytes [start, stop) of a file, with the file's positions. It does not share its position."""

    def __init__(self, read: Callable[[int, int], bytes], start: int, stop: int) -> None:
        super().__init__(read, stop, start)
        self.start = start

    def copy(self, position: int) -> "Section":
        """The same bytes with a separate position."""
        other = Section(self._pread, self.start, self.stop)
        other.seek(position)
        return other

    def from_record(self, position: int) -> tuple["Section", int]:
        """A stream for a reader of records from a position on, and the position of its first byte here. The dictionary
        comes first: fastwarc looks for it only at position 0."""
        frame = dictionary_frame(self)
        if not frame:
            return self.copy(position), 0
        position = max(position, self.start + len(frame))
        return _Behind(self, frame, position), position - len(frame)


class _Behind(Section):
    """A section from a position on, preceded by a dictionary; positions are those of a file that starts with it."""

    def __init__(self, section: Section, frame: bytes, position: int) -> None:
        self.start, self.stop, self._pread, self._at = section.start, section.stop, section._pread, position
        self._frame, self._shift = frame, position - len(frame)

    def read(self, size: int | None = -1) -> bytes:
        size = -1 if size is None else size
        data, self._frame = (self._frame, b"") if size < 0 else (self._frame[:size], self._frame[size:])
        return data + super().read(size - len(data) if size >= 0 else -1)

    def tell(self) -> int:
        return self._at - self._shift - len(self._frame)


@dataclass(frozen=True)
class ZipMember:
    """Bytes [start, stop) of a zip file. `size`: that of the content in bytes if they are deflated, else 0."""

    start: int
    stop: int
    size: int = 0


@contextmanager
def opened(path: Path, within: ZipMember | None = None) -> Iterator[Section]:
    """A whole file, or a member of a zip; a deflated one is inflated to an unnamed temporary file.

    Raises BuildError if it cannot be inflated."""
    if isinstance(path, RemotePath):
        yield Section(Reads(path, positional(path)), 0, path.stat().st_size)
        return
    with path.open("rb") as file:
        reads = Reads.of(path, file)
        if within is None:
            yield Section(reads, 0, os.fstat(file.fileno()).st_size)
        elif not within.size:
            yield Section(reads, within.start, within.stop)
        else:
            with TemporaryFile() as content:
                try:
                    _inflate(Section(reads, within.start, within.stop), within.size, content)
                except (OSError, zlib.error) as error:
                    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                    raise BuildError(f"{path}: a member cannot be inflated: {reason}") from None
                yield Section(Reads.of(path, content), 0, within.size)


def _inflate(source: Section, size: int, target: BinaryIO) -> None:
    """Raises OSError, and zlib.error if the content is damaged or not of this size."""
    inflater, written = zlib.decompressobj(-15), 0
    while not inflater.eof:
        data = inflater.unconsumed_tail or source.read(1 << 20)
        piece = inflater.decompress(data, 1 << 20)
        written += len(piece)
        if written > size or not (data or piece):
            raise zlib.error("not of its declared size")
        target.write(piece)
    if written != size:
        raise zlib.error("not of its declared size")
    target.flush()


def dictionary_frame(section: Section) -> bytes:
    """The frame that holds the dictionary, b"" without one. Raises DictionaryRefused over DICTIONARY_BYTES."""
    head = section.peek(section.start, 8)
    if head[:4] != DICTIONARY or len(head) < 8:
        return b""
    size = int.from_bytes(head[4:], "little")
    if size > DICTIONARY_BYTES:
        raise DictionaryRefused(f"its dictionary is larger than {DICTIONARY_BYTES >> 20} MB")
    frame = section.peek(section.start, 8 + size)
    if len(frame) < 8 + size:
        raise DictionaryRefused("it ends inside its dictionary")
    return frame


def _dictionary(section: Section) -> zstandard.ZstdCompressionDict | None:
    data = dictionary_frame(section)[8:]
    if data[:4] == ZSTD:
        try:
            reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).stream_reader(data)
            data = reader.read(DICTIONARY_BYTES + 1)
        except zstandard.ZstdError as error:
            raise DictionaryRefused(f"its dictionary is damaged ({error})") from None
        if len(data) > DICTIONARY_BYTES:
            raise DictionaryRefused(f"its dictionary is larger than {DICTIONARY_BYTES >> 20} MB")
    return zstandard.ZstdCompressionDict(data) if data else None


def unzstd(section: Section, position: int, across_frames: bool = False) -> Any:
    """The content of the zstd frame at a position or, with `across_frames`, of all frames from there on.

    Reading raises zstandard.ZstdError. Raises DictionaryRefused."""
    frame = dictionary_frame(section)
    dictionary = _dictionary(section)
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=WINDOW_BYTES)
    begin = section.start + len(frame) if position == section.start else position
    source: Any = section.copy(begin)
    return decompressor.stream_reader(source, read_across_frames=across_frames)
