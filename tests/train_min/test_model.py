"""The model's parts, each against the numeric check that defines it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from train_min import TrainError
from train_min.model.flamingo import Batch, Flamingo, ModelConfig, PerceiverResampler, TokenLoss
from train_min.model.lm import NanoConfig, NanoLM
from train_min.training.loop import LoopOptions
from train_min.training.optim import orthogonalize

VOCABULARY, WIDTH, FEATURES = 64, 32, 24


def tiny(n_new: int = 0, every: int = 2, dtype: torch.dtype = torch.float32, open_gates: bool = True) -> Flamingo:
    lm = NanoLM(NanoConfig(VOCABULARY, WIDTH, 4, 2), 0)
    for block in lm.blocks:  # they start at zero
        torch.nn.init.normal_(block.out.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(block.down.weight, std=0.1, generator=torch.Generator().manual_seed(2))
    config = ModelConfig(FEATURES, every=every, n_latents=4, n_resampler_layers=2, n_heads=2, n_new_tokens=n_new)
    model = Flamingo(lm.to(dtype), config, 0)
    if open_gates:
        for layer in model.gated.values():
            layer.attention_gate.data.fill_(0.7)
            layer.ffw_gate.data.fill_(-0.4)
    return model


def batch_of(
    media_index: list[list[int]], slots: list[tuple[int, int]], *, seed: int = 0, vocabulary: int = VOCABULARY
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    index = torch.tensor(media_index)
    rows, length = index.shape
    tokens = torch.randint(0, vocabulary, (rows, length), generator=generator)
    targets = torch.cat([tokens[:, 1:], torch.full((rows, 1), -1)], 1)
    features = [torch.randn(len(slots), 1, 9, FEATURES, generator=generator)] if slots else []
    row, slot = torch.tensor(slots, dtype=torch.long).reshape(-1, 2).unbind(1)
    positions = torch.arange(length).expand(rows, length)
    return Batch(tokens, torch.zeros(rows, length, dtype=torch.long), positions, index, targets, features, row, slot)


def perturbed(batch: Batch, item: int) -> Batch:
    changed = copy.copy(batch)
    group = batch.features[0].clone()
    group[item] += torch.randn(group[item].shape, generator=torch.Generator().manual_seed(9))
    changed.features = [group]
    return changed


def resampler(**changes: int) -> PerceiverResampler:
    sizes = {"n_latents": 4, "n_layers": 2, "n_heads": 2} | changes
    return PerceiverResampler(FEATURES, WIDTH, generator=torch.Generator().manual_seed(0), **sizes)


@pytest.mark.parametrize("patches", [1, 49, 196, 900])
def test_the_resampler_gives_its_latents_for_any_number_of_patches(patches: int) -> None:
    assert resampler(n_latents=7)(torch.randn(3, 1, patches, FEATURES)).shape == (3, 7, WIDTH)


def test_the_resampler_ignores_the_order_of_patches() -> None:
    model, x = resampler(), torch.randn(2, 1, 49, FEATURES, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    assert (model(x) - model(x[:, :, order])).abs().max() <= 1e-5


def test_the_resampler_knows_the_order_of_frames() -> None:
    model, x = resampler(), torch.randn(1, 8, 9, FEATURES, generator=torch.Generator().manual_seed(0))
    model.time.data.mul_(50)
    swapped = x[:, [0, 2, 1, 3, 4, 5, 6, 7]]
    assert (model(x) - model(swapped)).abs().max() > 1e-3


def test_time_embeddings_are_interpolated_to_the_number_of_frames() -> None:
    model = resampler()
    assert torch.equal(model.time_embeddings(8), model.time)
    assert torch.equal(model.time_embeddings(1), model.time[:1])
    thirty = model.time_embeddings(30)
    assert thirty.shape == (30, WIDTH)
    assert torch.allclose(thirty[[0, -1]], model.time[[0, -1]], atol=1e-6)
    assert torch.allclose(model.time_embeddings(15)[1], (model.time[0] + model.time[1]) / 2, atol=1e-6)


def test_latents_attend_to_patches_and_latents_in_one_softmax() -> None:
    """One layer written out with torch's own attention over the concatenation."""
    layer = resampler().layers[0]
    x, latents = torch.randn(2, 9, WIDTH), torch.randn(2, 4, WIDTH)
    normed = F.layer_norm(latents, (WIDTH,))
    both = torch.cat([F.layer_norm(x, (WIDTH,)), normed], 1)
    q = (normed @ layer.q.weight.T).view(2, 4, 2, -1).transpose(1, 2)
    k, v = ((both @ part.T).view(2, 13, 2, -1).transpose(1, 2) for part in layer.kv.weight.chunk(2))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 4, WIDTH)
    expected = latents + attended @ layer.out.weight.T
    hidden = F.gelu(F.layer_norm(expected, (WIDTH,)) @ layer.ffw.up.weight.T) @ layer.ffw.down.weight.T
    assert torch.allclose(layer(latents, x), expected + hidden, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_the_start_the_logits_are_the_language_models(dtype: torch.dtype) -> None:
    model = tiny(dtype=dtype, open_gates=False).train()
    batch = batch_of([[-1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, -1]], [(0, 0), (0, 1), (1, 0)])
    from train_min.model.lm import packed_bias

    with torch.no_grad():
        alone = model.lm.run(model.lm.embed(batch.tokens), batch.positions, packed_bias(batch.segments, dtype))
        assert torch.equal(model.logits(batch), alone @ model.lm.head.T)


def test_a_gated_layer_is_the_papers_formula() -> None:
    model = tiny()
    layer = model.gated["1"]
    batch = batch_of([[0, 0, 0, 0]], [(0, 0)])
    media = model.media(batch, torch.float32)
    assert media is not None
    y = torch.randn(1, 4, WIDTH)
    q = (F.layer_norm(y, (WIDTH,)) @ layer.q.weight.T).view(1, 4, 2, -1).transpose(1, 2)
    k, v = ((media.latents @ part.T).view(1, 4, 2, -1).transpose(1, 2) for part in layer.kv.weight.chunk(2))
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 4, WIDTH)
    after = y + torch.tanh(torch.tensor(0.7)) * (attended @ layer.out.weight.T)
    hidden = F.gelu(F.layer_norm(after, (WIDTH,)) @ layer.ffw.up.weight.T) @ layer.ffw.down.weight.T
    assert torch.allclose(layer(y, media), after + torch.tanh(torch.tensor(-0.4)) * hidden, atol=1e-5)


