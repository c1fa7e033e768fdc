import pytest

from pipeline.miniweb import Web, generate


@pytest.fixture(scope="session")
def web() -> Web:
    return generate(400, seed=0)
