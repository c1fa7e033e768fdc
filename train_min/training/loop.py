"""The training loops of the nano language model and of the trained parts of a Flamingo."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from train_min import TrainError
from train_min.data.windows import WindowArrays, make_batch, rows_of, token_places, training_parts
from train_min.model.flamingo import AroundLM, Batch, Flamingo, ResamplerLayer, padded
from train_min.model.lm import NanoConfig, NanoLM, packed_bias
from train_min.model.prefix import PrefixLM
from train_min.options import TrainOptions
from train_min.training.critic import info_nce
from train_min.training.optim import make_optimizers
from train_min.training.workers import single_threads

ROWS = {"cpu": 4, "cuda": 64}
"""Default rows of a step: with fewer a GPU waits for its kernels to be launched."""
Features = Callable[[np.ndarray], Tensor]
Log = Callable[[dict[str, Any]], None]
Report = Callable[[str], None]
"""Called with progress lines for the user."""


@dataclass(frozen=True)
class LoopOptions:
    """Options of a training loop: `rows` * `context` tokens per step, in rows of at most `context` (more rows if
    windows fill them badly); warm-up over the share `warmup` of the steps, then linear decay to zero over the last
    share `decay` of them.

    Matrices learn at `matrix_rate` (Muon), norms, latents and embeddings at `rate` (AdamW). The gates start at 0 and
    Adam moves a number by about the learning rate per step, so a short run needs a much higher `gate_rate`.
    `next_image` is the share of windows whose text attends to the next image (Flamingo's p_next). With `negatives` the
    loss is `info_nce` with so many other images, in place of the language model's."""

    steps: int
    rows: int = 4
    context: int = 256
    matrix_rate: float = 0.06
    rate: float = 3e-3
    gate_rate: float = 0.05
    weight_decay: float = 0.0
    warmup: float = 0.05
    decay: float = 1.0
    clip: float = 1.0
    accumulate: int = 1
    next_image: float = 0.0
    negatives: int = 0
    save_every: int = 200

    @classmethod
    def of(cls, options: TrainOptions, device: str = "cpu") -> "LoopOptions":
        """Options for training the new parts of a Flamingo on a kind of device."""
        names = ("steps", "matrix_rate", "rate", "gate_rate", "next_image")
        rows = options.rows or ROWS[device]
        return cls(rows=rows, **{name: getattr(options, name) for name in names})

    def optimizers(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        return make_optimizers(model, self.matrix_rate, self.rate, self.gate_rate, self.weight_decay)


@dataclass(frozen=True)
class TrainingSet:
    """Windows, their features, and the weight of their loss (Flamingo: 1.0 for M3W, 0.2 for pairs, 0.03 for video).

    `states` (T, D): `lower_states` of the windows, if kept. `interleaved`: text may attend to the next image
    (`LoopOptions.next_image`); the text of a pair has one image only."""

    name: str
    windows: WindowArrays
    features: Features
    weight: float = 1.0
    states: Tensor | None = None
    interleaved: bool = True


def rate_factor(step: int, options: LoopOptions) -> float:
    """Factor on the learning rates at `step`, counted from 0."""
    warm = max(1, round(options.warmup * options.steps))
    falling = min(options.steps - warm, round(options.decay * options.steps))
    return min(1.0, (step + 1) / warm, (options.steps - step) / max(1, falling))


def set_rates(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor


def accumulate(model: nn.Module, sets: list[tuple[float, list[Batch]]], nll: Callable[[Batch], Tensor]) -> list[float]:
    """Add the gradients of the sum over sets of weight * sum of NLL / count, where sum and count run over all batches
    of the set and over all processes. Returns the loss of each set."""
    losses = []
    distributed = torch.distributed.is_initialized()
    for weight, batches in sets:
        total = torch.zeros(2, dtype=torch.float64)
        total[1] = sum(int((batch.targets >= 0).sum()) for batch in batches)
        if distributed:
            torch.distributed.all_reduce(total)
        for batch in batches:
            loss = nll(batch).sum()
            (loss * (weight / max(1.0, float(total[1])))).backward()
            total[0] += float(loss.detach())
        if distributed:
            torch.distributed.all_reduce(total[:1])
        losses.append(float(total[0] / max(1.0, float(total[1]))))
    if distributed:
        # if a process' share of the rows has no image, some parts have no gradient
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.numel()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        for parameter, part in zip(trained, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            parameter.grad = part.view_as(parameter)
    return losses


def process_rank() -> int:
    """Rank of this process among those that train together, or 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def parts_of(windows: WindowArrays, options: LoopOptions, seed: int) -> Iterator[list[list[int]]]:
    """Yield the rows of one micro-batch after another, forever."""
    return training_parts(windows, options.context, options.rows * options.context, seed)


def draw_batches(
    training: TrainingSet, parts: Iterator[list[list[int]]], options: LoopOptions, seed: int, step: int
) -> list[Batch]:
    """Draw the batches of one step from `parts_of`; with several processes each draws the same and takes its share of
    the rows."""
    follow = None
    if options.next_image and training.interleaved:
        follow = np.random.default_rng([seed, step]).random(len(training.windows)) < options.next_image
    rank, world = process_rank(), 1
    if torch.distributed.is_initialized():
        world = torch.distributed.get_world_size()
    drawn = [next(parts) for _ in range(options.accumulate)]
    return [
        make_batch(training.windows, part[rank::world], training.features, follow=follow, states=training.states)
        for part in drawn
        if part[rank::world]
    ]


def fit(
    model: AroundLM,
    sets: list[TrainingSet],
    options: LoopOptions,
    seed: int,
    log: Log,
    checkpoint: Path | None = None,
    peak: float | None = None,
) -> None:
    """Train the trainable parts of `model`. With a `checkpoint` file an interrupted run resumes where it stopped, on
    CPU with the same number of threads bit for bit. Raises TrainError if the loss is not a number."""
    device = model.new_rows.device
    model.train()
    optimizers = options.optimizers(model)
    streams = [parts_of(entry.windows, options, seed) for entry in sets]
    stamp = {"config": asdict(model.config), "options": asdict(options), "seed": seed}
    trained = model.trained()
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first = restore(checkpoint, stamp, model, optimizers)
        for stream in streams:
            for _ in range(first * options.accumulate):
                next(stream)
    begun = time.monotonic()
    for step in range(first, options.steps):
        started = time.monotonic()
        factor = rate_factor(step, options)
        set_rates(optimizers, factor)
        drawn = [
            (entry.weight, [batch.to(device) for batch in draw_batches(entry, stream, options, seed, step)])
            for entry, stream in zip(sets, streams, strict=True)
        ]
        losses = accumulate(model, drawn, loss_of(model, options, seed, step))
        norm = float(nn.utils.clip_grad_norm_(trained.values(), options.clip))
        if not math.isfinite(sum(losses)) or not math.isfinite(norm):
            raise TrainError(
                f"the loss is not a number at step {step} (seed {seed}): lower --matrix-rate "
                f"({options.matrix_rate:g}), or look for damaged images with m3w verify"
            )
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        seconds = time.monotonic() - started
        row = {
            "step": step,
            "loss": {entry.name: round(loss, 5) for entry, loss in zip(sets, losses, strict=True)},
            "rate_factor": round(factor, 4),
            "norm": round(norm, 4),
            "gates": model.gates(),
            "seconds_left": round((time.monotonic() - begun) / (step + 1 - first) * (options.steps - step - 1), 1),
        }
        log(row | speed(model, [batch for _, part in drawn for batch in part], seconds, peak, options.negatives))
        last = step + 1 == options.steps
        if checkpoint is not None and process_rank() == 0 and (last or (step + 1) % options.save_every == 0):
            weights = {name: parameter.detach() for name, parameter in trained.items()}
            states = [optimizer.state_dict() for optimizer in optimizers]
            save({**stamp, "step": step + 1, "model": weights, "optimizers": states}, checkpoint)
    model.eval()


def loss_of(model: AroundLM, options: LoopOptions, seed: int, step: int) -> Callable[[Batch], Tensor]:
    """What `fit` sums over a batch: the losses of its tokens, or `info_nce` of its images, also logged in nats per
    token."""
    if not options.negatives:
        return model.nll
    rng = np.random.default_rng([seed, step, options.negatives])
    return lambda batch: info_nce(model, batch, options.negatives, rng)


def restore(checkpoint: Path, stamp: dict[str, Any], model: AroundLM, optimizers: list[torch.optim.Optimizer]) -> int:
    """Load what `fit` saved and return the number of steps done. Raises TrainError if its `stamp` is another run's."""
    state = load(checkpoint, model.new_rows.device)
    if {name: state[name] for name in stamp} != stamp:
        raise TrainError(f"{checkpoint} belongs to a run with other options: choose another -o, or delete it")
    model.load_state_dict(state["model"], strict=False)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"]


def speed(
    model: AroundLM, batches: list[Batch], seconds: float, peak: float | None, negatives: int = 0
) -> dict[str, float]:
    """Tokens per second, and the used share of `peak` operations per second: at most 1, as a peak that was measured
    while other work ran is too low. With `negatives` each token is computed so many times more, the latents are not."""
    tokens = sum(int((batch.segments >= 0).sum()) for batch in batches)
    found: dict[str, float] = {"tokens_per_second": round(tokens / seconds)}
    if peak:
        flops = sum(media_flops(model, batch) + (1 + negatives) * text_flops(model, batch) for batch in batches)
        found["mfu"] = round(min(1.0, flops / seconds / peak), 4)
    return found


def save(state: dict[str, Any] | Tensor, path: Path) -> None:
    """Write a checkpoint or states atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Load what `save` wrote. Raises FileNotFoundError, or TrainError if it is damaged."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's unpickler raises anything
        raise TrainError(f"{path} is damaged ({type(error).__name__}): delete it, then rerun the command") from None


def step_flops(model: AroundLM, batch: Batch) -> float:
    """Floating-point operations of one step on `batch`: a frozen weight costs 2 per token forward and 2 backward,
    backward only from the first gated block on; a trained weight 6 per token. Attention products are not counted."""
    return media_flops(model, batch) + text_flops(model, batch)


def media_flops(model: AroundLM, batch: Batch) -> float:
    """The part of `step_flops` that makes latents of the media."""
    patches = sum(group.shape[0] * group.shape[1] * group.shape[2] for group in batch.features)
    if isinstance(model, PrefixLM):
        return 6 * vectors_of(model, batch) * matrix_weights(model.bridge)
    assert isinstance(model, Flamingo)
    latents = len(batch.media_row) * len(model.resampler.latents)
    flops = 6 * patches * model.resampler.project.weight.numel()
    for resampling in model.resampler.layers:
        assert isinstance(resampling, ResamplerLayer)
        on_patches = resampling.kv.weight.numel()
        flops += 6 * (latents * matrix_weights(resampling) + patches * on_patches)
    return flops


def text_flops(model: AroundLM, batch: Batch) -> float:
    """The other part of `step_flops`. The rows of a `PrefixLM` hold the vectors of the images, and its whole stack runs
    forward and backward."""
    tokens = int((batch.segments >= 0).sum())
    flops = 4 * int((batch.targets >= 0).sum()) * model.lm.head.numel()
    if isinstance(model, PrefixLM):
        return flops + 4 * (tokens + vectors_of(model, batch)) * sum(map(matrix_weights, model.lm.blocks))
    assert isinstance(model, Flamingo)
    below = 2 if batch.states is None else 0
    for index, block in enumerate(model.lm.blocks):
        flops += (4 if index >= model.first else below) * tokens * matrix_weights(block)
    latents = len(batch.media_row) * len(model.resampler.latents)
    for layer in model.gated.values():
        on_latents = layer.kv.weight.numel()
        flops += 6 * (tokens * (matrix_weights(layer) - on_latents) + latents * on_latents)
    return flops


def vectors_of(model: PrefixLM, batch: Batch) -> int:
    """Number of vectors that stand for the media of `batch`."""
    patches = sum(group.shape[0] * group.shape[1] * group.shape[2] for group in batch.features)
    return len(batch.media_row) * model.vectors if model.vectors else patches


def matrix_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim == 2)


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that this processor reaches in a large product with its current threads: the best of
    several tries in a fifth of a second, because other load on a shared machine slows single ones."""
    size = 2048 if device.type == "cpu" else 8192
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = math.inf
    until = time.monotonic() + 0.2
    while math.isinf(best) or time.monotonic() < until:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.monotonic()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.monotonic() - started)
    return 2 * size**3 / best


TEXT_PARTS = 2


def train_nano(
    windows: WindowArrays, config: NanoConfig, options: LoopOptions, seed: int, dtype: torch.dtype, log: Log
) -> NanoLM:
    """Train a nano language model on the text of `windows`, with markers, without images. Its head and the rows of
    `<image>` and EOC are trained too, so the frozen model knows where images occur.

    Two threads take half of the rows of every step each, however many cores there are: sums in another order would give
    another model."""
    model = NanoLM(config, seed)
    weights = list(model.parameters())
    optimizers = options.optimizers(model)
    text = windows.with_images(np.full_like(windows.images, -1))
    parts = parts_of(text, options, seed)
    with single_threads(TEXT_PARTS) as threads:
        for step in range(options.steps):
            started = time.monotonic()
            set_rates(optimizers, rate_factor(step, options))
            rows = next(parts)
            halves = [rows[part::TEXT_PARTS] for part in range(min(TEXT_PARTS, len(rows)))]
            batches = [make_batch(text, half, None) for half in halves]
            count = sum(int((batch.targets >= 0).sum()) for batch in batches)

            def losses_and_gradients(batch: Batch, count: int = count) -> tuple[float, tuple[Tensor, ...]]:
                loss = text_nll(model, batch, dtype).sum() / max(1, count)
                return float(loss.detach()), torch.autograd.grad(loss, weights)

            losses, gradients = zip(*threads.map(losses_and_gradients, batches), strict=True)
            if not math.isfinite(sum(losses)):
                raise TrainError(f"the language model's loss is not a number at step {step}: lower --lm-rate")
            for weight, *found in zip(weights, *gradients, strict=True):
                weight.grad = torch.stack(found).sum(0)
            nn.utils.clip_grad_norm_(weights, options.clip)
            for optimizer in optimizers:
                optimizer.step()
            seconds = round(time.monotonic() - started, 3)
            log({"step": step, "loss": {"text": round(sum(losses), 5)}, "seconds": seconds})
    model.zero_grad(set_to_none=True)
    return model.to(dtype)


def text_nll(model: NanoLM, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Negative log-likelihood (nats) wherever `batch.targets` is not -1; 0 in the padding after them."""
    hidden = model.run(model.embed(batch.tokens).to(dtype), batch.positions, packed_bias(batch.segments, dtype))
    wanted = batch.targets >= 0
    logits = padded(hidden[wanted], 64) @ model.head.T.to(dtype)
    targets = F.pad(batch.targets[wanted], (0, len(logits) - int(wanted.sum())), value=-1)
    return F.cross_entropy(logits.float(), targets, ignore_index=-1, reduction="none")


def packed(windows: WindowArrays, rows: int = 16) -> Iterator[list[list[int]]]:
    """Yield every window once, in batches of `rows` packed rows."""
    whole = list(rows_of(windows, range(len(windows)), 256))
    for start in range(0, len(whole), rows):
        yield whole[start : start + rows]


@torch.no_grad()
def score(
    model: AroundLM, windows: WindowArrays, features: Features, *, follow: bool = False, states: Tensor | None = None
) -> np.ndarray:
    """NLL in nats of every token of `windows`, (T,) float32; NaN where no loss is taken: at the first token of a window
    and at `<image>`."""
    model.eval()
    device = model.new_rows.device
    follows = np.full(len(windows), follow)
    nll = np.full(len(windows.tokens), np.nan, np.float32)
    for part in packed(windows):
        batch = make_batch(windows, part, features, follow=follows, states=states)
        wanted = (batch.targets[batch.segments >= 0] >= 0).numpy()
        nll[token_places(windows, part)[wanted] + 1] = model.nll(batch.to(device)).float().cpu().numpy()
    return nll


def lower_states(
    model: Flamingo, windows: WindowArrays, log: Log = lambda row: None, each: Callable[..., Iterable[int]] = map
) -> Tensor:
    """Input of the first gated layer at every token, (T, D). It is frozen and independent of images, so the blocks
    below need to run only once for all steps, variants and seeds. `log` receives the number of windows done; `each` may
    be the `map` of a thread pool."""
    device = model.new_rows.device
    blind = windows.with_images(np.full_like(windows.images, -1))
    states = torch.empty(len(windows.tokens), model.lm.width, dtype=model.lm.head.dtype)

    def fill(part: list[list[int]]) -> int:
        batch = make_batch(blind, part, None).to(device)
        states[torch.from_numpy(token_places(blind, part))] = model.lower(batch)[batch.segments >= 0].cpu()
        return sum(map(len, part))

    for count in each(fill, packed(blind)):
        log({"n": count})
    return states
