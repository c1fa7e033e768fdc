"""Does training on clips use the order of their frames? The gain of the words for a direction with the frames as they
are, reversed, shuffled, and with the middle frame alone, on held-out pages of miniweb's clips.

    python -m pipeline.miniweb -o web --pages 0 --clips 80
    m3w build web/miniweb.warc.gz -o corpus --recipe examples/video.toml
    python -m tests.bench.video corpus -o run

The gain is log2(6) bits, what one of six equally likely words costs, minus what it costs the model. Without their order
the frames tell the axis, or that the size changes: log2(3) = 1.58 bits. The order tells one bit more.
"""

import argparse
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from shards.tokenizer import Tokenizer
from tests.bench.results import Figure, record
from train_min.data.features import FeatureTable
from train_min.data.windows import WindowArrays, seen_images
from train_min.data.windows import open_corpus as open_training_corpus
from train_min.measuring.evaluate import load_model, run_setting
from train_min.options import TrainOptions
from train_min.train import run
from train_min.training.loop import score
from train_min.training.prepare import feature_folder

OPTIONS = {"seeds": 1, "steps": 120}
WORDS = 6


class Reordered(FeatureTable):
    """Features whose clips have other frames: `order` maps (n, F, S, V) to the frames that the model sees."""

    order: Callable[[torch.Tensor], torch.Tensor]

    def clips(self, rows: np.ndarray, frames: int) -> torch.Tensor:
        return self.order(super().clips(rows, frames))


def shuffled(clips: torch.Tensor) -> torch.Tensor:
    """Each clip in its own order."""
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(clips.shape[1], generator=generator) for _ in clips])
    return torch.stack([clip[places] for clip, places in zip(clips, order, strict=True)])


ORDERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as they are": lambda clips: clips,
    "reversed": lambda clips: clips.flip(1),
    "shuffled": shuffled,
    "the middle one eight times": lambda clips: clips[:, [clips.shape[1] // 2]].expand(-1, clips.shape[1], -1, -1),
    "thirty, interpolated": lambda clips: clips[:, np.linspace(0, clips.shape[1] - 1, 30).round().astype(int)],
}


def direction_words(windows: WindowArrays, tokenizer: Tokenizer) -> np.ndarray:
    """Whether each token (T,) begins a word that names the direction of a movement."""
    found = np.zeros(len(windows.tokens), bool)
    for start, stop in itertools.pairwise(windows.starts.tolist()):
        pieces = [tokenizer.decode(windows.tokens[place : place + 1]) for place in range(start, stop)]
        begins = np.cumsum([0, *map(len, pieces[:-1])])
        for word in re.finditer(r" ?\b(?:left|right|up|down|grows|shrinks)\b", "".join(pieces)):
            found[start + np.searchsorted(begins, word.start(), side="right") - 1] = True
    return found


def gains(corpus: Path, out: Path) -> dict[str, float]:
    """The gain (bits per word for a direction) of a run by order of frames."""
    setting, tokenizer = run_setting(out)
    setting = replace(setting, store=feature_folder(open_training_corpus(corpus), out) / setting.store.name)
    windows, table = setting.windows("validation"), setting.lookup(setting.windows("validation"))
    seen = (seen_images(windows).image >= 0) & direction_words(windows, tokenizer)
    model, found = load_model(setting), {}
    for name, order in ORDERS.items():
        reordered = Reordered(table._parts, table._places)
        reordered.order = order
        losses = score(model, windows, reordered, states=setting.states("validation"))
        found[name] = float(np.log2(WORDS) - np.nanmean(losses[seen]) / np.log(2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=OPTIONS["steps"])
    parser.add_argument("--record", action="store_true", help="write the figures to results/trainer.json")
    options = parser.parse_args()
    run(options.corpus, options.output, TrainOptions(**OPTIONS | {"steps": options.steps}), print)  # type: ignore[arg-type]
    found = gains(options.corpus, options.output)
    for name, gain in found.items():
        print(f"{gain:+.3f} bits per word for a direction, frames {name}")
    if options.record:
        measured = [Figure(f"gain on clips, frames {name}", round(gain, 3), "bits") for name, gain in found.items()]
        record("trainer", measured, "python -m tests.bench.video corpus -o run", "miniweb's clips")


if __name__ == "__main__":
    main()
