"""A build, and its stages as data: what each depends on, what it reads, and its transform."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import partitions
from pipeline.engine.run import Engine, StageRun
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

    @property
    def partitions(self) -> int:
        return partitions(len(self.input.parts.parts))

    def run(self, steps: Iterable["Step | Callable[[Build], None]"]) -> None:
        """Run every step that is not complete."""
        self.corpus.prepare(("records", "links", "missing", "documents", "images", "coverage", "runs"))
        steps = [step for step in steps if not isinstance(step, Step) or step.wanted(self)]
        self.left = [step.name for step in steps if isinstance(step, Step)]
        together: list[Step] = []
        for step in steps:
            if together and (not isinstance(step, Step) or step.waits):
                self.run_steps(together)
                together = []
            if isinstance(step, Step):
                together.append(step)
            else:
                step(self)
        if together:
            self.run_steps(together)

    def run_steps(self, steps: Sequence["Step"]) -> None:
        """Run steps, each after the one before. The first incomplete stage of a finished corpus deletes the manifest,
        because files it lists will be rewritten."""
        runs: list[StageRun] = []
        for step in steps:
            after = [self.keys[name] for name in step.after]
            key = stage_key(step.name, after, step.reads(self), packages=step.packages)
            self.keys[step.name] = key
            runs.append(StageRun(Stage(step.name, key, step.tasks(self)), step.transform(self), step.join))
        self._reopened([run.stage for run in runs])
        found = self.engine.run(runs, len(self.input.parts.parts))
        self.files |= {step.name: files for step, files in zip(steps, found, strict=True)}
        self.left = self.left[len(steps) :] if self.left[:1] == [steps[0].name] else self.left

    def _reopened(self, stages: Sequence[Stage]) -> None:
        """Delete the manifest of a finished corpus if one of the stages is incomplete."""
        manifest = self.corpus.root / "manifest.json"
        if not manifest.exists():
            return
        names = [stage.name for stage in stages]
        for done, stage in enumerate(stages):
            if stage.finished(self.corpus) is None:
                anew = [*names[done:], *(name for name in self.left if name not in names)]
                self.engine.progress.note(f"done anew: {', '.join(anew)}")
                remove(manifest)
                return


@dataclass(frozen=True)
class Step:
    """A stage of a build.

    Its result depends on the stages `after` which it comes, on what else it `reads`, and on versions of `packages`. A
    join takes the numbers of all parts at once; every other stage takes its `tasks`, by default one per part. A stage
    that `waits` reads results of earlier ones to be set up: on a cluster it begins another job. One that the recipe
    does not want is left out."""

    name: str
    after: tuple[str, ...]
    transform: Callable[[Build], beam.PTransform]
    reads: Callable[[Build], Any] = lambda build: None
    packages: tuple[str, ...] = ()
    tasks: Callable[[Build], tuple[Task, ...]] = lambda build: build.part_tasks
    join: bool = False
    waits: bool = False
    wanted: Callable[[Build], bool] = lambda build: True
