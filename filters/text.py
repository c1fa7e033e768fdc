"""Rules on the text of a whole page, and their metrics: those of MassiveText (Gopher), C4, FineWeb and OBELICS.

A new rule only touches this module: its metric in `METRICS` and `measure`, its declaration in `RULES`. Rules on words
do not judge texts that are mostly written without spaces; rules on stop words judge languages of languages.toml."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters import repetition
from filters.rule import Key, Metric, Rule
from filters.word_lists import COMMON_WORDS, FLAGGED_WORDS, SPAM_WORDS, STOP_WORDS, UNKNOWN, hashed_list, languages
from filters.words import STOPS, THAI_LAO, Words, codes, kinds, plain_words, punctuation, special, words_of

WORDS = (0, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000)
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
SHARES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1)
PLACEHOLDER = re.compile(r"\blorem\s+ipsum\s+dolor\b", re.I)
PARAGRAPHS = re.compile(r"\n{2,}")
LETTER = re.compile(r"[^\W\d_]")
SENTENCE_END = re.compile(rf"[.?!][\"'”’)]*(?:\s|$)|[{STOPS[3:]}]+")
BULLETS = ("•", "-")
ELLIPSES = ("…", "...")
TERMINAL = (*STOPS, '"', "'", "”", "」", "』")
"""Characters that end a sentence: C4's, and those of other scripts."""
SHORT_LINE = 30
NOT_MEASURED = -1.0
"""The share of listed words if the recipe names no list, or none for the language."""
SHARES_OF_LISTS = {
    "stop_words": STOP_WORDS,
    "flagged_words": FLAGGED_WORDS,
    "common_words": COMMON_WORDS,
    "spam_words": SPAM_WORDS,
}
"""The keys that name lists of words, by the metric of their share."""

METRICS = (
    Metric("words", pa.int32(), "words", WORDS),
    Metric("characters", pa.int32(), "characters"),
    Metric("mean_word_length", pa.float64(), "mean characters per word, 0 for scripts without spaces", LENGTHS),
    Metric("hashes", pa.float64(), "# per word", SHARES),
    Metric("ellipses", pa.float64(), "ellipses per word", SHARES),
    Metric("bullet_lines", pa.float64(), "share of lines that start with a bullet", SHARES),
    Metric("ellipsis_lines", pa.float64(), "share of lines that end with an ellipsis", SHARES),
    Metric("alphabetic_words", pa.float64(), "share of words with a letter, 1 for scripts without spaces", SHARES),
    Metric("few_words", pa.int32(), "different words of the few that nearly every text has, -1 for languages without a"
           " list", (0, 1, 2, 3, 4, 5, 6, 7, 8)),
    Metric("duplicate_lines", pa.float64(), "share of lines that repeat an earlier one, listings aside", SHARES),
    Metric("duplicate_paragraphs", pa.float64(), "share of paragraphs that repeat an earlier one", SHARES),
    Metric("duplicate_line_characters", pa.float64(), "share of characters in repeated lines, listings aside", SHARES),
    Metric("duplicate_paragraph_characters", pa.float64(), "share of characters in repeated paragraphs", SHARES),
    *(
        Metric(repetition.name(n), pa.float64(), f"share of characters in {n}-grams of words: the most frequent one, or"
               " those that repeat an earlier one", SHARES)
        for n in repetition.LENGTHS
    ),
    Metric("terminal_lines", pa.float64(), "share of lines that end with terminal punctuation", SHARES),
    Metric("short_lines", pa.float64(), f"share of lines of at most {SHORT_LINE} characters", SHARES),
    Metric("newlines", pa.float64(), "line ends per word, 0 for scripts without spaces", SHARES),
    Metric("sentences", pa.int32(), "ends of sentences", (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500)),
    Metric("braces", pa.bool_(), "whether it contains {"),
    Metric("plain_words", pa.int32(), "words split at white space, without digits and marks at their ends", WORDS),
    Metric("character_repetition", pa.float64(), "share of the most frequent 10-grams of characters", SHARES),
    Metric("word_repetition", pa.float64(), "share of 5-grams of plain words that occur more than once", SHARES),
    Metric("special_characters", pa.float64(), "share of characters that are no letters", SHARES),
    Metric("punctuation", pa.float64(), "share of , ; : ? ! . among words and marks", SHARES),
    Metric("stop_words", pa.float64(), "share of stop words, relative to English; -1 if not measured", SHARES),
    Metric("flagged_words", pa.float64(), "share of flagged words; -1 if not measured", SHARES),
    Metric("common_words", pa.float64(), "share of common words; -1 if not measured", SHARES),
    Metric("placeholder", pa.bool_(), "whether it contains lorem ipsum"),
)  # fmt: skip
"""The columns of a page's text metrics, in the order they are stored."""
MASSIVE_TEXT = "MassiveText (Rae et al. 2021, arXiv 2112.11446), A.1.1"
C4 = "C4 (Raffel et al. 2020, arXiv 1910.10683), 2.2"
FINE_WEB = "FineWeb (Penedo et al. 2024, arXiv 2406.17557), 3.6"
OBELICS = "OBELICS (Laurençon et al. 2023, arXiv 2306.16527), A.1"
PERPLEXITY_MODEL = Key("text.perplexity_model", "", 'Path of a KenLM model, a GGUF file or a causal LM; none: ""')
PERPLEXITY = Metric("perplexity", pa.float64(), "perplexity of the text as extracted, by the recipe's model",
                    (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000))  # fmt: skip


