"""Causal language models: a nano one of our own, and an adapter for Hugging Face's.

Flamingo needs little of a language model: the methods that `NanoLM` and `HuggingFaceLM` share. Both are frozen here;
the nano model is trained before it is wrapped.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shards.errors import first_line
from train_min import TrainError
from train_min.options import NANO_BLOCKS

Cache = list[tuple[Tensor, Tensor]]
BeforeBlock = Callable[[int, Tensor], Tensor]


class Linear(nn.Linear):
    """A linear layer without bias, computed in its input's dtype; weights stay float32 for the optimizer."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator):
        nn.Module.__init__(self)
        self.in_features, self.out_features = inputs, outputs
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class LayerNorm(nn.Module):
    """Layer norm with scale and no bias: torch's kernel for it is twice as fast on CPU as the one for RMSNorm."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype))


def heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, T, D) to (B, heads, T, D / heads)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of (B, heads, T, d) over (B, heads, K, d) with an additive `bias` that broadcasts to (B, heads, T, K).

    Written out for CPU: in bfloat16 the backward pass of torch's fused kernel takes three times as long."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ v


def as_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `mask` is true, minus infinity where it is false."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


def packed_bias(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Causal bias (B, 1, T, T) within each segment."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return as_bias(((segments[:, :, None] == segments[:, None]) & causal)[:, None], dtype)


@dataclass(frozen=True)
class NanoConfig:
    vocabulary: int
    width: int = 256
    n_layers: int = NANO_BLOCKS
    n_heads: int = 2


ROTARY_BASE = 10_000.0  # Su et al. 2021, arXiv 2104.09864


def rotary(positions: Tensor, head_width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (B, 1, T, head_width / 2) for `positions` (B, T)."""
    exponents = torch.arange(0, head_width, 2, device=positions.device) / head_width
    angles = positions[:, None, :, None].float() * ROTARY_BASE**-exponents
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], -1)


def head_count(width: int) -> int:
    """Number of attention heads for a layer of this width. Heads are 128 wide if that divides it: on CPU they cost half
    of 64-wide ones."""
    return next((width // size for size in (128, 64, 32, 16) if width % size == 0), 1)


class NanoBlock(nn.Module):
    def __init__(self, config: NanoConfig, generator: torch.Generator):
        super().__init__()
        width, self.n_heads = config.width, config.n_heads
        self.norm_attention, self.norm_ffw = LayerNorm(width), LayerNorm(width)
        self.qkv = Linear(width, 3 * width, generator)
        self.out = Linear(width, width, generator)
        self.up = Linear(width, 4 * width, generator)
        self.down = Linear(4 * width, width, generator)
        for last in (self.out, self.down):  # the residual stream starts as the embedding
            nn.init.zeros_(last.weight)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], bias: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (heads(part, self.n_heads) for part in self.qkv(self.norm_attention(x)).chunk(3, -1))
        q, k = rotate(q, *angles), rotate(k, *angles)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = attention(q, k, v, bias)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_ffw(x)))), (k, v)


