"""Text, consent and language rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import consent, text
from filters.language import check, identify
from filters.models import ModelError
from filters.rule import first_failure
from pipeline.crawl.links import links_of
from pipeline.extract import extract
from pipeline.recipe import Recipe

GOOD = "The quick brown fox jumps over the lazy dog near the old river bank. " * 3


@pytest.mark.parametrize(
    ("page", "rule"),
    [
        (GOOD, None),
        ("A few words.", "text.too_few_words"),
        ("word " * 100_001, "text.too_many_words"),
        ("# " * 10 + GOOD, "text.symbol_ratio"),
        ("... " * 10 + GOOD, "text.symbol_ratio"),
        ("… " * 10 + GOOD, "text.symbol_ratio"),
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
    code, probability = identify("Der schnelle braune Fuchs springt über den faulen Hund und schläft.")
    assert code == "de" and 0.9 < probability <= 1
    assert identify("これは日本語の文章です。写真を見てください。")[0] == "ja"
    assert identify("hm") == ("", 0.0)
    assert identify("Der alte Hund lief.") == ("", 0.0), "19 characters"
    assert identify("Der alte Hund lief .")[0] == "de"
    assert identify("hm hm hm hm hm hm hm hm")[1] > 0, "the other package knows no language here"


def test_the_first_500_characters_tell_the_language() -> None:
    german = "Der schnelle braune Fuchs springt über den faulen Hund und schläft. " * 8
    english = " The lamp of the old lighthouse burnt all night, and nobody slept before it was out." * 40
    for package in ("py3langid", "pycld2"):
        assert identify(german[:500] + english, package) == identify(german[:500], package)
        assert identify(german[:500], package)[0] == "de"


def test_a_package_that_is_not_installed_is_named() -> None:
    check("py3langid")
    with pytest.raises(ModelError, match=r"text.identifier needs no_such_package, which is not installed"):
        check("no_such_package")


def test_language_by_pycld2() -> None:
    code, share = identify("Der schnelle braune Fuchs springt über den faulen Hund und schläft.", "pycld2")
    assert (code, share) == ("de", 0.98)
    assert identify("<Der schnelle braune Fuchs springt über den faulen Hund und schläft.>", "pycld2")[0] == "de"
    assert identify("שלום עולם זה טקסט בעברית שנכתב כאן", "pycld2")[0] == "he"
    assert identify("写真を見てください。\x00\ud800\x7f とてもきれいな花", "pycld2")[0] == "ja"
    assert identify("hm hm hm hm hm hm hm hm", "pycld2") == ("", 0.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("index, nofollow", True),
        ("otherbot: NoFollow", True),
        ("none", True),
        ("index, max-image-preview:none", False),
        ("tdm-reservation=nofollow", False),
        ("", False),
    ],
)
def test_links_of_a_page_that_are_not_to_be_followed(said: str, expected: bool) -> None:
    assert ("nofollow" in consent.directives(said)) == expected


@pytest.mark.parametrize(
    ("meta", "rule"),
    [
        ('<meta name=" Robots" content="NoAI">', "consent.noai"),
        ('<meta property="robots" content="noimageai">', "consent.noimageai"),
        ('<meta http-equiv="robots" content="none">', "consent.noindex"),
        ('<meta name="TDM-Reservation" content="1">', "consent.tdm_reservation"),
        ('<meta name="tdm-reservation" content="0"><meta name="robots" content="">', None),
        ('<meta name="description" content="noai">', None),
        ('<meta charset="utf-8"><meta content="noai">', None),
    ],
)
def test_crawl_and_build_read_the_same_opt_outs(meta: str, rule: str | None) -> None:
    html = f"<html><head>{meta}</head><body><p>{'A sentence of an article, with a comma. ' * 9}</p></body>".encode()
    document = extract(html, "https://example.org/")
    assert document is not None
    assert consent.refusal({}, document.metadata.robots) == rule
    assert consent.refusal({}, links_of(html, "https://example.org/", None).robots) == rule


def test_lines_and_paragraphs_that_come_again() -> None:
    again, once, code = "the same line", "another line that is longer than thirty characters", "x = 1"
    page = "\n\n".join([again, once, again, f"{code}\n  {code}\n{code}", again])
    found = text.measure(page, listings=[f"{code}\n  {code}\n{code}"])
    # three times, twice of them again; lines of a listing are no repetition
    assert found["duplicate_lines"] == pytest.approx(2 / 4)
    assert found["duplicate_line_characters"] == pytest.approx(2 * len(again) / len(page), abs=1e-4)
    assert found["duplicate_paragraphs"] == pytest.approx(2 / 5)
    assert found["duplicate_paragraph_characters"] == pytest.approx(2 * len(again) / len(page), abs=1e-4)
    assert found["short_lines"] == pytest.approx(6 / 7, abs=1e-4)
    assert text.measure("x" * 30 + "\n" + "y" * 31)["short_lines"] == 0.5


def test_shares_of_lines() -> None:
    page = "• one\n- two\nIt ends.\nIt goes on…\nIt goes on ..."
    found = text.measure(page)
    assert (found["bullet_lines"], found["ellipsis_lines"], found["terminal_lines"]) == (0.4, 0.4, 0.2)
