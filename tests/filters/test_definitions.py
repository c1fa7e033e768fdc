"""Texts on both sides of the papers' thresholds: how each metric is defined, not only how it is compared."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from filters import paragraph
from filters.rule import first_failure
from filters.rules import PAGES_JUDGED
from filters.text import measure
from filters.word_lists import LISTS
from pipeline.recipe import load
from tests.filters import test_presets

LETTERS = "abcdefghijklmnopqrst"


def words(number: int, first: int = 0) -> list[str]:
    """Different words of six letters that no list holds."""
    return ["x" + "".join(LETTERS[n // 20**digit % 20] for digit in range(5)) for n in range(first, first + number)]


def text(number: int, *others: str) -> str:
    return " ".join((*words(number), *others))


def of_length(length: int, *parts: str, by: str = " ") -> str:
    """The parts, filled up to a number of characters."""
    joined = by.join((*parts, ""))
    return joined + "y" * (length - len(joined))


def grams(n: int, times: int, length: int) -> str:
    """An n-gram of words of four letters, repeated between different words."""
    gram, between = [word[:1] + word[2:5] for word in words(n)], (f"z{number:03}" for number in count())
    found = [word for _ in range(times) for word in (*gram, next(between))]
    while len(" ".join(found)) < length - 60:
        found.append(next(between))
    return of_length(length, *found)


def twice(items: list[str], repeated: int, total: int) -> list[str]:
    """A run of items that occurs twice, then different ones."""
    return [*items[:repeated], *items[: total - repeated]] if total > 2 * repeated else []


HAN = [chr(0x4E00 + place) for place in range(400)]
GOPHER = [
    ("text.too_few_words", text(50), text(49)),
    ("text.too_many_words", "a " * 100_000, "a " * 100_001),
    ("text.mean_word_length", "abc " * 50, "abc " * 49 + "ab"),
    ("text.mean_word_length", "abcdefghij " * 50, "abcdefghij " * 49 + "abcdefghijk"),
    ("text.symbol_ratio", text(100, "# " * 10), text(100, "# " * 11)),
    ("text.symbol_ratio", text(100, "... " * 10), text(100, "... " * 11)),
    ("text.symbol_ratio", text(100, "… " * 10), text(100, "… " * 11)),
    ("text.bullet_lines", "• a\n- b\n" * 4 + "• c\nd", "• a\n- b\n" * 5),
    ("text.ellipsis_lines", "a...\nb…\nc ...\n" + "d\n" * 7, "a...\nb…\nc ...\n" + "d\n" * 6),
    ("text.alphabetic_words", text(80, "12 " * 20), text(79, "12 " * 21)),
    ("text.few_words", text(50, "The and"), text(50, "the The")),
    ("text.duplicate_lines", "\n".join([*words(7), *words(3)]), "\n".join([*words(6), *words(4)])),
    ("text.duplicate_paragraphs", "\n\n".join([*words(7), *words(3)]), "\n\n".join([*words(6), *words(4)])),
    *(
        (f"text.duplicate_{what}_characters", *(of_length(n, "a" * 20, "a" * 20, by=by) for n in (100, 98)))
        for what, by in (("line", "\n"), ("paragraph", "\n\n"))
    ),
    *(
        (f"text.{name}_{n}gram", *(grams(n, times, length) for length in (total, total - total // 50)))
        for name, n, times, total in (
            ("top", 2, 4, 180), ("top", 3, 9, 700), ("top", 4, 4, 475),
            ("duplicate", 5, 4, 400), ("duplicate", 6, 8, 1_200), ("duplicate", 7, 14, 2_800),
            ("duplicate", 8, 4, 800), ("duplicate", 9, 12, 3_600), ("duplicate", 10, 2, 400),
        )
    ),
]  # fmt: skip
OBELICS = [
    ("text.plain_words", text(10, "1 2 ..."), text(9, "1 2 ...")),
    ("text.plain_words", text(2_000), text(2_001)),
    ("text.character_repetition", "".join(twice(HAN, 19, 209)), "".join(twice(HAN, 19, 208))),
    ("text.word_repetition", " ".join(twice(words(200), 14, 104)), " ".join(twice(words(200), 14, 103))),
    ("text.special_characters", "a" * 725 + "1 " * 137 + "!", "a" * 724 + "1 " * 138),
    ("text.stop_words", text(65, *["the"] * 35), text(66, *["the"] * 34)),
    ("text.punctuation", text(97, ", ! ?"), text(98, ", !")),
    ("text.flagged_words", text(99, "bad"), text(98, "bad Bad!")),
    ("text.common_words", text(10, *["good"] * 90), text(11, *["good"] * 89)),
]
OBELICS_PARAGRAPHS = [
    ("paragraph.words", text(4, "1 2 ..."), text(3, "1 2 ...")),
    ("paragraph.words", text(1_000), text(1_001)),
    ("paragraph.character_repetition", "".join(twice(HAN, 19, 209)), "".join(twice(HAN, 19, 208))),
    ("paragraph.word_repetition", " ".join(twice(words(200), 9, 104)), " ".join(twice(words(200), 9, 103))),
    ("paragraph.special_characters", "a" * 700 + "1 " * 150, "a" * 699 + "1 " * 150 + "!"),
    ("paragraph.stop_words", text(70, *["the"] * 30), text(71, *["the"] * 29)),
    ("paragraph.punctuation", text(11), text(12)),
    ("paragraph.punctuation", text(999, "."), text(1_000)),
    ("paragraph.punctuation", text(999, "."), text(1_200, ".")),
    ("paragraph.flagged_words", text(99, "bad"), text(98, "bad Bad!")),
    ("paragraph.common_words", text(20, *["good"] * 80), text(21, *["good"] * 79)),
    ("paragraph.spam_words", text(89, *["win"] * 11), text(88, *["win"] * 12)),
]
MMC4 = [
    ("text.too_few_sentences", "A b. C d? E f! G h.) I j.", "A b. C d? E f! G h.) I j"),
    ("text.braces", text(20, "}"), text(20, "{")),
    ("text.placeholder", text(20, "lorem ipsum"), text(20, "Lorem ipsum dolor sit amet")),
]
MMC4_PARAGRAPHS = [
    ("paragraph.words", "One two three.", "One two."),
    ("paragraph.terminal", "The end.", "The end"),
    ("paragraph.terminal", 'The "end"', "The end..."),
    ("paragraph.policy", "Privacy and cookies.", "Our cookie policy."),
    ("paragraph.policy", "Java and its script.", "Please enable JavaScript."),
]
PAGES = [(preset, *row) for preset, rows in (("m3w", GOPHER), ("obelics", OBELICS), ("mmc4", MMC4)) for row in rows]
PARAGRAPHS = [
    (preset, *row) for preset, rows in (("obelics", OBELICS_PARAGRAPHS), ("mmc4", MMC4_PARAGRAPHS)) for row in rows
]


def values(preset: str, folder: Path) -> dict[str, Any]:
    lists = {"stop_words": "the", "flagged_words": "bad", "common_words": "good", "spam_words": "win"}
    for name, word in lists.items():
        (folder / name).write_text(word)
    keys = {key.name: str(folder / key.name.partition(".")[2]) for key in LISTS}
    return load(preset).values() | keys


@pytest.mark.parametrize(("preset", "rule", "inside", "outside"), PAGES, ids=lambda value: str(value)[:30])
def test_pages(preset: str, rule: str, inside: str, outside: str, tmp_path: Path) -> None:
    known, judged = values(preset, tmp_path), [one for one in PAGES_JUDGED if one.id == rule]
    for page, expected in ((inside, None), (outside, rule)):
        assert first_failure(judged, measure(page, (), "en", known), known) == expected


@pytest.mark.parametrize(("preset", "rule", "inside", "outside"), PARAGRAPHS, ids=lambda value: str(value)[:30])
def test_paragraphs(preset: str, rule: str, inside: str, outside: str, tmp_path: Path) -> None:
    known, judged = values(preset, tmp_path), [one for one in paragraph.MEASURED if one.id == rule]
    for one, expected in ((inside, None), (outside, rule)):
        (measured,) = paragraph.measure([one], "en", known)
        assert first_failure(judged, measured, known) == expected


def test_every_rule_on_texts_of_the_papers_has_a_text() -> None:
    """The language, a model's perplexity, and copies are not in a text alone."""
    others = {"text.language", "text.perplexity", "paragraph.repeated"}
    for told, judged in ((PAGES, test_presets.TEXT), (PARAGRAPHS, test_presets.PARAGRAPHS)):
        assert {row[:2] for row in told} == {row[:2] for row in judged if row[1] not in others}