class NanoLM(nn.Module):
    """A decoder configured by `NanoConfig`: rotary positions, pre-norm, tied head."""

    def __init__(self, config: NanoConfig, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocabulary, config.width, generator=generator) * 0.02)
        self.blocks = nn.ModuleList(NanoBlock(config, generator) for _ in range(config.n_layers))
        self.norm_in, self.norm = LayerNorm(config.width), LayerNorm(config.width)

    @property
    def vocabulary(self) -> int:
        return self.config.vocabulary

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def n_layers(self) -> int:
        return self.config.n_layers

    @property
    def head(self) -> Tensor:
        return self.embedding

    def embed(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.embedding)

    def new_cache(self) -> Cache:
        return []

    def run(
        self,
        x: Tensor,
        positions: Tensor,
        bias: Tensor,
        before: BeforeBlock | None = None,
        cache: Cache | None = None,
        blocks: slice = slice(None),
    ) -> Tensor:
        """Embeddings (B, T, D) to the head's input (B, T, D).

        `bias` (B, 1, T, past + T) is 0 where a token sees another, minus infinity elsewhere. `before(i, x)` may change
        the input of block i. A `cache` is read and extended in place. `blocks` runs part of the stack: a part that
        starts at 0 takes embeddings, a part that reaches the end returns the head's input."""
        first, last, _ = blocks.indices(self.n_layers)
        if first == 0:
            x = self.norm_in(x)
        angles = rotary(positions, self.width // self.config.n_heads, x.dtype)
        for index in range(first, last):
            if before is not None:
                x = before(index, x)
            past = cache[index] if cache is not None and index < len(cache) else None
            x, keys_values = self.blocks[index](x, angles, bias, past)
            if cache is not None:
                cache[index : index + 1] = [keys_values]
        return self.norm(x) if last == self.n_layers else x


class HuggingFaceLM(nn.Module):
    """Any causal language model of transformers, with the interface of `NanoLM`.

    `vocabulary` is the number of rows the tokenizer uses; an embedding padded beyond that is cut there. Gated layers
    are added by hooks before its blocks, so no model code is copied."""

    def __init__(self, model: nn.Module, vocabulary: int):
        super().__init__()
        base = model.base_model
        blocks = {
            name: child
            for name, child in base.named_children()  # type: ignore[union-attr]
            if isinstance(child, nn.ModuleList)
        }
        head = model.get_output_embeddings()  # type: ignore[operator]
        if len(blocks) != 1 or head is None:
            raise TrainError(
                f"{type(model).__name__} is not a decoder with one stack of blocks and a head: choose another --lm"
            )
        if getattr(head, "bias", None) is not None:
            raise TrainError(
                f"{type(model).__name__} has a bias in its head, which is not supported: choose another --lm"
            )
        if len(head.weight) < vocabulary:
            raise TrainError(f"the language model has {len(head.weight)} tokens, its tokenizer {vocabulary}")
        self.model, self.vocabulary = model.eval().requires_grad_(False), vocabulary
        self._base: list[Any] = [base]  # in a list: as a submodule its weights would be listed twice
        ((self._stack, self.blocks),) = blocks.items()

    @property
    def width(self) -> int:
        return self.head.shape[1]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def head(self) -> Tensor:
        return self.model.get_output_embeddings().weight[: self.vocabulary]  # type: ignore[operator]

    def embed(self, tokens: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(tokens)  # type: ignore[operator]

    def new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()

    def run(
        self,
        x: Tensor,
        positions: Tensor,
        bias: Tensor,
        before: BeforeBlock | None = None,
        cache: Any = None,
        blocks: slice = slice(None),
    ) -> Tensor:
        """Like `NanoLM.run`. A partial stack takes no cache and is only correct if `halves_agree`."""
        first, last, _ = blocks.indices(self.n_layers)
        with self._changed(x, first, last, before):
            try:
                result = self._base[0](
                    inputs_embeds=x,
                    position_ids=positions,
                    attention_mask=bias,
                    past_key_values=cache,
                    use_cache=cache is not None,
                )
            except _Reached as reached:
                return reached.states
        return result.last_hidden_state

    @contextmanager
    def _changed(self, x: Tensor, first: int, last: int, before: BeforeBlock | None) -> Iterator[None]:
        """The stack without the blocks below `first`: it starts from `x`, calls `before`, and raises `_Reached` at
        block `last`."""

        def entering(index: int, y: Tensor) -> Tensor:
            if index == last:
                raise _Reached(y)
            if index == first > 0:
                y = x  # replaces whatever the model computed before its first block
            return y if before is None else before(index, y)

        def hook(index: int, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (entering(index, args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": entering(index, kwargs["hidden_states"])}

        handles = [
            self.blocks[index].register_forward_pre_hook(partial(hook, index), with_kwargs=True)
            for index in range(first, min(last + 1, self.n_layers))
        ]
        setattr(self._base[0], self._stack, self.blocks[first:])
        try:
            yield
        finally:
            setattr(self._base[0], self._stack, self.blocks)
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def head_agrees(self) -> bool:
        """Check that the head reads the output of `run` and its products are the logits; false if a model scales or
        caps them."""
        tokens = torch.arange(16, device=self.head.device)[None] % self.vocabulary
        seen: list[Tensor] = []
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        handle = head.register_forward_hook(lambda module, read, given: seen.extend([*read, given]))
        try:
            logits = self.model(tokens).logits
        finally:
            handle.remove()
        read, given = seen
        positions = torch.arange(16, device=tokens.device)[None]
        ours = self.run(self.embed(tokens), positions, packed_bias(torch.zeros_like(tokens), self.head.dtype))
        # attention with and without a mask rounds differently
        alike = (read - ours).float().norm() <= 0.1 * ours.float().norm()
        return bool(alike) and torch.equal(given, logits.to(given.dtype))

    @torch.no_grad()
    def halves_agree(self, block: int) -> bool:
        """Check that running the blocks below `block` and the rest separately gives the result of the whole; false if a
        model treats blocks by their index."""
        tokens = torch.arange(32, device=self.head.device)[None] % self.vocabulary
        positions = torch.arange(32, device=tokens.device)[None]
        bias = packed_bias(torch.zeros_like(tokens), self.head.dtype)
        x = self.embed(tokens)
        whole = self.run(x, positions, bias)
        lower = self.run(x, positions, bias, blocks=slice(0, block))
        upper = self.run(lower, positions, bias, blocks=slice(block, None))
        return torch.allclose(upper.float(), whole.float(), rtol=1e-2, atol=1e-2)


class _Reached(Exception):
    """The requested blocks have run."""

    def __init__(self, states: Tensor):
        self.states = states


def load_causal_lm(name: str, vocabulary: int, dtype: torch.dtype) -> HuggingFaceLM:
    """Load a GGUF file, a folder or a Hugging Face name. Raises TrainError, in one line, if that fails."""
    try:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError:
        raise TrainError("language models other than nano need transformers: pip install 'openm3w[train]'") from None
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    path = Path(name)
    if name.endswith(".gguf") and not path.is_file():
        raise TrainError(f"no language model {name}: file not found")
    place = (path.parent, {"gguf_file": path.name}) if name.endswith(".gguf") else (name, {})
    try:
        with redirect_stderr(io.StringIO()):  # hides the progress bar for unpacking GGUF tensors, which has no option
            model = AutoModelForCausalLM.from_pretrained(place[0], dtype=dtype, **place[1])
    except Exception as error:  # from_pretrained raises anything for a bad file or an unreachable hub
        raise TrainError(
            f"no language model {name!r}: {first_line(error)}; give a GGUF file, a folder or a Hugging Face name"
        ) from None
    lm = HuggingFaceLM(model, vocabulary)
    if not lm.head_agrees():
        raise TrainError(
            f"{type(model).__name__} scales or caps its logits after the head, which is not supported: "
            "choose another --lm"
        )
    return lm
