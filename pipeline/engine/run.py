"""Run stages: tasks in, finished files and one marker per task out, and a manifest at the end.

A stage is a PTransform from tasks (or part numbers, for a join) to (task number, files). A task whose marker has the
same key is skipped, so a killed build resumes where it stopped. Stages run one at a time on this machine; on a cluster,
where a job takes seconds to start, several of them are one job.
"""

import fcntl
import os
import shutil
import signal
import struct
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipeline.engine import joins
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.journal import Journal, blame
from pipeline.engine.progress import Progress
from pipeline.engine.runner import Runner
from pipeline.engine.tasks import FileEntry, Stage, Task, mark
from pipeline.engine.workers import WorkerDied
from pipeline.errors import BuildError

FEW_PARTS = 2
"""Joins of so few parts run in this process: they are over before a worker would have started."""


class EachTask(beam.PTransform):
    """A stage that works task by task. Input: tasks. Output: (task number, files written by `work`).

    Errors of the operating system (a full disk) are raised as BuildError."""

    @abstractmethod
    def work(self, task: Task) -> list[FileEntry]:
        """Do one task and return its files, each complete."""

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        return tasks | beam.Map(partial(_numbered, self.work))


def _numbered(work: Callable[[Task], list[FileEntry]], task: Task) -> tuple[int, list[FileEntry]]:
    try:
        return task.number, work(task)
    except OSError as error:
        raise BuildError.of(error) from error


@dataclass(frozen=True)
class StageRun:
    """A stage with its transform, which takes tasks, or for a `join` the numbers of all parts."""

    stage: Stage
    transform: beam.PTransform
    join: bool


