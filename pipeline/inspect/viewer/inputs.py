"""The input of a build, read again: source pages, and images that were dropped before they were stored."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished, read_json
from pipeline.inspect.viewer.queries import Library
from pipeline.sources.folder import Folder
from pipeline.sources.source import Part, Source, SourceEntry
from pipeline.stages.parts import SOURCES, Parts, resolve
from shards.store import RemotePath


class Inputs:
    """The sources of a corpus as far as they are found: among the paths given, beside the corpus or in it. Raises
    BuildError if none of the paths given is its input."""

    def __init__(self, library: Library, given: Sequence[str] = ()):
        self._library = library
        self._limit = library.corpus.recipe.body_bytes
        self._found: dict[int, Source] = {}
        self._parts: Parts | None = None
        path = library.corpus.root / "work/parts.json"
        if not path.exists():
            return
        saved = read_json(path)
        entries = tuple(SourceEntry(**entry) for entry in saved["sources"])
        self._parts = Parts(entries, tuple(Part(**part) for part in saved["parts"]), saved["base_url"])
        matches = [_find(entry, _named(given, entry)) for entry in entries]
        for number, (entry, match) in enumerate(zip(entries, matches, strict=True)):
            source = match or _find(entry, _beside(library.corpus, entry))
            if source is not None:
                self._found[number] = source
        if given and not any(matches):
            if not Path(given[0]).exists():
                raise BuildError(f"{given[0]}: file or folder not found")
            raise BuildError(f"{given[0]} is not the input of this corpus: it was built from {entries[0].name}")

    def has(self, part: int) -> bool:
        return self._parts is not None and self._parts.parts[part].source in self._found

    @property
    def missing(self) -> list[str]:
        """Names of the sources that were not found."""
        entries = self._parts.sources if self._parts else ()
        return [entry.name for number, entry in enumerate(entries) if number not in self._found]

    def body(self, part: int, number: int, offset: int) -> bytes:
        """The body of a record; empty if it cannot be read."""
        if not self.has(part) or self._parts is None:
            return b""
        cut = self._parts.parts[part]
        found = self._found[cut.source].bodies(cut, {number}, lambda: {number: offset}, self._limit)
        try:
            return next((body for _, body in found), b"")
        except (OSError, ValueError, IndexError):
            return b""

    def page(self, row: dict[str, Any]) -> bytes:
        """The body of a page; empty if the input is not at hand, or if the page opted out."""
        if row["doc_id"] is None or not self.has(row["part"]):
            return b""
        number, offset = self._library.record_of_page(row)
        return self.body(row["part"], number, offset)

    def holds(self, urls: Iterable[str]) -> set[str]:
        """Those of some URLs that the input holds."""
        wanted = list(dict.fromkeys(urls))
        return set(self._library.records_at(wanted)) if wanted else set()

    def bodies(self, urls: Iterable[str]) -> dict[str, bytes]:
        """The bodies of the records at some URLs, as far as the input holds them."""
        found: dict[str, bytes] = {}
        if self._found:
            for url, (part, number, offset) in self._library.records_at(list(dict.fromkeys(urls))).items():
                body = self.body(part, number, offset)
                if body:
                    found[url] = body
        return found


def _named(given: Sequence[str], entry: SourceEntry) -> Iterable[Path]:
    """Where a source may be among the paths given."""
    for text in given:
        try:
            yield from resolve([text])
        except BuildError:
            continue
        yield Path(text) / entry.name


def _beside(corpus: Finished, entry: SourceEntry) -> Iterable[Path]:
    """Where a source may be near the corpus, under the name it had in the input."""
    root = corpus.root.resolve()
    for folder in (root / "warc", root / "work" / "warc", root.parent):
        yield folder / entry.name
    if isinstance(root, RemotePath):  # a bucket may hold many prefixes
        return
    yield from (folder / entry.name for folder in sorted(root.parent.iterdir()) if folder.is_dir())


def _find(entry: SourceEntry, places: Iterable[Path]) -> Source | None:
    """The source at the first place that has its name and size."""
    for path in places:
        if path.name == Path(entry.name).name and path.exists():
            source = next(filter(None, (kind.at(path) for kind in SOURCES)), None)
            if source is not None and source.kind == entry.kind and _size(source) == entry.size:
                return source.known(entry)
    return None


def _size(source: Source) -> int:
    if isinstance(source, Folder):
        return sum(size for _, size, _ in source.listing)
    return source.path.stat().st_size
