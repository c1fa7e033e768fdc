"""Shingles: the runs of five tokens that similarity of texts is measured by, as 64-bit hashes.

A token is a word between spaces, or one character of a script that is written without spaces between words (Chinese,
Japanese, Thai, Lao, Khmer, Burmese, Tibetan), so texts of all scripts and mixtures of them are compared in the same
way. The hash of a shingle is a polynomial over its code points modulo 2^64 (Karp and Rabin 1987): from the running sum
of a text, the hashes of all its shingles follow at once, without a string for each.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LENGTH = 5
"""Tokens of a shingle, as in FineWeb (Penedo et al. 2024, arXiv 2406.17557, 3.4)."""
UNSPACED = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x3190, 0xA4CF),
            (0xF900, 0xFAFF), (0xFF00, 0xFF9F), (0x20000, 0x3FFFF))  # fmt: skip
"""Code points of scripts without spaces between words, first and last."""
SPACE = 0x20
BASE = 0x9E3779B97F4A7C15
"""Odd, so it has an inverse modulo 2^64."""
LONGEST = 1 << 20
"""Characters that are hashed at once. Of a longer text each such stretch has its own shingles."""


def _powers(base: int) -> NDArray[np.uint64]:
    factors = np.full(LONGEST, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


POWERS, INVERSE = _powers(BASE), _powers(pow(BASE, -1, 1 << 64))


def shingles(text: str, length: int = LENGTH, whole: bool = True) -> NDArray[np.uint64]:
    """The distinct hashes (N,) of the shingles of `length` tokens of a text, ascending. The text is used as it is:
    normalise case and space first. A text of fewer tokens is one shingle, or none unless `whole`; an empty one has
    none."""
    return np.unique(repeated(text, length, whole))


def repeated(text: str, length: int = LENGTH, whole: bool = True) -> NDArray[np.uint64]:
    """Like `shingles`, in the order of the text, each as often as the text has it."""
    stretches = [runs(text[at : at + LONGEST], length, whole).hashes for at in range(0, len(text), LONGEST)]
    return np.concatenate([*stretches, np.zeros(0, np.uint64)])


class Runs(NamedTuple):
    """The runs of tokens of a text, in order: the hash (N,) of each, and where in the text it starts and stops (N,)."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def runs(text: str, length: int, whole: bool) -> Runs:
    """The runs of `length` tokens of a text of LONGEST characters at most. One of fewer tokens is one run, or none
    unless `whole`."""
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    starts, stops = _tokens(characters)
    if len(starts) < (1 if whole else length):
        return Runs(np.zeros(0, np.uint64), *np.zeros((2, 0), np.int64))
    length = min(length, len(starts))
    first, last = starts[: len(starts) - length + 1], stops[length - 1 :]
    sums = np.zeros(len(characters) + 1, np.uint64)
    terms = characters.astype(np.uint64)
    terms += np.uint64(1)
    terms *= POWERS[: len(characters)]
    np.cumsum(terms, out=sums[1:])
    return Runs(mixed((sums[last] - sums[first]) * INVERSE[first]), first, last)


def _tokens(characters: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the tokens start and stop."""
    edges = characters == SPACE
    spaces = np.flatnonzero(edges)
    if characters.max(initial=0) < UNSPACED[0][0]:  # the usual text, several times as fast
        starts, stops = np.concatenate([[0], spaces + 1]), np.concatenate([spaces, [len(characters)]])
    else:
        alone = unspaced(characters)
        breaks = np.flatnonzero(edges[:-1] | edges[1:] | alone[:-1] | alone[1:]) + 1
        starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(characters)]])
        words = ~edges[starts]
        return starts[words], stops[words]
    words = starts < stops
    return (starts, stops) if words.all() else (starts[words], stops[words])


def unspaced(characters: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which code points belong to a script without spaces between words."""
    found = np.zeros(len(characters), bool)
    for first, last in UNSPACED:
        found |= (characters >= first) & (characters <= last)
    return found


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes in which every bit depends on every bit of the value: the finaliser of splitmix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
