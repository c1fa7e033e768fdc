"""Rules on the paragraphs of a page, and their metrics: those of OBELICS, C4's on lines, and copies.

A paragraph that fails one is left out of the text; the page is then judged by what remains. Paragraphs are measured
only if a recipe has such a rule, copies are counted only if it has one of COPIES."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from filters.rule import Key, Metric, Rule
from filters.text import (
    C4,
    OBELICS,
    PARAGRAPHS,
    SHARES,
    WORDS,
    ends,
    less,
    more,
    obelics,
)
from filters.word_lists import COMMON_WORDS, FLAGGED_WORDS, SPAM_WORDS, STOP_WORDS
from filters.words import words_of

SHORTEST = 12
"""Words and marks of the shortest paragraph whose punctuation is judged (OBELICS)."""
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
"""C4's code, c4_filters.py of datatrove 0.10.1."""


def _metric(name: str, kind: pa.DataType, what: str, edges: tuple[float, ...] = ()) -> Metric:
    return Metric(f"paragraph_{name}", kind, what, edges)


METRICS = (
    _metric("words", pa.int32(), "words of the paragraph"),
    _metric("plain_words", pa.int32(), "its words without digits and marks at their ends", WORDS),
    _metric("character_repetition", pa.float64(), "share of its most frequent 10-grams of characters", SHARES),
    _metric("word_repetition", pa.float64(), "share of its 5-grams of words that occur more than once", SHARES),
    _metric("special_characters", pa.float64(), "share of its characters that are no letters", SHARES),
    _metric("stop_words", pa.float64(), "its share of stop words; -1 if not measured", SHARES),
    _metric("flagged_words", pa.float64(), "its share of flagged words; -1 if not measured", SHARES),
    _metric("punctuation", pa.float64(), f"its share of marks; 1 under {SHORTEST} words and marks", SHARES),
    _metric("common_words", pa.float64(), "its share of common words; -1 if not measured", SHARES),
    _metric("spam_words", pa.float64(), "its share of spam words; -1 if not measured", SHARES),
    _metric("terminal", pa.bool_(), "whether it ends with terminal punctuation"),
    _metric("policy", pa.bool_(), "whether it is English and names JavaScript, cookies, or a policy on them"),
)
"""The fields of the column `paragraphs` of work/pages, after its node."""
PAGES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 1_000, 10_000)
COPY_METRICS = (
    METRICS[0],
    _metric("site_pages", pa.int32(), "pages of its site that have the same paragraph", PAGES),
    _metric("sites", pa.int32(), "sites that have the same paragraph", PAGES),
    _metric("line_pages", pa.int32(), "pages of its site that have the rarest of its lines", PAGES),
    _metric("likeness", pa.float64(), "similarity to an earlier paragraph of its page", SHARES),
)
"""The fields of the column `repeats` of work/repeats, after its node."""


def _most(metric: str, what: str) -> Rule:
    key = Key(".".join(("paragraph", f"max_{metric}")), 1.0, f"Maximum {what} of a paragraph; 1: no limit", high=1)
    return Rule(f"paragraph.{metric}", "paragraph", f"too high a {what}", (f"paragraph_{metric}",), (key,), more,
                source=OBELICS)  # fmt: skip


def _least(metric: str, what: str) -> Rule:
    key = Key(".".join(("paragraph", f"min_{metric}")), 0.0, f"Minimum {what} of a paragraph", high=1)
    return Rule(f"paragraph.{metric}", "paragraph", f"too low a {what}", (f"paragraph_{metric}",), (key,), less,
                source=OBELICS)  # fmt: skip


def _fewest(name: str, key: str, what: str, why: str, source: str = "") -> Rule:
    most = Key(".".join(("paragraph", key)), NO_LIMIT, f"Maximum number of {what}; {NO_LIMIT}: no limit", low=1)
    return Rule(f"paragraph.{name}", "paragraph", why, (f"paragraph_{key.removeprefix('max_')}",), (most,), more,
                source=source)  # fmt: skip


