"""The loss that teaches a Flamingo whose image belongs to a text."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train_min.test_data import windows_of
from tests.train_min.test_model import FEATURES, batch_of, tiny
from tests.train_min.test_prefix import model_of
from train_min.data.windows import WindowArrays
from train_min.model.flamingo import AroundLM, Batch, Flamingo, ModelConfig
from train_min.model.lm import NanoConfig, NanoLM
from train_min.options import BRIDGES
from train_min.training.critic import info_nce, windows_of_media, with_others
from train_min.training.loop import LoopOptions, TrainingSet, fit, media_flops, score, speed, step_flops, text_flops


def two_windows() -> Batch:
    """One row: a window with the items 0 and 1, one with item 2, and text of both that sees nothing."""
    batch = batch_of([[-1, 0, 0, 0, 1, 1, -1, 2, 2, 2], [-1] * 10], [(0, 0), (0, 1), (0, 2)])
    batch.segments[0, 6:] = 1
    batch.positions = torch.tensor([[*range(6), *range(4)], [*range(10)]])
    batch.targets[0, 5] = -1
    return batch


def nll_of(model: AroundLM, batch: Batch, item: int) -> torch.Tensor:
    wanted = batch.targets >= 0
    places = torch.full(batch.targets.shape, 0.0)
    places[wanted] = model.nll(batch)
    return places[(batch.media_index == item) & wanted].sum()


@pytest.mark.parametrize("bridge", BRIDGES)
def test_the_own_image_competes_with_those_of_other_windows(bridge: str) -> None:
    model = tiny() if bridge == "flamingo" else model_of(bridge)
    batch = two_windows()
    found = info_nce(model, batch, 3, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    windows = windows_of_media(batch)
    dealt = [batch, *(with_others(batch, windows, rng) for _ in range(3))]
    for item in range(3):
        losses = torch.stack([nll_of(model, each, item) for each in dealt])
        assert found[item].item() == pytest.approx(-torch.log_softmax(-losses, 0)[0].item(), abs=1e-4)
    found.sum().backward()
    assert all(p.grad is not None for name, p in model.trained().items() if name != "new_rows" and "time" not in name)


def test_an_image_is_of_another_window() -> None:
    batch = two_windows()
    windows = windows_of_media(batch)
    assert len(windows) == 3 and windows[0] == windows[1] != windows[2]
    row, slot = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]
    many = batch_of([[0, 0, 0, 1, 1, 1]] * 3, list(zip(row, slot, strict=True)))
    assert len(set(windows_of_media(many).tolist())) == 3
    rng = np.random.default_rng(0)
    for _ in range(20):
        dealt = with_others(many, windows_of_media(many), rng)
        places = list(zip(dealt.media_row.tolist(), dealt.media_slot.tolist(), strict=True))
        assert sorted(places) == sorted(zip(row, slot, strict=True))
        assert all(to != own for (to, _), own in zip(places, row, strict=True))


def test_images_without_text_and_batches_without_images_cost_nothing() -> None:
    batch = two_windows()
    batch.targets[batch.media_index == 2] = -1
    rng = np.random.default_rng(0)
    assert len(info_nce(tiny(), batch, 2, rng)) == 2
    blind = batch_of([[-1] * 6], [])
    nothing = info_nce(tiny(), blind, 2, rng)
    assert nothing.sum().item() == 0.0
    nothing.sum().backward()


def told(windows: WindowArrays, rng: np.random.Generator) -> tuple[WindowArrays, torch.Tensor]:
    """The windows with texts in which most tokens follow from the one before, and few, which the image tells, not."""
    tokens = windows.tokens.copy()
    shown = np.zeros(len(windows.hashes), np.int64)
    for index in range(len(windows)):
        start, stop = windows.starts[index], windows.starts[index + 1]
        colour = int(rng.integers(8))
        shown[windows.images[windows.image_starts[index]]] = colour
        tokens[start + 1 : stop - 1] = 10 + (int(rng.integers(40)) + np.arange(stop - start - 2)) % 40
        tokens[start + 1] = colour
    features = torch.nn.functional.one_hot(torch.from_numpy(shown), FEATURES).float()[:, None] * 5
    return replace(windows, tokens=tokens), features


def test_a_trained_critic_knows_the_own_image() -> None:
    rng = np.random.default_rng(0)
    windows, table = told(windows_of([[(12, [number])] for number in range(80)]), rng)
    lm = NanoLM(NanoConfig(windows.eoc_id + 1, 32, 2, 2), 0)
    model = Flamingo(lm, ModelConfig(FEATURES, every=1, n_latents=4, n_resampler_layers=1), 0)

    def features(rows: np.ndarray) -> torch.Tensor:
        return table[torch.from_numpy(rows)]

    others = windows.with_images(np.roll(windows.images, 7))

    def saved() -> float:
        """Nats that the own image saves over another, in the mean over tokens."""
        return float(np.nanmean(score(model, others, features) - score(model, windows, features)))

    assert abs(saved()) < 1e-6
    rows: list[dict] = []
    options = LoopOptions(30, rows=2, negatives=3)
    fit(model, [TrainingSet("windows", windows, features)], options, 0, rows.append)
    assert saved() > 0.1 and rows[-1]["loss"]["windows"] < 0.7 * rows[0]["loss"]["windows"]


@pytest.mark.parametrize("bridge", BRIDGES)
def test_a_step_counts_every_arrangement_but_the_latents_once(bridge: str) -> None:
    model = tiny() if bridge == "flamingo" else model_of(bridge)
    once, more = (speed(model, [two_windows()], 1.0, 1e9, negatives) for negatives in (0, 3))
    assert more["tokens_per_second"] == once["tokens_per_second"]
    batch = two_windows()
    assert step_flops(model, batch) == media_flops(model, batch) + text_flops(model, batch)
    again = 1 + 3 * text_flops(model, batch) / step_flops(model, batch)
    assert 1 < again < 4 and more["mfu"] == pytest.approx(again * once["mfu"], rel=0.01)
