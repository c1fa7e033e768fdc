"""Records which record a task is working on, to attribute worker crashes."""

import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import Task
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json

CRASHES = 2
"""Number of worker crashes on a record after which it is dropped under record.crashed."""


@dataclass(frozen=True)
class InHand:
    """Current state of a task: a record's number (-1: none), how many are done, since when, and in which process.

    `since` is of the monotonic clock, which all processes of a machine share and which stops while the machine is
    suspended."""

    record: int
    done: int
    since: float
    pid: int

    def stuck(self, patience: float) -> bool:
        """Whether the current record has taken more than `patience` seconds."""
        return self.record >= 0 and time.monotonic() - self.since > patience


class Journal:
    """Stores the current record of a task: an `InHand`, written in place with one system call per record.

    `set_aside` are the records at which workers crashed too often (`blame`)."""

    FORMAT = struct.Struct("<qqdq")

    def __init__(self, path: Path) -> None:
        deaths = read_json(_deaths(path)) or {}
        self.set_aside = {int(record) for record, count in deaths.items() if count >= CRASHES}
        self._done = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._write(-1)

    def begin(self, record: int) -> None:
        """Call before touching a record."""
        self._write(record)
        self._done += 1

    def end(self) -> None:
        """Call after the last record: later crashes are not attributed to a record."""
        self._write(-1)
        os.close(self._file)

    def _write(self, record: int) -> None:
        os.pwrite(self._file, self.FORMAT.pack(record, self._done, time.monotonic(), os.getpid()), 0)

    @classmethod
    def peek(cls, path: Path) -> InHand | None:
        """The content of a journal, or None if there is none."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        return InHand(*cls.FORMAT.unpack_from(data)) if len(data) >= cls.FORMAT.size else None


def blame(corpus: CorpusDirectory, stage: str, tasks: Sequence[Task], pid: int) -> bool:
    """Attribute a worker's crash to the record it was working on. False if there was none.

    Only observed crashes count: if the whole build is killed, no record is blamed. Raises BuildError if the record was
    already skipped: another attempt would fail too."""
    for task in tasks:
        path = corpus.journal(stage, task.number)
        journal = Journal.peek(path)
        if journal is not None and journal.pid == pid and journal.record >= 0:
            deaths = read_json(_deaths(path)) or {}
            count = deaths.get(str(journal.record), 0)
            if count >= CRASHES:
                raise BuildError(
                    f"{stage}: number {journal.record} of part {task.number}{_named(corpus, task)} ended its "
                    f"worker {CRASHES} times and once more when it was passed over: leave its file out, or give "
                    "it more time (limits.record_seconds)"
                )
            write_json(_deaths(path), deaths | {str(journal.record): count + 1})
            return True
    return False


def _deaths(journal: Path) -> Path:
    return journal.with_suffix(".deaths.json")


def _named(corpus: CorpusDirectory, task: Task) -> str:
    """The input that a part was cut from, in brackets."""
    cut = read_json(corpus.work("parts.json"))
    if cut is None:
        return ""
    part = cut["parts"][task.number]
    return f" ({cut['sources'][part['source']]['name']}, from byte or file {part['start']} on)"
