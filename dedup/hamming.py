"""Images that look alike: perceptual hashes of 64 bits within a small Hamming distance.

A pHash (`pipeline.images.decode.perceptual_hash`) changes little when an image is resized, recompressed or stored in
another format. It does not recognise crops, flips or rotations.

Two hashes that differ in at most d bits agree in at least one of d + 1 bands of their bits (Norouzi et al. 2014, "Fast
Exact Search in Hamming Space with Multi-Index Hashing", arXiv 1307.2982, 3.1), so only hashes with a band in common are
compared, and none is missed.
"""

import itertools
from collections.abc import Iterator

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
        value = hashes >> np.uint64(low) & np.uint64((1 << (high - low)) - 1)
        found[:, number] = mixed(value ^ mixed(np.array([number + 1], np.uint64)))
    return found


def alike(hashes: NDArray[np.uint64], others: NDArray[np.uint64], distance: int) -> NDArray[np.bool_]:
    """Whether each of hashes (N,) differs from each of others (M,) in at most `distance` bits, as (N, M)."""
    return np.bitwise_count(hashes[:, None] ^ others[None, :]) <= distance


PAIRS_AT_ONCE = 1 << 22
NONE = np.iinfo(np.uint64).max


def pairs(
    keys: NDArray[np.uint64], others: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The indices of all pairs of equal keys of (N,) and (M,), some at a time."""
    order = np.argsort(others, kind="stable")
    start = np.searchsorted(others, keys, "left", order)
    counts = np.searchsorted(others, keys, "right", order) - start
    total = np.cumsum(counts)
    cuts = np.searchsorted(total, np.arange(PAIRS_AT_ONCE, total[-1] if len(total) else 0, PAIRS_AT_ONCE))
    for some in np.split(np.arange(len(keys)), cuts):
        number = counts[some]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        yield np.repeat(some, number), order[np.repeat(start[some], number) + within]


def nearest(hashes: NDArray[np.uint64], others: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """For each of hashes (N,), the index of the nearest of others (M,) within `distance` bits, the lowest among
    equally near ones; -1 if there is none."""
    best = np.full(len(hashes), NONE, np.uint64)
    wanted, offered = bands(hashes, distance), bands(others, distance)
    for band in range(distance + 1):
        for one, other in pairs(wanted[:, band], offered[:, band]):
            bits = np.bitwise_count(hashes[one] ^ others[other])
            close = bits <= distance
            rank = bits[close].astype(np.uint64) << np.uint64(56) | other[close].astype(np.uint64)
            np.minimum.at(best, one[close], rank)
    found = (best & np.uint64((1 << 56) - 1)).astype(np.int64)
    return np.where(best == NONE, -1, found)


def shown_before(groups: NDArray[np.int64], hashes: NDArray[np.uint64], distance: int) -> NDArray[np.bool_]:
    """Whether each of hashes (N,) is within `distance` bits of an earlier one of its group (ascending) of which this is
    not true."""
    keys = groups.astype(np.uint64)
    alike_one = np.zeros(len(hashes), bool)
    for one, other in pairs(keys, keys):
        alike_one[one[(other < one) & (np.bitwise_count(hashes[one] ^ hashes[other]) <= distance)]] = True
    found = np.zeros(len(hashes), bool)
    for place in np.flatnonzero(alike_one).tolist():
        start = np.searchsorted(groups, groups[place])
        stay = hashes[start:place][~found[start:place]]
        found[place] = bool((np.bitwise_count(stay ^ hashes[place]) <= distance).any())
    return found
