"""The loop: accumulation, mixture, resume, several processes, and errors when training breaks."""

import copy
import itertools
import math
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from shards.windows import WindowOptions
from tests.train_min.test_data import windows_of
from tests.train_min.test_model import FEATURES, batch_of, tiny
from train_min import TrainError
from train_min.data.windows import WindowArrays, cut_windows, open_corpus
from train_min.model.flamingo import Flamingo, ModelConfig
from train_min.model.lm import NanoConfig, NanoLM
from train_min.options import TrainOptions
from train_min.training.loop import (
    LoopOptions,
    TrainingSet,
    accumulate,
    draw_batches,
    fit,
    lower_states,
    parts_of,
    rate_factor,
    score,
    step_flops,
    train_nano,
)
from train_min.training.variants import Setting


def features_of(windows: WindowArrays) -> Any:
    table = torch.randn(len(windows.hashes), 4, FEATURES, generator=torch.Generator().manual_seed(0))
    return lambda rows: table[torch.from_numpy(rows)]


@pytest.fixture(scope="module")
def windows(corpus_folder: Path) -> WindowArrays:
    corpus = open_corpus(corpus_folder)
    return cut_windows(corpus, corpus.tokenizer, "train", WindowOptions(policy="tile"))


def small(windows: WindowArrays, every: int = 1) -> Flamingo:
    lm = NanoLM(NanoConfig(windows.eoc_id + 1, 32, 2, 2), 0)
    return Flamingo(lm, ModelConfig(FEATURES, every=every, n_latents=4, n_resampler_layers=1), 0)


def gradients(model: Flamingo) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.trained().items() if p.grad is not None}


def test_micro_batches_add_up_to_one_batch() -> None:
    model = tiny().train()
    index, slots = [[0, 0, 0, 1, 1, 1], [-1, 0, 0, 0, 0, 0]], [(0, 0), (0, 1), (1, 0)]
    whole = batch_of(index, slots)
    whole.targets[1, 1:4] = -1  # the parts differ in how many losses they have
    parts = []
    for row in range(2):
        part = copy.copy(whole)
        for name in ("tokens", "segments", "positions", "media_index", "targets"):
            setattr(part, name, getattr(whole, name)[row : row + 1])
        chosen = whole.media_row == row
        part.features = [whole.features[0][chosen]]
        part.media_row, part.media_slot = torch.zeros(int(chosen.sum()), dtype=torch.long), whole.media_slot[chosen]
        parts.append(part)
    losses = accumulate(model, [(1.0, [whole])], model.nll)
    expected = gradients(model)
    model.zero_grad()
    assert accumulate(model, [(1.0, parts)], model.nll) == pytest.approx(losses, abs=1e-6)
    assert all((gradients(model)[name] - value).abs().max() <= 1e-6 for name, value in expected.items())


def test_a_mixture_has_the_weighted_sum_of_gradients() -> None:
    model = tiny().train()
    first, second = batch_of([[0] * 6], [(0, 0)]), batch_of([[0] * 4], [(0, 0)], seed=5)
    parts = []
    for batch in (first, second):
        model.zero_grad()
        model.nll(batch).mean().backward()
        parts.append(gradients(model))
    model.zero_grad()
    accumulate(model, [(1.0, [first]), (0.2, [second])], model.nll)
    for name, value in gradients(model).items():
        assert (value - parts[0][name] - 0.2 * parts[1][name]).abs().max() <= 1e-6


@pytest.mark.parametrize(("shortest", "longest"), [(140, 140), (60, 256), (130, 256), (256, 256), (30, 60)])
def test_a_step_is_as_many_tokens_whatever_the_length_of_windows(shortest: int, longest: int) -> None:
    """Rows of windows of 140 tokens are about half full."""
    lengths = np.random.default_rng(0).integers(shortest, longest + 1, 200).tolist()
    windows = windows_of([[(length, [])] for length in lengths])
    options = LoopOptions(40, rows=3, accumulate=2)
    parts = parts_of(windows, options, 0)
    training = TrainingSet("windows", windows, None)
    steps = [draw_batches(training, parts, options, 0, step) for step in range(options.steps)]
    given = np.cumsum([sum(int((batch.segments >= 0).sum()) for batch in step) for step in steps])
    wanted = 2 * 3 * 256 * np.arange(1, options.steps + 1)
    assert (given >= wanted).all() and (given < wanted + 256).all()


