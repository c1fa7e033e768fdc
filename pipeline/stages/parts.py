"""Cut the input into parts, before anything else runs. The cut depends only on the input."""

import glob
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline import urls
from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json
from pipeline.sources.folder import PAGES, Folder, files, printable
from pipeline.sources.image_tar import ImageTar
from pipeline.sources.mhtml import Mhtml
from pipeline.sources.mmc4 import Mmc4
from pipeline.sources.parquet import Obelics, Omnicorpus
from pipeline.sources.record import Record
from pipeline.sources.source import Cut, Part, Source, SourceEntry
from pipeline.sources.wacz import WARC_NAMES, Wacz
from pipeline.sources.warc import WarcFile
from shards.store import RemotePath, located, sizes

SOURCES: tuple[type[Source], ...] = (Folder, Obelics, Omnicorpus, Mmc4, ImageTar, Wacz, Mhtml, WarcFile)
"""The input kinds; the first that recognises a path reads it."""
NO_BASE = "file:///"
"""Default base of a folder's URLs."""


@dataclass(frozen=True)
class Parts:
    """The whole cut. `base_url` is the URL of a folder's root, or of all roots."""

    sources: tuple[SourceEntry, ...]
    parts: tuple[Part, ...]
    base_url: str

    def identity(self) -> list[Any]:
        """The input's part of a stage's key."""
        return [[asdict(source) for source in self.sources], [asdict(part) for part in self.parts], self.base_url]

    def root_url(self, source: int) -> str:
        """The URL of a folder's root. With several folders each has its name, numbered if taken, as the first path
        segment, so that no two files have the same URL."""
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
    """The cut together with the sources on this machine, for workers."""

    parts: Parts
    sources: tuple[Source, ...]

    def part(self, number: int) -> Part:
        return self.parts.parts[number]

    def read(self, number: int, limit: int, skip: Callable[[int], bool] = lambda number: False) -> Iterator[Record]:
        """The records of a part, with payloads up to `limit` bytes."""
        part = self.part(number)
        return self.sources[part.source].read(part, self._root_url(number), limit, skip)

    def _root_url(self, number: int) -> str:
        source = self.part(number).source
        return self.parts.root_url(source) if self.parts.sources[source].kind == Folder.kind else ""

    def file_for(self, number: int) -> Callable[[str, str], str | None] | None:
        """For a part of a folder, `Folder.file_for`."""
        source = self.sources[self.part(number).source]
        return partial(source.file_for, self._root_url(number)) if isinstance(source, Folder) else None

    def bodies(
        self, number: int, records: Collection[int], offsets: Callable[[], dict[int, int]], limit: int
    ) -> Iterator[tuple[int, bytes]]:
        """(number, body) of some records of a part."""
        part = self.part(number)
        return self.sources[part.source].bodies(part, records, offsets, limit)


def resolve(inputs: Sequence[str], note: Callable[[str], None] = lambda text: None) -> list[Path]:
    """The files and folders given as arguments, each once, in order of path: globs expanded, and folders with WARC
    files replaced by those files. `note` receives a line about anything left out.

    Raises BuildError for an argument that matches nothing."""
    paths: dict[Path, None] = {}
    for text in inputs:
        named = located(text).exists()
        found = [located(text)] if named else _matching(text)
        if not found:
            raise BuildError(f"{text}: file or folder not found")
        for path in found:
            for archive in _archives(path, note) or [path]:
                paths[archive.resolve()] = None
    if len({isinstance(path, RemotePath) and path.parts[:2] for path in paths}) > 1:
        raise BuildError("the inputs lie in several stores or buckets: build each alone, or copy them to one")
    return sorted(paths)


def _matching(pattern: str) -> list[Path]:
    """The paths that a glob matches; of a store, only the last name may have wildcards."""
    path = located(pattern)
    if isinstance(path, RemotePath):
        return sorted(path.parent.glob(path.name))
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207


def with_images(inputs: Sequence[str], kind: str) -> list[str]:
    """The files of another corpus of a kind, and the tars of images in the folder images/ beside them.

    Raises BuildError for a file that is not of this kind."""
    paths = resolve(inputs)
    for path in paths:
        if path.is_dir() or _source(path).kind != kind:
            raise BuildError(f"{path}: not a file of {kind}")
    beside = {tar for path in paths for tar in (path.parent / "images").glob("*.tar")}
    return [str(path) for path in (*paths, *sorted(beside))]


