"""The block classifier: the probability that a block of a page is main content.

A logistic regression with four coefficients per feature: for its value at the block, its mean over the four blocks
nearby, over the block's container, and over the page. `tests/bench/fit_extraction.py` fits them."""

from functools import cache
from pathlib import Path

import numpy as np

from pipeline.extract.features import NAMES, Matrix, Spans

COEFFICIENTS = Path(__file__).with_name("classifier.csv")
NEARBY = 2  # blocks on either side
ROWS = 256  # rows x 139 x 4 stays under the 262144 products from which OpenBLAS uses threads


@cache
def coefficients() -> tuple[Matrix, float]:
    """An array [features, 4] (here, nearby, container, page) and the intercept."""
    _header, intercept, *lines = COEFFICIENTS.read_text("ascii").splitlines()
    rows = [line.rsplit(",", 4) for line in lines]
    if tuple(row[0] for row in rows) != NAMES:
        raise ValueError(f"{COEFFICIENTS}: other features than pipeline/extract/features.py computes")
    return np.array([row[1:] for row in rows], np.float32), float(intercept.split(",")[1])


def probabilities(features: Matrix, containers: Spans, chars: Matrix) -> Matrix:
    """The probability of each block, from `features` [blocks, features], the span of each block's container [2, blocks]
    and the blocks' lengths `chars` [blocks]."""
    table, intercept = coefficients()
    # a few rows at a time: BLAS uses threads for larger products, and the last bits would depend on their number
    parts = [features[start : start + ROWS] @ table for start in range(0, len(features), ROWS)]
    here, near, held, whole = np.concatenate(parts).T
    logits = here + intercept + nearby(near) + within(held, containers, chars) + overall(whole, chars)
    result: Matrix = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return result


def nearby(values: Matrix) -> Matrix:
    """Mean over the blocks on either side of each; zero beyond the ends of the page."""
    count = len(values)
    padded = np.zeros((count + 2 * NEARBY, *values.shape[1:]), np.float32)
    padded[NEARBY : NEARBY + count] = values
    total = np.zeros_like(values)
    for shift in range(2 * NEARBY + 1):
        if shift != NEARBY:
            total += padded[shift : shift + count]
    return total / np.float32(2 * NEARBY)


def within(values: Matrix, containers: Spans, chars: Matrix) -> Matrix:
    """Mean over each block's container, weighted by length."""
    weights = _weights(values, chars)
    sums, total = (
        np.concatenate([np.zeros((1, *column.shape[1:])), np.cumsum(column, 0, dtype=np.float64)])
        for column in (values * weights, weights)
    )
    first, last = containers
    result: Matrix = ((sums[last] - sums[first]) / (total[last] - total[first])).astype(np.float32)
    return result


def overall(values: Matrix, chars: Matrix) -> Matrix:
    """Mean over the page, weighted by length."""
    weights = _weights(values, chars)
    mean: Matrix = ((values * weights).sum(0, dtype=np.float64) / weights.sum(dtype=np.float64)).astype(np.float32)
    return mean


def _weights(values: Matrix, chars: Matrix) -> Matrix:
    """Lengths of blocks, in the shape of `values`; a block without text weighs a tenth of a character."""
    weights: Matrix = (chars + np.float32(0.1)).reshape(-1, *[1] * (values.ndim - 1))
    return weights


def threshold(probability: Matrix, chars: Matrix) -> float:
    """The probability above which keeping a block increases the expected F1 of the kept characters.

    The best set holds the blocks above half the F1 it reaches (Lipton, Elkan, Narayanaswamy 2014, arXiv 1402.1892,
    theorem 1): one half if the classifier is sure, less on hard pages."""
    order = np.argsort(-probability, kind="stable")
    right = np.cumsum(probability[order] * chars[order], dtype=np.float64)
    kept = np.cumsum(chars[order], dtype=np.float64)
    if not len(right) or right[-1] <= 0:
        return 0.5
    return float((right / (kept + right[-1])).max())
