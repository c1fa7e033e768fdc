"""What several test folders need."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pipeline.miniweb import Web

# The same examples in every run: what fails, fails again. `HYPOTHESIS_PROFILE=explore` looks for new ones.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """A build waits for the disk some 90 times, for files that survive a loss of power: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pages, WARCs, books and hostile files that lies beside a checkout.

    Tests that ask for it skip where it is missing."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("OPENM3W_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip("the folder shared/ with real pages and WARCs is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A finished corpus of a small generated web. Read it only; `shutil.copytree` it to change something."""
    return _made_once("small_corpus", _build_small_corpus, tmp_path_factory, worker_id) / "corpus"


def _made_once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder filled by `make`, once for all processes of pytest-xdist: their folders lie in a common one."""
    if worker_id == "master":
        folder = factory.mktemp(name)
        make(folder)
        return folder
    folder = factory.getbasetemp().parent / name
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "whole").touch()
    return folder


def _build_small_corpus(folder: Path) -> Path:
    from pipeline.build import build
    from pipeline.engine.progress import Progress
    from pipeline.miniweb import generate, write_warc
    from pipeline.recipe import load

    write_warc(generate(pages=120, seed=3), folder / "miniweb.warc.gz")
    settings = ["windows.vocabulary=600", "windows.tokens=64", "windows.validation=0.2"]
    recipe = load("web", settings)
    with (folder / "progress.txt").open("w") as stream:
        options = ["--direct_num_workers=1"]
        warc = str(folder / "miniweb.warc.gz")
        return build([warc], folder / "corpus", recipe, "file:///", options, Progress(stream)).root


@pytest.fixture(scope="session")
def web() -> "Web":
    from pipeline.miniweb import generate

    return generate(pages=120, seed=5)


@pytest.fixture(scope="session")
def web_warc(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The WARC file of `web`."""
    from pipeline.miniweb import generate, write_warc

    def write(folder: Path) -> None:
        write_warc(generate(pages=120, seed=5), folder / "miniweb.warc.gz")

    return _made_once("web", write, tmp_path_factory, worker_id) / "miniweb.warc.gz"


@pytest.fixture(scope="session")
def undisturbed(web_warc: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The corpus that one process builds of the small web without being disturbed. Read it only."""
    from tests.corpora import build_here

    def build(folder: Path) -> None:
        build_here([web_warc], folder / "corpus")

    return _made_once("undisturbed", build, tmp_path_factory, worker_id) / "corpus"


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> dict[str, str]:
    from tests.corpora import digests

    found = digests(undisturbed)
    assert len(found) > 10
    return found