def more(share: Any, most: float) -> Any:
    return share > most


def less(share: Any, least: float) -> Any:
    """Fails below `least`, unless the share was not measured."""
    return (share >= 0) & (share < least)


def _most(metric: str, default: float, what: str, source: str) -> Rule:
    """A rule with an upper limit of a share, under the name of its metric."""
    name = ".".join(("text", f"max_{metric}"))
    key = Key(name, default, f"Maximum {what}; 1: no limit", high=1)
    return Rule(f"text.{metric}", "page", f"too high a {what}", (metric,), (key,), more, source=source)


def _ngrams() -> tuple[Rule, ...]:
    said = {n: "the most frequent" if n in repetition.TOP else "repeated" for n in repetition.LENGTHS}
    return tuple(
        _most(repetition.name(n), 1.0, f"share of characters in {what} {n}-grams of words", MASSIVE_TEXT)
        for n, what in said.items()
    )


RULES = (
    Rule(
        "text.too_few_words",
        "page",
        "too few words",
        metrics=("words",),
        keys=(Key("text.min_words", 20, "Minimum number of words of a page; 0: no limit"),),
        fails=lambda words, least: words < least,
        source=f"{MASSIVE_TEXT}, which has 50; 20 keeps captioned images",
    ),
    Rule(
        "text.too_many_words",
        "page",
        "too many words",
        metrics=("words",),
        keys=(Key("text.max_words", 100_000, "Maximum number of words of a page", low=1),),
        fails=more,
        source=MASSIVE_TEXT,
    ),
    Rule(
        "text.mean_word_length",
        "page",
        "words too short or too long on average",
        metrics=("mean_word_length",),
        keys=(
            Key("text.min_mean_word_length", 2.0, "Minimum mean word length in characters, in scripts with spaces"),
            Key(
                "text.max_mean_word_length",
                15.0,
                "Maximum mean word length in characters, in scripts with spaces",
                low=1,
            ),
        ),
        fails=lambda length, least, most: (length > 0) & ((length < least) | (length > most)),
        source=f"{MASSIVE_TEXT}, which has 3 to 10 for English",
    ),
    Rule(
        "text.symbol_ratio",
        "page",
        "too many # or ellipses per word",
        metrics=("hashes", "ellipses"),
        keys=(Key("text.max_symbol_ratio", 0.1, "Maximum number of # per word, and of ellipses"),),
        fails=lambda hashes, ellipses, most: (hashes > most) | (ellipses > most),
        source=MASSIVE_TEXT,
    ),
    _most("bullet_lines", 1.0, "share of lines that start with a bullet", MASSIVE_TEXT),
    _most("ellipsis_lines", 1.0, "share of lines that end with an ellipsis", MASSIVE_TEXT),
    Rule(
        "text.alphabetic_words",
        "page",
        "too few words with a letter",
        metrics=("alphabetic_words",),
        keys=(Key("text.min_alphabetic_words", 0.0, "Minimum share of words with a letter", high=1),),
        fails=less,
        source=MASSIVE_TEXT,
    ),
    Rule(
        "text.few_words",
        "page",
        "too few of the words that nearly every text has",
        metrics=("few_words",),
        keys=(Key("text.min_few_words", 0, "Minimum number of different words such as the, of, and", high=8),),
        fails=less,
        source=MASSIVE_TEXT,
    ),
    _most("duplicate_lines", 0.3, "share of repeated lines", MASSIVE_TEXT),
    _most("duplicate_paragraphs", 1.0, "share of repeated paragraphs", MASSIVE_TEXT),
    _most("duplicate_line_characters", 1.0, "share of characters in repeated lines",
          f"{MASSIVE_TEXT}; FineWeb has 0.01"),
    _most("duplicate_paragraph_characters", 1.0,
          "share of characters in repeated paragraphs", MASSIVE_TEXT),
    *_ngrams(),
    Rule(
        "text.terminal_lines",
        "page",
        "too few lines that end with terminal punctuation",
        metrics=("terminal_lines",),
        keys=(Key("text.min_terminal_lines", 0.0, "Minimum share of lines that end a sentence", high=1),),
        fails=less,
        source=FINE_WEB,
    ),
    _most("short_lines", 1.0, f"share of lines of at most {SHORT_LINE} characters",
          f"{FINE_WEB}, which has 0.67"),
    Rule(
        "text.newlines",
        "page",
        "too many line ends per word",
        metrics=("newlines",),
        keys=(Key("text.max_newlines", 0.0, "Maximum line ends per word, as 0.3 in FineWeb; 0: no limit"),),
        fails=lambda newlines, most: (newlines > most) & (most > 0),
        source=FINE_WEB,
    ),
    Rule(
        "text.too_few_sentences",
        "page",
        "too few sentences",
        metrics=("sentences",),
        keys=(Key("text.min_sentences", 0, "Minimum number of sentences; C4: 5"),),
        fails=less,
        source=C4,
    ),
    Rule(
        "text.braces",
        "page",
        "contains {, as code does",
        metrics=("braces",),
        keys=(Key("text.braces", False, "Drop pages that contain {"),),
        fails=lambda braces, wanted: braces & wanted,
        source=C4,
    ),
    Rule(
        "text.plain_words",
        "page",
        "too few or too many words",
        metrics=("plain_words",),
        keys=(
            Key("text.min_plain_words", 0, "Minimum number of words without marks and digits; OBELICS: 10"),
            Key("text.max_plain_words", 100_000_000, "Maximum number of such words; OBELICS: 2000"),
        ),
        fails=lambda words, least, most: (words < least) | (words > most),
        source=OBELICS,
    ),
    _most("character_repetition", 1.0, "share of repeated 10-grams of characters", OBELICS),
    _most("word_repetition", 1.0, "share of repeated 5-grams of words", OBELICS),
    _most("special_characters", 1.0, "share of characters that are no letters", OBELICS),
    Rule(
        "text.stop_words",
        "page",
        "too few stop words",
        metrics=("stop_words",),
        keys=(Key("text.min_stop_words", 0.0, "Minimum share of stop words", high=1),),
        fails=less,
        model=STOP_WORDS,
        source=OBELICS,
    ),
    Rule(
        "text.flagged_words",
        "page",
        "too many flagged words",
        metrics=("flagged_words",),
        keys=(Key("text.max_flagged_words", 1.0, "Maximum share of flagged words", high=1),),
        fails=more,
        model=FLAGGED_WORDS,
        source=OBELICS,
    ),
    Rule(
        "text.punctuation",
        "page",
        "too little punctuation",
        metrics=("punctuation",),
        keys=(Key("text.min_punctuation", 0.0, "Minimum share of , ; : ? ! . among words and marks", high=1),),
        fails=less,
        source=OBELICS,
    ),
    Rule(
        "text.common_words",
        "page",
        "too few common words",
        metrics=("common_words",),
        keys=(Key("text.min_common_words", 0.0, "Minimum share of common words", high=1),),
        fails=less,
        model=COMMON_WORDS,
        source=OBELICS,
    ),
    Rule(
        "text.perplexity",
        "page",
        "too improbable for a language model",
        metrics=("perplexity",),
        keys=(Key("text.max_perplexity", 1_000_000.0, "Maximum perplexity of a page's text", low=1),),
        fails=more,
        model=PERPLEXITY_MODEL,
        source=f"{OBELICS}, with KenLM",
    ),
    Rule(
        "text.placeholder",
        "page",
        "placeholder text (lorem ipsum)",
        metrics=("placeholder",),
        keys=(Key("text.placeholder", True, "Drop pages that contain lorem ipsum"),),
        fails=lambda placeholder, wanted: placeholder & wanted,
        source=C4,
    ),
)  # fmt: skip
"""In the order they are applied."""


