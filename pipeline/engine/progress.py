"""Progress of a build, read from the markers and journals of its stages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.display import Display, Status
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.journal import Journal
from pipeline.engine.tasks import Stage, Task


class Progress(Display):
    """Writes one line per stage."""

    def skip(self, name: str, tasks: int) -> None:
        self.note(f"{name:<10} already complete ({tasks} parts)")

    @contextmanager
    def stage(self, stage: Stage, corpus: CorpusDirectory, pending: list[Task]) -> Iterator[None]:
        """Watch the markers of a stage while the block runs."""
        pending = list(pending)
        total = sum(task.weight for task in stage.tasks)
        before = total - sum(task.weight for task in pending)

        def look() -> Status:
            done = [task for task in pending if corpus.marker(stage.name, task.number).exists()]
            ready = len(stage.tasks) - len(pending) + len(done)
            journals = [Journal.peek(corpus.journal(stage.name, task.number)) for task in pending]
            records = sum(journal.done for journal in journals if journal)
            return Status(
                f"{stage.name:<10} {ready} of {len(stage.tasks)} parts",
                before + sum(task.weight for task in done),
                total,
                _pictures if stage.name.startswith("fetched") else _megabytes,
                f"{records} records in progress" if records else "",
            )

        with self.watch(look):
            yield

    @contextmanager
    def stages(self, stages: Sequence[Stage], corpus: CorpusDirectory) -> Iterator[None]:
        """Watch the markers of the stages of one job while the block runs."""
        total = sum(len(stage.tasks) for stage in stages)

        def look() -> Status:
            done_tasks = (stage.all_done(corpus, [task.number for task in stage.tasks]) for stage in stages)
            ready = [sum(files is not None for files in tasks) for tasks in done_tasks]
            current, done = next(
                ((stage, done) for stage, done in zip(stages, ready, strict=True) if done < len(stage.tasks)),
                (stages[-1], ready[-1]),
            )
            text = f"{current.name:<10} {done} of {len(current.tasks)} parts"
            return Status(text, sum(ready), total, _tasks, "" if len(stages) == 1 else f"{total} tasks in this job")

        with self.watch(look):
            yield


def _tasks(rate: float) -> str:
    return f"{rate:.1f} tasks/s"


def _pictures(rate: float) -> str:
    return f"{rate:.1f} images/s"  # fetching is measured in images, other stages in bytes


def _megabytes(rate: float) -> str:
    return f"{rate / 1e6:.1f} MB/s"
