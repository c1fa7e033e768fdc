"""Rules on the text of a whole page, and their metrics. The heuristics are MassiveText's, adapted to all scripts.

A new rule only touches this module: its metric in `METRICS` and `measure`, its declaration in `RULES`."""

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from filters.rule import Key, Metric, Rule

# Scripts written without spaces: each Han or Kana character counts as a word; in Thai, Lao, Khmer and Myanmar a word
# has about four characters.
HAN_KANA = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
TOKEN = re.compile(
    rf"(?P<han>[{HAN_KANA}])|(?P<sea>[{SOUTH_EAST_ASIAN}]{{1,4}})|(?P<word>[^\W{HAN_KANA}{SOUTH_EAST_ASIAN}]+)"
)
WORDS = (0, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000)
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
SHARES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1)
PLACEHOLDER = re.compile(r"\blorem\s+ipsum\s+dolor\b", re.I)


METRICS = (
    Metric("words", pa.int32(), "words", WORDS),
    Metric("characters", pa.int32(), "characters"),
    Metric(
        "mean_word_length",
        pa.float64(),
        "mean characters per word, 0 for scripts without spaces",
        LENGTHS,
    ),
    Metric("symbol_ratio", pa.float64(), "# and ellipses per word", SHARES),
    Metric("duplicate_lines", pa.float64(), "share of lines that repeat an earlier one, listings aside", SHARES),
    Metric("placeholder", pa.bool_(), "whether it contains lorem ipsum"),
)
"""The columns of a page's text metrics, in the order they are stored."""
MASSIVE_TEXT = "MassiveText (Rae et al. 2021, arXiv 2112.11446), A.1.1"
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
        fails=lambda words, most: words > most,
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
        "too many # and ellipses per word",
        metrics=("symbol_ratio",),
        keys=(Key("text.max_symbol_ratio", 0.1, "Maximum number of # and ellipses per word"),),
        fails=lambda ratio, most: ratio > most,
        source=MASSIVE_TEXT,
    ),
    Rule(
        "text.duplicate_lines",
        "page",
        "too many repeated lines",
        metrics=("duplicate_lines",),
        keys=(Key("text.max_duplicate_lines", 0.3, "Maximum share of repeated lines; 1: no limit", high=1),),
        fails=lambda share, most: share > most,
        source=MASSIVE_TEXT,
    ),
    Rule(
        "text.placeholder",
        "page",
        "placeholder text (lorem ipsum)",
        metrics=("placeholder",),
        keys=(Key("text.placeholder", True, "Drop pages that contain lorem ipsum"),),
        fails=lambda placeholder, wanted: placeholder & wanted,
        source="C4 (Raffel et al. 2020, arXiv 1910.10683), 2.2",
    ),
)
"""In the order they are applied."""


def measure(text: str, listings: Sequence[str] = ()) -> dict[str, int | float | bool]:
    """The `METRICS` of a text; ratios rounded to 4 decimals, so that they are the same on every machine.

    Lines and symbols of its `listings` do not count: programs repeat themselves."""
    words = spaced = letters = 0
    for match in TOKEN.finditer(text):
        words += 1
        if match.lastgroup == "word":
            spaced += 1
            letters += match.end() - match.start()
    symbols = _symbols(text) - sum(map(_symbols, listings))
    lines = _lines(text)
    for listing in listings:
        lines -= _lines(listing)
    repeated = lines.total() - len(lines)
    return {
        "words": words,
        "characters": len(text),
        "mean_word_length": round(letters / spaced, 4) if 2 * spaced > words else 0.0,
        "symbol_ratio": round(symbols / words, 4) if words else 0.0,
        "duplicate_lines": round(repeated / lines.total(), 4) if lines else 0.0,
        "placeholder": PLACEHOLDER.search(text) is not None,
    }


def _symbols(text: str) -> int:
    return text.count("#") + text.count("…") + text.count("...")


def _lines(text: str) -> Counter[str]:
    return Counter(line for line in map(str.strip, text.split("\n")) if line)
