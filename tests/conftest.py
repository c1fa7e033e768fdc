"""What several test folders need."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what fails, fails again. `HYPOTHESIS_PROFILE=explore` looks for new ones.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


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
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished corpus of a small generated web. Read it only; `shutil.copytree` it to change something."""
    from pipeline.build import build
    from pipeline.engine.progress import Progress
    from pipeline.miniweb import generate, write_warc
    from pipeline.recipe import load

    folder = tmp_path_factory.mktemp("small_corpus")
    write_warc(generate(pages=120, seed=3), folder / "miniweb.warc.gz")
    settings = ["windows.vocabulary=600", "windows.tokens=64", "windows.validation=0.2"]
    recipe = load("web", settings)
    with (folder / "progress.txt").open("w") as stream:
        options = ["--direct_num_workers=1"]
        warc = str(folder / "miniweb.warc.gz")
        return build([warc], folder / "corpus", recipe, "file:///", options, Progress(stream)).root
