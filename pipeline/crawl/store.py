"""The directory of a crawl.

crawl.json      the options, the seeds' hash, the number of partitions
warc/           PPPPP-SSSSS.warc.gz, of partition P
log/            RRRR-PPPPP.jsonl: a row for every URL finished in round R
rounds/RRRR/    of partition P: P.frontier (what the round fetches), P.again (further candidates of images that could
                not be used, to be sent to their hosts' partitions), P.links (what it found), P.done.json
robots/         P.jsonl: what the hosts of partition P allow, and when that was requested

An exchange is written to the WARC first, then its links to P.links, then its row to the log. A row in the log makes it
count: anything after the last row of a killed run is cut off.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.json_files import read_json

PROGRAM = "crawl.json"


@dataclass(frozen=True)
class CrawlStore:
    """A crawl's directory."""

    root: Path

    @property
    def program(self) -> Path:
        return self.root / PROGRAM

    @property
    def warc(self) -> Path:
        return self.root / "warc"

    def log(self, round: int, partition: int) -> Path:
        return self.root / "log" / f"{round:04d}-{partition:05d}.jsonl"

    def robots(self, partition: int) -> Path:
        return self.root / "robots" / f"{partition:05d}.jsonl"

    def part(self, round: int, partition: int, suffix: str) -> Path:
        return self.root / "rounds" / f"{round:04d}" / f"{partition:05d}.{suffix}"

    def prepare(self, round: int) -> None:
        for folder in (self.warc, self.root / "log", self.root / "robots", self.part(round, 0, "x").parent):
            folder.mkdir(parents=True, exist_ok=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row of the log, round by round."""
        for path in sorted((self.root / "log").glob("*.jsonl")):
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield json.loads(line)


def warcs_of(path: Path) -> list[Path] | None:
    """The WARC files of a crawl's directory, in order; None if the folder is not a crawl."""
    if not (path / PROGRAM).is_file():
        return None
    program = read_json(path / PROGRAM)
    if not isinstance(program, dict) or program.get("tool") != "openm3w crawl":
        return None
    return sorted((path / "warc").glob("*.warc.gz"))


class Lines:
    """A file to which complete lines are appended. An incomplete line of a killed process is cut off when it is
    opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        end = _last_newline(path)
        self._file = path.open("ab", buffering=0)
        os.truncate(path, end)

    def read(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            for line in file:
                yield json.loads(line)

    def add(self, *rows: Any) -> None:
        data = b"".join(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for row in rows)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()


def _last_newline(path: Path) -> int:
    """The offset after the last newline of a file, 0 if there is none."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    with path.open("rb") as file:
        position = size
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            position = start
    return 0