@pytest.mark.parametrize(("every", "layers"), [(1, "0 1 2 3"), (2, "1 3"), (3, "2"), (4, "3")])
def test_gated_layers_stand_before_every_mth_block(every: int, layers: str) -> None:
    assert list(tiny(every=every).gated) == layers.split()


def test_parameters_by_part_equal_the_formula() -> None:
    model = tiny(n_new=2)
    trained = model.trained()
    d, v = WIDTH, FEATURES

    def size(prefix: str) -> int:
        return sum(p.numel() for name, p in trained.items() if name.startswith(prefix))

    feed_forward = 8 * d * d + d
    assert size("resampler") == v + v * d + 4 * d + 8 * d + 2 * (4 * d * d + 2 * d + feed_forward) + d
    assert size("gated") == 2 * (4 * d * d + d + feed_forward + 2)
    assert size("new_rows") == 2 * d
    frozen = sum(p.numel() for p in model.lm.parameters())
    assert frozen == VOCABULARY * d + 4 * (12 * d * d + 2 * d) + 2 * d


def test_gradients_exist_for_exactly_the_trained_parts() -> None:
    model = tiny(n_new=2).train()
    batch = batch_of([[0, 0, 0, 0, 0, 0]], [(0, 0)], vocabulary=VOCABULARY + 2)
    batch.tokens[0, 0] = VOCABULARY
    model.nll(batch).sum().backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == set(model.trained())
    # what encodes pictures is no part of the model: nothing could change it
    assert {name.partition(".")[0] for name in model.state_dict()} == {"lm", "resampler", "gated", "new_rows"}
    assert not any(name.startswith("lm.") for name in with_gradient)
    assert model.new_rows.grad is not None and model.new_rows.grad.abs().sum() > 0


