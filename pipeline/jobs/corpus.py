"""Where things lie in a corpus directory, and how a file of it comes to be whole."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from shards.files import atomic

FORMAT_VERSION = 2
"""The version of what a corpus holds. A directory of another version is refused, never mixed."""


@dataclass(frozen=True)
class Corpus:
    """A corpus directory. Parts and shards are numbered from 0; file names have five digits, more where needed."""

    root: Path

    def part(self, stage: str, part: int, suffix: str = "parquet") -> Path:
        """A file of one part: of documents/ and images/ at the top, of every other stage under work/."""
        folder = self.root / stage if stage in ("documents", "images") else self.root / "work" / stage
        return folder / f"{part:05d}.{suffix}"

    def work(self, name: str) -> Path:
        return self.root / "work" / name

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def prepare(self, stages: list[str]) -> None:
        for stage in stages:
            self.part(stage, 0).parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second build out of the directory. Raises BuildError where one is running."""
        with (self.root / "work" / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BuildError(f"another build is writing {self.root}: wait for it, or choose another -o") from None
            yield


def write_json(path: Path, value: Any) -> None:
    """Writes a value whole or not at all, with sorted keys.

    File names that are not UTF-8 hold lone surrogates, for which Python's escape and JSON's are the same."""
    with atomic(path) as file:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        file.write(text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """The value in a file, or None where there is no such file.

    Raises BuildError where it is not JSON: something else wrote it."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BuildError(f"{path} is damaged ({error}): remove it and give the same command again") from None
