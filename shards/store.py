"""Files in object stores, as paths: s3:// and gs://, by fsspec. A local path stays a `Path`, with its own speed.

`located` makes a path of an argument. A `RemotePath` offers what is used of `Path`; whatever else would reach for the
local disk raises TypeError. Stores have no folders and no rename: an object appears whole, when its upload ends.

Errors are OSError, with the address as file name.
"""

import errno
import io
import os
import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PosixPath
from typing import IO, Any, BinaryIO

UPLOADED_AT_ONCE = 8 << 20
"""Objects up to this size are uploaded by one request, longer ones in pieces."""
READ_AT_ONCE = 32 << 20
"""Parquet files up to this size are read by one request, longer ones by ranges."""
READ_AHEAD = 8 << 20
"""Bytes read ahead of a sequential reader: a request costs about as much time as 2 MB."""
JOINED_GAP = 1 << 20
"""Ranges with fewer bytes between them are read by one request."""

_NO_LISTINGS_KEPT: dict[str, Any] = {"use_listings_cache": False}
_SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "s3": ("s3", _NO_LISTINGS_KEPT | {"max_concurrency": 4}),
    "s3a": ("s3", _NO_LISTINGS_KEPT | {"max_concurrency": 4}),
    "gs": ("gs", _NO_LISTINGS_KEPT),
    "gcs": ("gs", _NO_LISTINGS_KEPT),
    "memory": ("", {}),  # for tests
}
"""The extra that each scheme needs, and options of its file system."""
_ADDRESS = re.compile(rf"^({'|'.join(_SCHEMES)}):/(?=[^/])")


def is_address(text: str) -> bool:
    """Whether a text is the address of an object, or of a prefix of objects, in a supported store."""
    return text.partition("://")[0] in _SCHEMES and "://" in text


def located(text: str | os.PathLike[str]) -> Path:
    """The path that a text names: local, or in a store."""
    if isinstance(text, RemotePath):
        return text
    return RemotePath(text) if is_address(os.fspath(text)) else Path(text)


class RemotePath(PosixPath):
    """An object in a store, or a prefix of objects in the place of a folder."""

    def __str__(self) -> str:
        return _ADDRESS.sub(r"\1://", super().__str__(), count=1)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not a local file")

    @property
    def filesystem(self) -> Any:
        """The file system of fsspec that holds it. Raises OSError if its package is missing."""
        import fsspec

        scheme = str(self).partition("://")[0]
        extra, options = _SCHEMES[scheme]
        try:
            return fsspec.filesystem(scheme, **options)
        except ImportError as error:
            missing = f"needs {error.name}: pip install 'openm3w[{extra}]'"
            raise OSError(errno.ENOTSUP, missing, str(self)) from None

    def _child(self, name: str) -> "RemotePath":
        return RemotePath(f"{str(self).partition('://')[0]}://{name.lstrip('/')}")

    def resolve(self, strict: bool = False) -> "RemotePath":
        return self

    def absolute(self) -> "RemotePath":
        return self

    def is_absolute(self) -> bool:
        return True

    def _details(self) -> dict[str, Any]:
        with _told(self):
            found: dict[str, Any] = self.filesystem.info(str(self))
        return found

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        found = self._details()
        changed: Any = found.get("LastModified") or found.get("mtime") or found.get("updated") or found.get("created")
        seconds = int(changed.timestamp()) if hasattr(changed, "timestamp") else 0
        return os.stat_result((0, 0, 0, 1, 0, 0, int(found["size"] or 0), seconds, seconds, seconds))

    def _type(self) -> str:
        try:
            return str(self._details()["type"])
        except FileNotFoundError:
            return ""

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        return bool(self._type())

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._type() == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._type() == "directory"

    def is_symlink(self) -> bool:
        return False

    def iterdir(self) -> Iterator["RemotePath"]:  # type: ignore[override]
        """What lies below; nothing if nothing does: a store has no empty folders."""
        try:
            with _told(self):
                names = self.filesystem.ls(str(self), detail=False)
        except FileNotFoundError:
            return
        yield from (child for child in map(self._child, sorted(names)) if child != self)

    def glob(self, pattern: str, **options: Any) -> Iterator[Path]:  # type: ignore[override]
        """The objects (no prefixes) whose names below match, part by part."""
        wanted = pattern.split("/")
        for path in sizes(self):
            parts = path.relative_to(self).parts
            if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
                yield path

    def rglob(self, pattern: str, **options: Any) -> Iterator[Path]:  # type: ignore[override]
        """The objects (no prefixes) at any depth whose last name matches."""
        return (path for path in sizes(self) if fnmatchcase(path.name, pattern))

    def open(self, mode: str = "r", *_: Any, encoding: str | None = None, **__: Any) -> Any:
        """Open for reading, with read-ahead."""
        if mode not in ("r", "rb"):
            raise TypeError(f"{self}: objects are written by shards.files.atomic")
        raw = Positioned(lambda size, position: read_range(self, position, size), self.stat().st_size)
        file = io.BufferedReader(raw, READ_AHEAD)
        return file if mode == "rb" else io.TextIOWrapper(file, encoding or "utf-8")

    def read_bytes(self) -> bytes:
        with _told(self):
            data: bytes = self.filesystem.cat_file(str(self))
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def unlink(self, missing_ok: bool = False) -> None:
        with _told(self):
            try:
                self.filesystem.rm_file(str(self))
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a prefix exists while an object has it."""

    def rmdir(self) -> None:
        """Nothing, like `mkdir`."""

    def upload(self, file: IO[bytes], local: str, size: int) -> None:
        """Make the object of a local file, given opened and by name: all of it, or nothing."""
        with _told(self):
            if size <= UPLOADED_AT_ONCE:
                file.seek(0)
                self.filesystem.pipe_file(str(self), file.read())
            else:
                self.filesystem.put_file(local, str(self))


def sizes(folder: Path) -> dict[Path, int]:
    """Every file below, in order, with its size: of a store by one listing."""
    if not isinstance(folder, RemotePath):
        return {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    with _told(folder):
        found = folder.filesystem.find(str(folder), detail=True)
    return {folder._child(name): int(detail["size"]) for name, detail in sorted(found.items())}


def absent(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of some files below that do not exist: of a store by one listing."""
    if not isinstance(folder, RemotePath):
        return [name for name in names if not (folder / name).exists()]
    there = sizes(folder)
    return [name for name in names if folder / name not in there]