def measure(
    text: str, listings: Sequence[str] = (), language: str = "en", lists: Mapping[str, str] | None = None
) -> dict[str, int | float | bool]:
    """The `METRICS` of a text; ratios rounded to 4 decimals, so that they are the same on every machine.

    Lines and symbols of its `listings` do not count: programs repeat themselves. `lists` holds the values of the keys
    `LISTS`; without one its metric is not measured."""
    words = words_of(text)
    measured = {
        **gopher(text, words, listings, language),
        "sentences": _sentences(text, words),
        "braces": "{" in text,
        **obelics(text, words, language, lists or {}),
        "placeholder": "ipsum" in text.lower() and PLACEHOLDER.search(text) is not None,
    }
    return {metric.name: _rounded(measured[metric.name]) for metric in METRICS}


def gopher(text: str, words: Words, listings: Sequence[str] = (), language: str = "en") -> dict[str, int | float]:
    """The metrics of MassiveText and FineWeb of a text and its words."""
    count, spaced = words
    if not words.judged:
        spaced = []
    total = max(1, len(spaced))
    without = sum(LETTER.search(word) is None for word in spaced if not word.isalpha())
    few = languages().get(language, UNKNOWN).few if words.judged else None
    return {
        "words": count,
        "characters": len(text),
        "mean_word_length": sum(map(len, spaced)) / total,
        "hashes": _per(_outside(text, listings, lambda part: part.count("#")), count),
        "ellipses": _per(_outside(text, listings, lambda part: part.count("…") + part.count("...")), count),
        "alphabetic_words": 1 - without / total,
        "few_words": len(few.intersection(map(str.lower, spaced))) if few else -1,
        **_lines(text, listings, len(spaced)),
        **repetition.word_ngrams(spaced, len(text)),
    }