def test_at_closed_gates_only_gates_and_new_rows_learn() -> None:
    model = tiny(n_new=2, open_gates=False).train()
    batch = batch_of([[0, 0, 0, 0, 0, 0]], [(0, 0)], vocabulary=VOCABULARY + 2)
    batch.tokens[0, 0] = VOCABULARY
    model.nll(batch).sum().backward()
    moved = {name for name, p in model.trained().items() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {name for name in model.trained() if name.endswith("_gate")} | {"new_rows"}


def test_frozen_weights_stay_bit_identical_with_weight_decay() -> None:
    model = tiny(n_new=2)
    before = {name: p.clone() for name, p in model.lm.state_dict().items()}
    options = LoopOptions(1, weight_decay=0.5)
    batch = batch_of([[0, 0, 0, 0, 0, 0]], [(0, 0)])
    model.train()
    for optimizer in options.optimizers(model):
        model.nll(batch).mean().backward()
        optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.lm.state_dict().items())
    assert not model.lm.training


def test_groups_decay_matrices_only_and_give_gates_their_own_rate() -> None:
    model = tiny(n_new=2)
    names = {id(p): name for name, p in model.named_parameters()}
    muon, adam = LoopOptions(1, weight_decay=0.1, gate_rate=0.3).optimizers(model)
    (matrices,) = muon.param_groups
    others, gates = adam.param_groups
    assert matrices["weight_decay"] == 0.1 and others["weight_decay"] == gates["weight_decay"] == 0
    assert {names[id(p)] for p in gates["params"]} == {n for n in model.trained() if n.endswith("_gate")}
    assert gates["base"] == 0.3
    rest = {names[id(p)] for p in others["params"]}
    assert {"new_rows", "resampler.latents", "resampler.time"} <= rest
    assert all(
        n.endswith("norm.weight") or "norm" in n or n.split(".")[-1] in ("latents", "time", "new_rows") for n in rest
    )
    assert len(matrices["params"]) + len(others["params"]) + len(gates["params"]) == len(model.trained())


MEDIA = [[-1, -1, 0, 0, 0, 1, 1, 1, 2, 2]]
SLOTS = [(0, 0), (0, 1), (0, 2)]


def test_an_image_changes_one_blocks_states_only_up_to_the_next() -> None:
    model = tiny()
    batch = batch_of(MEDIA, SLOTS)
    y = torch.randn(1, 10, WIDTH)
    layer = model.gated["1"]
    with torch.no_grad():
        before = layer(y, model.media(batch, y.dtype))
        after = layer(y, model.media(perturbed(batch, 1), y.dtype))
    changed = (before != after).any(-1)[0].tolist()
    assert changed == [place == 1 for place in MEDIA[0]]


def test_an_image_changes_logits_only_from_its_place_on() -> None:
    model = tiny()
    batch = batch_of(MEDIA, SLOTS)
    with torch.no_grad():
        changed = (model.logits(batch) != model.logits(perturbed(batch, 1))).any(-1)[0].tolist()
    assert changed == [False] * 5 + [True] * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_text_before_the_first_image_is_bit_identical_for_any_images(dtype: torch.dtype) -> None:
    model = tiny(dtype=dtype)
    batch = batch_of(MEDIA, SLOTS)
    with torch.no_grad():
        alone, other = model.logits(batch), model.logits(perturbed(batch, 0))
    assert torch.equal(alone[:, :2], other[:, :2])
    assert not torch.equal(alone[:, 2:], other[:, 2:])


def test_text_that_sees_nothing_gets_exactly_nothing_from_the_attention() -> None:
    model = tiny()
    layer = model.gated["1"]
    layer.ffw_gate.data.zero_()
    y = torch.randn(1, 10, WIDTH)
    with torch.no_grad():
        out = layer(y, model.media(batch_of(MEDIA, SLOTS), y.dtype))
    assert torch.equal(out[:, :2], y[:, :2]) and not torch.equal(out[:, 2:], y[:, 2:])


def test_packed_documents_do_not_see_each_other() -> None:
    """Two windows in one row give what they give in rows of their own."""
    model = tiny()
    apart = batch_of([[-1, 0, 0, 0, 0], [0, 0, 0, 1, 1]], [(0, 0), (1, 0), (1, 1)])
    packed = Batch(
        tokens=apart.tokens.view(1, 10),
        segments=torch.tensor([[0] * 5 + [1] * 5]),
        positions=apart.positions.reshape(1, 10),
        media_index=torch.tensor([[-1, 0, 0, 0, 0, 1, 1, 1, 2, 2]]),
        targets=apart.targets.view(1, 10),
        features=apart.features,
        media_row=torch.tensor([0, 0, 0]),
        media_slot=torch.tensor([0, 1, 2]),
    )
    with torch.no_grad():
        assert torch.allclose(model.logits(packed).view(2, 5, -1), model.logits(apart), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 3), st.integers(0, 2**31))
