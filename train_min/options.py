"""What a run is told, and what it found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train_min.loop import LoopOptions


@dataclass(frozen=True)
class TrainOptions:
    """What `m3w train` can be told.

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
