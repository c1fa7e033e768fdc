"""Tasks, the files they write, and the key and manifest of a stage. Does not import Beam."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.engine.corpus import CorpusDirectory
from pipeline.json_files import read_json, write_json
from shards.store import RemotePath, read_many, sizes


@dataclass(frozen=True)
class Task:
    """One unit of work of a stage: a part or a shard. `weight`, its bytes or number of images to fetch, is used for
    order and progress."""

    number: int
    weight: int
    payload: Any = None


@dataclass(frozen=True)
class FileEntry:
    """A finished file as listed in manifests: `path` relative to the corpus, sha256 in hex."""

    path: str
    rows: int
    bytes: int
    sha256: str


def stage_key(name: str, *what: Any, packages: Sequence[str] = ()) -> str:
    """A hash of everything a stage's result depends on; `packages` by installed version."""
    value = [name, what, [(package, version(package)) for package in packages]]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """A named set of tasks with the key of their dependencies.

    A task whose marker has this key is done. The manifest, written last, makes the stage complete."""

    name: str
    key: str
    tasks: tuple[Task, ...]

    def manifest(self, corpus: CorpusDirectory) -> Path:
        return corpus.work(f"{self.name}/manifest.json")

    def finished(self, corpus: CorpusDirectory) -> list[FileEntry] | None:
        """The files of this stage if it is complete for this key, else None."""
        return self._entries(corpus, self.manifest(corpus))

    def done(self, corpus: CorpusDirectory, task: int) -> list[FileEntry] | None:
        """The files of one task if it is done for this key, else None."""
        return self._entries(corpus, corpus.marker(self.name, task))

    def all_done(self, corpus: CorpusDirectory, tasks: Sequence[int]) -> list[list[FileEntry] | None]:
        """`done` of several tasks, of a corpus in a store by few requests."""
        if not isinstance(corpus.root, RemotePath):
            return [self.done(corpus, task) for task in tasks]
        markers = [corpus.marker(self.name, task) for task in tasks]
        there = sizes(corpus.work(self.name))
        written = [marker for marker in markers if marker in there]
        values = dict(zip(written, map(_value, read_many(written)), strict=True))
        return _listed(corpus, [self._files(values.get(marker)) for marker in markers])

    def complete(self, corpus: CorpusDirectory, files: list[FileEntry]) -> None:
        """Write the manifest, after every file it lists. Raises BuildError if a newer build owns the corpus."""
        corpus.check_owner()
        write_json(self.manifest(corpus), {"key": self.key, "files": [vars(entry) for entry in files]})

    def _entries(self, corpus: CorpusDirectory, path: Path) -> list[FileEntry] | None:
        files = self._files(read_json(path))
        if isinstance(corpus.root, RemotePath):
            return _listed(corpus, [files])[0]
        return files if files is not None and all(_there(corpus, entry) for entry in files) else None

    def _files(self, value: Any) -> list[FileEntry] | None:
        """The files of a marker or manifest with this key."""
        if value is None or value["key"] != self.key:
            return None
        return [FileEntry(**entry) for entry in value["files"]]


def mark(corpus: CorpusDirectory, stage: str, key: str, task: int, files: list[FileEntry]) -> None:
    """Write the marker of a task, after all of its files. Raises BuildError if a newer build owns the corpus."""
    corpus.check_owner()
    write_json(corpus.marker(stage, task), {"key": key, "files": [vars(entry) for entry in files]})


def _value(data: bytes | None) -> Any:
    return None if data is None else json.loads(data)


def _listed(corpus: CorpusDirectory, tasks: list[list[FileEntry] | None]) -> list[list[FileEntry] | None]:
    """Lists of files of a corpus in a store, None for one of which a file is missing: by one listing of each folder."""
    folders = {(corpus.root / entry.path).parent for files in tasks for entry in files or ()}
    there = {path: size for folder in folders for path, size in sizes(folder).items()}
    return [
        files if files is not None and all(there.get(corpus.root / e.path) == e.bytes for e in files) else None
        for files in tasks
    ]


def _there(corpus: CorpusDirectory, entry: FileEntry) -> bool:
    try:
        return (corpus.root / entry.path).stat().st_size == entry.bytes
    except FileNotFoundError:
        return False