def test_the_text_of_pairs_always_sees_its_own_image() -> None:
    pairs = windows_of([[(10, [number])] for number in range(40)])

    def blind(interleaved: bool) -> int:
        training = TrainingSet("pairs", pairs, features_of(pairs), interleaved=interleaved)
        parts = iter([[[number] for number in range(40)]])
        (batch,) = draw_batches(training, parts, LoopOptions(1, rows=40, next_image=0.5), 0, 0)
        return int((batch.media_index.amax(1) < 0).sum())

    assert blind(interleaved=False) == 0 and blind(interleaved=True) > 10


def test_a_run_trains_its_pairs_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train", "pairs"):
        windows_of([[(10, [0])]]).save(tmp_path / "data" / f"{name}.npz")
    monkeypatch.setattr(Setting, "lookup", lambda setting, windows: None)
    options = TrainOptions()
    setting = Setting(tmp_path, tmp_path, 4, FEATURES, 100, options, LoopOptions.of(options), "cpu")
    assert setting.training_set("train", None).interleaved
    assert not setting.training_set("pairs", None).interleaved


def test_rates_rise_then_fall_to_zero() -> None:
    options = LoopOptions(100, warmup=0.1)
    factors = [rate_factor(step, options) for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == 1.0 and factors[10] == 1.0
    assert factors[99] == pytest.approx(1 / 90)
    assert all(left >= right for left, right in itertools.pairwise(factors[10:]))
    late = [rate_factor(step, LoopOptions(100, warmup=0.1, decay=0.3)) for step in range(100)]
    assert late[:10] == factors[:10] and set(late[10:71]) == {1.0} and late[99] == pytest.approx(1 / 30)


def run_fit(windows: WindowArrays, steps: int, stop: int | None = None, checkpoint: Path | None = None) -> Flamingo:
    model = small(windows)
    rows = []

    def log(row: dict) -> None:
        rows.append(row)
        if stop is not None and row["step"] + 1 == stop:
            raise KeyboardInterrupt

    options = LoopOptions(steps, rows=2, context=64, save_every=2, next_image=0.5)
    try:
        fit(model, [TrainingSet("windows", windows, features_of(windows))], options, 3, log, checkpoint)
    except KeyboardInterrupt:
        pass
    return model


def test_an_interrupted_run_ends_bit_identical(windows: WindowArrays, tmp_path: Path) -> None:
    straight = run_fit(windows, 7)
    run_fit(windows, 7, stop=5, checkpoint=tmp_path / "c.pt")  # the checkpoint is of step 4
    resumed = run_fit(windows, 7, checkpoint=tmp_path / "c.pt")
    for name, value in straight.trained().items():
        assert torch.equal(value, resumed.trained()[name]), name
    assert any(not torch.equal(value, small(windows).trained()[name]) for name, value in straight.trained().items())


def test_a_checkpoint_of_other_options_is_refused(windows: WindowArrays, tmp_path: Path) -> None:
    run_fit(windows, 3, checkpoint=tmp_path / "c.pt")
    with pytest.raises(TrainError, match="other options"):
        run_fit(windows, 5, checkpoint=tmp_path / "c.pt")


def test_a_checkpoint_of_other_shapes_or_damaged_is_refused(windows: WindowArrays, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    run_fit(windows, 3, checkpoint=path)
    wider = Flamingo(small(windows).lm, ModelConfig(FEATURES, every=1, n_latents=8, n_resampler_layers=1), 0)
    options = LoopOptions(3, rows=2, context=64, save_every=2, next_image=0.5)
    sets = [TrainingSet("windows", windows, features_of(windows))]
    with pytest.raises(TrainError, match="other options"):
        fit(wider, sets, options, 3, lambda row: None, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TrainError, match=r"c\.pt is damaged .*delete it"):
        run_fit(windows, 3, checkpoint=path)


def test_training_leaves_language_model_and_features_as_they_are(windows: WindowArrays) -> None:
    before = {name: value.clone() for name, value in small(windows).lm.state_dict().items()}
    after = run_fit(windows, 3).lm.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(windows: WindowArrays) -> None:
    broken = features_of(windows)
    options = LoopOptions(3, rows=1, context=64)
    with pytest.raises(TrainError, match=r"not a number at step 0.*lower --matrix-rate"):
        fit(
            small(windows),
            [TrainingSet("windows", windows, lambda rows: broken(rows) * math.nan)],
            options,
            0,
            lambda row: None,
        )


def test_log_rows_hold_what_the_report_draws(windows: WindowArrays) -> None:
    rows: list[dict] = []
    model = small(windows)
    sets = [
        TrainingSet("windows", windows, features_of(windows)),
        TrainingSet("pairs", windows, features_of(windows), 0.2),
    ]
    fit(model, sets, LoopOptions(3, rows=1, context=64), 0, rows.append, peak=1e12)
    assert [row["step"] for row in rows] == [0, 1, 2]
    busy: list[dict] = []  # a peak that was measured while the machine was busy
    fit(small(windows), sets, LoopOptions(1, rows=1, context=64), 0, busy.append, peak=1.0)
    assert busy[0]["mfu"] == 1
    assert set(rows[0]["loss"]) == {"windows", "pairs"}
    assert rows[2]["gates"] == model.gates() != rows[0]["gates"]
    assert rows[0]["tokens_per_second"] > 0 and rows[0]["mfu"] > 0 and rows[2]["seconds_left"] == 0


def test_scores_are_the_losses_of_each_token_wherever_it_is_packed(windows: WindowArrays) -> None:
    model = small(windows)
    few = replace(
        windows,
        tokens=windows.tokens[: windows.starts[12]],
        starts=windows.starts[:13],
        images=windows.images[: windows.image_starts[12]],
        image_starts=windows.image_starts[:13],
        unit=windows.unit[:12],
    )
    scores = score(model, few, features_of(windows))
    from train_min.data.windows import make_batch

    for index in range(12):
        batch = make_batch(few, [[index]], features_of(windows))
        with torch.no_grad():
            nll = model.nll(batch).numpy()
        span = slice(few.starts[index], few.starts[index + 1])
        taken = ~np.isnan(scores[span])
        assert not taken[0] and not taken[few.tokens[span] == few.image_id].any()
        assert np.allclose(scores[span][taken], nll, atol=1e-4)


def test_training_and_scores_are_the_same_with_states_kept(windows: WindowArrays) -> None:
    """The frozen blocks below the first gated layer run once instead of in every step."""
    options, features = LoopOptions(3, rows=2, context=64), features_of(windows)
    models = [small(windows, every=2), small(windows, every=2)]
    kept = [None, lower_states(models[0], windows)]
    for model, states in zip(models, kept, strict=True):
        fit(model, [TrainingSet("windows", windows, features, states=states)], options, 0, lambda row: None)
    scores = [score(model, windows, features, states=states) for model, states in zip(models, kept, strict=True)]
    assert np.nanmax(np.abs(scores[0] - scores[1])) < 1e-3
    assert np.nanmax(np.abs(scores[0] - score(small(windows, every=2), windows, features))) > 1e-2


def test_floating_point_operations_are_counted_by_hand() -> None:
    model = tiny(every=2)  # width 32, 4 blocks, gated before blocks 1 and 3, 4 latents, 2 resampler layers
    batch = batch_of([[0] * 6], [(0, 0)])
    d, tokens, latents, patches = 32, 6, 4, 9
    frozen = 12 * d * d * tokens * (2 + 4 + 4 + 4) + 4 * 5 * 64 * d
    gated = 2 * 6 * (tokens * (2 * d * d + 8 * d * d) + latents * 2 * d * d)
    resampler = 6 * patches * FEATURES * d + 2 * 6 * (latents * 12 * d * d + patches * 2 * d * d)
    assert step_flops(model, batch) == frozen + gated + resampler
    batch.states = model.lower(batch)  # the block below the first gated layer need not run
    assert step_flops(model, batch) == frozen + gated + resampler - 2 * 12 * d * d * tokens


class Products(TorchDispatchMode):
    """The shapes of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
            self.seen.add((tuple(args[0].shape), tuple(args[1].shape)))
        return func(*args, **kwargs or {})


def test_the_products_of_most_steps_are_of_shapes_seen_before(windows: WindowArrays) -> None:
    """Numbers of pictures, predicted tokens and rows differ from step to step; for a new shape a kernel is compiled."""
    model = small(windows)
    options = LoopOptions(1, rows=2)
    training = TrainingSet("w", windows, features_of(windows))
    parts = parts_of(windows, options, 0)
    new, pictures, predicted, slots = [], set(), set(), set()
    with Products() as products:
        for step in range(12):
            (batch,) = draw_batches(training, parts, options, 0, step)
            pictures.add(len(batch.media_row))
            predicted.add(int((batch.targets >= 0).sum()))
            before = len(products.seen)
            slots.add(model.media(batch, torch.float32).bias.shape[-1] // model.config.n_latents)
            accumulate(model, [(1.0, [batch])], model.nll)
            new.append(len(products.seen) - before)
    assert len(pictures) >= 4 and len(predicted) >= 8 and {count % 4 for count in slots} == {0}
    assert new[0] >= 20 and sum(new[6:]) <= 8


def test_the_nano_model_learns_its_text(windows: WindowArrays) -> None:
    rows: list[dict] = []
    config = NanoConfig(windows.eoc_id + 1, 64, 2, 2)
    train_nano(windows, config, LoopOptions(25, rows=4, rate=0.01), 0, torch.float32, rows.append)
    assert rows[-1]["loss"]["text"] < rows[0]["loss"]["text"] - 2


def test_a_language_model_that_diverges_ends_the_run_in_one_line(windows: WindowArrays) -> None:
    config = NanoConfig(windows.eoc_id + 1, 32, 1, 1)
    with pytest.raises(TrainError, match="language model's loss is not a number at step 1: lower --lm-rate"):
        train_nano(windows, config, LoopOptions(3, rows=1, rate=math.inf), 0, torch.float32, lambda row: None)


def test_the_end_of_a_chunk_is_learnt(windows: WindowArrays) -> None:
    """With a language model that has never seen it, P(EOC) behind a caption rises on a set that is overfitted."""
    from tests.train_min.test_lm import wrapped

    model = wrapped("llama")
    new = windows.tokens >= windows.image_id  # the tokens of another language model: 64 of its own and two new ones
    stop, pictures = windows.starts[4], windows.image_starts[4]
    few = replace(
        windows,
        tokens=np.where(new, windows.tokens - windows.image_id + 64, windows.tokens % 64)[:stop],
        starts=windows.starts[:5],
        images=windows.images[:pictures],
        image_starts=windows.image_starts[:5],
        unit=windows.unit[:4],
        image_id=64,
        eoc_id=65,
    )
    ends = few.tokens == few.eoc_id
    before = score(model, few, features_of(few))[ends].mean()
    fit(model, [TrainingSet("windows", few, features_of(few))], LoopOptions(60, rows=1), 0, lambda row: None)
    after = score(model, few, features_of(few))[ends].mean()
    assert ends.sum() >= 4 and math.exp(-before) < 0.1 and math.exp(-after) > 3 * math.exp(-before)


def one_step(windows: WindowArrays) -> dict[str, torch.Tensor]:
    """The gradients of a step's batches, which several processes share among them."""
    model = small(windows).train()
    for layer in model.gated.values():
        layer.attention_gate.data.fill_(0.5)
    training = TrainingSet("windows", windows, features_of(windows))
    options = LoopOptions(1, rows=5, context=64, accumulate=2)
    accumulate(model, [(1.0, draw_batches(training, parts_of(windows, options, 1), options, 1, 0))], model.nll)
    return gradients(model)


def in_process(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = one_step(WindowArrays.load(Path(folder) / "w.npz"))
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(windows: WindowArrays, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    windows.save(tmp_path / "w.npz")
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=in_process, args=(rank, str(tmp_path), port)) for rank in range(2)]
    for process in processes:
        process.start()
    alone = one_step(windows)
    for process in processes:
        process.join(240)
        assert process.exitcode == 0
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert set(together) == set(alone)
        for name, value in alone.items():
            assert torch.allclose(value, together[name], rtol=0, atol=1e-5), name
