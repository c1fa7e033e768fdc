"""The benchmark of the trainer on a GPU, at sizes for any machine."""

import os
import re
from pathlib import Path

import pytest
import torch

from tests.bench.gpu import main
from tests.train_min.test_model import FEATURES, VOCABULARY, WIDTH, batch_of, tiny
from train_min.model.flamingo import ModelConfig, TokenLoss
from train_min.model.lm import NanoConfig, NanoLM
from train_min.options import TrainOptions
from train_min.training import variants
from train_min.training.loop import LoopOptions
from train_min.training.variants import Setting, build_model


def test_it_runs_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--tiny"])
    lines = capsys.readouterr().out
    loss, gradient = re.search(r"loss ([\d.]+)%, gradients ([\d.]+)%", lines).groups()  # type: ignore[union-attr]
    # bfloat16 where the processor is faster in it
    assert float(loss) < 1 and float(gradient) < 5
    assert re.search(r"every 2, 1 rows: [\d,]+ tokens/s, MFU \d+%", lines) and "images/s" in lines


def test_a_step_has_more_rows_on_a_gpu() -> None:
    for options, device, rows in (
        (TrainOptions(), "cpu", 4),
        (TrainOptions(), "cuda", 64),
        (TrainOptions(rows=2), "cuda", 2),
    ):
        assert LoopOptions.of(options, device).rows == rows


def test_the_size_of_chunks_changes_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny(), batch_of([[0] * 200, [0] * 200], [(0, 0), (1, 0)])
    whole = model.nll(batch)
    monkeypatch.setattr(TokenLoss, "CHUNK", {"cpu": 2048})
    assert torch.allclose(model.nll(batch), whole, atol=1e-6)


def test_models_of_a_process_share_the_frozen_language_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded: list[str] = []

    def load(name: str, vocabulary: int, dtype: torch.dtype) -> NanoLM:
        loaded.append(name)
        return NanoLM(NanoConfig(VOCABULARY, WIDTH, 4, 2), 0).to(dtype)

    monkeypatch.setattr(variants, "load_causal_lm", load)
    monkeypatch.setattr(variants, "model_config", lambda options, lm, features: ModelConfig(features, every=2))
    options = TrainOptions(lm=str(tmp_path))
    setting = Setting(tmp_path, tmp_path, 9, FEATURES, VOCABULARY, options, LoopOptions.of(options), "cpu")
    first, second = build_model(setting, 0), build_model(setting, 1)
    assert first.lm is second.lm and loaded == [str(tmp_path)]
    assert not torch.equal(first.gated["1"].q.weight, second.gated["1"].q.weight)
    os.utime(tmp_path, (1, 1))  # another file of that name is another model
    assert build_model(setting, 0).lm is not first.lm
