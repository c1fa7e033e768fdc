"""Bridges that put images into a frozen language model's input, beside Flamingo's gated layers.

Before each `<image>` token stand K vectors made from its image, which the text after it attends to like tokens, and so
does the text after later images. Unlike Flamingo, the model is not the language model itself at the start, and no block
can be run ahead without the images.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train_min.model.flamingo import AroundLM, Batch, ModelConfig, padded, rounded
from train_min.model.lm import LayerNorm, Linear, packed_bias

QUERIES = 32
"""BLIP-2 (Li et al. 2023, arXiv 2301.12597), section 3.1."""


class Projection(nn.Module):
    """Patches (N, P, V) to as many vectors (N, P, D): LLaVA's linear layer (Liu et al. 2023, arXiv 2304.08485), after a
    layer norm, as the resampler has one: encoders' features differ in scale."""

    def __init__(self, features: int, width: int, generator: torch.Generator):
        super().__init__()
        self.norm = LayerNorm(features)
        self.project = Linear(features, width, generator)

    def forward(self, patches: Tensor) -> Tensor:
        return self.project(self.norm(patches))


class QFormer(nn.Module):
    """Patches (N, P, V) to `QUERIES` vectors (N, 32, D): BLIP-2's Q-Former, of the language model's width. Every second
    layer attends to the patches, so `n_layers` resampler layers are twice as many here. Computed in float32."""

    def __init__(self, features: int, width: int, n_layers: int, n_heads: int, generator: torch.Generator):
        super().__init__()
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=2 * n_layers,
            num_attention_heads=n_heads,
            intermediate_size=4 * width,
            encoder_hidden_size=features,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
            self.layers = Blip2QFormerModel(config)
        self.norm_in = LayerNorm(features)
        self.queries = nn.Parameter(torch.randn(1, QUERIES, width, generator=generator) * 0.02)
        self.project = Linear(width, width, generator)

    def forward(self, patches: Tensor) -> Tensor:
        queries = self.queries.expand(len(patches), -1, -1)
        found = self.layers(query_embeds=queries, encoder_hidden_states=self.norm_in(patches.float()))
        return self.project(found.last_hidden_state)


class PrefixLM(AroundLM):
    """A frozen language model whose input holds the images (see above). `config.bridge` is `qformer` or `linear`."""

    def __init__(self, lm: Any, config: ModelConfig, seed: int):
        super().__init__(lm, config)
        generator = torch.Generator().manual_seed(seed)
        self.bridge: nn.Module
        if config.bridge == "qformer":
            self.bridge = QFormer(config.features, lm.width, config.n_resampler_layers, config.n_heads, generator)
        else:
            self.bridge = Projection(config.features, lm.width, generator)
        self.gated = nn.ModuleDict()  # type: ignore[assignment]
        self.vectors = QUERIES if config.bridge == "qformer" else 0
        """Vectors per image; 0: one per patch."""
        self.add_new_tokens()
        # as large as the embeddings they stand among; a bridge's output starts with variance 1
        self.scale = float(lm.head.float().std())

    def encoded(self, features: Tensor) -> Tensor:
        """The vectors (N, K, D) of media (N, F, S, V)."""
        patches = padded(features.flatten(1, 2), 8)
        return (self.bridge(patches)[: len(features)] * self.scale).to(features.dtype)

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        x, positions, segments, _ = self.expanded(batch)
        return x, positions, segments

    def expanded(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The rows with their images: embeddings (B, L, D), positions and segments (B, L), and the place (B, T) of each
        token. Rows are padded on the left, so that all end at the same position."""
        x = self.embed(batch.tokens)
        rows, length = batch.tokens.shape
        if not batch.has_media:
            place = torch.arange(length, device=x.device).expand(rows, length)
            return x, batch.positions, batch.segments, place
        vectors = self.latents(batch).to(x.dtype)
        seen = batch.media_index
        # an item's first token is its marker
        marker = (seen >= 0) & (seen != F.pad(seen, (1, 0), value=-1)[:, :-1])
        count = vectors.shape[1]
        shift = count * marker.cumsum(1)
        total = rounded(int(length + shift[:, -1].max()), 64)
        place = torch.arange(length, device=x.device) + shift + (total - length - shift[:, -1:])
        wide = x.new_zeros(rows, total, x.shape[2]).scatter(1, place[..., None].expand_as(x), x)
        segments = batch.segments.new_full((rows, total), -1).scatter(1, place, batch.segments)
        first = seen.new_zeros(rows, int(batch.media_slot.max()) + 1)
        first[marker.nonzero()[:, 0], seen[marker]] = place[marker]
        row = batch.media_row[:, None].expand(-1, count)
        at = first[batch.media_row, batch.media_slot][:, None] - count + torch.arange(count, device=x.device)
        wide = wide.index_put((row, at), vectors)
        segments = segments.index_put((row, at), segments.gather(1, first)[batch.media_row, batch.media_slot, None])
        return wide, counted(segments), segments, place

    def hidden(self, batch: Batch) -> Tensor:
        x, positions, segments, place = self.expanded(batch)
        found = self.lm.run(x, positions, packed_bias(segments, x.dtype))
        return found.gather(1, place[..., None].expand(-1, -1, found.shape[2]))

    def gates(self) -> dict[str, list[float]]:
        return {}


def counted(segments: Tensor) -> Tensor:
    """Positions (B, L), from 0 in each run of equal `segments`."""
    places = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = segments != F.pad(segments, (1, 0), value=-2)[:, :-1]
    return places - torch.where(begins, places, 0).cummax(1).values
