"""Training options, declared once for both commands (`m3w train`, `python -m train_min`) and for Python, and the
result. Heavy packages are not imported here, so --help works without torch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from train_min import TrainError

NANO_BLOCKS = 6
COUNTS = ("steps", "rows", "seeds", "latents", "resampler_layers", "vision_steps", "lm_steps", "lm_rows", "lm_blocks")
RATES = ("matrix_rate", "rate", "gate_rate", "pairs_weight", "lm_rate", "lm_matrix_rate")

BRIDGES = ("flamingo", "qformer", "linear")

RUN, MODEL, TRAINING = "The run", "The model", "Training"
NANO, DATA = "The nano language model", "Other data and comparisons"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _option(panel: str, text: str, metavar: str | None = None, default: str | bool = True) -> Any:
    return Option(help=text, rich_help_panel=panel, metavar=metavar, show_default=default)


@dataclass(frozen=True)
class TrainOptions:
    """Options of `m3w train`, documented by its --help. Raises TrainError if a value is out of range."""

    lm: Annotated[
        str,
        _option(
            MODEL,
            "Frozen language model: nano (trained on the text of the training documents), a GGUF file, a folder, or a "
            "Hugging Face name.",
            "NAME",
        ),
    ] = "nano"
    vision: Annotated[
        str,
        _option(
            MODEL,
            "Frozen image encoder: efficientnet-lite0, open_clip:MODEL/WEIGHTS, timm:MODEL or timm:MODEL/FILE, or "
            "contrastive (a small tower trained on the corpus' own images and text).",
            "NAME",
        ),
    ] = "efficientnet-lite0"
    bridge: Annotated[
        str,
        _option(
            MODEL,
            "How images reach the language model: flamingo (gated cross-attention), or as vectors in its input, from "
            "BLIP-2's Q-Former (qformer) or LLaVA's projection of each patch (linear).",
            "NAME",
        ),
    ] = "flamingo"
    every: Annotated[
        int,
        _option(
            MODEL,
            "Put a gated cross-attention layer before every N-th block of the language model; 0 puts one before the "
            "last block of nano and three into any other model.",
        ),
    ] = 0
    latents: Annotated[int, _option(MODEL, "Latents per image that the perceiver resampler produces.")] = 16
    resampler_layers: Annotated[int, _option(MODEL, "Number of perceiver resampler layers.")] = 1
    vision_steps: Annotated[int, _option(MODEL, "Training steps for the tower of --vision contrastive.")] = 300
    steps: Annotated[int, _option(TRAINING, "Training steps of each model.")] = 80
    rows: Annotated[int | None, _option(TRAINING, "Rows of 256 tokens in a step.", default="4; 64 on a GPU")] = None
    matrix_rate: Annotated[
        float, _option(TRAINING, "Learning rate of weight matrices (Muon).", default="0.06; 0.03 with --score")
    ] = 0.06
    rate: Annotated[float, _option(TRAINING, "Learning rate of norms, latents and embeddings (AdamW).")] = 3e-3
    gate_rate: Annotated[float, _option(TRAINING, "Learning rate of the gates, which start at 0 (AdamW).")] = 0.05
    next_image: Annotated[
        float, _option(TRAINING, "Fraction of windows whose text attends to the next image (Flamingo's p_next).")
    ] = 0.0
    seeds: Annotated[
        int, _option(TRAINING, "Number of seeds: trainings per model.", default="3; 5 with --against, 1 with --score")
    ] = 3
    seed: Annotated[int, _option(TRAINING, "First seed; the others are the numbers after it.")] = 0
    lm_width: Annotated[int, _option(NANO, "Width: a multiple of 32.")] = 256
    lm_blocks: Annotated[int, _option(NANO, "Number of blocks.")] = NANO_BLOCKS
    lm_steps: Annotated[int, _option(NANO, "Training steps.")] = 70
    lm_rows: Annotated[int, _option(NANO, "Rows of 256 tokens in a step.")] = 8
    lm_rate: Annotated[float, _option(NANO, "Learning rate of norms and embeddings (AdamW).")] = 0.01
    lm_matrix_rate: Annotated[float, _option(NANO, "Learning rate of weight matrices (Muon).")] = 0.04
    pairs: Annotated[
        str, _option(DATA, "Train on image-text pairs too: a folder from m3w export --to pairs.", "DIR", "none")
    ] = ""
    pairs_weight: Annotated[float, _option(DATA, "Weight of the pairs in the loss; windows have 1.")] = 0.2
    dose_response: Annotated[
        str,
        _option(
            DATA,
            "permutation or placement: also train on copies of the corpus in which 10, 25, 50 and 100 % of the "
            "documents have wrong images, and without images, to check that the gain falls as expected.",
            "KIND",
            "none",
        ),
    ] = ""
    few_shot: Annotated[
        bool,
        _option(
            DATA,
            "Train on pages of cards to learn from examples in the prompt, for m3w evaluate --ways; options that are "
            "not given have other defaults (docs/few-shot.md).",
        ),
    ] = False
    workers: Annotated[int | None, _option(RUN, "Training processes.", default="one per core")] = None
    device: Annotated[str | None, _option(RUN, "cpu or cuda.", "NAME", "cuda if available")] = None

    def __post_init__(self) -> None:
        least = dict.fromkeys(COUNTS, 1) | {"seed": 0, "every": 0} | ({} if self.workers is None else {"workers": 1})
        for name, bound in least.items():
            if getattr(self, name) is not None and getattr(self, name) < bound:
                raise TrainError(f"{_flag(name)} {getattr(self, name)}: at least {bound}")
        for name in RATES:
            if not 0 < getattr(self, name) < math.inf:
                raise TrainError(f"{_flag(name)} {getattr(self, name):g}: a number above 0")
        if self.bridge not in BRIDGES:
            raise TrainError(f"unknown bridge {self.bridge!r}: use {', '.join(BRIDGES)}")
        if self.bridge != "flamingo" and self.next_image:
            raise TrainError(f"--bridge {self.bridge} cannot be combined with --next-image")
        if not 0 <= self.next_image <= 1:
            raise TrainError(f"--next-image {self.next_image:g}: a share of the windows, 0 to 1")
        if self.seed >= 1 << 32:
            raise TrainError(f"--seed {self.seed}: below {1 << 32}")
        if self.lm == "nano" and self.every > self.lm_blocks:
            raise TrainError(f"--every {self.every}: the nano model has {self.lm_blocks} blocks")
        if self.lm_width < 32 or self.lm_width % 32:
            raise TrainError(f"--lm-width {self.lm_width}: a multiple of 32")
        if self.few_shot and (self.vision == "contrastive" or self.pairs or self.dose_response):
            raise TrainError("--few-shot trains on windows alone: leave --pairs, --dose-response and contrastive out")


FEW_SHOT: dict[str, Any] = {
    "lm_width": 128,
    "lm_blocks": 2,
    "lm_steps": 3000,
    "lm_rows": 8,
    "lm_rate": 2e-3,
    "lm_matrix_rate": 5e-3,
    "every": 1,
    "latents": 2,
    "steps": 250,
    "rows": 6,
    "rate": 2e-3,
    "matrix_rate": 0.01,
    "gate_rate": 0.02,
}
"""Defaults with `few_shot`: a language model of this size learns to bind at this rate, and not at the others' defaults
(docs/few-shot.md). `every` is nano's: a deep model does not need a gated layer before each of its blocks."""

AGAINST: dict[str, Any] = {"seeds": 5}
"""Defaults of a comparison: Student's t is 2.8 for five seeds, 4.3 for three."""
SCORE: dict[str, Any] = {"seeds": 1, "matrix_rate": 0.03}
"""Defaults of scores: their loss is another one (docs/results/gain.md)."""


@dataclass(frozen=True)
class Result:
    """The result of a run: a sentence to print, and everything that result.json holds."""

    folder: Path
    sentence: str
    data: dict[str, Any] = field(repr=False)
