"""Near-duplicate text: MinHash signatures, banded locality-sensitive hashing, and clusters of verified pairs.

A signature has 128 MinHash values (Broder 1997, "On the resemblance and containment of documents") of a text's
shingles, in 16 bands of 8 rows. Two texts of Jaccard similarity s share a band with probability 1 - (1 - s^8)^16: 0.95
at s = 0.8, 0.81 at 0.75, 0.06 at 0.5. The pairs that do are compared by their whole signatures, whose estimate of s has
a standard error of at most 0.044 (0.035 at s = 0.8).

A value is not the minimum of a permutation of all shingles, which takes time for each shingle and value, but a bin of a
fast similarity sketch (Dahlgaard, Knudsen, Thorup 2017, arXiv 1704.04370). In each round a hash throws the shingles
into the bins, and a bin keeps the lowest hash of the first round that fills it; from round 128 on all shingles go into
one bin. So a long text takes one or two rounds, and the estimate is as good as that of permutations (theorem 1).

Clusters are connected components: if A is like B and B like C, all three are one cluster, whether or not A is like C.
Pages are numbered as `page(part, row)`, and ordered by `exact.rank` of their URLs, so neither the order of the input
nor the number of parts, partitions or workers has an influence on which page of a cluster is kept.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dedup.exact import first_of_each
from dedup.shingles import mixed, repeated

BANDS, ROWS = 16, 8
VALUES = BANDS * ROWS
SEED = 42
SEEDS = mixed(np.arange(SEED, SEED + 2 * VALUES, dtype=np.uint64))
"""What is added to the shingles' hashes before they are mixed again in each round."""
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
AT_ONCE = 1024
"""Shingles thrown at once: several rounds of a short text, without effect on its signature."""

BAND = np.dtype([("high", "<u8"), ("rank", "<u8"), ("page", "<u8")])
"""A page under the hash (`high`) of one of its bands; `rank` orders the pages of a band."""
EDGE = np.dtype([("one", "<u8"), ("other", "<u8")])
"""Two pages."""
_NODE = ("page", "rank", "id_high", "id_low")
_ROOT = ("root", "root_rank", "root_high", "root_low")
TREE = np.dtype([(name, "<u8") for name in (*_NODE, *_ROOT)])
"""A page with its rank and its 16-byte id, and the first page of its cluster so far."""


