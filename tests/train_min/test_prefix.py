"""Bridges that put images into the language model's input, beside Flamingo's gated layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train_min.conftest import QUICK
from tests.train_min.test_model import FEATURES, VOCABULARY, WIDTH, batch_of, perturbed, tiny
from train_min import TrainError
from train_min.measuring.generate import Prompt, Session, likelihoods, prompt_batch
from train_min.model.flamingo import AroundLM, ModelConfig
from train_min.model.lm import packed_bias
from train_min.model.prefix import PrefixLM, counted
from train_min.options import BRIDGES
from train_min.train import run
from train_min.training.loop import step_flops

PREFIXES = [name for name in BRIDGES if name != "flamingo"]
IMAGE = 1


def model_of(bridge: str) -> AroundLM:
    flamingo = tiny(open_gates=False)
    if bridge == "flamingo":
        return flamingo
    return PrefixLM(flamingo.lm, ModelConfig(FEATURES, n_resampler_layers=1, n_heads=2, bridge=bridge), 0).eval()


@pytest.mark.parametrize("bridge", BRIDGES)
@torch.no_grad()
def test_only_flamingo_is_the_language_model_at_the_start(bridge: str) -> None:
    model = model_of(bridge)
    seen = batch_of([[-1, -1, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]], [(0, 0), (0, 1), (1, 0)])
    blind = batch_of([[-1] * 6, [-1] * 6], [])
    bias = packed_bias(seen.segments, torch.float32)
    alone = model.lm.run(model.lm.embed(seen.tokens), seen.positions, bias) @ model.lm.head.T
    assert torch.equal(model.logits(blind), alone)
    assert torch.equal(model.logits(seen), alone) == (bridge == "flamingo")
    # text before an image never sees it
    assert torch.allclose(model.logits(seen)[0, :2], alone[0, :2], atol=1e-5)


@pytest.mark.parametrize("bridge", PREFIXES)
@torch.no_grad()
def test_text_sees_every_image_before_it_in_its_segment(bridge: str) -> None:
    model = model_of(bridge)
    batch = batch_of([[-1, 0, 0, 1, 1, -1, 2, 2]], [(0, 0), (0, 1), (0, 2)])
    batch.segments = torch.tensor([[0, 0, 0, 0, 0, 1, 1, -1]])
    batch.positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 0]])
    assert isinstance(model, PrefixLM)
    _, positions, segments, _ = model.expanded(batch)
    assert torch.equal(positions, counted(segments)) and positions[segments == 1].min() == 0
    before = model.logits(batch)
    for item, changed in ((0, {1, 2, 3, 4}), (1, {3, 4}), (2, {6})):
        after = model.logits(perturbed(batch, item))
        differs = (before - after).abs().amax(-1)[0] > 1e-6
        assert set(np.flatnonzero(differs.numpy()).tolist()) - {7} == changed


@pytest.mark.parametrize("bridge", PREFIXES)
@torch.no_grad()
def test_the_prefix_stands_before_its_marker(bridge: str) -> None:
    """The same rows, put together by hand."""
    model = model_of(bridge)
    assert isinstance(model, PrefixLM)
    batch = batch_of([[-1, 0, 0, 1], [0, 0, 0, 0]], [(0, 0), (0, 1), (1, 0)])
    vectors, x = model.latents(batch), model.embed(batch.tokens)
    rows = [torch.cat([x[0, :1], vectors[0], x[0, 1:3], vectors[1], x[0, 3:]]), torch.cat([vectors[2], x[1]])]
    logits = model.logits(batch)
    for number, (row, kept) in enumerate(zip(rows, (slice(-1, None), slice(-4, None)), strict=True)):
        places = torch.arange(len(row))[None]
        alone = model.lm.run(row[None], places, packed_bias(torch.zeros_like(places), torch.float32)) @ model.lm.head.T
        assert torch.allclose(logits[number, kept], alone[0, kept], atol=1e-4)


def test_positions_begin_anew_in_each_segment() -> None:
    segments = torch.tensor([[-1, -1, 0, 0, 0, 1, 1], [0, 0, 1, 2, 2, 2, -1]])
    assert counted(segments).tolist() == [[0, 1, 0, 1, 2, 0, 1], [0, 1, 0, 0, 1, 2, 0]]


@pytest.mark.parametrize("bridge", PREFIXES)
@torch.no_grad()
def test_generation_continues_what_the_model_scores(bridge: str) -> None:
    model = model_of(bridge)
    generator = torch.Generator().manual_seed(0)
    prompts = [
        Prompt(np.array([5, IMAGE, 7, IMAGE, 9]), torch.randn(2, 9, FEATURES, generator=generator)),
        Prompt(np.array([IMAGE, 4]), torch.randn(1, 9, FEATURES, generator=generator)),
    ]
    session = Session(model, prompt_batch(prompts, IMAGE))
    session.step(torch.tensor([11, 12]))
    for number, prompt in enumerate(prompts):
        together = session.logits[number].log_softmax(-1)[13]
        answers = [np.array([11 + number]), np.array([11 + number, 13])]
        one, two = likelihoods(model, prompt, answers, IMAGE)
        assert float(together) == pytest.approx(two - one, abs=1e-3)


@pytest.mark.parametrize("bridge", PREFIXES)
def test_only_the_bridge_is_trained(bridge: str) -> None:
    model = model_of(bridge).train()
    batch = batch_of([[0, 0, 0, 1]], [(0, 0), (0, 1)])
    model.nll(batch).sum().backward()
    assert all(parameter.grad is None for parameter in model.lm.parameters())
    trained = {name: parameter for name, parameter in model.trained().items() if parameter.numel()}
    assert trained and all(name.startswith("bridge.") for name in trained)
    moved = [name for name, parameter in trained.items() if parameter.grad is not None and parameter.grad.abs().sum()]
    assert len(moved) >= len(trained) - 2  # the keys' bias of an attention changes nothing
    assert step_flops(model, batch) > 0 and model.new_rows.shape == (0, WIDTH) and model.lm.vocabulary == VOCABULARY


def test_a_run(corpus_folder: Path, tmp_path: Path) -> None:
    result = run(corpus_folder, tmp_path, replace(QUICK, bridge="qformer", steps=2, lm_steps=2), print)
    assert result is not None and result.data["options"]["bridge"] == "qformer"
    assert result.data["captions"] and not list((tmp_path / "data").glob("*-states.pt"))


def test_what_does_not_go_together_is_told() -> None:
    with pytest.raises(TrainError, match="unknown bridge 'mlp': use flamingo, qformer, linear"):
        replace(QUICK, bridge="mlp")
    with pytest.raises(TrainError, match="--bridge linear cannot be combined with --next-image"):
        replace(QUICK, bridge="linear", next_image=0.5)
