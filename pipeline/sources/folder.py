"""Reading a folder of HTML with its images beside the pages."""

import mimetypes
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import BuildError
from pipeline.sources.record import Record

# What a web server would say; the mimetypes module alone reads tables of the machine it runs on.
MEDIA_TYPES = mimetypes.types_map | {
    ".htm": "text/html",
    ".html": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".shtml": "text/html",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".svg": "image/svg+xml",
}


def files(folder: Path) -> list[tuple[str, int, int]]:
    """(path below the folder with forward slashes, size, mtime in ns) of every file, and of every link to a folder,
    which is not entered, sorted by path.

    Raises BuildError where the folder cannot be read."""
    found = []

    def refuse(error: OSError) -> None:
        raise BuildError(f"{error.filename}: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in [*names, *(name for name in folders if Path(parent, name).is_symlink())]:
            path = Path(parent, name)
            try:
                stat = path.lstat() if path.is_dir() else path.stat()
            except OSError:
                stat = path.lstat()
            found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def url_of(base_url: str, name: str) -> str:
    """The URL of a file: the base, which ends in a slash, and its path below the folder, byte by byte."""
    return base_url + quote(os.fsencode(name), safe="/:@!$&'()*+,;=~")


def printable(name: str) -> str:
    r"""A name as text that can be written: bytes that are not UTF-8 become \xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read(
    folder: Path, names: Sequence[str], base_url: str, limit: int, skip: Callable[[int], bool] = lambda number: False
) -> Iterator[Record]:
    """The files of a part as records, contents up to `limit` bytes."""
    root = folder.resolve()
    for number, name in enumerate(names):
        url = url_of(base_url, name)
        if skip(number):
            yield Record(number, 0, 0, "file", url, rule="record.crashed")
        else:
            yield _record(root, name, number, url, limit)


def _record(root: Path, name: str, number: int, url: str, limit: int) -> Record:
    path = root / name
    headers = {"content-type": MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")}
    try:
        real = path.resolve()
        if not real.is_relative_to(root) or not real.is_file():
            detail = "a link to a folder" if real.is_dir() else "no regular file inside the folder"
            return Record(number, 0, 0, "file", url, rule="record.not_a_file", detail=detail)
        size = real.stat().st_size
        if size > limit:
            detail = f"over {limit} bytes"
            return Record(number, 0, size, "file", url, "", 200, headers, rule="record.too_large", detail=detail)
        body = real.read_bytes()
    except OSError as error:
        return Record(number, 0, 0, "file", url, rule="record.unreadable", detail=str(error.strerror))
    return Record(number, 0, size, "file", url, "", 200, headers, body, rule=None if body else "record.empty")
