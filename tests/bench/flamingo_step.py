"""One training step of ours against open_flamingo's, with the same sizes and batch.

    python -m tests.bench.flamingo_step [--width 256 --blocks 6 --every 6 --layers 1 --steps 8] [--record]

open_flamingo's step (mlfoundations/open_flamingo v2, `flamingo.py`, `helpers.py`, `train_utils.py`) reimplemented: the
vision encoder runs on every image in every step, rows are padded to five images, the resampler is 64 latents x 6
layers, attention is written with einsum and an additive float mask, the head gives logits at every position. It is also
run with a resampler of our size, and with given features, to separate the savings. Ours keeps image features and the
states that enter the first gated layer; the row without them runs every frozen block in every step. Times are processor
seconds of one thread, and the rate of a large bfloat16 product is included.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.bench.results import Figure, record
from train_min.model.efficientnet import load_efficientnet
from train_min.model.flamingo import Batch, Flamingo, ModelConfig
from train_min.model.lm import NanoConfig, NanoLM, packed_bias
from train_min.model.vision import fast_dtype
from train_min.training.loop import LoopOptions, accumulate, step_flops
from train_min.training.workers import keep_freed_memory

IMAGES = 5
CPU = torch.device("cpu")


class Attention(nn.Module):
    """open_flamingo's PerceiverAttention and MaskedCrossAttention: inner width 8 x 64, einsum, additive mask."""

    def __init__(self, width: int, media_width: int, with_latents: bool):
        super().__init__()
        self.norm, self.norm_media = nn.LayerNorm(width), nn.LayerNorm(media_width)
        self.to_q = nn.Linear(width, 512, bias=False)
        self.to_kv = nn.Linear(media_width, 1024, bias=False)
        self.to_out = nn.Linear(512, width, bias=False)
        self.with_latents = with_latents

    def forward(self, x: Tensor, media: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm(x)
        media = self.norm_media(media)
        if self.with_latents:
            media = torch.cat([media, normed], -2)
        q = self.to_q(normed).unflatten(-1, (8, 64)).transpose(-2, -3) * 0.125
        k, v = (part.unflatten(-1, (8, 64)).transpose(-2, -3) for part in self.to_kv(media).chunk(2, -1))
        scores = torch.einsum("...id,...jd->...ij", q, k)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.finfo(scores.dtype).max)
        weights = (scores - scores.amax(-1, keepdim=True).detach()).softmax(-1)
        return self.to_out(torch.einsum("...ij,...jd->...id", weights, v).transpose(-2, -3).flatten(-2))


def feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 4 * width, bias=False),
        nn.GELU(),
        nn.Linear(4 * width, width, bias=False),
    )


