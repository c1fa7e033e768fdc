"""Of two builds of one corpus the newer writes, wherever they run."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pipeline.engine import owner
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.owner import Owner, owned
from pipeline.engine.tasks import FileEntry, Stage, mark
from pipeline.errors import BuildError
from pipeline.sources.warc import read
from shards.files import atomic
from shards.store import located
from tests.corpora import SMALL, start_build
from tests.s3 import s3_server


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> CorpusDirectory:
    if request.param == "memory":
        return CorpusDirectory(located(f"memory://owner/{tmp_path.name}"))
    (tmp_path / "corpus/work").mkdir(parents=True)
    return CorpusDirectory(tmp_path / "corpus")


@contextmanager
def on(machine: str, corpus: CorpusDirectory, tmp_path: Path, told: list[str]) -> Iterator[Owner]:
    """Own a corpus as a build of another machine does: its kernel knows of no other lock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "_host", lambda: machine)
        patch.setattr(owner, "BEAT", 0.05)
        patch.setattr(owner, "PATIENCE", 1.0)
        with owned(corpus.work("generations"), tmp_path / f"{machine}.lock", told.append) as right:
            yield right


def test_a_build_of_another_machine_is_seen_by_its_beat(corpus: CorpusDirectory, tmp_path: Path) -> None:
    told: list[str] = []
    with on("one", corpus, tmp_path, told):
        with pytest.raises(BuildError, match=r"another build \(on one\) is writing"), on("two", corpus, tmp_path, told):
            pass
        with pytest.raises(BuildError, match="another build is writing"), on("one", corpus, tmp_path, told):
            pass
    assert told == ["a build on one has not ended: waiting up to 1 seconds for a sign of it"]
    with on("two", corpus, tmp_path, told) as right:  # the first ended: nobody waits
        assert (right.number, len(told)) == (2, 1)


def test_what_was_taken_for_dead_writes_no_marker(corpus: CorpusDirectory, tmp_path: Path) -> None:
    told: list[str] = []
    stage, entry = Stage("pages", "key", ()), FileEntry("work/pages/00000.parquet", 1, 1, "")
    corpus.work("pages").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "_beat", lambda *arguments: None)  # killed: neither beats nor says that it ended
        with on("one", corpus, tmp_path, told) as first:
            mark(replace(corpus, owner=first), "pages", "key", 0, [entry])
    with on("two", corpus, tmp_path, told) as second:
        assert (first.number, second.number, len(told)) == (1, 2, 1)
        with pytest.raises(BuildError, match=r"another build \(on two\) has taken over"):
            mark(replace(corpus, owner=first), "pages", "key", 1, [entry])
        with pytest.raises(BuildError, match="has taken over"):
            stage.complete(replace(corpus, owner=first), [])
        mark(replace(corpus, owner=second), "pages", "key", 2, [entry])
    markers = [corpus.marker("pages", number).exists() for number in range(3)]
    assert markers == [True, False, True] and not stage.manifest(corpus).exists()
    with on("two", corpus, tmp_path, told) as third:  # of its own machine a build asks the kernel, and does not wait
        assert (third.number, len(told)) == (3, 1)


def test_of_builds_that_start_together_one_succeeds(tmp_path: Path) -> None:
    (tmp_path / "corpus/work").mkdir(parents=True)
    ended: list[str] = []

    def start(number: int) -> None:
        folder = CorpusDirectory(tmp_path / "corpus").work("generations")
        try:
            with owned(folder, tmp_path / f"{number}.lock", lambda text: None) as right:
                right.check()
                ended.append("")
        except BuildError as error:
            ended.append(str(error))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "_beats", lambda *arguments: True)
        patch.setattr(owner, "_host", lambda: os.urandom(4).hex())
        threads = [Thread(target=start, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "" in ended and all(text == "" or "another build" in text for text in ended)


def test_writers_of_one_file_have_files_of_their_own(tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as one:
        one.write(b"one")
        with atomic(tmp_path / "a") as other:
            other.write(b"the other")
        assert (tmp_path / "a").read_bytes() == b"the other"
    assert (tmp_path / "a").read_bytes() == b"one" and len(list(tmp_path.iterdir())) == 1


def test_a_read_error_is_no_damage(web_warc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size, real, failed = web_warc.stat().st_size, os.pread, []

    def once(file: int, length: int, position: int) -> bytes:
        if position > size // 2 and not failed:
            failed.append(position)
            raise OSError(errno.EIO, "Input/output error")
        return real(file, length, position)

    monkeypatch.setattr(os, "pread", once)
    with pytest.raises(BuildError, match=r"miniweb\.warc\.gz: Input/output error"):
        list(read(web_warc, 0, size, "fastwarc", 1 << 20))
    assert failed


@pytest.mark.parametrize(
    "store", [pytest.param("local", marks=pytest.mark.slow), pytest.param("s3", marks=pytest.mark.s3)]
)
def test_two_machines_build_one_corpus(
    store: str, web_warc: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine stands still in mid-build; a second one takes over, then the first goes on."""
    import signal
    import time

    from pipeline.build import build
    from pipeline.engine.progress import Progress
    from pipeline.recipe import load
    from tests.test_object_stores import published

    server: Any = s3_server() if store == "s3" else _folder(tmp_path)
    with server as address:
        root = located(f"{address}/corpus")
        first = start_build([web_warc], root, workers=1)
        while not CorpusDirectory(root).marker("pages", 0).exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(owner, "_host", lambda: "another machine")
        monkeypatch.setattr(owner, "PATIENCE", 12.0)
        (tmp_path / "scratch").mkdir()
        monkeypatch.setattr(
            CorpusDirectory, "scratch", lambda self, name: tmp_path / "scratch" / name.replace("/", "-")
        )
        told = io.StringIO()
        build([str(web_warc)], root, load("web", list(SMALL)), "file:///", ["--direct_num_workers=1"], Progress(told))
        assert "has not ended: waiting" in told.getvalue()
        first.send_signal(signal.SIGCONT)
        _, errors = first.communicate(timeout=300)
        assert first.returncode == 1
        assert "another build (on another machine) has taken over; this one ends" in errors, errors
        assert "Traceback" not in errors
        assert published(root) == published(undisturbed)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    yield path
