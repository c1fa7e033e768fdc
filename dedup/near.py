"""Near-duplicate text: MinHash signatures, banded locality-sensitive hashing, and clusters of verified pairs.

Signatures are MinHash (Broder 1997) over word 5-grams, 112 permutations in 14 bands of 8 rows, as in FineWeb (Penedo et
al. 2024, arXiv 2406.17557, 3.4): two texts of Jaccard similarity s share a band with probability 1 - (1 - s^8)^14,
which is 0.92 at s = 0.8 and 0.05 at s = 0.5. Candidates are then compared by their whole signatures.
"""

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from dedup.exact import first_of_each

BANDS, ROWS = 14, 8
PERMUTATIONS = BANDS * ROWS
SHINGLE = 5
SEED = 42

BAND = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4")])
"""A page under the hash (`high`) and the number (`low`) of one of its bands."""
EDGE = np.dtype([("part", "<u4"), ("row", "<u4"), ("other_part", "<u4"), ("other_row", "<u4")])
"""Two pages that share a band."""


def signature(text: str) -> bytes:
    """The MinHash signature of a text: 112 little-endian uint32. The text is used as it is: normalise case and space
    first.

    Without spaces between words (Chinese, Japanese, Thai) the shingles are of characters."""
    words = text.split()
    if len(text) > 20 * max(len(words), 1):
        words = list(text)
    shingles = [" ".join(words[start : start + SHINGLE]) for start in range(max(len(words) - SHINGLE + 1, 1))]
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    minhash.update(shingles)
    return np.asarray(minhash.digest(), dtype="<u4").tobytes()


def bands(signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Band hashes of signatures (N, 112), as (N, 14): equal rows of a band have equal hashes, different bands do
    not."""
    rows = signatures.reshape(len(signatures), BANDS, ROWS).astype(np.uint64)
    hashes = np.broadcast_to(np.arange(1, BANDS + 1, dtype=np.uint64), (len(signatures), BANDS)).copy()
    for row in range(ROWS):
        # splitmix64 (Steele et al. 2014): every bit of the value reaches every bit of the hash
        hashes += rows[:, :, row] + np.uint64(0x9E3779B97F4A7C15)
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return hashes


def band_rows(signatures: NDArray[np.uint32], part: int, rows: NDArray[np.int64]) -> np.ndarray:
    """The bands (N * 14,) of dtype BAND of the pages `rows` (N,) of a part with `signatures` (N, 112)."""
    hashes = bands(signatures)
    found = np.zeros(hashes.shape, BAND)
    found["high"], found["low"] = hashes, np.arange(BANDS)
    found["part"], found["row"] = part, rows[:, None]
    return found.reshape(-1)


def candidates(rows: np.ndarray) -> np.ndarray:
    """The pairs (EDGE) to compare, from `rows` (BAND), sorted by all fields and complete for each band.

    Each page is compared with the first page of its band and the one before it, so the number of pairs is linear in the
    number of pages."""
    first = first_of_each(rows[["high", "low"]])
    later = np.flatnonzero(first != np.arange(len(rows)))
    edges = np.zeros(2 * len(later), EDGE)
    for half, other in ((slice(0, len(later)), first[later]), (slice(len(later), None), later - 1)):
        edges["part"][half], edges["row"][half] = rows["part"][later], rows["row"][later]
        edges["other_part"][half], edges["other_row"][half] = rows["part"][other], rows["row"][other]
    return np.unique(edges)


def ends(edges: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct pages of edges as (N, 2), part and row, ascending; and the distinct edges as indices of them, (2,
    M)."""
    edges = np.unique(edges)
    one = np.stack([edges["part"], edges["row"]], 1)
    other = np.stack([edges["other_part"], edges["other_row"]], 1)
    pages, index = np.unique(np.concatenate([one, other]).astype(np.int64), axis=0, return_inverse=True)
    return pages, index.reshape(2, -1)


def clusters(signatures: NDArray[np.uint32], pairs: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """For each of N pages with `signatures` (N, 112) the first page of its cluster: clusters are connected by those
    `pairs` (2, M) whose similarity is at least `threshold`."""
    alike = similarity(signatures[pairs[0]], signatures[pairs[1]]) >= threshold
    return components(len(signatures), pairs[:, alike].T)


def similarity(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of signatures, row by row: the share of equal values. Standard error at most
    0.05."""
    return (a == b).mean(axis=1)


def components(nodes: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `nodes` nodes, the smallest node of its connected component, given undirected edges (M, 2)."""
    labels = np.arange(nodes)
    while len(edges):
        a, b = labels[edges[:, 0]], labels[edges[:, 1]]
        smaller = np.minimum(a, b)
        before = labels.copy()
        np.minimum.at(labels, a, smaller)
        np.minimum.at(labels, b, smaller)
        labels = labels[labels]
        if np.array_equal(labels, before):
            break
    return labels
