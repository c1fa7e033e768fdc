"""A synthetic corpus, written once for all tests of the trainer."""

import random
from pathlib import Path

import pytest
import torch

from tests.train_min.synthetic import COLOURS, draw, write_corpus
from train_min.options import TrainOptions

QUICK = TrainOptions(steps=24, rows=2, lm_steps=16, lm_rows=4, seeds=1, workers=1, device="cpu")


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 100, held_out=3)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    rng = random.Random(0)
    for colour in ("red", "green", "blue", "yellow"):
        (folder / colour).mkdir()
        for number in range(6):
            (folder / colour / f"{number}.jpg").write_bytes(draw(colour, "circle", rng))
    assert set(COLOURS) >= {"red", "green", "blue", "yellow"}
    return folder