NO_LIMIT = 100_000_000
COPIES = (
    _fewest("repeated", "max_site_pages", "pages of a site with the same paragraph",
            "on too many pages of its site", f"{OBELICS}, A.1: 2"),
    _fewest("common", "max_sites", "sites with the same paragraph", "on too many sites"),
    _fewest("boilerplate", "max_line_pages", "pages of a site with the rarest line of a paragraph",
            "each of its lines is on too many pages of its site"),
    Rule(
        "paragraph.likeness",
        "paragraph",
        "nearly the same as an earlier paragraph of its page",
        ("paragraph_likeness",),
        (Key("paragraph.max_likeness", 1.0, "Maximum Jaccard similarity of word 5-grams to an earlier paragraph of the"
             " page; 1: no limit", high=1),),
        more,
        source="mOSCAR (arXiv 2406.08707) drops near-duplicate paragraphs of a page",
    ),
)  # fmt: skip
"""Rules on what repeats; see docs/dedup.md. The stage repeats counts it over all pages with main content."""
MEASURED = (
    Rule(
        "paragraph.words",
        "paragraph",
        "too few or too many words",
        metrics=("paragraph_plain_words",),
        keys=(
            Key("paragraph.min_words", 0, "Minimum number of words of a paragraph, without marks and digits"),
            Key("paragraph.max_words", 100_000_000, "Maximum number of words of a paragraph"),
        ),
        fails=lambda words, least, most: (words < least) | (words > most),
        source=f"{OBELICS}; C4 has at least 3",
    ),
    _most("character_repetition", "share of repeated 10-grams of characters"),
    _most("word_repetition", "share of repeated 5-grams of words"),
    _most("special_characters", "share of characters that are no letters"),
    replace(_least("stop_words", "share of stop words"), model=STOP_WORDS),
    replace(_most("flagged_words", "share of flagged words"), model=FLAGGED_WORDS),
    _least("punctuation", "share of , ; : ? ! . among words and marks"),
    replace(_least("common_words", "share of common words"), model=COMMON_WORDS),
    Rule(
        "paragraph.spam_words",
        "paragraph",
        "too many words of spam",
        metrics=("paragraph_spam_words",),
        keys=(Key("paragraph.max_spam_words", 1.0, "Share of spam words from which a paragraph is dropped", high=1),),
        fails=lambda share, most: (share >= most) & (most < 1),
        model=SPAM_WORDS,
        source=f"{OBELICS}, step 13",
    ),
    Rule(
        "paragraph.terminal",
        "paragraph",
        "does not end with terminal punctuation",
        metrics=("paragraph_terminal",),
        keys=(Key("paragraph.terminal", False, "Drop paragraphs that do not end with terminal punctuation"),),
        fails=lambda terminal, wanted: wanted & ~terminal,
        source=C4,
    ),
    Rule(
        "paragraph.policy",
        "paragraph",
        "names JavaScript, cookies, or a policy on them, in English",
        metrics=("paragraph_policy",),
        keys=(
            Key(
                "paragraph.policy", False, "Drop English paragraphs that name JavaScript or policies on cookies and use"
            ),
        ),
        fails=lambda policy, wanted: policy & wanted,
        source=C4,
    ),
)
RULES = (*MEASURED, *COPIES)
"""In the order they are applied."""


def active(values: Mapping[str, Any], rules: Sequence[Rule] = MEASURED) -> bool:
    """Whether a recipe has one of `rules`: MEASURED, or COPIES."""
    return any(values[key.name] != key.default for rule in rules for key in rule.keys)


def split(text: str) -> list[str]:
    """The paragraphs of a node."""
    return PARAGRAPHS.split(text)


def measure(texts: Sequence[str | None], language: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The `METRICS` of each paragraph of each text node, with its `node`, in order."""
    return [
        {"node": node} | _measure(paragraph, language, values)
        for node, text in enumerate(texts)
        for paragraph in (() if text is None else split(text))
    ]


def _measure(paragraph: str, language: str, values: Mapping[str, Any]) -> dict[str, Any]:
    folded, words = paragraph.lower(), words_of(paragraph)
    found: dict[str, Any] = obelics(paragraph, words, language, values, SHORTEST) | {
        "words": words.number,
        "terminal": ends(paragraph),
        "policy": language == "en" and ("javascript" in folded or any(phrase in folded for phrase in POLICY)),
    }
    return {
        metric.name: round(value, 4)
        if isinstance(value := found[metric.name.removeprefix("paragraph_")], float)
        else value
        for metric in METRICS
    }
