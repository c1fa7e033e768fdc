"""A synthetic corpus, written once for all tests of the trainer."""

from pathlib import Path

import pytest
import torch

from tests.train_min.synthetic import write_corpus
from train_min.options import Result, TrainOptions
from train_min.train import run

QUICK = TrainOptions(steps=24, rows=2, lm_steps=16, lm_rows=4, seeds=1, workers=1, device="cpu")


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 100, held_out=3)


@pytest.fixture(scope="session")
def finished(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[str]]:
    """A quick run on the synthetic corpus, and the lines that it reported."""
    torch.set_num_threads(1)
    lines: list[str] = []
    return run(corpus_folder, tmp_path_factory.mktemp("runs") / "run", QUICK, lines.append), lines


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
