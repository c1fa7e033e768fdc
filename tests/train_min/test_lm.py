"""Language models: the nano one, and transformers' behind the same interface."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from shards.tokenizer import Tokenizer
from tests.train_min.test_model import FEATURES, batch_of, perturbed
from train_min import TrainError
from train_min.model.flamingo import Flamingo, ModelConfig
from train_min.model.lm import HuggingFaceLM, NanoConfig, NanoLM, load_causal_lm, packed_bias

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "vocab_size": 70}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL, intermediate_size=64, num_key_value_heads=2),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL, intermediate_size=64, num_key_value_heads=2),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SMALL, intermediate_size=64, tie_word_embeddings=False),
    "gpt2": lambda: transformers.GPT2Config(n_embd=32, n_layer=3, n_head=2, vocab_size=70),
}
# rotates by other angles in its last block, which it knows by its number
NUMBERED = transformers.Gemma3TextConfig(
    **SMALL,
    intermediate_size=64,
    num_key_value_heads=2,
    head_dim=16,
    layer_types=["sliding_attention", "sliding_attention", "full_attention"],
)


def build(name: str, dtype: torch.dtype = torch.float32) -> HuggingFaceLM:
    torch.manual_seed(0)
    return HuggingFaceLM(transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).to(dtype), 64)


def wrapped(name: str, dtype: torch.dtype = torch.float32) -> Flamingo:
    config = ModelConfig(FEATURES, every=2, n_latents=4, n_resampler_layers=1, n_heads=2, n_new_tokens=2)
    return Flamingo(build(name, dtype), config, 0)


def small_llama(folder: Path, tokenizer: Tokenizer, blocks: int) -> str:
    """Write an untrained language model with its tokenizer, and return its folder for --lm."""
    torch.manual_seed(0)
    size = SMALL | {"num_hidden_layers": blocks, "vocab_size": tokenizer.image_id}
    config = transformers.LlamaConfig(**size, intermediate_size=64, num_key_value_heads=2)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.json)
    return str(folder)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_the_start_the_logits_are_the_models_own(name: str, dtype: torch.dtype) -> None:
    model = wrapped(name, dtype).train()
    batch = batch_of([[-1, 0, 0, 0, 1, 1]], [(0, 0), (0, 1)])
    with torch.no_grad():
        bias = packed_bias(batch.segments, dtype)
        own = model.lm.model(input_ids=batch.tokens, position_ids=batch.positions, attention_mask=bias).logits
        hidden = model.hidden(batch)
        assert torch.equal(hidden @ model.lm.head.T, (model.lm.model.base_model(
            inputs_embeds=model.lm.embed(batch.tokens), position_ids=batch.positions, attention_mask=bias
        ).last_hidden_state) @ model.lm.head.T)  # fmt: skip
        assert torch.allclose(model.logits(batch)[..., :64].float(), own[..., :64].float(), atol=1e-2)
        assert model.logits(batch).shape[-1] == 66


@pytest.mark.parametrize("name", CONFIGS)
def test_images_reach_the_blocks_and_the_mask_holds(name: str) -> None:
    model = wrapped(name)
    for layer in model.gated.values():
        layer.attention_gate.data.fill_(0.7)
    batch = batch_of([[-1, -1, 0, 0, 1, 1]], [(0, 0), (0, 1)])
    with torch.no_grad():
        changed = (model.logits(batch) != model.logits(perturbed(batch, 1))).any(-1)[0].tolist()
    assert changed == [False] * 4 + [True] * 2


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("block", [1, 2])
def test_blocks_run_apart_give_what_the_whole_gives(name: str, block: int) -> None:
    lm, batch = build(name), batch_of([[-1] * 6, [-1] * 6], [])
    assert lm.halves_agree(block)
    bias = packed_bias(batch.segments, torch.float32)
    with torch.no_grad():
        lower = lm.run(lm.embed(batch.tokens), batch.positions, bias, blocks=slice(0, block))
        upper = lm.run(lower, batch.positions, bias, blocks=slice(block, None))
        whole = lm.run(lm.embed(batch.tokens), batch.positions, bias)
        other = lm.run(lower.flip(-1), batch.positions, bias, blocks=slice(block, None))
    assert torch.equal(upper, whole) and not torch.allclose(other, whole, atol=1e-2)


def test_blocks_that_are_known_by_their_number_are_not_run_apart() -> None:
    torch.manual_seed(0)
    lm = HuggingFaceLM(transformers.AutoModelForCausalLM.from_config(NUMBERED), 64)
    assert not lm.halves_agree(2)


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_trained_parts_have_gradients(name: str) -> None:
    model = wrapped(name).train()
    batch = batch_of([[0] * 6], [(0, 0)], vocabulary=66)
    model.nll(batch).sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(model.trained())


def test_packed_windows_do_not_see_each_other() -> None:
    lm = build("llama")
    tokens = torch.randint(0, 64, (1, 8), generator=torch.Generator().manual_seed(0))
    segments, positions = torch.tensor([[0] * 4 + [1] * 4]), torch.tensor([[0, 1, 2, 3] * 2])
    with torch.no_grad():
        packed = lm.run(lm.embed(tokens), positions, packed_bias(segments, torch.float32))
        apart = lm.run(lm.embed(tokens.view(2, 4)), positions.view(2, 4), packed_bias(torch.zeros(2, 4), torch.float32))
    assert torch.allclose(packed.view(2, 4, -1), apart, atol=1e-5)


def test_a_padded_embedding_is_cut_at_the_tokenizers_end() -> None:
    assert build("llama").head.shape == (64, 32)
    with pytest.raises(TrainError, match="has 70 tokens, its tokenizer 99"):
        HuggingFaceLM(transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]()), 99)


def test_a_model_that_cannot_be_had_is_named_in_one_line(tmp_path: Path) -> None:
    for name in (str(tmp_path / "no.gguf"), str(tmp_path)):
        with pytest.raises(TrainError, match="no language model") as caught:
            load_causal_lm(name, 64, torch.float32)
        assert "\n" not in str(caught.value)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(TrainError, match="no language model"):
        load_causal_lm(str(tmp_path / "bad.gguf"), 64, torch.float32)


def test_a_saved_model_loads_from_its_folder(tmp_path: Path) -> None:
    lm = build("llama")
    lm.model.save_pretrained(tmp_path)
    loaded = load_causal_lm(str(tmp_path), 64, torch.float32)
    assert torch.equal(loaded.head, lm.head)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_head_of_a_plain_model_gives_its_logits(name: str, dtype: torch.dtype) -> None:
    assert build(name, dtype).head_agrees()


@pytest.mark.parametrize(
    "config",
    [
        lambda: transformers.GraniteConfig(**SMALL, intermediate_size=64, logits_scaling=8.0),
        lambda: transformers.CohereConfig(**SMALL, intermediate_size=64, logit_scale=0.0625),
        lambda: transformers.Gemma2Config(
            **SMALL, intermediate_size=64, head_dim=16, num_key_value_heads=2, final_logit_softcapping=30.0
        ),
    ],
)
def test_a_model_that_changes_its_logits_is_refused(config: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config()).save_pretrained(tmp_path)
    with pytest.raises(TrainError, match="scales or caps its logits"):
        load_causal_lm(str(tmp_path), 64, torch.float32)


def test_new_tokens_are_not_likelier_than_those_of_a_model_whose_logits_lie_far_below_zero() -> None:
    """GPT-2's do, so that a row of zeros would be nearly certain."""
    lm = build("llama")
    batch = batch_of([[-1] * 6], [])
    with torch.no_grad():
        hidden = lm.run(lm.embed(batch.tokens), batch.positions, packed_bias(batch.segments, torch.float32))
        lm.model.get_output_embeddings().weight -= 2 * torch.nn.functional.normalize(hidden[0, -1], dim=0)
        model = Flamingo(lm, ModelConfig(FEATURES, every=2, n_latents=4, n_heads=2, n_new_tokens=2), 0)
        logits = model.logits(batch)[0, -1]
    assert logits[:64].max() < -5
    assert logits.softmax(-1)[64:].sum() < 0.1


@pytest.mark.parametrize("name", ["nano", "llama", "gpt2"])
def test_a_cache_changes_nothing(name: str) -> None:
    lm = NanoLM(NanoConfig(64, 32, 3, 2), 0) if name == "nano" else build(name)
    tokens = torch.randint(0, 64, (1, 7), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(7)[None]
    bias = packed_bias(torch.zeros(1, 7), torch.float32)
    with torch.no_grad():
        whole = lm.run(lm.embed(tokens), positions, bias)
        cache = lm.new_cache()
        first = lm.run(lm.embed(tokens[:, :4]), positions[:, :4], bias[:, :, :4, :4], cache=cache)
        rest = [
            lm.run(lm.embed(tokens[:, i : i + 1]), positions[:, i : i + 1], bias[:, :, i : i + 1, : i + 1], cache=cache)
            for i in range(4, 7)
        ]
    assert torch.allclose(torch.cat([first, *rest], 1), whole, atol=1e-5)
