"""Two corpora against each other."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import write_corpus
from tests.train_min.test_data import windows_of
from train_min import TrainError
from train_min.against import compare, joined, run_against, without
from train_min.arms import arms_of
from train_min.options import TrainOptions
from train_min.train import run


def held_out(n: int = 50) -> Any:
    windows = windows_of([[(10, [2 * k, 2 * k + 1])] for k in range(n)])
    for number, unit in enumerate(windows.units):
        unit["url"] = f"http://x/{number}"
    return windows


def losses(windows: Any, rng: np.random.Generator, better: float, of_seed: float = 0.01) -> list[dict]:
    """Models whose losses differ by seed and by document, those of this side `better` nats below 2."""
    of_document = np.repeat(rng.normal(0, 0.02, len(windows.units)), np.diff(windows.starts))
    return [
        {
            name: 2 - better + rng.normal(0, of_seed) + of_document + rng.normal(0, 0.05, len(of_document))
            for name in "ab"
        }
        for _ in range(3)
    ]


def test_a_corpus_against_itself_raises_few_alarms() -> None:
    windows = held_out()
    alarms = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        found = compare({"a": windows, "b": windows}, losses(windows, rng, 0.0), losses(windows, rng, 0.0))
        alarms += not found["low"] <= 0 <= found["high"]
    assert alarms <= 10


def test_the_better_corpus_is_found() -> None:
    windows = held_out()
    rng = np.random.default_rng(0)
    found = compare({"a": windows, "b": windows}, losses(windows, rng, 0.1), losses(windows, rng, 0.0))
    assert found["low"] > 0 and found["value"] == pytest.approx(0.1 / np.log(2), abs=0.03)
    assert found["pages"] == 50


def test_pages_held_out_elsewhere_are_left_out_of_training() -> None:
    windows = held_out(4)
    left = without(windows, {"http://x/1", "http://x/3"})
    assert len(left) == 2 and left.of(1)[0].tolist() == windows.of(2)[0].tolist()
    assert left.of(1)[1].tolist() == windows.of(2)[1].tolist()
    both = joined(left, windows)
    assert len(both) == 6 and both.of(3)[0].tolist() == windows.of(1)[0].tolist() and (both.images == -1).all()


@pytest.mark.slow
def test_two_corpora_are_compared_from_their_folders(corpus_folder: Path, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", 120, seed=1)
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, seeds=2)
    result = run_against(corpus_folder, other, tmp_path / "run", options, lambda line: None)
    assert set(result.data["nll"]) == {"a", "b"} and set(result.data["nll"]["a"]) == {"a", "b"}
    assert result.data["difference"]["pages"] >= 30
    with pytest.raises(TrainError, match="at least --seeds 2"):
        run_against(corpus_folder, other, tmp_path / "run2", QUICK, lambda line: None)


def test_a_ruler_has_an_arm_for_every_dose() -> None:
    with pytest.raises(TrainError, match="no ruler"):
        arms_of(TrainOptions(ruler="yardstick"))
    names = [arm.name for arm in arms_of(TrainOptions(ruler="placement", seeds=1))]
    assert names == ["true", "dose-0.1", "dose-0.25", "dose-0.5", "dose-1", "reference", "control"]
    names = [arm.name for arm in arms_of(TrainOptions(ruler="permutation", seeds=1))]
    assert names == ["true", "dose-0.1", "dose-0.25", "dose-0.5", "reference", "control"]


@pytest.mark.slow
def test_a_ruler_trains_every_dose_and_reports_them(corpus_folder: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, ruler="placement")
    result = run(corpus_folder, tmp_path / "run", options, lambda line: None)
    points = result.data["ruler"]["points"]
    assert [point["dose"] for point in points] == [0.0, 0.1, 0.25, 0.5, 1.0]
    assert all("gain" in point and "within_document" in point for point in points)
    assert "lost" not in points[0] and "lost" in points[1]
