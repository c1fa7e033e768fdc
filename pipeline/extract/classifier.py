"""The block classifier: for each block of a page, the probability that it is main content.

A small network, run in numpy: a layer over the features of each block, one over the hidden values of the block, its
four neighbours and the page's mean, and an output over both. `tests/bench/fit_extraction.py` fits its weights."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("classifier.npz")
CONTEXT = 2  # blocks on either side


@cache
def weights() -> dict[str, Matrix]:
    """The fitted weights: `block` [features + 1, hidden], `context` [5 hidden + 1, hidden], `page` [hidden, hidden],
    `out` [2 hidden + 1]; a last row is a bias."""
    with np.load(WEIGHTS) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def probabilities(features: Matrix, chars: Matrix) -> Matrix:
    """The probability of each block, from `features` [blocks, features] and the blocks' lengths `chars` [blocks]."""
    w = weights()
    hidden = np.maximum(features @ w["block"][:-1] + w["block"][-1], 0)
    share = (chars + 0.1) / (chars + 0.1).sum()
    mean = share @ hidden
    count, width = hidden.shape
    padded = np.zeros((count + 2 * CONTEXT, width), np.float32)
    padded[CONTEXT : CONTEXT + count] = hidden
    around = np.concatenate([padded[start : start + count] for start in range(2 * CONTEXT + 1)], 1)
    context = np.maximum(around @ w["context"][:-1] + (w["context"][-1] + mean @ w["page"]), 0)
    logits = hidden @ w["out"][:width] + context @ w["out"][width:-1] + w["out"][-1]
    result: Matrix = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return result


def threshold(probability: Matrix, chars: Matrix) -> float:
    """The probability above which keeping a block raises the expected F1 of the kept characters.

    The best set holds the blocks above half the F1 that it reaches (Lipton, Elkan, Narayanaswamy 2014, arXiv
    1402.1892, theorem 1): one half where the classifier is sure, less where a page is hard."""
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum(probability[order] * chars[order], dtype=np.float64)
    kept = np.cumsum(chars[order], dtype=np.float64)
    if not len(right) or right[-1] <= 0:
        return 0.5
    return float((right / (kept + right[-1])).max())
