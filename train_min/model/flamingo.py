"""Flamingo around a frozen causal language model (Alayrac et al. 2022, arXiv 2204.14198, sections 2.1 to 2.3).

Shapes: B rows of T tokens, N media items in the batch, R latents per item, D the language model's width, S patches of
width V per frame, F frames per item. Media are ragged: `Batch` gives the row of each item and its place in that row.
Weights are float32; products are computed in the dtype of their input.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train_min import TrainError
from train_min.model.lm import LayerNorm, Linear, as_bias, attention, heads, packed_bias


def rounded(count: int, unit: int) -> int:
    """Round `count` up to a few sizes. oneDNN compiles a kernel for every new shape (3 ms each); with unrounded sizes
    that takes a quarter of a nano step."""
    return -(-count // unit) * unit


def padded(x: Tensor, unit: int) -> Tensor:
    """Pad the first dimension of `x` with zeros to its `rounded` size."""
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, rounded(len(x), unit) - len(x)))


@dataclass
class Batch:
    """Rows of packed windows.

    `segments` numbers the window of each token, -1 is padding; tokens attend only within their segment. `positions`
    count from 0 in each segment. `media_index[b, t]` is the place in row b of the item that token t sees, -1 for none.
    `features` holds the media, in groups of equal frame count (n, F, S, V), concatenated in the order of `media_row`
    and `media_slot` (N each): item i is at place media_slot[i] of row media_row[i]. `targets[b, t]` is the token to
    predict at t, -1 for no loss. `states` (B, T, D), if given, is the output of `Flamingo.lower` for these tokens;
    `latents` (N, R, D) that of `AroundLM.latents`.
    """

    tokens: Tensor
    segments: Tensor
    positions: Tensor
    media_index: Tensor
    targets: Tensor
    features: list[Tensor] = field(default_factory=list)
    media_row: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    media_slot: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    states: Tensor | None = None
    latents: Tensor | None = None

    @property
    def has_media(self) -> bool:
        return self.latents is not None or bool(self.features)

    def to(self, device: torch.device) -> "Batch":
        def move(value: Tensor) -> Tensor:
            # only pinned memory is copied while the device computes
            pinned = value.pin_memory() if device.type == "cuda" and value.device.type == "cpu" else value
            return pinned.to(device, non_blocking=True)

        moved = {name: move(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(features=[move(group) for group in self.features], **moved)


class FeedForward(nn.Module):
    def __init__(self, width: int, generator: torch.Generator):
        super().__init__()
        self.norm = LayerNorm(width)
        self.up = Linear(width, 4 * width, generator)
        self.down = Linear(4 * width, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(self.norm(x))))


class ResamplerLayer(nn.Module):
    """latents += Attention(q = LN(latents), kv = [LN(x), LN(latents)]); latents += FFW(latents)."""

    def __init__(self, width: int, n_heads: int, generator: torch.Generator):
        super().__init__()
        self.n_heads = n_heads
        self.norm_x, self.norm_latents = LayerNorm(width), LayerNorm(width)
        self.q = Linear(width, width, generator)
        self.kv = Linear(width, 2 * width, generator)
        self.out = Linear(width, width, generator)
        self.ffw = FeedForward(width, generator)

    def forward(self, latents: Tensor, x: Tensor) -> Tensor:
        normed = self.norm_latents(latents)
        q = heads(self.q(normed), self.n_heads)
        k, v = self.kv(torch.cat([self.norm_x(x), normed], 1)).chunk(2, -1)
        y = attention(q, heads(k, self.n_heads), heads(v, self.n_heads), None)
        latents = latents + self.out(y.transpose(1, 2).flatten(2))
        return latents + self.ffw(latents)


class PerceiverResampler(nn.Module):
    """Media items (N, F, S, V) to latents (N, R, D), for any F and S.

    `frames` time embeddings are learnt; other frame counts interpolate between them (section 2.1)."""

    def __init__(
        self,
        features: int,
        width: int,
        n_latents: int,
        n_layers: int,
        n_heads: int,
        generator: torch.Generator,
        frames: int = 8,
    ):
        super().__init__()
        self.norm_in = LayerNorm(features)
        self.project = Linear(features, width, generator)
        self.latents = nn.Parameter(torch.randn(n_latents, width, generator=generator))
        self.time = nn.Parameter(torch.randn(frames, width, generator=generator) * 0.02)
        self.layers = nn.ModuleList(ResamplerLayer(width, n_heads, generator) for _ in range(n_layers))
        self.norm = LayerNorm(width)

    def time_embeddings(self, frames: int) -> Tensor:
        """Time embeddings (frames, D); for the learnt number of frames, exactly the learnt ones."""
        if frames == len(self.time):
            return self.time
        if frames == 1:
            return self.time[:1]
        return F.interpolate(self.time.T[None], size=frames, mode="linear", align_corners=True)[0].T

    def forward(self, features: Tensor) -> Tensor:
        n, frames, _, _ = features.shape
        x = self.project(self.norm_in(features))
        x = (x + self.time_embeddings(frames).to(x.dtype)[None, :, None]).flatten(1, 2)
        latents = self.latents.to(x.dtype).expand(n, -1, -1)
        for layer in self.layers:
            latents = layer(latents, x)
        return self.norm(latents)


@dataclass
class Media:
    """The media of a batch as the gated layers see them.

    `latents` (N, R, D); item i is at place slot[i] of row row[i]. `bias` (B, 1, T, I * R) is 0 where a token sees a
    latent, minus infinity elsewhere; `sees` (B, T, 1) is 1 for tokens that see an item, else 0."""

    latents: Tensor
    row: Tensor
    slot: Tensor
    bias: Tensor
    sees: Tensor


def see_media(latents: Tensor, row: Tensor, slot: Tensor, media_index: Tensor) -> Media:
    """Each token of `media_index` (B, T) sees all latents of one item, or of none (-1)."""
    slots = rounded(int(slot.max()) + 1, 4)
    return Media(latents, row, slot, *visible(media_index, slots, latents.shape[1], latents.dtype))


def visible(media_index: Tensor, slots: int, n_latents: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute `bias` and `sees` of `Media`."""
    mask = media_index[:, :, None] == torch.arange(slots, device=media_index.device)
    sees = mask.any(-1, keepdim=True)
    # Softmax over nothing is undefined: such rows see everything here, and `sees` sets their result to exactly 0.
    mask = (mask | ~sees).repeat_interleave(n_latents, -1)[:, None]
    return as_bias(mask, dtype), sees.to(dtype)


