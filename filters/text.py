"""Rules on the text of a whole page. Metrics first, all of them, then the first rule that fails in a fixed order.

The heuristics are those of MassiveText (Rae et al. 2021, arXiv 2112.11446, A.1.1) made fit for every script; thresholds
come from the recipe.
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

# Scripts that are written without spaces: each Han or Kana character counts as a word; in Thai, Lao, Khmer and Myanmar
# a word has about four characters.
HAN_KANA = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
TOKEN = re.compile(
    rf"(?P<han>[{HAN_KANA}])|(?P<sea>[{SOUTH_EAST_ASIAN}]{{1,4}})|(?P<word>[^\W{HAN_KANA}{SOUTH_EAST_ASIAN}]+)"
)
PLACEHOLDER = re.compile(r"\blorem\s+ipsum\s+dolor\b", re.I)


class Thresholds(Protocol):
    """What the rules read of a recipe. Shares and ratios are fractions; a word's length is in characters."""

    @property
    def min_words(self) -> int: ...
    @property
    def max_words(self) -> int: ...
    @property
    def max_symbol_ratio(self) -> float: ...
    @property
    def min_mean_word_length(self) -> float: ...
    @property
    def max_mean_word_length(self) -> float: ...
    @property
    def max_duplicate_lines(self) -> float: ...
    @property
    def placeholder(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class TextMetrics:
    """What the rules look at. `mean_word_length` is over words of spaced scripts, 0 where they are not most of the
    words; `symbol_ratio` counts `#` and ellipses per word; `duplicate_lines` is the share of lines that repeat an
    earlier one."""

    words: int
    characters: int
    mean_word_length: float
    symbol_ratio: float
    duplicate_lines: float
    placeholder: bool


def metrics(text: str) -> TextMetrics:
    """The metrics of a text; ratios rounded to 4 decimals, so that they are the same on every machine."""
    words = spaced = letters = 0
    for match in TOKEN.finditer(text):
        words += 1
        if match.lastgroup == "word":
            spaced += 1
            letters += match.end() - match.start()
    symbols = text.count("#") + text.count("…") + text.count("...")
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    repeated = sum(count - 1 for count in Counter(lines).values())
    return TextMetrics(
        words=words,
        characters=len(text),
        mean_word_length=round(letters / spaced, 4) if 2 * spaced > words else 0.0,
        symbol_ratio=round(symbols / words, 4) if words else 0.0,
        duplicate_lines=round(repeated / len(lines), 4) if lines else 0.0,
        placeholder=PLACEHOLDER.search(text) is not None,
    )


def first_failure(metrics: TextMetrics, rules: Thresholds) -> str | None:
    """The id of the first rule that a text fails, or None."""
    if metrics.words < rules.min_words:
        return "text.too_few_words"
    if metrics.words > rules.max_words:
        return "text.too_many_words"
    if (
        metrics.mean_word_length
        and not rules.min_mean_word_length <= metrics.mean_word_length <= rules.max_mean_word_length
    ):
        return "text.mean_word_length"
    if metrics.symbol_ratio > rules.max_symbol_ratio:
        return "text.symbol_ratio"
    if metrics.duplicate_lines > rules.max_duplicate_lines:
        return "text.duplicate_lines"
    if rules.placeholder and metrics.placeholder:
        return "text.placeholder"
    return None
