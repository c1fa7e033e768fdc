"""One build, and a stage of it as data: what it comes after, what it reads, which transform does it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from pipeline.engine.corpus import Corpus
from pipeline.engine.run import Engine
from pipeline.engine.tasks import FileEntry, Stage, Task, stage_key
from pipeline.recipe import Recipe
from pipeline.stages.fetch import Network
from pipeline.stages.parts import Input
from shards.files import remove


@dataclass
class Build:
    """An input, a recipe, and the directory that the corpus goes to; `keys` and `files` of the stages so far."""

    corpus: Corpus
    recipe: Recipe
    input: Input
    engine: Engine
    network: Network
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[FileEntry]] = field(default_factory=dict)

    @property
    def part_tasks(self) -> tuple[Task, ...]:
        return tuple(Task(part.number, part.weight) for part in self.input.parts.parts)

    def run(self, steps: Iterable["Step | Callable[[Build], None]"]) -> None:
        """Runs every step that is not complete yet."""
        self.corpus.prepare(("records", "documents", "images", "coverage"))
        for step in steps:
            if isinstance(step, Step):
                self.run_step(step)
            else:
                step(self)

    def run_step(self, step: "Step") -> None:
        """From the first stage that is not complete on there is no manifest: files that it names are written again."""
        key = stage_key(step.name, [self.keys[name] for name in step.after], step.reads(self), packages=step.packages)
        stage = Stage(step.name, key, step.tasks(self))
        manifest = self.corpus.root / "manifest.json"
        if manifest.exists() and stage.finished(self.corpus) is None:
            remove(manifest)
        transform = step.transform(self)
        if step.join:
            files = self.engine.run_join(stage, transform, len(self.input.parts.parts))
        else:
            files = self.engine.run_tasks(stage, transform)
        self.keys[step.name], self.files[step.name] = key, files


@dataclass(frozen=True)
class Step:
    """A stage of a build.

    Its result depends on the stages `after` which it comes, on what it `reads` besides, and on versions of `packages`.
    A join takes the numbers of all parts at once; every other stage takes its `tasks`, one a part if not said
    otherwise."""

    name: str
    after: tuple[str, ...]
    transform: Callable[[Build], beam.PTransform]
    reads: Callable[[Build], Any] = lambda build: None
    packages: tuple[str, ...] = ()
    tasks: Callable[[Build], tuple[Task, ...]] = lambda build: build.part_tasks
    join: bool = False
