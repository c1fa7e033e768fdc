"""Shingles: equal runs of tokens have equal hashes wherever they stand, in every script."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedup import shingles as module
from dedup.shingles import LENGTH, shingles

WORDS = st.lists(st.text("abcdé", min_size=1, max_size=4), max_size=30)
CHARACTERS = "写真東京ไทยខ្មែရ"


def runs(tokens: list[str]) -> set[tuple[str, ...]]:
    length = min(LENGTH, len(tokens))
    return {tuple(tokens[start : start + length]) for start in range(len(tokens) - length + 1)} if tokens else set()


@given(WORDS, WORDS)
def test_texts_share_the_shingles_that_their_words_share(one: list[str], other: list[str]) -> None:
    first, second = shingles(" ".join(one)), shingles(" ".join(other))
    assert len(first) == len(runs(one))
    assert len(np.intersect1d(first, second)) == len(runs(one) & runs(other))


@given(st.lists(st.sampled_from([*CHARACTERS, "apple", "pie"]), min_size=1, max_size=30))
def test_characters_of_scripts_without_spaces_are_tokens(tokens: list[str]) -> None:
    text = "".join(f" {token} " if token.isascii() else token for token in tokens)
    assert len(shingles(" ".join(text.split()))) == len(runs(tokens))


def test_a_word_split_in_two_is_another_shingle() -> None:
    assert not np.isin(shingles("one two three four five"), shingles("on e two three four five")).any()
    assert len(shingles("")) == len(shingles(" ")) == 0
    assert len(shingles("한국어 문장 은 띄어 쓴다")) == 1, "Korean has spaces"


def test_a_long_text_is_hashed_in_stretches(monkeypatch) -> None:
    text = " ".join(f"word{number}" for number in range(300))
    whole = shingles(text)
    monkeypatch.setattr(module, "LONGEST", 500)
    assert np.isin(shingles(text), whole).mean() > 0.9


def test_a_hash_is_a_polynomial_of_the_shingle_alone() -> None:
    """Signatures are stored, and compared across corpora: neither the machine nor a library may change them."""
    sums = [
        sum((ord(character) + 1) * module.BASE**power for power, character in enumerate(shingle)) % 2**64
        for shingle in ("é b c d e", "b c d e f")
    ]
    assert shingles("é b c d e f").tolist() == sorted(module.mixed(np.array(sums, np.uint64)).tolist())
    assert module.mixed(np.array([1], np.uint64)).tolist() == [0x5692161D100B05E5]
