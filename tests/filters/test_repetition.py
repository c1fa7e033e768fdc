"""Shares of repeated n-grams, beside plain counting."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.repetition import LENGTHS, TOP, character_repetition, hashes, name, ngrams, repeated_ngrams, word_ngrams
from filters.words import codes

# phrases that come again, at once or after other words, so that long n-grams do
PHRASES = ["a", "bb", "ccc", "dddd", "a bb ccc dddd a a bb", "ccc bb a ccc bb a ccc bb a ccc bb", "dddd " * 12]
WORDS = st.lists(st.sampled_from(PHRASES), max_size=20).map(lambda phrases: " ".join(phrases).split())


def top(words: list[str], n: int) -> int:
    """The characters of the most frequent n-gram, which most_common finds first of several."""
    grams = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
    gram, count = grams.most_common(1)[0]
    return len(gram) * count


def greedy(words: list[str], n: int) -> int:
    """The characters of n-grams that were seen before, read from left to right."""
    seen, total, start = set(), 0, 0
    while start <= len(words) - n:
        gram = tuple(words[start : start + n])
        if gram in seen:
            total += sum(map(len, gram))
            start += n
        else:
            seen.add(gram)
            start += 1
    return total


@given(WORDS)
def test_ngrams_of_words(words: list[str]) -> None:
    characters = 10 * len(" ".join(words)) + 1
    found = word_ngrams(words, characters)
    for n in LENGTHS:
        expected = 0 if len(words) < n else top(words, n) if n in TOP else greedy(words, n)
        assert found[name(n)] == pytest.approx(expected / characters)


@given(WORDS)
def test_five_words_that_occur_again(words: list[str]) -> None:
    counts = Counter(tuple(words[start : start + 5]) for start in range(len(words) - 4))
    expected = sum(count for count in counts.values() if count > 1) / max(1, counts.total())
    assert repeated_ngrams(hashes(words), 5) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["a", "b", "\n", "abbaabbbaaab"]), max_size=40).map("".join))
def test_repeated_characters(text: str) -> None:
    counts = sorted(Counter(text[start : start + 10] for start in range(len(text) - 9)).values(), reverse=True)
    most = min(int(np.sqrt(len(counts))), sum(count > 1 for count in counts))
    assert character_repetition(codes(text)) == pytest.approx(sum(counts[:most]) / max(1, sum(counts)))


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 12))
def test_equal_runs_have_equal_hashes_and_others_differ(items: list[int], n: int) -> None:
    found = ngrams(np.array(items, np.uint64), n).tolist()
    runs = [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]
    assert len(found) == len(runs)
    ordered = sorted(zip(runs, found, strict=True))
    assert all((one == other) == (this == that) for (one, this), (other, that) in pairwise(ordered))


def test_occurrences_that_overlap_are_no_more_than_the_whole_text() -> None:
    assert word_ngrams(["word"] * 30, 149)["top_2gram"] == 1
