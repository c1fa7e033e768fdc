"""A stage that works part by part: tasks in, finished files and one marker a task out, and a manifest at the end.

A task whose marker is there for the same key is skipped, so a build that was killed goes on where it stopped. The key
of a stage holds all that its result depends on: the input, the recipe's sections it reads, package versions, the stages
before it.
"""

import fcntl
import hashlib
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipeline.errors import BuildError
from pipeline.jobs.corpus import Corpus, read_json, write_json
from pipeline.jobs.progress import Progress
from pipeline.jobs.runner import Runner, WorkerDied

CRASHES = 2
"""A record that was in hand when its worker crashed this often is set aside under record.crashed."""


@dataclass(frozen=True)
class Task:
    """One unit of work of a stage: a part or a shard. `weight` is its size in bytes, or how many pictures are to
    be fetched, for order and progress."""

    number: int
    weight: int
    payload: Any = None


@dataclass(frozen=True)
class FileEntry:
    """A finished file as manifests name it: `path` relative to the corpus, sha256 in hex."""

    path: str
    rows: int
    bytes: int
    sha256: str


Work = Callable[[Task], list[FileEntry]]


def stage_key(name: str, *what: Any, packages: tuple[str, ...] = ()) -> str:
    """A hash of everything that a stage's result depends on; `packages` by installed version."""
    value = [name, what, [(package, version(package)) for package in packages]]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """A named set of tasks with the key of what they depend on."""

    name: str
    key: str
    tasks: tuple[Task, ...]

    def marker(self, corpus: Corpus, number: int) -> Path:
        return corpus.work(f"{self.name}/{number:05d}.done.json")

    def journal(self, corpus: Corpus, number: int) -> Path:
        return corpus.work(f"{self.name}/{number:05d}.journal")

    def manifest(self, corpus: Corpus) -> Path:
        return corpus.work(f"{self.name}/manifest.json")

    def finished(self, corpus: Corpus) -> list[FileEntry] | None:
        """The files of this stage where it is complete for this key, else None."""
        manifest = read_json(self.manifest(corpus))
        if manifest is None or manifest["key"] != self.key:
            return None
        files = [FileEntry(**entry) for entry in manifest["files"]]
        return files if _all_there(corpus, files) else None


def run_stage(
    corpus: Corpus, runner: Runner, progress: Progress, stage: Stage, work: Work, patience: float
) -> list[FileEntry]:
    """Runs the tasks that have no marker yet and returns the files of all of them, in the order of tasks.

    A local worker that has one record in hand for more than `patience` seconds is ended, which counts as a crash.
    Raises WorkerDied, or BuildError where a task failed for a reason outside the program."""
    files = stage.finished(corpus)
    if files is not None:
        progress.skip(stage.name, len(stage.tasks))
        return files
    corpus.work(stage.name).mkdir(parents=True, exist_ok=True)
    pending = [task for task in stage.tasks if _marked(corpus, stage, task) is None]
    # the longest first: the last task to end is then a short one
    pending.sort(key=lambda task: (-task.weight, task.number))
    run_task = RunTask(corpus, stage.name, stage.key, work)
    with progress.stage(stage, corpus, pending), _watchdog(corpus, runner, stage, pending, patience):
        while pending:
            try:
                _run_pipeline(corpus, runner, stage, pending, run_task)
                break
            except WorkerDied as death:
                # a crash of the worker's own is retried: the journal tells which record was in hand, or tasks were
                # finished since and the worker crashed between two
                left = [task for task in pending if _marked(corpus, stage, task) is None]
                blamed = blame(corpus, stage, left, death.pid)
                if not death.crashed or not (blamed or len(left) < len(pending)):
                    raise
                pending = left
    return _complete(corpus, stage)


def run_join(
    corpus: Corpus, runner: Runner, progress: Progress, stage: Stage, transform: beam.PTransform
) -> list[FileEntry]:
    """Runs a stage that joins all parts and returns its files. It is complete or done anew: joins are short.

    `transform` takes part numbers and gives (part, file entry)."""
    files = stage.finished(corpus)
    if files is not None:
        progress.skip(stage.name, len(stage.tasks))
        return files
    corpus.work(stage.name).mkdir(parents=True, exist_ok=True)
    for task in stage.tasks:
        stage.marker(corpus, task.number).unlink(missing_ok=True)
    with progress.stage(stage, corpus, list(stage.tasks)), runner.pipeline(0) as pipeline:
        _ = (
            pipeline
            | "Parts" >> beam.Create([task.number for task in stage.tasks])
            | stage.name >> transform
            | "Mark" >> beam.MapTuple(partial(_mark, corpus, stage.name, stage.key))
        )
    return _complete(corpus, stage)


def _mark(corpus: Corpus, name: str, key: str, number: int, entry: FileEntry) -> None:
    write_json(Stage(name, key, ()).marker(corpus, number), {"key": key, "files": [vars(entry)]})


def _complete(corpus: Corpus, stage: Stage) -> list[FileEntry]:
    """The files of all tasks, in their order, after the stage's manifest was written."""
    files = []
    for task in stage.tasks:
        entries = _marked(corpus, stage, task)
        if entries is None:
            raise BuildError(f"stage {stage.name} ended without its part {task.number}; give the same command again")
        files += entries
    write_manifest(corpus, stage, files)
    return files


def write_manifest(corpus: Corpus, stage: Stage, files: list[FileEntry]) -> None:
    """Marks a stage as complete. Written last, after every file it names."""
    write_json(stage.manifest(corpus), {"key": stage.key, "files": [vars(entry) for entry in files]})


