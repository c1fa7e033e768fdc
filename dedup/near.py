"""Near-duplicate text: MinHash signatures, banded locality-sensitive hashing, and clusters of what is verified as
alike.

Signatures are MinHash (Broder 1997) over word 5-grams, 112 permutations in 14 bands of 8 rows, the numbers of FineWeb
(Penedo et al. 2024, arXiv 2406.17557, 3.4): two texts of Jaccard similarity s share a band with probability
1 - (1 - s^8)^14, which is 0.92 at s = 0.8 and 0.05 at s = 0.5. Candidates are then compared on their whole signatures.
"""

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

BANDS, ROWS = 14, 8
PERMUTATIONS = BANDS * ROWS
SHINGLE = 5
SEED = 42


def signature(text: str) -> bytes:
    """The MinHash signature of a text: 112 little-endian uint32. The text is compared as it is: fold case and space
    first.

    Where there are no spaces between words (Chinese, Japanese, Thai) the shingles are of characters."""
    words = text.split()
    if len(text) > 20 * max(len(words), 1):
        words = list(text)
    shingles = [" ".join(words[start : start + SHINGLE]) for start in range(max(len(words) - SHINGLE + 1, 1))]
    minhash = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    minhash.update(shingles)
    return np.asarray(minhash.digest(), dtype="<u4").tobytes()


def bands(signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The band hashes of signatures (N, 112), as (N, 14): equal rows of a band have equal hashes, different bands do
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


def similarity(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of signatures row by row: the share of equal values. Standard error at most
    0.05."""
    return (a == b).mean(axis=1)


def components(nodes: int, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest node that each of `nodes` nodes is connected to by undirected edges (M, 2)."""
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
    while not np.array_equal(labels, labels[labels]):
        labels = labels[labels]
    return labels