def page(part: int, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The numbers of the pages `rows` of a part."""
    return np.uint64(part << 32) + rows.astype(np.uint64)


def part_of(pages: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return pages >> np.uint64(32)


def row_of(pages: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (pages & np.uint64(0xFFFFFFFF)).astype(np.int64)


def signature(text: str) -> bytes:
    """The MinHash signature of a text: 128 little-endian uint32. The text is used as it is: normalise case and space
    first. An empty text has the highest value in all."""
    hashes = repeated(text)[:, None]
    lowest = np.full(VALUES, EMPTY)
    at_once = max(AT_ONCE // max(len(hashes), 1), 1)
    for start in range(0, len(SEEDS) if len(hashes) else 0, at_once):
        rounds = np.arange(start, min(start + at_once, len(SEEDS)), dtype=np.uint64)
        drawn = mixed(hashes + SEEDS[rounds])
        bins = drawn % np.uint64(VALUES)
        if rounds[-1] >= VALUES:
            bins = np.where(rounds < VALUES, bins, rounds - np.uint64(VALUES))
        np.minimum.at(lowest, bins.astype(np.intp), rounds << np.uint64(32) | drawn >> np.uint64(32))
        if lowest.max() < EMPTY:
            break
    return lowest.astype("<u4").tobytes()


def bands(signatures: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Band hashes of signatures (N, 128), as (N, 16): equal rows of a band have equal hashes, different bands do
    not."""
    rows = signatures.reshape(len(signatures), BANDS, ROWS).astype(np.uint64)
    hashes = np.broadcast_to(np.arange(1, BANDS + 1, dtype=np.uint64), (len(signatures), BANDS)).copy()
    for row in range(ROWS):
        hashes = mixed(hashes + rows[:, :, row] + np.uint64(0x9E3779B97F4A7C15))
    return hashes


def band_rows(signatures: NDArray[np.uint32], pages: NDArray[np.uint64], ranks: NDArray[np.uint64]) -> np.ndarray:
    """The bands (N * 16,) of dtype BAND of `pages` (N,) with `signatures` (N, 128) and `ranks` (N,)."""
    found = np.zeros((len(pages), BANDS), BAND)
    found["high"], found["rank"], found["page"] = bands(signatures), ranks[:, None], pages[:, None]
    return found.reshape(-1)


def sketches(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """What paragraphs (n) are compared by: keys (n, 4), and sketches (n).

    Two paragraphs of Jaccard similarity s share one of 4 keys, each of 3 MinHash values, with probability
    1 - (1 - s^3)^4: 0.94 at s = 0.8, 0.41 at 0.5. A sketch is one bit of each of 64 other values, of which a share of
    (1 - s) / 2 differs: 6.4 bits at s = 0.8, 16 at 0.5 (Li and Koenig 2010, "b-Bit Minwise Hashing", arXiv
    0910.3349)."""
    values = np.frombuffer(b"".join(map(signature, texts)), "<u4").reshape(-1, VALUES).astype(np.uint64)
    rows = values[:, : KEYS * KEY_ROWS].reshape(-1, KEYS, KEY_ROWS)
    keys = np.broadcast_to(np.arange(1, KEYS + 1, dtype=np.uint64), rows.shape[:2]).copy()
    for row in range(KEY_ROWS):
        keys = mixed(keys + rows[:, :, row] + np.uint64(0x9E3779B97F4A7C15))
    bits = values[:, -64:] & np.uint64(1)
    return keys, (bits << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


KEYS, KEY_ROWS = 4, 3
SKETCH_BITS = 10
"""Bits by which the sketches of nearly the same paragraph differ at most: 95 % of pairs of s = 0.8, 5 % of 0.5."""


def candidates(rows: np.ndarray) -> np.ndarray:
    """The pairs (EDGE) to compare, from `rows` (BAND), sorted by all fields and complete for each band.

    Each page is compared with the first page of its band and the one before it, so the number of pairs is linear in the
    number of pages."""
    first = first_of_each(rows["high"])
    later = np.flatnonzero(first != np.arange(len(rows)))
    edges = np.zeros(2 * len(later), EDGE)
    edges["one"] = np.tile(rows["page"][later], 2)
    edges["other"][: len(later)] = rows["page"][first[later]]
    edges["other"][len(later) :] = rows["page"][later - 1]
    return distinct(edges)


def distinct(edges: np.ndarray) -> np.ndarray:
    """The distinct rows of an array of EDGE, sorted."""
    edges = edges[np.lexsort([edges["other"], edges["one"]])]
    same = (edges["one"][1:] == edges["one"][:-1]) & (edges["other"][1:] == edges["other"][:-1])
    return edges[np.concatenate([[True], ~same])[: len(edges)]]


def similarity(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of signatures, row by row: the share of equal values."""
    return (a == b).mean(axis=1)


def contracted(forests: Iterable[np.ndarray]) -> np.ndarray:
    """The union of some forests (TREE) as one: a row for each page that is not the first of its cluster, with the
    first one, the page of the lowest rank, as its root. A row whose page and root are any two connected pages is a
    forest, too. Associative, so forests can be combined in any order and grouping, each in the memory of its own pages
    and not of the corpus."""
    rows = np.concatenate([np.zeros(0, TREE), *forests])
    ends = np.concatenate([_ends(rows, _NODE), _ends(rows, _ROOT)])
    ends = ends[np.lexsort([ends[name] for name in ("page", "id_low", "id_high", "rank")])]
    nodes = ends[np.unique(first_of_each(ends["page"]))]
    order = np.argsort(nodes["page"])
    place = [order[np.searchsorted(nodes["page"], rows[end], sorter=order)] for end in ("page", "root")]
    labels = components(len(nodes), np.stack(place, 1).astype(np.int64).reshape(-1, 2))
    later = np.flatnonzero(labels != np.arange(len(nodes)))
    found = np.zeros(len(later), TREE)
    for names, end in ((_NODE, later), (_ROOT, labels[later])):
        for name, source in zip(names, _NODE, strict=True):
            found[name] = nodes[source][end]
    return found


def _ends(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """One end of the rows of a forest."""
    found = np.zeros(len(rows), [(name, "<u8") for name in _NODE])
    for name, source in zip(_NODE, names, strict=True):
        found[name] = rows[source]
    return found


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
