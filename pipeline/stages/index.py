"""Stage index: the files of a large input are cut on the workers, so that no machine reads all of them.

A cut needs every byte of a file, for its record offsets and its sha256. Small inputs are cut in the main process, which
takes less time than starting a pipeline."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask, Engine, StageRun
from pipeline.engine.tables import write_value
from pipeline.engine.tasks import FileEntry, Stage, Task, stage_key
from pipeline.json_files import read_json
from pipeline.sources.source import Cut, Source, SourceEntry

LARGE = 1 << 30
"""Bytes from which an input of several files is large."""


@dataclass(eq=False)
class CutSources(EachTask):
    """A source -> work/index: its entry and its parts."""

    corpus: CorpusDirectory
    sources: Sequence[Source]
    names: Sequence[str]
    total: dict[str, int]

    def work(self, task: Task) -> list[FileEntry]:
        source = self.sources[task.number]
        entry, bounds = source.cut(self.names[task.number], self.total[source.kind])
        return [write_value(self.corpus, self.corpus.part("index", task.number, "json"), [asdict(entry), [*bounds]])]


@dataclass(frozen=True)
class Workers:
    """Cuts sources on the workers of a build. Each file is cut once, also if the build is interrupted."""

    engine: Engine

    def __call__(
        self, sources: Sequence[Source], names: Sequence[str], total: dict[str, int], state: Any
    ) -> list[Cut] | None:
        """The cut of each source; None if the input is too small for it. `state` identifies the input."""
        if len(sources) == 1 or sum(total.values()) < LARGE:
            return None
        corpus = self.engine.corpus
        tasks = tuple(Task(number, source.amount()) for number, source in enumerate(sources))
        stage = Stage("index", stage_key("index", state), tasks)
        files = self.engine.run([StageRun(stage, CutSources(corpus, sources, names, total), False)], len(tasks))[0]
        found = [read_json(corpus.root / file.path) for file in files]
        return [(SourceEntry(**entry), [tuple(bound) for bound in bounds]) for entry, bounds in found]
