"""The paths in a corpus directory."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.engine.owner import Owner, owned
from shards.store import RemotePath


@dataclass(frozen=True)
class CorpusDirectory:
    """A corpus directory, and the right to write it. Parts and shards are numbered from 0; file names have at least
    five digits."""

    root: Path
    owner: Owner | None = None

    def part(self, stage: str, part: int, suffix: str = "parquet") -> Path:
        """A file of one part: documents/ and images/ at the top level, other stages under work/."""
        folder = self.root / stage if stage in ("documents", "images") else self.root / "work" / stage
        return folder / f"{part:05d}.{suffix}"

    def work(self, name: str) -> Path:
        return self.root / "work" / name

    def scratch(self, name: str) -> Path:
        """A file of this machine: what workers write in place, under work/ or, for a corpus in a store, in a temporary
        folder that a rerun finds again."""
        if not isinstance(self.root, RemotePath):
            return self.work(name)
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"openm3w-{os.getuid()}-{digest}" / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def marker(self, stage: str, task: int) -> Path:
        """Written when a task is done; lists its files."""
        return self.work(f"{stage}/{task:05d}.done.json")

    def journal(self, stage: str, task: int) -> Path:
        return self.scratch(f"{stage}/{task:05d}.journal")

    def prepare(self, stages: Iterable[str]) -> None:
        """Create the folders of stages, and delete what a killed writer left."""
        self.sweep()
        for stage in stages:
            self.part(stage, 0).parent.mkdir(parents=True, exist_ok=True)
        (self.root / "windows").mkdir(exist_ok=True)

    def sweep(self) -> None:
        """Delete what killed writers left. An object of a store has no temporary form."""
        for left_over in () if isinstance(self.root, RemotePath) else self.root.rglob(".*.tmp"):
            left_over.unlink(missing_ok=True)

    @contextmanager
    def locked(self, note: Callable[[str], None] = lambda text: None) -> Iterator["CorpusDirectory"]:
        """The directory as owned by this build. Raises BuildError if another build is writing it."""
        with owned(self.work("generations"), self.scratch("lock"), note) as owner:
            yield replace(self, owner=owner)

    def check_owner(self) -> None:
        """Raises BuildError if a newer build owns the directory."""
        if self.owner is not None:
            self.owner.check()
