"""One build at a time owns a corpus, from whatever machine: the newest.

A build that starts writes the next number, its generation, as work/generations/NNNNN.json, unless that file exists: of
two builds one succeeds. While it runs it rewrites NNNNN.beat. Before it writes a marker or the manifest it looks for a
newer generation: a build that was taken for dead, or a cluster's job that goes on without its command, ends there.
"""

import fcntl
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BuildError
from shards.files import atomic
from shards.store import put_if_absent, read_many

BEAT = 5.0
"""Seconds between two beats of a build."""
PATIENCE = 30.0
"""Seconds without a beat after which a build on another machine is taken for dead."""


@dataclass(frozen=True)
class Owner:
    """The right of a build to write a corpus: `folder` is its work/generations, `number` its generation."""

    folder: Path
    number: int

    def check(self) -> None:
        """Raises BuildError if a newer build has started."""
        newest = max(generations(self.folder), default=0)
        if newest > self.number:
            (data,) = read_many([_file(self.folder, newest, "json")])
            host = json.loads(data)["host"] if data else "another machine"
            raise BuildError(f"{self.folder.parent.parent}: another build (on {host}) has taken over; this one ends")


def generations(folder: Path) -> list[int]:
    try:
        return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == ".json" and path.stem.isdigit())
    except FileNotFoundError:
        return []


@contextmanager
def owned(folder: Path, lock: Path, note: Callable[[str], None]) -> Iterator[Owner]:
    """Own a corpus while the block runs. `lock` is a file of this machine, on which builds of one machine wait for
    nobody.

    Raises BuildError if another build is writing."""
    root = folder.parent.parent
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(f"another build is writing {root}: wait for it, or choose another -o") from None
        owner = _take(folder, root, note)
        over = threading.Event()
        thread = threading.Thread(target=_beat, args=(owner, over), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield owner
        finally:
            over.set()
            thread.join()


def _take(folder: Path, root: Path, note: Callable[[str], None]) -> Owner:
    folder.mkdir(parents=True, exist_ok=True)
    before = max(generations(folder), default=0)
    # this machine's builds hold the lock: one of its own that does not is dead
    if before and (host := _host_of(folder, before)) not in (_host(), ENDED) and _beats(folder, before, host, note):
        raise BuildError(f"another build (on {host}) is writing {root}: wait for it, or choose another -o")
    owner = Owner(folder, before + 1)
    content = json.dumps({"host": _host(), "id": uuid.uuid4().hex}, sort_keys=True)
    if not put_if_absent(_file(folder, owner.number, "json"), content.encode()):
        raise BuildError(f"another build has just started to write {root}: wait for it, or choose another -o")
    for path in list(folder.iterdir()):
        if path.stem.isdigit() and int(path.stem) < owner.number:
            path.unlink(missing_ok=True)
    return owner


def _beats(folder: Path, number: int, host: str, note: Callable[[str], None]) -> bool:
    """Whether a build of another machine is alive: its beat changes."""
    note(f"a build on {host} has not ended: waiting up to {PATIENCE:.0f} seconds for a sign of it")
    path, end = _file(folder, number, "beat"), time.monotonic() + PATIENCE
    (first,) = read_many([path])
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE / 5))
        if read_many([path]) != [first]:
            return _host_of(folder, number) != ENDED
    return False


ENDED = "a build that ended"


def _host_of(folder: Path, number: int) -> str:
    """The machine of a generation, or ENDED."""
    (beat, data) = read_many([_file(folder, number, "beat"), _file(folder, number, "json")])
    return ENDED if beat == b"ended" or data is None else str(json.loads(data)["host"])


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def _beat(owner: Owner, over: threading.Event) -> None:
    path, count = _file(owner.folder, owner.number, "beat"), 0
    while not over.wait(BEAT):
        count += 1
        _write(path, b"%d" % count)
    _write(path, b"ended")


def _write(path: Path, data: bytes) -> None:
    try:
        with atomic(path) as file:
            file.write(data)
    except OSError:
        pass  # the next beat is tried again, and the build has its own errors


def _file(folder: Path, number: int, suffix: str) -> Path:
    return folder / f"{number:05d}.{suffix}"
