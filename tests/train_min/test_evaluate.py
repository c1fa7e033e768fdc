"""Few-shot prompts and figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shards.tokenizer import Tokenizer, train_corpus_tokenizer
from train_min import TrainError
from train_min.measuring import evaluate
from train_min.measuring.evaluate import (
    EvaluateOptions,
    accuracy,
    answer_tokens,
    episode,
    load_task,
    prompt_tokens,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_corpus_tokenizer(["Output: red Output: blue a cat"] * 3)


def test_golden_prompts(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(prompt_tokens(tokenizer, ["red", "a cat"], "Output:")) == (
        "<image>Output: red<|endofchunk|><image>Output: a cat<|endofchunk|><image>Output:"
    )
    assert tokenizer.decode(prompt_tokens(tokenizer, ["red", "blue"], "Output:", images=False)) == (
        "Output: red<|endofchunk|>Output: blue<|endofchunk|><image>Output:"
    )
    assert tokenizer.decode(answer_tokens(tokenizer, "a cat", "Output:")) == " a cat<|endofchunk|>"


def test_a_prompt_and_its_answer_are_the_tokens_of_a_shot(tokenizer: Tokenizer) -> None:
    whole = prompt_tokens(tokenizer, ["red"], "Output:")
    parts = np.concatenate([prompt_tokens(tokenizer, [], "Output:"), answer_tokens(tokenizer, "red", "Output:")])
    assert whole[: len(parts)].tolist() == parts.tolist()


def test_folders_and_captions_are_tasks(task: Path, tmp_path: Path) -> None:
    items = load_task(task)
    assert len(items) == 24 and {item.label for item in items} == {"red", "green", "blue", "yellow"}
    for name, text in (("a", "a  dog\n"), ("b", "a cat")):
        (tmp_path / f"{name}.png").write_bytes(b"")
        (tmp_path / f"{name}.txt").write_text(text)
    assert [item.label for item in load_task(tmp_path)] == ["a dog", "a cat"]
    with pytest.raises(TrainError, match="at least two labels"):
        load_task(task / "red")


def test_episodes_leave_the_query_out_and_deal_the_labels_anew(task: Path) -> None:
    items = load_task(task)
    mappings = set()
    for query in range(20):
        chosen, names = episode(items, query, 8, EvaluateOptions(), None)
        assert query not in chosen and len(set(chosen)) == 8
        assert sorted(names.values()) == sorted(names)
        mappings.add(tuple(names.values()))
    assert len(mappings) > 10
    assert episode(items, 3, 8, EvaluateOptions(), None) == episode(items, 3, 8, EvaluateOptions(), None)
    assert episode(items, 3, 4, EvaluateOptions(permute=False), None)[1] == {
        n: n for n in ("red", "green", "blue", "yellow")
    }


def test_similar_pictures_come_last(task: Path) -> None:
    items = load_task(task)
    similar = torch.zeros(24, 24)
    similar[5, 9], similar[5, 2], similar[5, 5] = 3.0, 2.0, 9.0
    chosen, _ = episode(items, 5, 4, EvaluateOptions(rices=True), similar)
    assert chosen[-2:] == [2, 9] and 5 not in chosen


def test_a_model_that_reads_the_shots_is_right_and_with_shuffled_images_at_chance(
    task: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that answers as the shot whose picture is nearest: the task must be solvable by looking, only so."""
    items = load_task(task)
    classes = sorted({item.label for item in items})
    features = torch.stack([torch.eye(4)[[classes.index(item.label)]] for item in items])

    def look(model, tokenizer, prompt, labels, options):  # type: ignore[no-untyped-def]
        text = tokenizer.decode(prompt.tokens).split("<|endofchunk|>")
        near = (prompt.features[:-1, 0] @ prompt.features[-1, 0]).argmax()
        return text[int(near)].split("Output: ")[1]

    monkeypatch.setattr(evaluate, "answer", look)
    options = EvaluateOptions(episodes=24)
    assert accuracy(None, tokenizer, items, features, 16, options) > 0.9  # type: ignore[arg-type]
    assert accuracy(None, tokenizer, items, features, 16, options, shuffled=True) < 0.6  # type: ignore[arg-type]
