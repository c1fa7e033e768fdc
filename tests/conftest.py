"""What several test folders need."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pages, WARCs, books and hostile files that lies beside a checkout.

    Tests that ask for it skip where it is missing."""
    beside = Path(__file__).resolve().parents[1].parent / "shared"
    folder = Path(os.environ.get("OPENM3W_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip("the folder shared/ with real pages and WARCs is not beside this checkout")
    return folder