class OpenFlamingo(nn.Module):
    def __init__(self, lm: NanoLM, vision_width: int, every: int, n_latents: int, n_layers: int):
        super().__init__()
        self.lm = lm.eval().requires_grad_(False)
        self.latents = nn.Parameter(torch.randn(n_latents, vision_width))
        self.resampler = nn.ModuleList(
            nn.ModuleList([Attention(vision_width, vision_width, True), feed_forward(vision_width)])
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(vision_width)
        places = range(every - 1, lm.n_layers, every)
        self.cross = nn.ModuleDict({str(i): Attention(lm.width, vision_width, False) for i in places})
        self.ffw = nn.ModuleDict({str(i): feed_forward(lm.width) for i in places})
        self.gates = nn.ParameterDict({str(i): nn.Parameter(torch.full((2,), 0.1)) for i in places})

    def forward(self, tokens: Tensor, features: Tensor, media_index: Tensor, bias: Tensor) -> Tensor:
        """`features` (B, 5, S, V), padded."""
        batch, items = features.shape[:2]
        x = features.flatten(0, 1)
        latents = self.latents.expand(batch * items, -1, -1)
        for attention, ffw in self.resampler:  # type: ignore[attr-defined]
            latents = latents + attention(latents, x)
            latents = latents + ffw(latents)
        media = self.norm(latents).unflatten(0, (batch, items)).flatten(1, 2)
        sees = media_index[:, :, None] == torch.arange(items)
        mask = sees.repeat_interleave(len(self.latents), -1)[:, None]

        def before(index: int, x: Tensor) -> Tensor:
            name = str(index)
            if name not in self.cross:
                return x
            gates = self.gates[name].tanh()
            x = x + gates[0] * self.cross[name](x, media, mask)
            return x + gates[1] * self.ffw[name](x)

        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        hidden = self.lm.run(self.lm.embed(tokens), positions, bias, before)
        return hidden @ self.lm.head.T


def best(step: object, count: int) -> float:
    """Processor seconds of the fastest of `count` steps, after one to warm up: of one thread, so that other work on the
    machine matters less than with wall time."""
    times = []
    for _ in range(count + 1):
        started = time.process_time()
        step()  # type: ignore[operator]
        times.append(time.process_time() - started)
    return min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (
        ("width", 256),
        ("blocks", 6),
        ("every", 6),
        ("layers", 1),
        ("rows", 4),
        ("images", 3),
        ("steps", 8),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--record", action="store_true", help="write the figures to results/trainer.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, length, images = options.rows, 256, options.images
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, options.vocabulary, (rows, length), generator=generator)
    targets = torch.cat([tokens[:, 1:], torch.full((rows, 1), -1)], 1)
    media_index = (torch.arange(length) * images // length).expand(rows, length)
    segments = torch.zeros(rows, length, dtype=torch.long)
    config = NanoConfig(options.vocabulary, options.width, options.blocks, options.width // 128)
    dtype = fast_dtype(CPU)

    def theirs(n_latents: int, n_layers: int, encode: bool) -> float:
        model = OpenFlamingo(NanoLM(config, 0), 320, options.every, n_latents, n_layers)
        encoder = load_efficientnet()
        pixels = torch.randn(rows * IMAGES, 3, 224, 224, generator=generator)
        given = torch.randn(rows * IMAGES, 49, 320, generator=generator)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, 1e-4)
        bias = packed_bias(segments, torch.float32)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                with torch.no_grad():
                    features = encoder(pixels) if encode else given
                logits = model(tokens, features.unflatten(0, (rows, IMAGES)), media_index, bias)
            loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return best(step, options.steps)

    # theirs first: what ours does to the allocator would help it too
    small = f"{options.latents} x {options.layers}"
    found = {
        "open_flamingo, 64 x 6, pictures encoded in every step": theirs(64, 6, True),
        f"open_flamingo, {small}, pictures encoded in every step": theirs(options.latents, options.layers, True),
        "open_flamingo, 64 x 6, features given": theirs(64, 6, False),
        f"open_flamingo, {small}, features given": theirs(options.latents, options.layers, False),
    }
    keep_freed_memory()
    sizes = ModelConfig(320, every=options.every, n_latents=options.latents, n_resampler_layers=options.layers)
    model = Flamingo(NanoLM(config, 0).to(dtype), sizes, 0).train()
    row, slot = torch.arange(rows * images) // images, torch.arange(rows * images) % images
    features = [torch.randn(rows * images, 1, 49, 320, generator=generator).to(dtype)]
    positions = torch.arange(length).expand(rows, length)
    batch = Batch(tokens, segments, positions, media_index, targets, features, row, slot)
    trained = list(model.trained().values())

    def ours(optimizers: list[torch.optim.Optimizer], states: Tensor | None) -> float:
        batch.states = states

        def step() -> None:
            accumulate(model, [(1.0, [batch])], model.nll)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad()

        return best(step, options.steps)

    muon = LoopOptions(1).optimizers(model)
    found[f"train_min, {small}, features kept"] = ours(muon, None)
    found[f"train_min, {small}, features and states kept"] = kept = ours(muon, model.lower(batch))
    adamw = [torch.optim.AdamW(trained, 1e-4, fused=True)]
    found[f"train_min, {small}, all kept, AdamW for Muon"] = ours(adamw, model.lower(batch))
    for name, seconds in found.items():
        print(f"{name:56} {1000 * seconds:7.1f} ms   {seconds / kept:5.1f} x")
    peak, rates = product_rate(dtype), []
    for what, states in (("all that it computes", model.lower(batch)), ("a step without kept states", None)):
        batch.states = states
        reached = step_flops(model, batch) / kept
        rates.append(reached / peak)
        print(f"{what}: {reached / 1e9:.0f} GFLOP/s, {reached / peak:.0%} of the {peak / 1e9:.0f} of a large product")
    if options.record:
        encoded = found[f"open_flamingo, {small}, pictures encoded in every step"]
        given = found[f"open_flamingo, {small}, features given"]
        measured = [
            Figure("open_flamingo's step over ours", round(encoded / kept, 1), "", ">= 3"),
            Figure("open_flamingo's step over ours, features given", round(given / kept, 1), "", ">= 3"),
            Figure("step's rate over that of a large product", round(100 * rates[0]), "%", ">= 50"),
        ]
        sizes_text = (
            f"d {options.width}, {options.blocks} blocks, {rows} rows of {length} tokens, {images} images a row"
        )
        record("trainer", measured, "python -m tests.bench.flamingo_step", sizes_text)


def product_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per processor second of a large product, the best of several."""
    left, right = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / best(lambda: left @ right, 10)


if __name__ == "__main__":
    main()
