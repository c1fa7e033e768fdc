"""Generation with caches against plain re-forwarding."""

import numpy as np
import pytest
import torch

from tests.train_min.elsewhere import ELSEWHERE, TwoDevices, moved
from tests.train_min.test_lm import wrapped
from tests.train_min.test_model import FEATURES, tiny
from train_min.measuring.generate import Prompt, Session, beam, greedy, likelihoods, prompt_batch
from train_min.model.flamingo import Flamingo

IMAGE, EOC = 60, 61


def prompts() -> list[Prompt]:
    """Different lengths, different numbers of images, one of them without any."""
    rng = np.random.default_rng(0)
    layouts = ["ixxixx", "xxixxxxx", "xxx", "ixixixxx"]
    made = []
    for layout in layouts:
        tokens = np.array([IMAGE if c == "i" else rng.integers(0, 60) for c in layout])
        made.append(
            Prompt(
                tokens,
                torch.randn(layout.count("i"), 9, FEATURES, generator=torch.Generator().manual_seed(len(layout))),
            )
        )
    return made


def build(name: str) -> Flamingo:
    model = tiny() if name == "nano" else wrapped(name)
    for layer in model.gated.values():
        layer.attention_gate.data.fill_(0.7)
    return model.eval()


def next_logits(model: Flamingo, prompt: Prompt, more: list[int]) -> torch.Tensor:
    """By a forward pass over everything."""
    whole = Prompt(np.concatenate([prompt.tokens, more]).astype(np.int64), prompt.features)
    with torch.no_grad():
        return model.logits(prompt_batch([whole], IMAGE))[0, -1]


@pytest.mark.parametrize("name", ["nano", "llama", "gpt_neox"])
def test_cached_equals_uncached_with_any_images_and_left_padding(name: str) -> None:
    model = build(name)
    session = Session(model, prompt_batch(prompts(), IMAGE))
    text = [[5, 9, 2], [7, 7, 7], [1, 2, 3], [11, 30, 4]]
    for step in range(4):
        for row, prompt in enumerate(prompts()):
            assert torch.allclose(session.logits[row], next_logits(model, prompt, text[row][:step]), atol=1e-4)
        if step < 3:
            session.step(torch.tensor([line[step] for line in text]))


@pytest.mark.parametrize("name", ["nano", "llama"])
def test_greedy_takes_the_argmax_of_a_full_forward(name: str) -> None:
    model = build(name)
    texts = greedy(model, prompts(), IMAGE, EOC, length=5)
    for prompt, text in zip(prompts(), texts, strict=True):
        assert text
        for step, token in enumerate(text):
            logits = next_logits(model, prompt, text[:step])
            logits[IMAGE] = -float("inf")
            assert int(logits.argmax()) == token


def test_greedy_stops_at_the_end_of_a_chunk() -> None:
    model = build("nano")
    free = greedy(model, prompts()[:1], IMAGE, EOC, length=4)[0]
    assert greedy(model, prompts()[:1], IMAGE, free[2], length=4)[0] == free[: free.index(free[2])]


def log_likelihood(model: Flamingo, prompt: Prompt, text: list[int], length: int) -> float:
    """Of `text` and, where it ended before `length`, EOC, when `<image>` cannot come."""
    total = 0.0
    for step, token in enumerate([*text, EOC][:length]):
        logits = next_logits(model, prompt, text[:step])
        logits[IMAGE] = -float("inf")
        total += float(logits.log_softmax(-1)[token])
    return total


@pytest.mark.parametrize("name", ["nano", "llama"])
def test_beams_find_no_less_than_greedy(name: str) -> None:
    model = build(name)
    for prompt in prompts():
        (plain,) = greedy(model, [prompt], IMAGE, EOC, length=4)
        text, score = beam(model, prompt, IMAGE, EOC, beams=8, length=4)
        assert score == pytest.approx(log_likelihood(model, prompt, text, 4), abs=1e-3)
        assert score >= log_likelihood(model, prompt, plain, 4) - 1e-3


def test_answers_are_ranked_by_their_log_likelihood() -> None:
    model = build("nano")
    prompt = prompts()[3]
    answers = [np.array([4, 5, EOC]), np.array([9, EOC])]
    for answer, found in zip(answers, likelihoods(model, prompt, answers, IMAGE), strict=True):
        expected = sum(
            float(next_logits(model, prompt, answer[:step].tolist()).log_softmax(-1)[token])
            for step, token in enumerate(answer)
        )
        assert found == pytest.approx(expected, abs=1e-3)


def test_a_model_trained_on_five_images_runs_with_thirty_three() -> None:
    model = build("nano")
    tokens = np.array([IMAGE, 3, 4] * 33)
    features = torch.randn(33, 9, FEATURES, generator=torch.Generator().manual_seed(0))
    (text,) = greedy(model, [Prompt(tokens, features)], IMAGE, EOC, length=3)
    assert len(text) == 3


def test_prompts_follow_the_model_to_its_device() -> None:
    answers = [np.array([4, 5, EOC]), np.array([9, EOC])]

    def continued(model: Flamingo) -> tuple[list[list[int]], list[int], list[float]]:
        found, score = beam(model, prompts()[3], IMAGE, EOC, length=3)
        ranked = likelihoods(model, prompts()[3], answers, IMAGE)
        return greedy(model, prompts(), IMAGE, EOC, length=3), found, [score, *ranked]

    texts, found, scores = continued(build("nano"))
    far = moved(build("nano"))
    assert far.new_rows.device == ELSEWHERE
    with TwoDevices():
        assert continued(far) == (texts, found, pytest.approx(scores, abs=1e-4))
