"""The cut of the input into parts, before anything else runs. It depends on the input alone."""

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline import urls
from pipeline.engine.corpus import Corpus
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json
from pipeline.sources import folder, warc
from pipeline.sources.record import Record

PART_BYTES = 64 << 20
"""A part of a WARC file holds at least this many bytes on disk; of a small input a 16th, so that all workers have
some."""
PART_FILES = 1000
"""A part of a folder holds this many files; of a small folder a 16th."""
FEWEST_BYTES, FEWEST_FILES = 1 << 20, 20
SHARE = 16
NO_BASE = "file:///"
"""The base of a folder's URLs where none is given."""


@dataclass(frozen=True)
class Source:
    """An input file or folder. `name` is its path below the folder that all inputs share: no absolute path enters a
    corpus. `identity` is the sha256 of a file's bytes, or of a folder's listing: names, sizes and times of change."""

    name: str
    kind: str  # warc or folder
    size: int
    identity: str
    reader: str = "fastwarc"
    seekable: bool = True


@dataclass(frozen=True)
class Part:
    """One part: bytes [start, stop) of a WARC file, or the files [start, stop) of a folder in the order of their
    paths."""

    number: int
    source: int
    start: int
    stop: int
    weight: int


@dataclass(frozen=True)
class Parts:
    """The whole cut. `names[i]` are the files of source i where that is a folder, `base_url` is the URL of its root, or
    of all roots."""

    sources: tuple[Source, ...]
    parts: tuple[Part, ...]
    names: dict[int, tuple[str, ...]]
    base_url: str

    def identity(self) -> list[Any]:
        """What a stage that reads the input depends on."""
        return [[asdict(source) for source in self.sources], [asdict(part) for part in self.parts], self.base_url]

    def root_url(self, source: int) -> str:
        """The URL of a folder's root. Of several folders each has its name, numbered where it is taken, as the first
        segment of the path, so that no two files have one URL."""
        folders = [number for number, other in enumerate(self.sources) if other.kind == "folder"]
        if len(folders) == 1:
            return self.base_url
        taken: list[str] = []
        for number in folders:
            name = segment = Path(self.sources[number].name).name
            count = 1
            while segment in taken:
                count += 1
                segment = f"{name}-{count}"
            taken.append(segment)
        return f"{self.base_url}{quote(taken[folders.index(source)], safe='')}/"


@dataclass(frozen=True)
class Input:
    """The cut together with where the sources lie on this machine, for workers."""

    parts: Parts
    paths: tuple[Path, ...]

    def part(self, number: int) -> Part:
        return self.parts.parts[number]

    def read(self, number: int, limit: int, skip: Any = lambda number: False) -> Iterator[Record]:
        """The records of a part, payloads up to `limit` bytes."""
        part = self.parts.parts[number]
        source, path = self.parts.sources[part.source], self.paths[part.source]
        if source.kind == "folder":
            names = self.parts.names[part.source][part.start : part.stop]
            return folder.read(path, names, self.parts.root_url(part.source), limit, skip)
        return warc.read(path, part.start, part.stop, source.reader, limit, skip)


def resolve(inputs: Sequence[str]) -> list[Path]:
    """The files and folders that the arguments name, globs expanded, each once, in order of path.

    Raises BuildError for one that names nothing."""
    paths: dict[Path, None] = {}
    for text in inputs:
        named = Path(text).exists()
        found = [Path(text)] if named else [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
        if not found:
            raise BuildError(f"{text}: no such file or folder")
        for path in found:
            paths[path.resolve()] = None
    return sorted(paths)


def cut(corpus: Corpus, paths: Sequence[Path], base_url: str) -> Input:
    """Cuts the input, or reads the cut that an earlier run made of the same files.

    Raises BuildError where a source cannot be read or holds nothing that this program reads, and where `base_url` is
    no URL of a folder or several folders would share it."""
    base_url = _base(base_url)
    if base_url != NO_BASE and sum(path.is_dir() for path in paths) > 1:
        raise BuildError(
            f"--base-url {base_url} cannot be the URL of several folders: build each into a corpus of its own, "
            "or give the folder above them"
        )
    shared = paths[0].parent if len(paths) == 1 else _common(paths)
    state = [[path.relative_to(shared).as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    listings = {index: folder.files(path) for index, path in enumerate(paths) if path.is_dir()}
    state += [[name, size, mtime] for listing in listings.values() for name, size, mtime in listing]
    saved = read_json(corpus.work("parts.json"))
    if saved is not None and saved["state"] == state and saved["base_url"] == base_url:
        parts = Parts(
            tuple(Source(**source) for source in saved["sources"]),
            tuple(Part(**part) for part in saved["parts"]),
            {index: tuple(name for name, _, _ in listing) for index, listing in listings.items()},
            base_url,
        )
        return Input(parts, tuple(paths))
    parts = _cut(paths, shared, listings, base_url)
    write_json(
        corpus.work("parts.json"),
        {
            "state": state,
            "base_url": base_url,
            "sources": [asdict(source) for source in parts.sources],
            "parts": [asdict(part) for part in parts.parts],
        },
    )
    return Input(parts, tuple(paths))


def _base(url: str) -> str:
    """The base as resolved references will spell it, with a slash at its end."""
    base = urls.resolve(url, "") if "#" not in url else None
    if base is None or "?" in base:
        raise BuildError(f"--base-url {url}: not the URL of a folder, such as https://example.org/docs/")
    return base if base.endswith("/") else base + "/"


def _common(paths: Sequence[Path]) -> Path:
    parents = set(paths[0].parents)
    for path in paths[1:]:
        parents &= set(path.parents)
    return max(parents, key=lambda parent: len(parent.parts))


def _cut(paths: Sequence[Path], shared: Path, listings: dict[int, list[tuple[str, int, int]]], base_url: str) -> Parts:
    warc_bytes = sum(path.stat().st_size for index, path in enumerate(paths) if index not in listings)
    part_bytes = max(FEWEST_BYTES, min(PART_BYTES, warc_bytes // SHARE))
    file_count = sum(len(listing) for listing in listings.values())
    part_files = max(FEWEST_FILES, min(PART_FILES, -(-file_count // SHARE)))
    sources: list[Source] = []
    parts: list[Part] = []
    names: dict[int, tuple[str, ...]] = {}
    for index, path in enumerate(paths):
        name = folder.printable(path.relative_to(shared).as_posix())
        if index in listings:
            listing = listings[index]
            if not listing:
                raise BuildError(f"{path}: the folder is empty")
            size = sum(item[1] for item in listing)
            identity = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
            sources.append(Source(name, "folder", size, identity))
            names[index] = tuple(item[0] for item in listing)
            for start in range(0, len(listing), part_files):
                chunk = listing[start : start + part_files]
                weight = sum(item[1] for item in chunk)
                parts.append(Part(len(parts), index, start, start + len(chunk), weight))
        else:
            found = warc.index(path, part_bytes)
            sources.append(Source(name, "warc", found.size, found.sha256, found.reader, found.seekable))
            for start, stop in zip(found.cuts, found.cuts[1:], strict=False):
                parts.append(Part(len(parts), index, start, stop, stop - start))
    return Parts(tuple(sources), tuple(parts), names, base_url)
