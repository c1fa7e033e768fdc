"""What a run is told, and what it found."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train_min import TrainError
from train_min.lm import NanoConfig
from train_min.loop import LoopOptions

COUNTS = ("steps", "rows", "seeds", "latents", "resampler_layers", "vision_steps", "lm_steps", "lm_rows")
RATES = ("matrix_rate", "rate", "gate_rate", "pairs_weight", "lm_rate", "lm_matrix_rate")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class TrainOptions:
    """What `m3w train` can be told. Raises TrainError for numbers with which nothing could be trained.

    lm: `nano` (trained on the training documents' text), or a language model by path or Hugging Face name.
    vision: `efficientnet-lite0`, `open_clip:MODEL/WEIGHTS`, or `contrastive`, a small tower trained on the corpus' own
        pictures and the text behind them for `vision_steps`.
    pairs: a folder of image-text pairs (m3w export --to pairs) to train on besides, with their weight in the loss.
    steps, rows, matrix_rate, rate, gate_rate, next_image: see `LoopOptions`.
    seeds: how many times every arm is trained. `seed` is the first.
    every: a gated layer before each every-th frozen block; 0 puts one before the last block of the nano model, and
        three into any other.
    ruler: `permutation` or `placement` also trains on copies of the corpus that are wrong in a tenth, a quarter, a half
        and all of their documents, to show that the gain falls as it should.
    workers: training processes; None takes one for each core.
    device: `cpu`, `cuda`, or None for what there is.
    """

    lm: str = "nano"
    vision: str = "efficientnet-lite0"
    steps: int = 80
    rows: int = 4
    matrix_rate: float = 0.06
    rate: float = 3e-3
    gate_rate: float = 0.05
    next_image: float = 0.0
    seeds: int = 3
    seed: int = 0
    every: int = 0
    latents: int = 16
    resampler_layers: int = 1
    ruler: str = ""
    pairs: str = ""
    pairs_weight: float = 0.2
    vision_steps: int = 300
    lm_steps: int = 70
    lm_rows: int = 8
    lm_rate: float = 0.01
    lm_matrix_rate: float = 0.04
    workers: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        least = dict.fromkeys(COUNTS, 1) | {"seed": 0, "every": 0} | ({} if self.workers is None else {"workers": 1})
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise TrainError(f"{_flag(name)} {getattr(self, name)}: at least {bound}")
        for name in RATES:
            if not 0 < getattr(self, name) < math.inf:
                raise TrainError(f"{_flag(name)} {getattr(self, name):g}: a number above 0")
        if not 0 <= self.next_image <= 1:
            raise TrainError(f"--next-image {self.next_image:g}: a share of the windows, 0 to 1")
        if self.seed >= 1 << 32:
            raise TrainError(f"--seed {self.seed}: below {1 << 32}")
        if self.lm == "nano" and self.every > NanoConfig.n_layers:
            raise TrainError(f"--every {self.every}: the nano model has {NanoConfig.n_layers} blocks")

    def loop(self) -> LoopOptions:
        return LoopOptions(
            steps=self.steps,
            rows=self.rows,
            matrix_rate=self.matrix_rate,
            rate=self.rate,
            gate_rate=self.gate_rate,
            next_image=self.next_image,
        )


@dataclass(frozen=True)
class Result:
    """What a run found: the sentence to print, and everything that result.json holds."""

    folder: Path
    sentence: str
    data: dict[str, Any] = field(repr=False)