@dataclass(frozen=True)
class Engine:
    """Runs the stages of one corpus. A local worker that spends more than `patience` seconds on one record is killed,
    which counts as a crash."""

    corpus: CorpusDirectory
    runner: Runner
    progress: Progress
    patience: float

    def run(self, runs: Sequence[StageRun], parts: int) -> list[list[FileEntry]]:
        """Run stages that need nothing but the files of the stage before. Returns the files of each.

        Raises WorkerDied, or BuildError if a task failed for a reason outside the program."""
        if self.runner.remote:
            return self._run_job(runs, parts)
        return [
            self._run_join(run.stage, run.transform, parts) if run.join else self._run_tasks(run.stage, run.transform)
            for run in runs
        ]

    def _run_job(self, runs: Sequence[StageRun], parts: int) -> list[list[FileEntry]]:
        """Run stages as one job of a cluster. A task starts when all tasks of the stage before have ended."""
        found = [self._begun(run.stage) for run in runs]
        left = [
            run
            for run, files in zip(runs, found, strict=True)
            if files is None and self._pending(run.stage, run.stage.tasks)
        ]
        for run in left:
            if run.join:
                self._unmark(run.stage)
        if left:
            stages = [run.stage for run in left]
            name = self._job(stages[0]) if len(stages) == 1 else f"{self._job(stages[0])}-to-{stages[-1].name}"
            with self.progress.stages(stages, self.corpus), self.runner.pipeline(0, name) as pipeline:
                begin = pipeline | "Begin" >> beam.Create([0])
                before: tuple[beam.PCollection, ...] = ()
                for run in left:
                    tasks = self._after(begin, before, run, parts)
                    before = (self._marked(run.stage, tasks, run.transform),)
        return [self._complete(run.stage) if files is None else files for run, files in zip(runs, found, strict=True)]

    def _after(
        self, begin: beam.PCollection, before: Sequence[beam.PCollection], run: StageRun, parts: int
    ) -> beam.PCollection:
        """The inputs of a stage, spread over the workers, once `before` is complete: a side input is, even an empty
        one."""
        name = run.stage.name
        inputs: Sequence[Any] = range(parts) if run.join else run.stage.tasks
        ended = [beam.pvalue.AsIter(each) for each in before]
        tasks = (
            begin
            | f"Tasks of {name}" >> beam.FlatMap(lambda _, *ended: inputs, *ended)
            | f"Spread {name}" >> beam.Reshuffle()
        )
        if run.join:
            return tasks
        # a cluster may restart a job: tasks that have ended are not repeated
        return tasks | f"Left of {name}" >> beam.Filter(partial(_undone, self.corpus, replace(run.stage, tasks=())))

    def _run_tasks(self, stage: Stage, transform: beam.PTransform) -> list[FileEntry]:
        """Run the tasks without a marker and return the files of all tasks, in order."""
        files = self._begun(stage)
        if files is not None:
            return files
        pending = self._pending(stage, stage.tasks)
        # longest first, so that the last task to end is a short one
        pending.sort(key=lambda task: (-task.weight, task.number))
        with self.progress.stage(stage, self.corpus, pending), self._watchdog(stage, pending):
            while pending:
                try:
                    self._run_pending(stage, pending, transform)
                    break
                except WorkerDied as death:
                    # a worker's own crash is retried: the journal knows the record, or tasks were finished and the
                    # worker crashed between two
                    left = self._pending(stage, pending)
                    blamed = blame(self.corpus, stage.name, left, death.pid)
                    if not death.crashed or not (blamed or len(left) < len(pending)):
                        raise
                    pending = left
        return self._complete(stage)

    def _run_join(self, stage: Stage, transform: beam.PTransform, parts: int) -> list[FileEntry]:
        """Run a stage that joins all parts and return its files. Joins are short and never resumed halfway.

        `transform` takes the part numbers."""
        files = self._begun(stage)
        if files is not None:
            return files
        self._unmark(stage)
        workers = min(self.runner.workers, parts) if parts > FEW_PARTS else 0
        with (
            self.progress.stage(stage, self.corpus, list(stage.tasks)),
            self._spill(stage) as folder,
            self.runner.pipeline(workers, self._job(stage)) as pipeline,
            joins.spilling(folder),
        ):
            _ = self._marked(stage, pipeline | "Parts" >> beam.Create(range(parts)), transform)
        return self._complete(stage)

    @contextmanager
    def _spill(self, stage: Stage) -> Iterator[Path]:
        """The folder in which the values of a join wait, empty at first and removed in the end."""
        folder = self.corpus.scratch(f"{stage.name}/spill")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _unmark(self, stage: Stage) -> None:
        for task in stage.tasks:
            self.corpus.marker(stage.name, task.number).unlink(missing_ok=True)

    def _begun(self, stage: Stage) -> list[FileEntry] | None:
        """The files of a stage that is already complete; otherwise create its folder."""
        files = stage.finished(self.corpus)
        if files is not None:
            self.progress.skip(stage.name, len(stage.tasks))
        else:
            self.corpus.work(stage.name).mkdir(parents=True, exist_ok=True)
        return files

    def _pending(self, stage: Stage, tasks: Sequence[Task]) -> list[Task]:
        done = stage.all_done(self.corpus, [task.number for task in tasks])
        return [task for task, files in zip(tasks, done, strict=True) if files is None]

    def _complete(self, stage: Stage) -> list[FileEntry]:
        """Write the stage's manifest and return the files of all tasks, in order."""
        files: list[FileEntry] = []
        done = stage.all_done(self.corpus, [task.number for task in stage.tasks])
        for task, entries in zip(stage.tasks, done, strict=True):
            if entries is None:
                raise BuildError(
                    f"stage {stage.name} ended without its part {task.number}; rerun the command to resume"
                )
            files += entries
        stage.complete(self.corpus, files)
        return files

    def _run_pending(self, stage: Stage, pending: list[Task], transform: beam.PTransform) -> None:
        workers = min(self.runner.workers, len(pending))
        with self.runner.pipeline(workers, self._job(stage)) as pipeline:
            queue = self.corpus.scratch(f"{stage.name}/queue")
            queue.write_bytes(struct.pack("<q", 0))
            slots = pipeline | "Slots" >> beam.Create(range(max(1, workers)))
            tasks = slots | "Pull" >> beam.FlatMap(pull, queue=queue, tasks=pending)
            _ = self._marked(stage, tasks, transform)

    def _job(self, stage: Stage) -> str:
        return f"{self.corpus.root.name}-{stage.name}"

    def _marked(self, stage: Stage, inputs: beam.PCollection, transform: beam.PTransform) -> beam.PCollection:
        return (
            inputs
            | stage.name >> transform
            | f"Mark {stage.name}" >> beam.MapTuple(partial(_mark, self.corpus, stage.name, stage.key))
        )

    @contextmanager
    def _watchdog(self, stage: Stage, tasks: list[Task]) -> Iterator[None]:
        """Kill workers that are stuck at a record, with SIGABRT: it counts as a crash of theirs, attributed to the
        record."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1.0):
                pids = self.runner.worker_pids()
                for task in tasks if pids else ():
                    journal = Journal.peek(self.corpus.journal(stage.name, task.number))
                    if journal is not None and journal.pid in pids and journal.stuck(self.patience):
                        os.kill(journal.pid, signal.SIGABRT)

        thread = threading.Thread(target=watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _undone(corpus: CorpusDirectory, stage: Stage, task: Task) -> bool:
    return stage.done(corpus, task.number) is None


def _mark(corpus: CorpusDirectory, stage: str, key: str, task: int, files: list[FileEntry]) -> None:
    try:
        mark(corpus, stage, key, task, files)
        corpus.journal(stage, task).unlink(missing_ok=True)
    except OSError as error:
        raise BuildError.of(error) from error


def pull(slot: int, queue: Path, tasks: list[Task]) -> Iterator[Task]:
    """Yield tasks from a list shared by all local workers, one at a time, until none is left.

    The local runner splits a list once, before it starts; a worker with slow tasks would finish long after the
    others."""
    while True:
        with queue.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (index,) = struct.unpack("<q", file.read(8))
            file.seek(0)
            file.write(struct.pack("<q", index + 1))
        if index >= len(tasks):
            return
        yield tasks[index]
