"""The paths in a corpus directory."""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BuildError


@dataclass(frozen=True)
class CorpusDirectory:
    """A corpus directory. Parts and shards are numbered from 0; file names have at least five digits."""

    root: Path

    def part(self, stage: str, part: int, suffix: str = "parquet") -> Path:
        """A file of one part: documents/ and images/ at the top level, other stages under work/."""
        folder = self.root / stage if stage in ("documents", "images") else self.root / "work" / stage
        return folder / f"{part:05d}.{suffix}"

    def work(self, name: str) -> Path:
        return self.root / "work" / name

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def marker(self, stage: str, task: int) -> Path:
        """Written when a task is done; lists its files."""
        return self.work(f"{stage}/{task:05d}.done.json")

    def journal(self, stage: str, task: int) -> Path:
        return self.work(f"{stage}/{task:05d}.journal")

    def prepare(self, stages: Iterable[str]) -> None:
        """Create the folders of stages, and delete what a killed writer left."""
        for left_over in self.root.rglob(".*.tmp"):
            left_over.unlink()
        for stage in stages:
            self.part(stage, 0).parent.mkdir(parents=True, exist_ok=True)
        (self.root / "windows").mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory against a second build. Raises BuildError if one is running."""
        with (self.root / "work" / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BuildError(f"another build is writing {self.root}: wait for it, or choose another -o") from None
            yield
