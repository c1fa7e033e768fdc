"""A build, and its stages as data: what each depends on, what it reads, and its transform."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import Engine
from pipeline.engine.tasks import FileEntry, Stage, Task, stage_key
from pipeline.recipe import Recipe
from pipeline.stages.fetch import Network
from pipeline.stages.parts import Input
from shards.files import remove


@dataclass
class Build:
    """An input, a recipe, and the output directory; `keys` and `files` of the stages so far, names of those `left`."""

    corpus: CorpusDirectory
    recipe: Recipe
    input: Input
    engine: Engine
    network: Network
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[FileEntry]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def part_tasks(self) -> tuple[Task, ...]:
        return tuple(Task(part.number, part.weight) for part in self.input.parts.parts)

    def run(self, steps: Iterable["Step | Callable[[Build], None]"]) -> None:
        """Run every step that is not complete."""
        self.corpus.prepare(("records", "documents", "images", "coverage"))
        steps = list(steps)
        self.left = [step.name for step in steps if isinstance(step, Step)]
        for step in steps:
            if isinstance(step, Step):
                self.run_step(step)
                self.left.remove(step.name)
            else:
                step(self)

    def run_step(self, step: "Step") -> None:
        """Run a step. The first incomplete stage of a finished corpus deletes the manifest, because files it lists will
        be rewritten."""
        key = stage_key(step.name, [self.keys[name] for name in step.after], step.reads(self), packages=step.packages)
        stage = Stage(step.name, key, step.tasks(self))
        manifest = self.corpus.root / "manifest.json"
        if manifest.exists() and stage.finished(self.corpus) is None:
            self.engine.progress.note(f"done anew: {', '.join(dict.fromkeys([step.name, *self.left]))}")
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

    Its result depends on the stages `after` which it comes, on what else it `reads`, and on versions of `packages`. A
    join takes the numbers of all parts at once; every other stage takes its `tasks`, by default one per part."""

    name: str
    after: tuple[str, ...]
    transform: Callable[[Build], beam.PTransform]
    reads: Callable[[Build], Any] = lambda build: None
    packages: tuple[str, ...] = ()
    tasks: Callable[[Build], tuple[Task, ...]] = lambda build: build.part_tasks
    join: bool = False
