"""13-grams of words: the same as sets of tuples in plain Python."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import grams as module
from dedup import shingles
from dedup.grams import LENGTH, grams, passages, shared

QUESTION = "A train leaves Boston at 9:15 a.m. and travels west at 60 miles per hour; how far is it?"
WORDS = st.lists(st.sampled_from(["one", "Two", "three,", "“four”", "don't", "é", "F#"]), max_size=40)


def runs(words: list[str]) -> set[tuple[str, ...]]:
    plain = ["".join(filter(str.isalnum, word.lower())) for word in words]
    return {tuple(plain[start : start + LENGTH]) for start in range(len(plain) - LENGTH + 1)}


@given(WORDS, WORDS, WORDS)
def test_texts_share_the_grams_that_their_words_share(before: list[str], middle: list[str], after: list[str]) -> None:
    one, other = before + middle, middle + after
    assert len(grams("  ".join(one))) == len(runs(one))
    assert shared("\n".join(one), grams(" ".join(other))) == len(runs(one) & runs(other))


def test_a_planted_sentence_is_found_and_twelve_words_of_it_are_not() -> None:
    index = grams(QUESTION)
    words = QUESTION.split()
    assert shared(f"Our lesson: {QUESTION.upper().replace(';', '')} Answer below.", index) == len(words) - LENGTH + 1
    assert shared("Or " + " ".join(words[3 : 3 + LENGTH]) + " then", index) == 1
    assert shared("Or " + " ".join(words[3 : 3 + LENGTH - 1]) + " then", index) == 0
    assert shared("", index) == shared(QUESTION, index[:0]) == 0


def test_no_gram_is_lost_where_a_stretch_of_a_long_text_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number}" for number in range(500))
    whole = grams(text)
    monkeypatch.setattr(shingles, "LONGEST", 1000)
    monkeypatch.setattr(module, "LONGEST", 1000)
    assert len(whole) == 500 - LENGTH + 1 and np.isin(whole, grams(text)).all()


def test_the_hash_of_a_gram_is_a_polynomial_of_its_words() -> None:
    """Indexes are shared: neither the machine nor a library may change the hashes."""
    plain = "the quick brown fox and 8 others jumped over the lazy dog again"
    total = sum((ord(character) + 1) * shingles.BASE**power for power, character in enumerate(plain)) % 2**64
    found = grams("The quick, brown fox – and 8 others – jumped over the lazy DOG again.")
    assert found.tolist() == shingles.mixed(np.array([total], np.uint64)).tolist()


SIGNS = st.text(st.sampled_from("ab,.Σİß9 \n\u00a0\u3042\u4e2dＡ—😀"), max_size=120)


@given(SIGNS, SIGNS, SIGNS)
def test_passages_hold_exactly_the_grams_that_are_shared(before: str, middle: str, after: str) -> None:
    text, index = f"{before} {middle} {after}", grams(middle)
    found = passages(text, index)
    inside = [grams(text[start:stop]) for start, stop in found]
    kept = np.unique(np.concatenate([*inside, index[:0]]))
    assert len(np.intersect1d(kept, index)) == shared(text, index)
    assert all(len(np.intersect1d(part, index)) for part in inside)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(found))
    assert not shared(" ".join(text[start:stop] for start, stop in found), np.setdiff1d(index, kept))


@given(WORDS, WORDS, WORDS)
def test_passages_are_the_words_of_the_index(before: list[str], middle: list[str], after: list[str]) -> None:
    """Whole words, punctuation at both ends left out, and words that only overlapping grams join."""
    text = "  ".join(before + middle + after)
    hits = runs(middle)
    words = before + middle + after
    plain = ["".join(filter(str.isalnum, word.lower())) for word in words]
    covered = {place for at in range(len(words) - LENGTH + 1) if tuple(plain[at : at + LENGTH]) in hits
               for place in range(at, at + LENGTH)}  # fmt: skip
    found = passages(text, grams(" ".join(middle)))
    assert sum(len(text[start:stop].split()) for start, stop in found) == len(covered)


def test_a_passage_ends_where_its_words_end_also_in_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number}" for number in range(300)) + f"\n“{QUESTION}” " + "x " * 300
    for longest in (module.LONGEST, 1000):
        monkeypatch.setattr(module, "LONGEST", longest)
        ((start, stop),) = passages(text, grams(QUESTION))
        assert text[start:stop] == QUESTION.rstrip("?")
