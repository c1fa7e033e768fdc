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
from dataclasses import dataclass

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
LENGTH = 256
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


@dataclass
class Bench:
    """One batch of random tokens and images, and the step of either model on it."""

    options: argparse.Namespace

    def __post_init__(self) -> None:
        options = self.options
        rows, length, images = options.rows, LENGTH, options.images
        self.generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, options.vocabulary, (rows, length), generator=self.generator)
        self.targets = torch.cat([self.tokens[:, 1:], torch.full((rows, 1), -1)], 1)
        self.media_index = (torch.arange(length) * images // length).expand(rows, length)
        self.segments = torch.zeros(rows, length, dtype=torch.long)
        self.config = NanoConfig(options.vocabulary, options.width, options.blocks, options.width // 128)
        self.dtype = fast_dtype(CPU)

    def theirs(self, n_latents: int, n_layers: int, encode: bool) -> float:
        """Processor seconds of a step of open_flamingo's."""
        rows = self.options.rows
        model = OpenFlamingo(NanoLM(self.config, 0), 320, self.options.every, n_latents, n_layers)
        encoder = load_efficientnet()
        pixels = torch.randn(rows * IMAGES, 3, 224, 224, generator=self.generator)
        given = torch.randn(rows * IMAGES, 49, 320, generator=self.generator)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, 1e-4)
        bias = packed_bias(self.segments, torch.float32)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                with torch.no_grad():
                    features = encoder(pixels) if encode else given
                logits = model(self.tokens, features.unflatten(0, (rows, IMAGES)), self.media_index, bias)
            loss = F.cross_entropy(logits.float().flatten(0, 1), self.targets.flatten(), ignore_index=-1)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return best(step, self.options.steps)

    def model(self) -> tuple[Flamingo, Batch]:
        """Our model, and the batch with given features."""
        options, rows, images = self.options, self.options.rows, self.options.images
        sizes = ModelConfig(320, every=options.every, n_latents=options.latents, n_resampler_layers=options.layers)
        model = Flamingo(NanoLM(self.config, 0).to(self.dtype), sizes, 0).train()
        row, slot = torch.arange(rows * images) // images, torch.arange(rows * images) % images
        features = [torch.randn(rows * images, 1, 49, 320, generator=self.generator).to(self.dtype)]
        positions = torch.arange(LENGTH).expand(rows, LENGTH)
        batch = Batch(self.tokens, self.segments, positions, self.media_index, self.targets, features, row, slot)
        return model, batch

    def ours(self, model: Flamingo, batch: Batch, optimizers: list[torch.optim.Optimizer]) -> float:
        """Processor seconds of a step of ours."""
        trained = list(model.trained().values())

        def step() -> None:
            accumulate(model, [(1.0, [batch])], model.nll)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            model.zero_grad()

        return best(step, self.options.steps)


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    bench = Bench(options)
    # theirs first: what ours does to the allocator would help it too
    small = f"{options.latents} x {options.layers}"
    found = {
        "open_flamingo, 64 x 6, pictures encoded in every step": bench.theirs(64, 6, True),
        f"open_flamingo, {small}, pictures encoded in every step": bench.theirs(options.latents, options.layers, True),
        "open_flamingo, 64 x 6, features given": bench.theirs(64, 6, False),
        f"open_flamingo, {small}, features given": bench.theirs(options.latents, options.layers, False),
    }
    keep_freed_memory()
    model, batch = bench.model()
    muon = LoopOptions(1).optimizers(model)
    adamw: list[torch.optim.Optimizer] = [torch.optim.AdamW(list(model.trained().values()), 1e-4, fused=True)]
    found[f"train_min, {small}, features kept"] = bench.ours(model, batch, muon)
    batch.states = model.lower(batch)
    found[f"train_min, {small}, features and states kept"] = kept = bench.ours(model, batch, muon)
    found[f"train_min, {small}, all kept, AdamW for Muon"] = bench.ours(model, batch, adamw)
    for name, seconds in found.items():
        print(f"{name:56} {1000 * seconds:7.1f} ms   {seconds / kept:5.1f} x")
    peak, rates = product_rate(bench.dtype), []
    for what, states in (("all that it computes", batch.states), ("a step without kept states", None)):
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
        rows = f"{options.rows} rows of {LENGTH} tokens, {options.images} images a row"
        command = "python -m tests.bench.flamingo_step"
        record("trainer", measured, command, f"d {options.width}, {options.blocks} blocks, {rows}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = {"width": 256, "blocks": 6, "every": 6, "layers": 1, "rows": 4, "images": 3, "steps": 8}
    for name, value in (sizes | {"vocabulary": 8192, "latents": 16}).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--record", action="store_true", help="write the figures to results/trainer.json")
    return parser.parse_args()


def product_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per processor second of a large product, the best of several."""
    left, right = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    return 2 * size**3 / best(lambda: left @ right, 10)


if __name__ == "__main__":
    main()
