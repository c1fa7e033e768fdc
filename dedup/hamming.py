"""Images that look alike: perceptual hashes of 64 bits within a small Hamming distance.

A pHash (`pipeline.images.decode.perceptual_hash`) changes little when an image is resized, recompressed or stored in
another format. It does not recognise crops, flips or rotations.

Two hashes that differ in at most d bits agree in at least one of d + 1 bands of their bits (Norouzi et al. 2014, "Fast
Exact Search in Hamming Space with Multi-Index Hashing", arXiv 1307.2982, 3.1), so only hashes with a band in common are
compared, and none is missed.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from dedup.shingles import mixed

BITS = 64


def bands(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.uint64]:
    """Keys of the bands of hashes (N,), as (N, distance + 1). Hashes within the distance share a key; equal values of
    different bands have different keys."""
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    found = np.zeros((len(hashes), distance + 1), np.uint64)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        value = hashes >> np.uint64(low)
        if high - low < BITS:
            value &= np.uint64((1 << (high - low)) - 1)
        found[:, number] = mixed(value ^ mixed(np.array([number + 1], np.uint64)))
    return found


def alike(hashes: NDArray[np.uint64], others: NDArray[np.uint64], distance: int) -> NDArray[np.bool_]:
    """Whether each of hashes (N,) differs from each of others (M,) in at most `distance` bits, as (N, M)."""
    return np.bitwise_count(hashes[:, None] ^ others[None, :]) <= distance
