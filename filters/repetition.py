"""Shares of a text that repeat: n-grams of words and of characters, counted by sorting hashes."""

from collections.abc import Sequence

import numpy as np

FACTOR = np.uint64(0x9E3779B97F4A7C15)
TOP = (2, 3, 4)
LENGTHS = (*TOP, 5, 6, 7, 8, 9, 10)
"""Lengths of n-grams of words: of the short ones the most frequent counts, of the others those that repeat."""


def name(n: int) -> str:
    """The name of the metric of n-grams of words."""
    return f"top_{n}gram" if n in TOP else f"duplicate_{n}gram"


def ngrams(items: np.ndarray, n: int) -> np.ndarray:
    """A hash (uint64, its high bits mixed) of each run of n items; empty if there are fewer than n."""
    count = len(items) - n + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    # runs of 1, 2, 4, ... items, joined by the binary digits of n
    found, length, size, runs = np.zeros(count, np.uint64), 0, 1, items
    while True:
        power = np.uint64(pow(int(FACTOR), size, 2**64))
        if n & size:
            found = found * power + runs[length : length + count]
            length += size
        if length == n:
            return found * FACTOR
        runs = runs[:-size] * power + runs[size:]
        size *= 2


def hashes(words: Sequence[str]) -> np.ndarray:
    """A hash (uint64) of each word; it differs between processes, equal words have the same."""
    return np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)


def _suspects(keys: np.ndarray) -> np.ndarray:
    """The positions of hashes that share their first bits with another one: most hashes occur once and need no
    sorting."""
    bits = len(keys).bit_length() + 2
    bucket = (keys >> np.uint64(64 - bits)).view(np.int64)
    return np.flatnonzero(np.bincount(bucket, minlength=1 << bits)[bucket] > 1)


def _starts(ordered: np.ndarray) -> np.ndarray:
    """Where the groups of equal values begin."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])


def _counts(keys: np.ndarray) -> np.ndarray:
    """How often each hash occurs that occurs more than once."""
    ordered = np.sort(keys[_suspects(keys)])
    counts = np.diff(_starts(ordered), append=len(ordered))
    return counts[counts > 1]


def _repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The positions of hashes that occur more than once, in order of (hash, position), the number of the hash of each,
    and the counts by number."""
    where = _suspects(keys)
    order = np.argsort(keys[where], kind="stable")
    where, ordered = where[order], keys[where[order]]
    counts = np.diff(_starts(ordered), append=len(ordered))
    again = np.repeat(counts > 1, counts)
    counts = counts[counts > 1]
    return where[again], np.repeat(np.arange(len(counts)), counts), counts


def word_ngrams(words: Sequence[str], characters: int) -> dict[str, float]:
    """By name, the share of a text's `characters` in its most frequent n-gram of words (n in TOP; words joined by
    spaces, the first of the most frequent), or in n-grams that repeat an earlier one (no character counts twice).

    Even a single occurrence is the most frequent n-gram, as in datatrove."""
    found = {name(n): 0.0 for n in LENGTHS}
    if not characters or len(words) < TOP[0]:
        return found
    items = hashes(words)
    ends = np.concatenate([[0], np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))])
    positions = np.arange(len(words) - TOP[0] + 1)
    for n in LENGTHS:
        if len(words) < n:
            break
        # an n-gram that occurs twice begins with a shorter one that does
        positions = positions[positions <= len(words) - n]
        keys = ngrams(items, n)
        where, number, counts = _repeated(keys if n == TOP[0] else keys[positions])
        if n in TOP:
            repeated = _top(positions[where], number, counts, ends, n)
        else:
            repeated = _greedy(positions[where], number, ends, n)
        found[name(n)] = min(1.0, repeated / characters)  # occurrences of the most frequent one may overlap
        positions = np.sort(positions[where])
    return found


def _top(where: np.ndarray, number: np.ndarray, counts: np.ndarray, ends: np.ndarray, n: int) -> int:
    if not len(where):
        return int(ends[n]) + n - 1
    first = where[np.cumsum(counts) - counts]  # positions of a hash are in order
    start = first[counts == counts.max()].min()
    return int(counts.max() * (ends[start + n] - ends[start] + n - 1))


def _greedy(where: np.ndarray, number: np.ndarray, ends: np.ndarray, n: int) -> int:
    """Characters of n-grams that repeat an earlier one, read from left to right; what follows a repetition is read
    after it."""
    order = np.argsort(where)
    seen: set[int] = set()
    total = after = 0
    for position, key in zip(where[order].tolist(), number[order].tolist(), strict=True):
        if position < after:
            continue
        if key in seen:
            total += int(ends[position + n] - ends[position])
            after = position + n
        else:
            seen.add(key)
    return total


def repeated_ngrams(items: np.ndarray, n: int) -> float:
    """The share of n-grams that occur more than once (OBELICS' word repetition)."""
    count = len(items) - n + 1
    return int(_counts(ngrams(items, n)).sum()) / count if count > 0 else 0.0


def character_repetition(characters: np.ndarray, n: int = 10) -> float:
    """OBELICS' character repetition: the share of the most frequent n-grams of characters (code points) among all. The
    most frequent are the square root of the number of distinct ones, at most those that occur more than once."""
    count = len(characters) - n + 1
    if count <= 0:
        return 0.0
    counts = _counts(ngrams(characters.astype(np.uint64), n))
    distinct = count - int(counts.sum()) + len(counts)
    most = min(int(np.sqrt(distinct)), len(counts))
    return float(np.sort(counts)[::-1][:most].sum()) / count
