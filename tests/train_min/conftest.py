"""A synthetic corpus, written once for all tests of the trainer."""

from pathlib import Path

import pytest
import torch

from tests.train_min.synthetic import write_corpus


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 310)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
