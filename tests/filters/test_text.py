"""Text, consent and language rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import consent, text
from filters.language import identify
from filters.rule import first_failure
from pipeline.recipe import Recipe

GOOD = "The quick brown fox jumps over the lazy dog near the old river bank. " * 3


@pytest.mark.parametrize(
    ("page", "rule"),
    [
        (GOOD, None),
        ("A few words.", "text.too_few_words"),
        ("word " * 100_001, "text.too_many_words"),
        ("# " * 10 + GOOD, "text.symbol_ratio"),
        ("a b c d e f g h i j k l m n o p q r s t u v", "text.mean_word_length"),
        ("\n".join(["The same line of words again and again"] * 5), "text.duplicate_lines"),
        ("Lorem ipsum dolor sit amet. " + GOOD, "text.placeholder"),
        ("これは日本語の文章です。写真を見てください。とてもきれいな花が咲いています。", None),
        ("ภาษาไทยเขียนติดกันโดยไม่มีช่องว่างระหว่างคำ และประโยคนี้ยาวพอที่จะนับเป็นคำได้หลายคำแน่นอน", None),
    ],
)
def test_the_first_rule_that_fails(page: str, rule: str | None) -> None:
    assert first_failure(text.RULES, text.measure(page), Recipe().values()) == rule


def test_words_are_counted_in_every_script() -> None:
    assert text.measure("three plain words")["words"] == 3
    assert text.measure("写真")["words"] == 2
    assert text.measure("한국어 문장")["words"] == 2
    assert text.measure("mixed 写真 text")["words"] == 4


@given(st.text())
def test_metrics_of_any_text(value: str) -> None:
    found = text.measure(value)
    assert 0 <= found["duplicate_lines"] < 1 and found["words"] <= found["characters"]


@pytest.mark.parametrize(
    ("headers", "robots", "rule"),
    [
        ({}, "", None),
        ({}, "index, follow, max-snippet:-1", None),
        ({"x-robots-tag": "max-image-preview: none"}, "index, max-image-preview:none", None),
        ({"x-robots-tag": "max-image-preview:none, none"}, "", "consent.noindex"),
        ({"x-robots-tag": "noai"}, "", "consent.noai"),
        ({"x-robots-tag": "otherbot: NoImageAI, nofollow"}, "", "consent.noimageai"),
        ({}, "NOINDEX,nofollow", "consent.noindex"),
        ({}, "none", "consent.noindex"),
        ({}, "noml", "consent.noml"),
        ({"tdm-reservation": "1"}, "", "consent.tdm_reservation"),
        ({"tdm-reservation": "0"}, "", None),
        ({}, "tdm-reservation=1", "consent.tdm_reservation"),
        ({}, "tdm-reservation=0", None),
        ({}, "index, tdm-reservation=yes", "consent.tdm_reservation"),
    ],
)
def test_opting_out(headers: dict[str, str], robots: str, rule: str | None) -> None:
    assert consent.refusal(headers, robots) == rule


def test_language() -> None:
    assert identify("Der schnelle braune Fuchs springt über den faulen Hund und schläft.") == "de"
    assert identify("これは日本語の文章です。写真を見てください。") == "ja"
    assert identify("hm") == ""
