"""Few-shot training on pages of cards, and the episodes that measure it."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.miniweb import generate, write_warc
from shards.tokenizer import Tokenizer, train_corpus_tokenizer
from tests.corpora import build_here
from tests.train_min.synthetic import draw
from tests.train_min.test_lm import small_llama
from train_min import TrainError, fewshot
from train_min.data.windows import open_corpus
from train_min.measuring.evaluate import answer_tokens, prompt_tokens
from train_min.measuring.generate import Prompt, likelihoods
from train_min.model.flamingo import Flamingo, ModelConfig
from train_min.model.lm import NanoConfig, NanoLM
from train_min.model.prefix import PrefixLM
from train_min.options import BRIDGES, FEW_SHOT, TrainOptions
from train_min.training.loop import load
from train_min.ways import (
    WaysOptions,
    all_latents,
    by_features,
    class_pools,
    draw_episode,
    log_likelihoods,
    reordered,
    rices,
    share,
)

LABELS = [f"{colour}-{shape}" for colour in ("red", "blue", "pink") for shape in ("star", "ring", "heart")] * 5


@pytest.mark.parametrize("concept", [False, True])
@pytest.mark.parametrize(("ways", "shots"), [(2, 0), (2, 1), (2, 4), (3, 8)])
def test_episodes_are_balanced_and_solvable_from_the_shots_only(concept: bool, ways: int, shots: int) -> None:
    options, names, rights = WaysOptions(ways, concept=concept), set(), []
    for number in range(40):
        episode = draw_episode(class_pools(LABELS, concept), shots, options, number)
        assert len(episode.shots) == len(set(episode.shots)) == shots and episode.query not in episode.shots
        counts = np.bincount(episode.classes, minlength=ways)
        assert counts.max() - counts.min() <= 1
        part = next(p for p in (0, 1) if not concept or len({LABELS[i].split("-")[p] for i in episode.pools[0]}) == 1)

        def class_of(item: int, part: int = part) -> str:
            return LABELS[item].split("-")[part] if concept else LABELS[item]

        values = [class_of(pool[0]) for pool in episode.pools]
        assert len(set(values)) == ways and class_of(episode.query) == values[episode.right]
        assert [class_of(item) for item in episode.shots] == [values[number] for number in episode.classes]
        if ways == 2:
            assert not {class_of(item) for item in episode.foreign} & set(values)
        names.add(tuple(episode.names))
        rights.append(episode.right)
        again = draw_episode(class_pools(LABELS, concept), shots + 2, options, number)
        assert (again.names, again.query) == (episode.names, episode.query)
    assert len(names) == 40 and len(set(rights)) == ways


def test_baselines_read_the_features() -> None:
    kinds = sorted(set(LABELS))
    pooled = torch.eye(len(kinds))[[kinds.index(label) for label in LABELS]]
    episodes = [draw_episode(class_pools(LABELS, False), 4, WaysOptions(2), number) for number in range(50)]
    for changed in (episodes, reordered(episodes, 1), rices(pooled, episodes)):
        assert share(by_features(pooled, changed, False), changed) == share(by_features(pooled, changed, True), changed)
        assert share(by_features(pooled, changed, False), changed) == 1
    nothing = torch.ones_like(pooled)
    assert share(by_features(nothing, episodes, False), episodes) < 0.8


def test_labels_without_attributes_are_no_concepts() -> None:
    with pytest.raises(TrainError, match="same number of attributes"):
        class_pools(["red-star", "blue"], True)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_corpus_tokenizer(["This is a red. This is a blue star"] * 3)


@pytest.mark.parametrize("bridge", BRIDGES)
def test_kept_latents_give_the_likelihoods_of_the_features(tokenizer: Tokenizer, bridge: str) -> None:
    lm = NanoLM(NanoConfig(tokenizer.vocab_size, 32, 2), 0)
    kind = Flamingo if bridge == "flamingo" else PrefixLM
    model = kind(lm, ModelConfig(8, every=1, n_latents=2, n_resampler_layers=1, bridge=bridge), 0).eval()
    torch.manual_seed(0)
    if isinstance(model, PrefixLM):  # a Q-Former that was not trained hardly looks at its images
        model.scale = 1.0
        for weight in model.bridge.parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=0.5)
    for layer in model.gated.values():
        torch.nn.init.constant_(layer.attention_gate, 1.0)
    for block in lm.blocks:
        torch.nn.init.normal_(block.out.weight)
    features = torch.randn(5, 9, 8, generator=torch.Generator().manual_seed(0))
    tokens = prompt_tokens(tokenizer, ["red", "blue"], "This is a")
    answers = [answer_tokens(tokenizer, name, "This is a") for name in ("red", "blue")]
    shown = [3, 0, 4]
    latents = all_latents(model, features)
    prompts = [Prompt(tokens, latents[shown]), Prompt(tokens[-5:], latents[[2]])]
    found = log_likelihoods(model, prompts, [answers, answers], tokenizer.image_id)[0].tolist()
    wanted = likelihoods(model, Prompt(tokens, features[shown]), answers, tokenizer.image_id)
    assert found == pytest.approx(wanted, rel=1e-4)
    other = [Prompt(tokens, latents[[0, 3, 4]])]
    assert log_likelihoods(model, other, [answers], tokenizer.image_id)[0].tolist() != pytest.approx(wanted, rel=1e-4)


@torch.no_grad()
def test_the_probe_finds_a_model_that_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in whose hidden state is the embedding of what followed the token's last occurrence."""
    lm = NanoLM(NanoConfig(400, 32, 1), 0)
    lm.embedding.copy_(torch.nn.functional.normalize(torch.randn(400, 32, generator=torch.Generator().manual_seed(1))))
    assert fewshot.probe(lm, 398) < fewshot.BINDS
    length = fewshot.PROBE_LENGTH
    monkeypatch.setattr(lm, "run", lambda x, positions, bias: torch.roll(x, length - 1, 1))
    assert fewshot.probe(lm, 398) == 1


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    write_warc(generate(0, seed=2, names=16, cards=24), folder / "web.warc.gz")
    settings = ["text.min_words=4", "text.max_duplicate_lines=1.0", "windows.min_images=0", "windows.validation=0.0"]
    return build_here([folder / "web.warc.gz"], folder / "corpus", settings)


