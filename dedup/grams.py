"""Benchmark texts that must not be in a corpus: an index of the hashes of their 13-grams, which can be shared without
the texts, and the number of them that a page holds.

A 13-gram is a run of 13 words between spaces, in lower case and without punctuation, as for GPT-3 (Brown et al. 2020,
arXiv 2005.14165, appendix C). In scripts that are written without spaces between words a character is a word, as in
`dedup.shingles`.
"""

import sys
from functools import cache
from hashlib import sha256
from unicodedata import category

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dedup.benchmarks import read_file
from dedup.shingles import LONGEST, shingles

LENGTH = 13
"""Words of a gram, as for GPT-3 (appendix C)."""
INDEX = pa.schema([("benchmark", pa.string()), ("gram", pa.uint64())])
"""An index file (Parquet): the name of a benchmark, and the hash of a 13-gram in its texts."""


def grams(text: str) -> NDArray[np.uint64]:
    """The distinct hashes (N,) of the 13-grams of a text, ascending; none if it has fewer words."""
    words = " ".join(text.lower().translate(_marks()).split())
    # stretches overlap, so no gram is lost where one ends
    half = LONGEST // 2
    found = [shingles(words[at : at + LONGEST], LENGTH, False) for at in range(0, max(len(words) - half, 1), half)]
    return np.unique(np.concatenate(found))


@cache
def _marks() -> dict[int, None]:
    """A translation that deletes punctuation and symbols."""
    return dict.fromkeys(code for code in range(sys.maxunicode + 1) if category(chr(code))[0] in "PS")


@cache
def read_index(path: str) -> NDArray[np.uint64]:
    """The distinct hashes (N,) of an index, ascending. Raises BenchmarkError."""
    table = read_file(path, INDEX, "texts", "m3w decontaminate-index --texts")
    return np.unique(table["gram"].to_numpy())


def digest(path: str) -> str:
    """What the rule depends on: a hash of the index; "" without one. Raises BenchmarkError."""
    return sha256(read_index(path).tobytes()).hexdigest() if path else ""


def shared(text: str, index: NDArray[np.uint64]) -> int:
    """How many distinct 13-grams of a text are in an index (N,), ascending."""
    mine = grams(text)
    places = np.searchsorted(index, mine)
    inside = places < len(index)
    return int((index[places[inside]] == mine[inside]).sum())
