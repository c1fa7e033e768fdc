"""Benchmark texts that must not be in a corpus: an index of the hashes of their 13-grams, which can be shared without
the texts, and the number of them that a page holds.

A 13-gram is a run of 13 words between spaces, in lower case and without punctuation, as for GPT-3 (Brown et al. 2020,
arXiv 2005.14165, appendix C). In scripts that are written without spaces between words a character is a word, as in
`dedup.shingles`.
"""

import re
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from unicodedata import category

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dedup.benchmarks import BenchmarkError, kept_lines, read_file
from dedup.shingles import LONGEST, runs

LENGTH = 13
"""Words of a gram, as for GPT-3 (appendix C)."""
INDEX = pa.schema([("benchmark", pa.string()), ("gram", pa.uint64())])
"""An index file (Parquet): the name of a benchmark, and the hash of a 13-gram in its texts."""


def grams(text: str) -> NDArray[np.uint64]:
    """The distinct hashes (N,) of the 13-grams of a text, ascending; none if it has fewer words."""
    words = " ".join(text.lower().translate(_marks()).split())
    return np.unique(np.concatenate([runs(words[at : at + LONGEST], LENGTH, False).hashes for at in _stretches(words)]))


def _stretches(words: str) -> range:
    """Where stretches of LONGEST characters start. They overlap, so no gram is lost where one ends."""
    half = LONGEST // 2
    return range(0, max(len(words) - half, 1), half)


@cache
def _marks() -> dict[int, None]:
    """A translation that deletes punctuation and symbols."""
    return dict.fromkeys(code for code in range(sys.maxunicode + 1) if category(chr(code))[0] in "PS")


@cache
def read_index(path: str, keep: str = "") -> NDArray[np.uint64]:
    """The distinct hashes (N,) of an index without those of the passages in the file `keep`, ascending. A passage is a
    line of 13 words or more (# begins a comment). Raises BenchmarkError."""
    kept = [grams(line) for line in _passages_kept(keep)]
    every = np.unique(read_names(path)["gram"].to_numpy())
    return np.setdiff1d(every, np.concatenate(kept), assume_unique=False) if kept else every


def _passages_kept(path: str) -> Iterator[str]:
    for number, line in kept_lines(path):
        if not len(grams(line)):
            raise BenchmarkError(f"{path}: line {number} has fewer than {LENGTH} words, so it keeps nothing")
        yield line


def read_names(path: str) -> pa.Table:
    """The rows of an index (INDEX). Raises BenchmarkError."""
    return read_file(path, INDEX, "texts", "m3w decontaminate-index --texts")


def digest(path: str, keep: str) -> str:
    """What the rule depends on: a hash of the index without exceptions; "" without one. Raises BenchmarkError."""
    return sha256(read_index(path, keep).tobytes()).hexdigest() if path else ""


def shared(text: str, index: NDArray[np.uint64]) -> int:
    """How many distinct 13-grams of a text are in an index (N,), ascending."""
    return int(_inside(grams(text), index).sum())


def _inside(hashes: NDArray[np.uint64], index: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(index, hashes), max(len(index) - 1, 0))
    return index[places] == hashes if len(index) else np.zeros(len(hashes), bool)


def passages(text: str, index: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """The passages of a text that consist of 13-grams of an index (N,), ascending: start and stop of each. 13-grams
    that share a word are one passage."""
    words, places = _placed(text)
    found: list[tuple[int, int]] = []
    for at in _stretches(words):
        hashes, starts, stops = runs(words[at : at + LONGEST], LENGTH, False)
        hit = _inside(hashes, index)
        for start, stop in zip((starts[hit] + at).tolist(), (stops[hit] + at).tolist(), strict=True):
            if found and start < found[-1][1]:
                found[-1] = found[-1][0], max(stop, found[-1][1])
            else:
                found.append((start, stop))
    return [(int(places[start]), int(places[stop - 1]) + 1) for start, stop in found]


def _placed(text: str) -> tuple[str, NDArray[np.int64]]:
    """A text as `grams` reads it, and the place (N,) in `text` of each of its characters."""
    marks = _marks()
    lengths = [len(character.lower().translate(marks)) for character in text]
    places = np.repeat(np.arange(len(text)), lengths)
    words = list(re.finditer(r"\S+", text.lower().translate(marks)))
    # the space after a word stands where the word ends
    kept = [places[word.start() : word.end() + 1] for word in words]
    joined = " ".join(word.group() for word in words)
    return joined, np.concatenate([*kept, places[:0]])[: len(joined)]
