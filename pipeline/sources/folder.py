"""A folder of HTML with its images."""

import hashlib
import json
import mimetypes
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote_to_bytes

from lxml import etree, html

from pipeline.errors import BuildError
from pipeline.sources.record import Record
from pipeline.sources.source import SHARE, Part, SourceEntry
from pipeline.urls import MAX_URL, resolve

PART_FILES, FEWEST_FILES = 1000, 20
"""Maximum and minimum number of files in a part of a folder."""

# What a web server would send; the mimetypes module alone depends on tables of the machine.
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
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif")
"""Extensions that mirroring tools add to image names that have none."""
PAGES = (".html", ".htm", ".xhtml", ".shtml")
PAGE_BYTES = 20 << 20
"""Image files are not looked up for larger single pages."""


@dataclass(frozen=True)
class Folder:
    """A folder and everything below it; `listing` as returned by `files`."""

    kind: ClassVar[str] = "folder"
    path: Path
    listing: tuple[tuple[str, int, int], ...]

    @classmethod
    def at(cls, path: Path) -> "Folder | None":
        return cls(path, tuple(files(path))) if path.is_dir() else None

    @classmethod
    def of_pages(cls, pages: Sequence[Path]) -> "Folder":
        """Single pages with the files they name, as part of their common folder."""
        root = Path(os.path.commonpath([page.parent for page in pages]))
        found = {name for page in pages for name in (page.relative_to(root).as_posix(), *_named_by(page, root))}
        stats = ((name, (root / name).stat()) for name in found)
        return cls(root, tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)))

    def state(self) -> list[list[str | int]]:
        return [list(item) for item in self.listing]

    def amount(self) -> int:
        return len(self.listing)

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        if not self.listing:
            raise BuildError(f"{self.path}: the folder is empty")
        identity = hashlib.sha256(json.dumps(self.listing).encode()).hexdigest()
        sizes = [size for _, size, _ in self.listing]
        step = max(FEWEST_FILES, min(PART_FILES, -(-total // SHARE)))
        bounds = [(start, min(start + step, len(sizes))) for start in range(0, len(sizes), step)]
        parts = [(start, stop, sum(sizes[start:stop])) for start, stop in bounds]
        return SourceEntry(name, self.kind, sum(sizes), identity), parts

    def known(self, entry: SourceEntry) -> "Folder":
        return self

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        return read(self.path, self._names(part), root_url, limit, skip)

    def bodies(
        self, part: Part, numbers: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        names = self._names(part)
        for number in numbers:
            yield number, (self.path / names[number]).read_bytes()

    def file_for(self, root_url: str, page_url: str, url: str) -> str | None:
        """The URL of the file that stands for a page's reference without a file of that name: mirroring tools rewrite
        queries, extensions and letter case, and put each host into a folder of its name.

        None if the URL has a file, or if no file stands for it."""
        path, mark, query = url.partition("?")
        if own := path.startswith(root_url):
            path = path[len(root_url) :]
        elif path.startswith(("http://", "https://")):
            path = path.partition("//")[2]
        else:
            return None
        plain = os.fsdecode(unquote_to_bytes(path))
        if own and not mark and self._by_name.get(plain) == plain:
            return None
        plain = re.sub("/{2,}", "/", plain)  # as file systems read it
        asked = dict.fromkeys((query, os.fsdecode(unquote_to_bytes(query)))) if mark else ()
        ends = [*(sign + text for text in asked for sign in ("?", "@", "%3F")), ""]
        # a path from the host's root begins in the folder of the page's host
        host = os.fsdecode(unquote_to_bytes(page_url.removeprefix(root_url).partition("/")[0]))
        names = [name + end for name in (plain, *([f"{host}/{plain}"] if own else [])) for end in ends]
        for name in [*names, *(name + ending for name in names for ending in PICTURE_ENDINGS)]:
            found = self._by_name.get(name) or self._by_name.get(name.lower())
            if found is not None:
                return url_of(root_url, found)
        return None

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """File names, as they are and in lower case."""
        names = [name for name, _, _ in reversed(self.listing)]  # of several that differ only in case, the first counts
        return {name.lower(): name for name in names} | {name: name for name in names}

    def _names(self, part: Part) -> list[str]:
        return [name for name, _, _ in self.listing[part.start : part.stop]]


def files(folder: Path) -> list[tuple[str, int, int]]:
    """(path below the folder with forward slashes, size, mtime in ns) of every file, and of every link to a folder,
    which is not followed, sorted by path.

    Raises BuildError if the folder cannot be read."""
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


def _named_by(page: Path, root: Path) -> Iterator[str]:
    """Files below a folder that a page's attributes name, as paths below the folder."""
    with page.open("rb") as file:
        data = file.read(PAGE_BYTES + 1)
    if not data.strip() or len(data) > PAGE_BYTES:
        return
    try:
        tree = html.document_fromstring(data)
    except (etree.LxmlError, ValueError):
        return
    base = url_of("file:///", page.relative_to(root).as_posix())
    values = (value for element in tree.iter() for value in element.attrib.values())
    for text in dict.fromkeys(text for value in values for text in (value.strip(), *re.split(r"[\s,]+", value))):
        url = resolve(text, base) if 0 < len(text) <= MAX_URL else None
        path = unquote_to_bytes(url.removeprefix("file:///").partition("?")[0]) if url else b""
        if url and url.startswith("file:///") and path and b"\0" not in path and not path.startswith(b"/"):
            name = os.fsdecode(path)
            try:
                found = (root / name).is_file()
            except OSError:  # names that are too long
                continue
            if found:
                yield Path(name).as_posix()


def url_of(base_url: str, name: str) -> str:
    """The URL of a file: the base, which ends in a slash, and its path below the folder, byte by byte."""
    return base_url + quote(os.fsencode(name), safe="/:@!$&'()*+,;=~")


def printable(name: str) -> str:
    r"""A name as printable text: bytes that are not UTF-8 become \xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read(
    folder: Path, names: Sequence[str], base_url: str, limit: int, skip: Callable[[int], bool] = lambda number: False
) -> Iterator[Record]:
    """The files of a part as records, with contents up to `limit` bytes."""
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
            detail = "a link to a folder" if real.is_dir() else "not a regular file inside the folder"
            return Record(number, 0, 0, "file", url, rule="record.not_a_file", detail=detail)
        size = real.stat().st_size
        if size > limit:
            detail = f"over {limit} bytes"
            return Record(number, 0, size, "file", url, "", 200, headers, rule="record.too_large", detail=detail)
        body = real.read_bytes()
    except OSError as error:
        return Record(number, 0, 0, "file", url, rule="record.unreadable", detail=str(error.strerror))
    return Record(number, 0, size, "file", url, "", 200, headers, body, rule=None if body else "record.empty")