class GatedCrossAttention(nn.Module):
    """y += tanh(a) * Attention(LN(y), media); y += tanh(b) * FFW(LN(y)), with a = b = 0 at the start."""

    def __init__(self, width: int, n_heads: int, generator: torch.Generator):
        super().__init__()
        self.n_heads = n_heads
        self.norm = LayerNorm(width)
        self.q = Linear(width, width, generator)
        self.kv = Linear(width, 2 * width, generator)
        self.out = Linear(width, width, generator)
        self.ffw = FeedForward(width, generator)
        self.attention_gate = nn.Parameter(torch.zeros(()))
        self.ffw_gate = nn.Parameter(torch.zeros(()))

    def keys_values(self, media: Media) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, I * R, D / heads): computed for existing items, zero in empty places."""
        kv = self.kv(padded(media.latents, 8))[: len(media.latents)]
        slots = media.bias.shape[-1] // kv.shape[1]
        rows = kv.new_zeros(len(media.sees), slots, *kv.shape[1:])
        rows = rows.index_put((media.row, media.slot), kv)
        k, v = rows.flatten(1, 2).chunk(2, -1)
        return heads(k, self.n_heads), heads(v, self.n_heads)

    def forward(self, y: Tensor, media: Media | None, keys_values: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Apply the layer to `y` (B, T, D). Without media only the feed-forward runs. `keys_values` may come from an
        earlier call."""
        if media is not None:
            k, v = keys_values or self.keys_values(media)
            attended = attention(heads(self.q(self.norm(y)), self.n_heads), k, v, media.bias)
            attended = attended.transpose(1, 2).flatten(2) * media.sees
            y = y + self.attention_gate.tanh().to(y.dtype) * self.out(attended)
        return y + self.ffw_gate.tanh().to(y.dtype) * self.ffw(y)


def head_logits(hidden: Tensor, weight: Tensor, new_rows: Tensor) -> Tensor:
    """Logits (n, V + new): the frozen head's V rows, then the trained rows of the new tokens."""
    logits = hidden @ weight.T
    return torch.cat([logits, hidden @ new_rows.T.to(hidden.dtype)], -1) if len(new_rows) else logits