def _sentences(text: str, words: Words) -> int:
    """Ends of sentences; Thai and Lao mark none."""
    unmarked = not words.judged and THAI_LAO.search(text) is not None
    return int(NOT_MEASURED) if unmarked else len(SENTENCE_END.findall(text))


def ends(text: str) -> bool:
    """Whether a line or paragraph may be the end of a sentence: it ends with a mark, but no ellipsis (C4's code), or in
    Thai or Lao, which have no such mark."""
    text = text.rstrip()
    return (text.endswith(TERMINAL) and not text.endswith(ELLIPSES)) or THAI_LAO.match(text[-1:]) is not None


def _rounded(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float) else value


def _per(count: int, words: int) -> float:
    return count / words if words else 0.0


def _outside(text: str, listings: Sequence[str], count: Any) -> int:
    return int(count(text)) - sum(map(count, listings))


def _lines(text: str, listings: Sequence[str], words: int) -> dict[str, float]:
    """The metrics of lines and paragraphs; empty lines do not count. `words`: 0 for scripts without spaces."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    counts = Counter(lines)
    for listing in listings:
        counts -= Counter(line for line in map(str.strip, listing.split("\n")) if line)
    paragraphs = Counter(PARAGRAPHS.split(text.strip()))
    total, characters = max(1, len(lines)), max(1, len(text))
    return {
        "bullet_lines": sum(line.startswith(BULLETS) for line in lines) / total,
        "ellipsis_lines": sum(line.endswith(ELLIPSES) for line in lines) / total,
        "duplicate_lines": (counts.total() - len(counts)) / max(1, counts.total()),
        "duplicate_line_characters": _again(counts) / characters,
        "duplicate_paragraphs": (paragraphs.total() - len(paragraphs)) / paragraphs.total(),
        "duplicate_paragraph_characters": _again(paragraphs) / characters,
        "terminal_lines": sum(map(ends, lines)) / total,
        "short_lines": sum(len(line) <= SHORT_LINE for line in lines) / total,
        "newlines": _per(text.count("\n"), words),
    }


def _again(counts: Counter[str]) -> int:
    """The characters of what repeats something."""
    return sum(len(item) * (count - 1) for item, count in counts.items() if count > 1)


def obelics(text: str, words: Words, language: str, lists: Mapping[str, str], shortest: int = 0) -> dict[str, float]:
    """OBELICS' metrics of a text or a paragraph and its words. Under `shortest` words and marks, the share of
    punctuation is 1. If most words are not `judged`, what is counted by words or the marks between them passes."""
    characters, known = codes(text), languages().get(language, UNKNOWN)
    found_kinds = kinds(characters)
    found = {
        "plain_words": words.number,
        "character_repetition": repetition.character_repetition(characters),
        "word_repetition": 0.0,
        "special_characters": special(found_kinds) * known.special_factor,
        "punctuation": 1.0,
    } | dict.fromkeys(SHARES_OF_LISTS, NOT_MEASURED)
    if not words.judged:
        return found
    plain = plain_words(text)
    marks, tokens = punctuation(found_kinds)
    ordered = np.sort(plain)
    found |= {name: listed(ordered, lists.get(key.name, ""), language) for name, key in SHARES_OF_LISTS.items()}
    return found | {
        "plain_words": len(plain),
        "word_repetition": repetition.repeated_ngrams(plain, 5),
        "punctuation": 1.0 if tokens < shortest else _per(marks, tokens),
        "stop_words": found["stop_words"] * (known.stop_words_factor if found["stop_words"] > 0 else 1.0),
    }


def listed(words: np.ndarray, name: str, language: str) -> float:
    """The share of plain words (n hashes, sorted) that are in a list; NOT_MEASURED without a list for the language."""
    known = hashed_list(name, language) if name else np.zeros(0, np.uint64)
    if not len(known):
        return NOT_MEASURED
    places = np.minimum(np.searchsorted(known, words), len(known) - 1)
    return _per(int(np.count_nonzero(known[places] == words)), len(words))
