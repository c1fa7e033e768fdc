"""The block classifier: the probability that a block of a page is main content.

A logistic regression with four coefficients per feature: for its value at the block, its mean over the four blocks
nearby, over the block's container, and over the page; and one more per kind of page, weighted by the probability that
the page is of that kind. `tests/bench/fit_extraction.py` fits them."""

from functools import cache
from pathlib import Path

import numpy as np

from pipeline.extract.features import NAMES, Matrix, Spans
from pipeline.extract.page import PAGE_KINDS

COEFFICIENTS = Path(__file__).with_name("classifier.csv")
WINDOWS = 4  # here, nearby, container, page
NEARBY = 2  # blocks on either side
ROWS = 256  # rows x 148 x 4 stays under the 262144 products from which OpenBLAS uses threads


@cache
def coefficients() -> tuple[Matrix, Matrix]:
    """An array [features, 4 + kinds] (here, nearby, container, page, and for each kind of page) and the intercepts
    [1 + kinds]."""
    _header, intercepts, *lines = COEFFICIENTS.read_text("ascii").splitlines()
    rows = [line.rsplit(",", WINDOWS + len(PAGE_KINDS)) for line in lines]
    if tuple(row[0] for row in rows) != NAMES:
        raise ValueError(f"{COEFFICIENTS}: other features than pipeline/extract/features.py computes")
    return np.array([row[1:] for row in rows], np.float32), np.array(intercepts.split(",")[1:], np.float32)


def probabilities(features: Matrix, containers: Spans, chars: Matrix, kinds: Matrix) -> Matrix:
    """The probability of each block, from `features` [blocks, features], the span of each block's container
    [2, blocks], the blocks' lengths `chars` [blocks], and the probabilities of the page's kinds [kinds]."""
    table, intercepts = coefficients()
    windows = table[:, :WINDOWS].copy()
    # sums of numpy's own, and a few rows at a time: BLAS starts threads for larger products, and the last bits would
    # depend on their number
    windows[:, 0] += (table[:, WINDOWS:] * kinds).sum(1)
    intercept = intercepts[0] + (intercepts[1:] * kinds).sum()
    parts = [features[start : start + ROWS] @ windows for start in range(0, len(features), ROWS)]
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