class TokenLoss(torch.autograd.Function):
    """Negative log-likelihood (n, nats, float32) of `targets` (n) under softmax(hidden @ [weight; new_rows].T).

    The head is frozen except for `new_rows`, so the gradient of the hidden states is computed chunk by chunk in the
    forward pass: the logits of a whole batch never exist, and each chunk fits the processor's cache. `gradients`:
    whether to compute them (autograd's own mode is not visible here)."""

    CHUNK: ClassVar[dict[str, int]] = {"cpu": 128, "cuda": 2048}
    """Positions at a time, by kind of device: a GPU is idle while small products are launched."""

    @staticmethod
    def forward(ctx, hidden, weight, new_rows, targets, gradients):  # type: ignore[no-untyped-def]
        needs = gradients and (hidden.requires_grad or new_rows.requires_grad)
        nll = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        d_hidden = torch.empty_like(hidden if needs else hidden[:0])
        d_new = torch.empty(len(d_hidden), len(new_rows), device=hidden.device)
        known, chunk = len(weight), TokenLoss.CHUNK[hidden.device.type if hidden.is_cuda else "cpu"]
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            target = targets[part, None]
            log_p = F.log_softmax(head_logits(hidden[part], weight, new_rows), -1, dtype=torch.float32)
            nll[part] = -log_p.gather(-1, target).squeeze(-1)
            if needs:
                d_logits = log_p.exp_().scatter_add_(-1, target, log_p.new_full(target.shape, -1.0))
                d_known = d_logits[:, :known].to(hidden.dtype)
                torch.mm(d_known, weight, out=d_hidden[part])
                if len(new_rows):
                    d_new[part] = d_logits[:, known:]
                    d_hidden[part] += d_logits[:, known:].to(hidden.dtype) @ new_rows.to(hidden.dtype)
        ctx.save_for_backward(hidden, d_hidden, d_new)
        return nll

    @staticmethod
    def backward(ctx, d_nll):  # type: ignore[no-untyped-def]
        hidden, d_hidden, d_new = ctx.saved_tensors
        d_new_rows = (d_new * d_nll[:, None]).T @ hidden.float() if d_new.shape[1] else None
        return d_hidden * d_nll[:, None].to(d_hidden.dtype), None, d_new_rows, None, None


@dataclass(frozen=True)
class ModelConfig:
    """`every`: a gated layer before each every-th frozen block (3B: 1, 9B: 4, 80B: 7). `bridge`: flamingo, or one of
    `train_min.model.prefix`, which has neither gated layers nor a resampler."""

    features: int
    every: int = 3
    n_latents: int = 16
    n_resampler_layers: int = 2
    n_heads: int = 2
    frames: int = 8
    n_new_tokens: int = 0
    bridge: str = "flamingo"


class AroundLM(nn.Module, ABC):
    """A frozen language model `lm` and what lets it see images; only this is trained.

    Tokens from `lm.vocabulary` on are new: the trained `new_rows` predict them, apart from the frozen head. Their input
    embeddings are drawn once and stay fixed (`new_inputs`), so the states below the first gated layer are those of a
    frozen model."""

    gated: dict[str, "GatedCrossAttention"]
    new_inputs: Tensor

    def __init__(self, lm, config: ModelConfig):  # type: ignore[no-untyped-def]
        super().__init__()
        self.config = config
        self.lm = lm.eval().requires_grad_(False)

    def add_new_tokens(self) -> None:
        """Add `new_rows` and `new_inputs`, after all other weights."""
        lm, count = self.lm, self.config.n_new_tokens
        # as likely as a token with the mean row: zero rows would outweigh a head whose logits are all strongly negative
        mean = lm.head[: lm.vocabulary].float().mean(0) if count else torch.zeros(lm.width)
        self.new_rows = nn.Parameter(mean.cpu().repeat(count, 1))
        own = torch.Generator().manual_seed(0)  # the same for every seed
        inputs = torch.randn(count, lm.width, generator=own) * lm.head.float().std().cpu()
        self.register_buffer("new_inputs", inputs, persistent=False)

    def train(self, mode: bool = True) -> "AroundLM":
        super().train(mode)
        self.lm.eval()  # frozen parts have no dropout and update no statistics
        return self

    def embed(self, tokens: Tensor) -> Tensor:
        if not len(self.new_inputs):
            return self.lm.embed(tokens)
        new = tokens - self.lm.vocabulary
        known = self.lm.embed(tokens.clamp(max=self.lm.vocabulary - 1))
        return torch.where((new >= 0)[..., None], F.embedding(new.clamp(min=0), self.new_inputs).to(known.dtype), known)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the language model runs on: embeddings (B, L, D), positions and segments (B, L)."""
        return self.embed(batch.tokens), batch.positions, batch.segments

    @abstractmethod
    def encoded(self, features: Tensor) -> Tensor:
        """What the language model is shown of media of as many frames (N, F, S, V): latents (N, R, D)."""

    def latents(self, batch: Batch) -> Tensor:
        """The latents (N, R, D) of the media of `batch`, in the order of `batch.media_row`."""
        dtype = self.lm.head.dtype
        if batch.latents is not None:
            return batch.latents.to(dtype)
        return torch.cat([self.encoded(group.to(dtype)) for group in batch.features])

    def media(self, batch: Batch, dtype: torch.dtype) -> Media | None:
        """The media as gated layers see them, None if there are none."""
        return None

    @abstractmethod
    def hidden(self, batch: Batch) -> Tensor:
        """The head's input (B, T, D)."""

    @abstractmethod
    def gates(self) -> dict[str, list[float]]:
        """tanh of the gates, per layer."""

    def logits(self, batch: Batch) -> Tensor:
        """(B, T, V + new)."""
        return head_logits(self.hidden(batch), self.lm.head, self.new_rows)

    def nll(self, batch: Batch) -> Tensor:
        """Negative log-likelihood (n, nats) wherever `batch.targets` is not -1, row by row. Only these places pass
        through the head."""
        wanted = batch.targets >= 0
        hidden, targets = padded(self.hidden(batch)[wanted], 64), padded(batch.targets[wanted], 64)
        nll = TokenLoss.apply(hidden, self.lm.head, self.new_rows, targets, torch.is_grad_enabled())
        return nll[: int(wanted.sum())]

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if not name.startswith("lm.")}


