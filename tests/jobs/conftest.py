"""A small web as a WARC file, and the corpus that one process builds of it without being disturbed."""

from pathlib import Path

import pytest

from pipeline.miniweb import Web, generate, write_warc
from tests.jobs.corpora import build_here, digests


@pytest.fixture(scope="session")
def web() -> Web:
    return generate(pages=120, seed=5)


@pytest.fixture(scope="session")
def web_warc(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("web") / "miniweb.warc.gz"
    write_warc(web, path)
    return path


@pytest.fixture(scope="session")
def undisturbed(web_warc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_here([web_warc], tmp_path_factory.mktemp("undisturbed") / "corpus")


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> dict[str, str]:
    found = digests(undisturbed)
    assert len(found) > 10
    return found