def test_the_loss_and_its_gradients_are_cross_entropys(n: int, n_new: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 16, generator=generator, requires_grad=True)
    weight = torch.randn(20, 16, generator=generator)
    new = torch.randn(n_new, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 20 + n_new, (n,), generator=generator)
    scale = torch.rand(n, generator=generator)
    nll = TokenLoss.apply(hidden, weight, new, targets, True)
    (nll * scale).sum().backward()
    ours = hidden.grad.clone(), new.grad.clone() if n_new else None
    hidden.grad = new.grad = None
    expected = F.cross_entropy(hidden @ torch.cat([weight, new]).T, targets, reduction="none")
    (expected * scale).sum().backward()
    assert torch.allclose(nll, expected, atol=1e-4)
    assert torch.allclose(ours[0], hidden.grad, atol=1e-4)
    if n_new:
        assert torch.allclose(ours[1], new.grad, atol=1e-3)


def test_the_loss_leaves_out_what_has_no_target() -> None:
    model = tiny()
    batch = batch_of([[0] * 6], [(0, 0)])
    batch.targets[0, 2] = -1
    logits = model.logits(batch)[0]
    kept = [0, 1, 3, 4]
    expected = F.cross_entropy(logits[kept], batch.targets[0, kept], reduction="none")
    assert torch.allclose(model.nll(batch), expected, atol=1e-5)


def test_weights_and_orders_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = tiny(n_new=1).state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(value, first[name]) for name, value in tiny(n_new=1).state_dict().items())


def test_known_states_replace_the_blocks_below_the_first_gated_layer() -> None:
    model = tiny(every=3)
    batch = batch_of(MEDIA, SLOTS)
    with torch.no_grad():
        whole = model.logits(batch)
        batch.states = model.lower(perturbed(batch, 1))
        assert torch.allclose(model.logits(batch), whole, atol=1e-5)
        batch.states = batch.states.flip(-1)
        assert not torch.allclose(model.logits(batch), whole, atol=1e-2)


def test_what_enters_the_first_gated_layer_is_the_same_in_every_seed_and_step() -> None:
    batch = batch_of(MEDIA, SLOTS, vocabulary=VOCABULARY + 2)
    batch.tokens[:, ::3] = VOCABULARY + 1
    model = tiny(n_new=2)
    lower = model.lower(batch)
    model.nll(batch).sum().backward()
    LoopOptions(1, rate=1.0).optimizers(model)[1].step()
    assert torch.equal(model.lower(batch), lower)
    assert torch.equal(Flamingo(model.lm, model.config, 1).lower(batch), lower)


def test_states_of_another_type_are_taken_in_the_language_models() -> None:
    """Kept in float32 by a CPU without fast bfloat16, for a GPU that has it."""
    batch = batch_of(MEDIA, SLOTS)
    model = tiny(every=3, dtype=torch.bfloat16).train()
    batch.states = tiny(every=3).lower(batch)
    assert batch.states.dtype == torch.float32
    nll = model.nll(batch)
    nll.sum().backward()
    batch.states = batch.states.bfloat16()
    assert torch.equal(nll, model.nll(batch))


def test_a_score_forms_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *args, **kwargs: calls.append(1) or product(*args, **kwargs))
    model, batch = tiny(), batch_of(MEDIA, SLOTS)
    with torch.no_grad():
        nll = model.nll(batch)
    assert not calls
    assert torch.equal(model.nll(batch), nll) and calls


def test_a_model_without_a_gated_layer_is_refused() -> None:
    with pytest.raises(TrainError, match=r"--every 5 leaves a language model of 4 blocks without a gated layer"):
        tiny(every=5)


@pytest.mark.parametrize("shape", [(3, 16, 64), (1, 32, 32)])
def test_muons_updates_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before, after = (torch.linalg.svdvals(m.float()) for m in (matrices, orthogonalize(matrices)))
    assert before.max() / before.min() > 2
    assert after.max() < 1.25 and after[before > 0.05 * before.max()].min() > 0.5