class Flamingo(AroundLM):
    """A frozen language model `lm` with a resampler and gated layers. Raises TrainError if it has too few blocks for a
    gated layer."""

    def __init__(self, lm, config: ModelConfig, seed: int):  # type: ignore[no-untyped-def]
        super().__init__(lm, config)
        if config.every > lm.n_layers:
            raise TrainError(
                f"--every {config.every} leaves a language model of {lm.n_layers} blocks without a gated layer: "
                f"at most {lm.n_layers}"
            )
        generator = torch.Generator().manual_seed(seed)
        width = lm.width
        self.resampler = PerceiverResampler(
            config.features,
            width,
            config.n_latents,
            config.n_resampler_layers,
            config.n_heads,
            generator,
            config.frames,
        )
        # before blocks every - 1, 2 * every - 1, ..., as in open_flamingo
        self.gated = nn.ModuleDict(  # type: ignore[assignment]
            {
                str(index): GatedCrossAttention(width, config.n_heads, generator)
                for index in range(config.every - 1, lm.n_layers, config.every)
            }
        )
        self.add_new_tokens()

    def media(self, batch: Batch, dtype: torch.dtype) -> Media | None:
        if not batch.has_media:
            return None
        return see_media(self.latents(batch).to(dtype), batch.media_row, batch.media_slot, batch.media_index)

    def encoded(self, features: Tensor) -> Tensor:
        """The resampler's output (N, R, D) for media (N, F, S, V)."""
        return self.resampler(padded(features, 8))[: len(features)]

    def hidden(self, batch: Batch) -> Tensor:
        """The head's input (B, T, D). With `batch.states` only the blocks from the first gated layer on run."""
        # states have the dtype that was fastest on the CPU that computed them
        x = self.embed(batch.tokens) if batch.states is None else batch.states.to(self.lm.head.dtype)
        media = self.media(batch, x.dtype)

        def before(index: int, x: Tensor) -> Tensor:
            name = str(index)
            return self.gated[name](x, media) if name in self.gated else x

        bias = packed_bias(batch.segments, x.dtype)
        if batch.states is None:
            return self.lm.run(x, batch.positions, bias, before)
        return self.lm.run(x, batch.positions, bias, before, blocks=slice(self.first, None))

    @property
    def first(self) -> int:
        """Index of the block that the first gated layer precedes."""
        return min(map(int, self.gated))

    @torch.no_grad()
    def lower(self, batch: Batch) -> Tensor:
        """Input of the first gated layer (B, T, D): frozen, and independent of the images."""
        x = self.embed(batch.tokens)
        bias = packed_bias(batch.segments, x.dtype)
        return self.lm.run(x, batch.positions, bias, blocks=slice(0, self.first))

    def gates(self) -> dict[str, list[float]]:
        """tanh of the gates, per layer."""
        both = [(layer.attention_gate, layer.ffw_gate) for layer in self.gated.values()]
        # one copy from the device, not one per gate
        attention, ffw = torch.stack([torch.stack(pair) for pair in both]).detach().tanh().T.tolist()
        return {"attention": attention, "ffw": ffw}