def test_another_language_model_reads_the_windows_once(
    cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fewshot, "BINDS", -1.0)
    options = TrainOptions(few_shot=True, seeds=1, workers=1, device="cpu", steps=3, rows=1, every=2)
    options = replace(options, lm=small_llama(tmp_path / "lm", open_corpus(cards).tokenizer, blocks=2))
    trained = []
    for most in (1 << 30, 0):
        monkeypatch.setattr("train_min.training.prepare.MOST_STATES", most)
        fewshot.run_few_shot(cards, tmp_path / str(most), options, lambda line: None)
        trained.append(load(tmp_path / str(most) / "checkpoint/names-0.pt")["model"])
    assert [len(list(tmp_path.glob(f"{most}/data/train-states.pt"))) for most in (1 << 30, 0)] == [1, 0]
    assert all(torch.allclose(value, trained[1][name], atol=2e-3) for name, value in trained[0].items())


@pytest.mark.parametrize(("kind", "bridge"), [("nano", "flamingo"), ("other", "flamingo"), ("other", "linear")])
def test_a_run_that_cannot_bind_stops_and_one_that_goes_on_is_measured(
    kind: str, bridge: str, cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = kind if kind == "nano" else small_llama(tmp_path / "lm", open_corpus(cards).tokenizer, blocks=2)
    small = {"steps": 2, "lm_steps": 2, "lm_rows": 1, "rows": 1, "lm_width": 32}
    options = TrainOptions(
        lm=lm, bridge=bridge, few_shot=True, seeds=1, workers=1, device="cpu", **{**FEW_SHOT, **small}
    )
    lines: list[str] = []
    with pytest.raises(TrainError, match="cannot bind.* Train it longer" if kind == "nano" else "Choose another --lm"):
        fewshot.run_few_shot(cards, tmp_path / "run", options, lines.append)
    assert "probe of the language models" in lines[-1] and not list((tmp_path / "run").glob("checkpoint/names*"))
    monkeypatch.setattr(fewshot, "BINDS", -1.0)
    result = fewshot.run_few_shot(cards, tmp_path / "run", options, lines.append)
    assert set(result.data["probes"]) == ({"lm-0", "lm-control"} if kind == "nano" else {"lm"})
    rng = random.Random(0)
    for colour in ("red", "green", "blue"):
        for shape in ("circle", "square"):
            (tmp_path / "task" / f"{colour}-{shape}").mkdir(parents=True)
            for number in range(3):
                file = tmp_path / "task" / f"{colour}-{shape}" / f"{number}.jpg"
                file.write_bytes(draw(colour, shape, rng))
    arguments = [
        "evaluate",
        str(tmp_path / "run"),
        str(tmp_path / "task"),
        "--ways",
        "2",
        "--shots",
        "0",
        "--shots",
        "4",
    ]
    done = CliRunner().invoke(app, [*arguments, "--episodes", "10", "--concept"])
    assert done.exit_code == 0, done.output
    assert "nearest neighbour" in done.output and "names-0: 2-way, 10 episodes, chance 0.500" in done.output
    found = json.loads((tmp_path / "run/ways-task-2-concept.json").read_text())
    arms = ["all-0", "control-0", "names-0"] if kind == "nano" else ["all-0", "names-0"]
    assert sorted(found["models"]) == arms
    assert all([row["shots"] for row in found["models"][arm]] == [0, 4] for arm in arms)
