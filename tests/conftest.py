"""What several test folders need."""

import fcntl
import os
import shutil
from collections.abc import Iterator
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
    if worker_id == "master":
        return _build_small_corpus(tmp_path_factory.mktemp("small_corpus"))
    # pytest-xdist's processes have folders of their own in a common one: the first builds for all.
    folder = tmp_path_factory.getbasetemp().parent / "small_corpus"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _build_small_corpus(folder)
            (folder / "whole").touch()
    return folder / "corpus"


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
def web_warc(web: "Web", tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.miniweb import write_warc

    path = tmp_path_factory.mktemp("web") / "miniweb.warc.gz"
    write_warc(web, path)
    return path


@pytest.fixture(scope="session")
def undisturbed(web_warc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that one process builds of the small web without being disturbed."""
    from tests.corpora import build_here

    return build_here([web_warc], tmp_path_factory.mktemp("undisturbed") / "corpus")


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> dict[str, str]:
    from tests.corpora import digests

    found = digests(undisturbed)
    assert len(found) > 10
    return found
