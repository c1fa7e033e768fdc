"""Words of a text, and its marks, in every script."""

import re
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np

# Scripts written without spaces: each Han or Kana character counts as a word; in Thai, Lao, Tibetan, Myanmar and Khmer
# a word has about four characters.
HAN_KANA = "\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
SOUTH_EAST_ASIAN = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
HAN = re.compile(f"[{HAN_KANA}]")
SEA = re.compile(f"[{SOUTH_EAST_ASIAN}]{{1,4}}")
SPACELESS = re.compile(f"[{HAN_KANA}{SOUTH_EAST_ASIAN}]")
WORD = re.compile(r"\w+")
OTHER_SCRIPTS = re.compile(
    "[\u00ad\u0300-\u1fff\u200c\u200d\u3005-\uabff\uf900-\ufaff\uff66-\uff9f\U00010000-\U0010ffff]"
)
"""Where words may have combining marks, or no spaces between them."""
JOINERS = "\u00ad\u200c\u200d"
"""Characters of no width inside a word: a soft hyphen, and those of Persian and of Indian scripts."""
TSHEG = "\u0f0b"
"""Stands between the syllables of a Tibetan word."""
COMMAS = ",;:、，；：،؛՝፣፤፥၊៖"
STOPS = ".?!。．？！｡؟۔।॥։።፧။។៕།༎"
THAI_LAO = re.compile("[\u0e00-\u0eff]")
"""Scripts without marks between sentences."""
SPACE, LETTER, WORD_PART, MARK = 1, 2, 4, 8
"""What `kinds` tells of a character: white space; a letter, or a mark that belongs to one, such as the vowels of Hindi;
a letter, digit, _ or '; one of COMMAS and STOPS, which are OBELICS' , ; : ? ! . and those of other scripts."""
FACTOR = 0x9E3779B97F4A7C15
MIXER = np.uint64(0xD6E8FEB86659FD93)
POWERS = np.cumprod(np.full(1 << 12, FACTOR, np.uint64))


class Words(NamedTuple):
    """The words of a text: their number in all scripts, and those written with spaces. `judged`: whether most words are
    written with spaces, so that rules on words apply."""

    number: int
    spaced: list[str]

    @property
    def judged(self) -> bool:
        return 2 * len(self.spaced) > self.number


def words_of(text: str) -> Words:
    """Runs of letters and digits with their combining marks, each Han or Kana character, and every four characters of
    South-East Asian scripts."""
    if OTHER_SCRIPTS.search(text) is None:
        spaced = WORD.findall(text)
        return Words(len(spaced), spaced)
    spaced = _marked_word().findall(text)
    if SPACELESS.search(text) is None:
        return Words(len(spaced), spaced)
    return Words(len(spaced) + len(HAN.findall(text)) + len(SEA.findall(text)), spaced)


@cache
def _marked_word() -> re.Pattern[str]:
    """A word of a script with spaces; combining marks such as the vowels of Hindi are no letters to Python."""
    letter = rf"[^\W{HAN_KANA}{SOUTH_EAST_ASIAN}]"
    characters = map(chr, range(0x300, 0x1F000))
    marks = [c for c in characters if unicodedata.category(c)[0] == "M" and SPACELESS.match(c) is None]
    return re.compile(f"{letter}+(?:[{''.join(marks)}{JOINERS}]+{letter}*)*")


def codes(text: str) -> np.ndarray:
    """The code points of a text (n, uint32)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _table() -> np.ndarray:
    """The kinds of the code points of the first two planes."""
    characters = list(map(chr, range(0x20000)))
    categories = list(map(unicodedata.category, characters))
    letter = [kind[0] in "LM" or character == TSHEG for character, kind in zip(characters, categories, strict=True)]
    found = np.array([character.isspace() for character in characters], np.uint8) * SPACE
    found += np.array(letter, np.uint8) * LETTER
    found += np.array([character.isalnum() or character in "_'" for character in characters], np.uint8) * WORD_PART
    found[list(map(ord, COMMAS + STOPS))] += MARK
    return found


def kinds(characters: np.ndarray) -> np.ndarray:
    """SPACE, LETTER, WORD_PART and MARK of code points (n, uint8)."""
    table = _table()
    # later planes hold rare Han characters; their letters are no word of English
    beyond = characters >= len(table)
    return table[np.where(beyond, ord("\u4e00"), characters) if beyond.any() else characters]


def special(kinds: np.ndarray) -> float:
    """The share of characters (n kinds) that are white space, digits, marks or symbols: no letters."""
    return 1 - int(np.count_nonzero(kinds & LETTER)) / len(kinds) if len(kinds) else 0.0


def punctuation(kinds: np.ndarray) -> tuple[int, int]:
    """The number of marks among characters (n kinds), and of marks and words, where ' is part of a word."""
    inside = (kinds & WORD_PART).view(bool)
    words = int(inside[:1].sum()) + int(np.count_nonzero(inside[1:] > inside[:-1]))
    marks = int(np.count_nonzero(kinds & MARK))
    return marks, words + marks


def plain_words(text: str) -> np.ndarray:
    """A hash (uint64) of each of OBELICS' words, in order: split at white space, in lower case, without marks and
    digits at both ends. Equal words have equal hashes, in every process."""
    characters = codes(text.lower())
    found = kinds(characters)
    letters = np.flatnonzero(found & LETTER)
    if not len(letters):
        return np.zeros(0, np.uint64)
    token = np.cumsum(found & SPACE, dtype=np.uint32)[letters]
    last = np.flatnonzero(np.append(token[1:] != token[:-1], True))
    first = np.append(0, last[:-1] + 1)
    lengths = letters[last] + 1 - letters[first]
    begins = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) - np.repeat(begins, lengths)
    inside = characters[places + np.repeat(letters[first], lengths)]
    sums = np.add.reduceat(inside * POWERS[places & (len(POWERS) - 1)], begins)
    return (sums ^ (sums >> np.uint64(29))) * MIXER