def _archives(path: Path, note: Callable[[str], None]) -> list[Path]:
    """The WARC files below a folder, or its MHTML files if it has no pages; none if it is a mirror."""
    if not path.is_dir():
        return []
    if isinstance(path, RemotePath):
        names = [(child.relative_to(path).as_posix(), size) for child, size in sizes(path).items()]
    else:
        names = [(name, size) for name, size, _ in files(path)]
    pages = sum(name.lower().endswith(PAGES) for name, _ in names)
    warcs = [(name, size) for name, size in names if name.lower().endswith((*WARC_NAMES, ".wacz"))]
    if not warcs and pages:
        return []
    found = warcs or [(name, size) for name, size in names if name.lower().endswith((".mhtml", ".mht"))]
    filled = [path / name for name, size in found if size]
    if found and pages:
        note(f"{path}: reading its WARC files ({len(filled):,}), not the HTML files beside them ({pages:,})")
    if len(filled) < len(found):
        note(f"{path}: skipping empty files ({len(found) - len(filled):,})")
    if found and not filled:
        raise BuildError(f"{path}: all its WARC files are empty")
    return filled


Spread = Callable[[Sequence[Source], Sequence[str], dict[str, int], Any], list[Cut] | None]
"""Cuts sources on other processes, as `pipeline.stages.index.Workers`; None: cut them here."""


def cut(
    corpus: CorpusDirectory | None,
    paths: Sequence[Path],
    base_url: str,
    spread: Spread = lambda sources, names, total, state: None,
) -> Input:
    """Cut the input, or read the cut that an earlier run made of the same files (none if `corpus` is None).

    Raises BuildError if a source cannot be read or contains nothing supported, and if `base_url` is not the URL of a
    folder or would be shared by several folders."""
    base_url = _base(base_url)
    sources = _sources(paths)
    paths = [source.path for source in sources]
    if base_url != NO_BASE and sum(source.kind == Folder.kind for source in sources) > 1:
        raise BuildError(
            f"--base-url {base_url} cannot be the URL of several folders: build each separately, "
            "or give their parent folder"
        )
    shared = paths[0].parent if len(paths) == 1 else _common(paths)
    state: list[list[str | int]] = [
        [path.relative_to(shared).as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in paths
    ]
    state += [item for source in sources for item in source.state()]
    saved = None if corpus is None else read_json(corpus.work("parts.json"))
    if saved is not None and saved["state"] == state and saved["base_url"] == base_url:
        entries = tuple(SourceEntry(**entry) for entry in saved["sources"])
        parts = Parts(entries, tuple(Part(**part) for part in saved["parts"]), base_url)
    else:
        names = [printable(path.relative_to(shared).as_posix()) for path in paths]
        total: dict[str, int] = {}
        for source in sources:
            total[source.kind] = total.get(source.kind, 0) + source.amount()
        cuts = spread(sources, names, total, state)
        if cuts is None:
            cuts = [source.cut(name, total[source.kind]) for source, name in zip(sources, names, strict=True)]
        parts = _numbered(cuts, base_url)
        cut = {name: [asdict(item) for item in getattr(parts, name)] for name in ("sources", "parts")}
        if corpus is not None:
            write_json(corpus.work("parts.json"), {"state": state, "base_url": base_url} | cut)
    known = (source.known(entry) for source, entry in zip(sources, parts.sources, strict=True))
    return Input(parts, tuple(known))


def _sources(paths: Sequence[Path]) -> list[Source]:
    """The sources at some paths. All single pages form one source, so thousands of them do not make thousands of
    parts."""
    local = [path for path in paths if not isinstance(path, RemotePath)]
    pages = [path for path in local if path.name.lower().endswith(PAGES) and path.is_file()]
    found = [_source(path) for path in paths if path not in set(pages)]
    return [*found, Folder.of_pages(pages)] if pages else found


def _source(path: Path) -> Source:
    if isinstance(path, RemotePath):
        if path.name.lower().endswith(WARC_NAMES) and (remote := WarcFile.at(path)) is not None:
            return remote
        raise BuildError(f"{path}: only WARC files ({', '.join(WARC_NAMES)}) are read from an object store")
    for kind in SOURCES:
        source = kind.at(path)
        if source is not None:
            return source
    raise BuildError(f"{path}: not a folder or a readable file")


def _base(url: str) -> str:
    """The base as resolved references spell it, with a trailing slash."""
    base = urls.resolve(url, "") if "#" not in url else None
    if base is None or "?" in base:
        raise BuildError(f"--base-url {url}: not the URL of a folder, such as https://example.org/docs/")
    return base if base.endswith("/") else base + "/"


def _common(paths: Sequence[Path]) -> Path:
    parents = set(paths[0].parents)
    for path in paths[1:]:
        parents &= set(path.parents)
    return max(parents, key=lambda parent: len(parent.parts))


def _numbered(cuts: Sequence[Cut], base_url: str) -> Parts:
    parts: list[Part] = []
    for source, (_, bounds) in enumerate(cuts):
        parts += [Part(len(parts) + index, source, *bound) for index, bound in enumerate(bounds)]
    return Parts(tuple(entry for entry, _ in cuts), tuple(parts), base_url)
