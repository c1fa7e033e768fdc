"""The trainer on a GPU, in about ten minutes: is it right, and how fast?

    python -m tests.bench.gpu --corpus corpus -o run

1. The loss and the gradients of one step, in the device's fast dtype and on the CPU in float32.
2. Tokens per second and MFU, by rows in a step and blocks per gated layer; the share of the time in which the device
   computes (CUDA only).
3. Images per second that the encoder reads, by images in a batch.
4. With --corpus, the sentence of a default run and its time.

Without a GPU everything runs on the CPU; --tiny makes that a test of seconds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from train_min.model.efficientnet import SIDE
from train_min.model.flamingo import AroundLM, Batch, Flamingo, ModelConfig
from train_min.model.lm import NanoConfig, NanoLM, head_count
from train_min.model.vision import choose_device, fast_dtype, load_encoder
from train_min.options import TrainOptions
from train_min.training.loop import LoopOptions, accumulate, measured_peak, step_flops

PATCHES, FEATURES, IMAGES, LENGTH = 49, 320, 3, 256
CPU = torch.device("cpu")


def synchronised(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def model_of(options: argparse.Namespace, every: int, dtype: torch.dtype, device: torch.device) -> Flamingo:
    config = NanoConfig(options.vocabulary, options.width, options.blocks, head_count(options.width))
    sizes = ModelConfig(FEATURES, every=every, n_latents=16, n_resampler_layers=1, n_heads=head_count(options.width))
    model = Flamingo(NanoLM(config, 0).to(dtype), sizes, 0).to(device).train()
    for layer in model.gated.values():  # closed gates would hide the attention
        layer.attention_gate.data.fill_(0.5)
        layer.ffw_gate.data.fill_(0.5)
    return model


def batch_of(options: argparse.Namespace, rows: int) -> Batch:
    """Random rows with `IMAGES` images each."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, options.vocabulary, (rows, LENGTH), generator=generator)
    targets = torch.cat([tokens[:, 1:], torch.full((rows, 1), -1)], 1)
    segments, positions = torch.zeros(rows, LENGTH, dtype=torch.long), torch.arange(LENGTH).expand(rows, LENGTH)
    media_index = (torch.arange(LENGTH) * IMAGES // LENGTH).expand(rows, LENGTH)
    features = [torch.randn(rows * IMAGES, 1, PATCHES, FEATURES, generator=generator)]
    item = torch.arange(rows * IMAGES)
    return Batch(tokens, segments, positions, media_index, targets, features, item // IMAGES, item % IMAGES)


def step(model: AroundLM, batch: Batch) -> float:
    """The loss of one step, whose gradients stay."""
    model.zero_grad(set_to_none=True)
    return accumulate(model, [(1.0, [batch])], model.nll)[0]


def difference(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Relative differences of the loss, and of all gradients together, from the CPU's in float32."""
    found = []
    for place, dtype in ((CPU, torch.float32), (device, fast_dtype(device))):
        model = model_of(options, options.blocks, dtype, place)
        loss = step(model, batch_of(options, 2).to(place))
        gradients = [p.grad.float().cpu().flatten() for p in model.trained().values() if p.grad is not None]
        found.append((loss, torch.cat(gradients)))
    (right, expected), (loss, gradient) = found
    return abs(loss - right) / right, float((gradient - expected).norm() / expected.norm())


def rate(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, after two to warm up."""
    for _ in range(2):
        run()
    synchronised(device)
    started, count = time.monotonic(), 0
    while time.monotonic() - started < seconds or not count:
        run()
        count += 1
    synchronised(device)
    return count / (time.monotonic() - started)


def busy(run: Callable[[], object]) -> float:
    """The share of the time in which the GPU runs a kernel."""
    from torch.profiler import ProfilerActivity, profile

    started = time.monotonic()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(5):
            run()
        torch.cuda.synchronize()
    kernels = sum(event.device_time_total for event in profiler.events())
    return kernels / 1e6 / (time.monotonic() - started)


def steps(options: argparse.Namespace, device: torch.device) -> None:
    dtype = fast_dtype(device)
    peak = measured_peak(device, dtype)
    print(f"peak of a large product: {peak / 1e12:.2f} TFLOP/s in {dtype}")
    for every in options.every:
        model = model_of(options, every, dtype, device)
        optimizers = LoopOptions(1).optimizers(model)
        for rows in options.rows:
            batch = batch_of(options, rows)

            def whole(batch: Batch = batch, model: Flamingo = model, optimizers: list = optimizers) -> None:  # type: ignore[type-arg]
                step(model, batch.to(device))
                for optimizer in optimizers:
                    optimizer.step()

            found = rate(whole, device, options.seconds)
            mfu = step_flops(model, batch) * found / peak
            share = f", busy {busy(whole):.0%}" if device.type == "cuda" else ""
            print(f"every {every}, {rows} rows: {found * rows * LENGTH:,.0f} tokens/s, MFU {mfu:.0%}{share}")


def encoding(options: argparse.Namespace, device: torch.device) -> None:
    encoder = load_encoder("efficientnet-lite0", device)
    for size in options.images:
        images = torch.randn(size, 3, SIDE, SIDE)
        found = rate(lambda images=images: encoder.encode(images), device, options.seconds)  # type: ignore[misc]
        print(f"{size} images in a batch: {found * size:,.0f} images/s")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    options.vocabulary, options.width, options.blocks = (512, 64, 2) if options.tiny else (8192, 256, 6)
    options.every = [2] if options.tiny else [6, 3, 1]
    options.rows = [1] if options.tiny else [4, 16, 64, 256]
    options.images = [2] if options.tiny else [16, 256]
    options.seconds = 0.1 if options.tiny else 10.0
    print(torch.cuda.get_device_name() if device.type == "cuda" else "no GPU: on the CPU")
    loss, gradient = difference(options, device)
    print(f"difference from float32 on the CPU: loss {loss:.2%}, gradients {gradient:.2%}")
    steps(options, device)
    encoding(options, device)
    if options.corpus:
        from train_min.train import run

        started = time.monotonic()
        run(options.corpus, options.output or options.corpus / "runs" / "gpu", TrainOptions(device=device.type), print)
        print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
