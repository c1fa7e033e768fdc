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

    def complete(self, corpus: CorpusDirectory, files: list[FileEntry]) -> None:
        """Write the manifest, after every file it lists."""
        write_json(self.manifest(corpus), {"key": self.key, "files": [vars(entry) for entry in files]})

    def _entries(self, corpus: CorpusDirectory, path: Path) -> list[FileEntry] | None:
        value = read_json(path)
        if value is None or value["key"] != self.key:
            return None
        files = [FileEntry(**entry) for entry in value["files"]]
        return files if all(_there(corpus, entry) for entry in files) else None


def mark(corpus: CorpusDirectory, stage: str, key: str, task: int, files: list[FileEntry]) -> None:
    """Write the marker of a task, after all of its files."""
    write_json(corpus.marker(stage, task), {"key": key, "files": [vars(entry) for entry in files]})


def _there(corpus: CorpusDirectory, entry: FileEntry) -> bool:
    try:
        return (corpus.root / entry.path).stat().st_size == entry.bytes
    except FileNotFoundError:
        return False