def _run_pipeline(corpus: Corpus, runner: Runner, stage: Stage, pending: list[Task], run_task: "RunTask") -> None:
    workers = min(runner.workers, len(pending))
    with runner.pipeline(workers) as pipeline:
        if runner.remote:
            tasks = pipeline | "Tasks" >> beam.Create(pending) | "Spread" >> beam.Reshuffle()
        else:
            queue = corpus.work(f"{stage.name}/queue")
            queue.write_bytes(struct.pack("<q", 0))
            slots = pipeline | "Slots" >> beam.Create(range(max(1, workers)))
            tasks = slots | "Pull" >> beam.FlatMap(pull, queue=queue, tasks=pending)
        _ = tasks | stage.name >> beam.Map(run_task)


def pull(slot: int, queue: Path, tasks: list[Task]) -> Iterator[Task]:
    """Takes tasks off a list that all local workers share, one at a time, until none is left.

    The local runner splits a list once, before it starts; a worker with slow tasks would end long after its sibling."""
    while True:
        with queue.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            (index,) = struct.unpack("<q", file.read(8))
            file.seek(0)
            file.write(struct.pack("<q", index + 1))
        if index >= len(tasks):
            return
        yield tasks[index]


@dataclass(frozen=True)
class RunTask:
    """Does the work of a task and writes its marker, after all of its files."""

    corpus: Corpus
    stage: str
    key: str
    work: Work

    def __call__(self, task: Task) -> int:
        stage = Stage(self.stage, self.key, ())
        try:
            entries = self.work(task)
            marker = {"key": self.key, "files": [vars(entry) for entry in entries]}
            write_json(stage.marker(self.corpus, task.number), marker)
            stage.journal(self.corpus, task.number).unlink(missing_ok=True)
        except OSError as error:
            raise BuildError.of(error) from error
        return task.number


def _marked(corpus: Corpus, stage: Stage, task: Task) -> list[FileEntry] | None:
    marker = read_json(stage.marker(corpus, task.number))
    if marker is None or marker["key"] != stage.key:
        return None
    files = [FileEntry(**entry) for entry in marker["files"]]
    return files if _all_there(corpus, files) else None


def _all_there(corpus: Corpus, files: list[FileEntry]) -> bool:
    for entry in files:
        try:
            if (corpus.root / entry.path).stat().st_size != entry.bytes:
                return False
        except FileNotFoundError:
            return False
    return True


@dataclass(frozen=True)
class InHand:
    """What a task is at: a record's number (-1: none), how many are done, since when (seconds since the epoch), and in
    which process."""

    record: int
    done: int
    since: float
    pid: int


class Journal:
    """Names the record that a task has in hand, so that it is known what a worker died of.

    An `InHand`, written in place with one system call a record. `set_aside` are the records that workers crashed at
    too often (`blame`)."""

    FORMAT = struct.Struct("<qqdq")

    def __init__(self, path: Path) -> None:
        deaths = read_json(_deaths(path)) or {}
        self.set_aside = {int(record) for record, count in deaths.items() if count >= CRASHES}
        self._done = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._write(-1)

    def begin(self, record: int) -> None:
        """Before a record is touched."""
        self._write(record)
        self._done += 1

    def end(self) -> None:
        """After the last record: what follows is nobody's fault."""
        self._write(-1)
        os.close(self._file)

    def _write(self, record: int) -> None:
        os.pwrite(self._file, self.FORMAT.pack(record, self._done, time.time(), os.getpid()), 0)

    @classmethod
    def peek(cls, path: Path) -> InHand | None:
        """What a journal says, or None where there is none."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        return InHand(*cls.FORMAT.unpack_from(data)) if len(data) >= cls.FORMAT.size else None


@contextmanager
def _watchdog(corpus: Corpus, runner: Runner, stage: Stage, tasks: list[Task], patience: float) -> Iterator[None]:
    """Ends workers that are stuck at a record, by SIGABRT: a crash of their own, for which the record is to blame."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            pids = runner.worker_pids()
            for task in tasks if pids else ():
                journal = Journal.peek(stage.journal(corpus, task.number))
                stuck = journal is not None and journal.record >= 0 and time.time() - journal.since > patience
                if journal is not None and stuck and journal.pid in pids:
                    os.kill(journal.pid, signal.SIGABRT)

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _deaths(journal: Path) -> Path:
    return journal.with_suffix(".deaths.json")


def _named(corpus: Corpus, task: Task) -> str:
    """The input that a part was cut from, in brackets."""
    cut = read_json(corpus.work("parts.json"))
    if cut is None:
        return ""
    part = cut["parts"][task.number]
    return f" ({cut['sources'][part['source']]['name']}, from byte or file {part['start']} on)"


def blame(corpus: Corpus, stage: Stage, tasks: list[Task], pid: int) -> bool:
    """Counts the record that a worker which died had in hand. False where it had none.

    Only a death that was seen counts: when the whole build is killed, nobody is to blame.
    Raises BuildError where the record was set aside before: another attempt would end no better."""
    for task in tasks:
        path = stage.journal(corpus, task.number)
        journal = Journal.peek(path)
        if journal is not None and journal.pid == pid and journal.record >= 0:
            deaths = read_json(_deaths(path)) or {}
            count = deaths.get(str(journal.record), 0)
            if count >= CRASHES:
                raise BuildError(
                    f"{stage.name}: number {journal.record} of part {task.number}{_named(corpus, task)} ended its "
                    f"worker {CRASHES} times and once more when it was passed over: leave its file out, or give "
                    "it more time (limits.record_seconds)"
                )
            write_json(_deaths(path), deaths | {str(journal.record): count + 1})
            return True
    return False