@contextmanager
def _told(path: RemotePath) -> Iterator[None]:
    """Errors of a store's library as OSError with the address."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "not found", str(path)) from error
    except OSError as error:
        raise type(error)(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    except Exception as error:  # those of botocore and aiohttp have no common class
        raise OSError(errno.EIO, str(error).partition("\n")[0] or type(error).__name__, str(path)) from error


class Positioned(io.RawIOBase):
    """A seekable stream of bytes up to `stop`, over a function that reads (size, position)."""

    def __init__(self, pread: Callable[[int, int], bytes], stop: int, at: int = 0) -> None:
        self.stop, self._pread, self._at = stop, pread, at

    def peek(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from a position."""
        size = min(size, self.stop - position)
        return self._pread(size, position) if size > 0 else b""

    def read(self, size: int | None = -1) -> bytes:
        data = self.peek(self._at, self.stop - self._at if size is None or size < 0 else size)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.stop}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def read_range(path: Path, offset: int, size: int) -> bytes:
    """Up to `size` bytes at `offset`: fewer at the end."""
    if isinstance(path, RemotePath):
        with _told(path):
            data: bytes = path.filesystem.cat_file(str(path), start=offset, end=offset + size)
        return data
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


def read_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes at (offset, length) of each range, from a store by few requests: of ranges close together they read
    what lies between, too. A range beyond the end is shorter."""
    if not isinstance(path, RemotePath):
        return [read_range(path, offset, length) for offset, length in ranges]
    found: dict[tuple[int, int], bytes] = {}
    for group in joined(sorted(set(ranges))):
        start = group[0][0]
        data = read_range(path, start, max(offset + length for offset, length in group) - start)
        found |= {(offset, length): data[offset - start : offset - start + length] for offset, length in group}
    return [found[item] for item in ranges]


def joined(ranges: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Ranges in order of offset, in groups without large gaps."""
    groups: list[list[tuple[int, int]]] = []
    end = 0
    for offset, length in ranges:
        if not groups or offset - end > JOINED_GAP or offset + length - groups[-1][0][0] > READ_AT_ONCE:
            groups.append([])
        groups[-1].append((offset, length))
        end = max(end, offset + length)
    return groups


def gathered(path: Path, ranges: Iterable[tuple[int, int]]) -> Callable[[int, int], bytes]:
    """`read(size, position)` of an object of which some (offset, length) are wanted, in this order: they are read by
    few requests, one of which is kept. Inside of them it returns at most what was read with them."""
    groups = joined(sorted(ranges))
    starts = [group[0][0] for group in groups]

    @lru_cache(maxsize=1)
    def load(number: int) -> bytes:
        group = groups[number]
        return read_range(path, starts[number], max(offset + length for offset, length in group) - starts[number])

    def read(size: int, position: int) -> bytes:
        number = bisect_right(starts, position) - 1
        data = load(number) if number >= 0 else b""
        inside = data[position - starts[number] :][:size] if data else b""
        return inside or read_range(path, position, size)

    return read


def read_many(paths: Sequence[Path]) -> list[bytes | None]:
    """The content of small files, None for those that do not exist; from a store many at a time."""
    if paths and all(isinstance(path, RemotePath) for path in paths):
        first = paths[0]
        assert isinstance(first, RemotePath)
        names = [str(path) for path in paths]
        with _told(first):
            found = first.filesystem.cat(names, on_error="return")
            values = [found[first.filesystem._strip_protocol(name)] for name in names]
            for value in values:
                if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                    raise value
        return [value if isinstance(value, bytes) else None for value in values]
    return [path.read_bytes() if path.exists() else None for path in paths]


def parquet_source(path: Path) -> Path | BinaryIO:
    """What pyarrow reads a Parquet file from: its own path, or a file object of ours."""
    if not isinstance(path, RemotePath):
        return path
    size = path.stat().st_size
    return io.BytesIO(path.read_bytes()) if size <= READ_AT_ONCE else path.open("rb")


def put_if_absent(path: Path, data: bytes) -> bool:
    """Write a small file unless it exists, whoever else tries at the same time. Returns whether `data` is there."""
    if isinstance(path, RemotePath):
        with _told(path):
            try:
                path.filesystem.pipe_file(str(path), data, mode="create")
            except FileExistsError:  # perhaps written by a request whose answer was lost
                return bool(path.read_bytes() == data)
        return True
    temporary = Path(tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")[1])
    try:
        temporary.write_bytes(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def positional(path: Path) -> Callable[[int, int], bytes]:
    """`read(size, position)` of an object, by blocks of READ_AHEAD bytes, of which the last three are kept."""

    @lru_cache(maxsize=3)
    def block(number: int) -> bytes:
        return read_range(path, number * READ_AHEAD, READ_AHEAD)

    def read(size: int, position: int) -> bytes:
        first, last = position // READ_AHEAD, (position + size - 1) // READ_AHEAD
        data = block(first) if first == last else b"".join(map(block, range(first, last + 1)))
        return data[position - first * READ_AHEAD : position - first * READ_AHEAD + size]

    return read
