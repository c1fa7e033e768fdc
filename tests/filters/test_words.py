"""Words and marks beside plain Python."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.repetition import ngrams
from filters.word_lists import hashed_list
from filters.words import COMMAS, STOPS, TSHEG, Words, codes, kinds, plain_words, punctuation, special

TEXTS = st.text(st.sampled_from("aAbß9_,.;'· \n\t\u00a0\u2028é\u0301क\u093fก។\u0f0bİ😀\U00020000")) | st.text(
    st.characters(max_codepoint=0x1FFFF)
)
"""Beyond the second plane every character counts as a letter."""


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LM" or character == TSHEG


def words_of_obelics(text: str) -> list[str]:
    """Split at white space, in lower case, and what is no letter stripped from both ends."""
    found = []
    for word in text.lower().split():
        letters = [place for place, character in enumerate(word) if is_letter(character)]
        if letters:
            found.append(word[letters[0] : letters[-1] + 1])
    return found


@given(TEXTS)
def test_plain_words(text: str) -> None:
    expected, found = words_of_obelics(text), plain_words(text).tolist()
    assert len(found) == len(expected)
    for word, hashed in zip(expected, found, strict=True):
        assert plain_words(word).tolist() == [hashed]
    assert len(set(found)) == len(set(expected))


@given(TEXTS)
def test_special_characters_and_punctuation(text: str) -> None:
    found = kinds(codes(text))
    inside = [c.isalnum() or c in "_'" for c in text]
    words = sum(now and not before for before, now in zip([False, *inside], inside, strict=False))
    marks = sum(c in COMMAS + STOPS for c in text)
    assert punctuation(found) == (marks, words + marks)
    others = sum(not is_letter(c) for c in text)
    assert special(found) == pytest.approx(others / max(1, len(text)))


def test_words_longer_than_the_table_of_powers_and_words_that_differ_by_place() -> None:
    long = "ab" * 5_000
    assert len(set(plain_words(f"{long} {long}c {long[1:]} {long}").tolist())) == 3
    assert len(set(plain_words("x cy y cx xc yc").tolist())) == 6


def test_pairs_of_words_that_share_letters_differ() -> None:
    assert len(set(ngrams(plain_words("x yc y xc"), 2).tolist())) == 3
    assert len(set(ngrams(plain_words("x cy y cx"), 2).tolist())) == 3


def test_a_list_has_hashes_of_its_words_alone() -> None:
    """A listed word that no text can have, such as l' or two words, matches nothing."""
    known = hashed_list("packaged", "fr")
    assert np.isin(plain_words("de la"), known).all()
    assert not np.isin(plain_words("ordinateur"), known).any()


def test_words_that_end_in_no_letter_are_not_of_a_list(tmp_path: Path) -> None:
    """Marks and digits are cut off the words of a text: "3d" would match every "d"."""
    (tmp_path / "list.txt").write_text("3d d3 l' 'l 42 ok o'k two\n")
    known = hashed_list(str(tmp_path / "list.txt"), "en")
    assert known.tolist() == sorted(plain_words("ok o'k two").tolist())


def test_a_text_is_judged_by_words_if_more_than_half_are_written_with_spaces() -> None:
    assert [Words(number, ["a"] * 3).judged for number in (3, 5, 6, 7, 8)] == [True, True, False, False, False]
