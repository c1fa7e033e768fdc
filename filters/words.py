"""Words of a text, and its marks, in every script."""

import re
import string
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
MARKS = np.array(list(map(ord, COMMAS + STOPS)), np.uint32)
"""The marks , ; : ? ! . of OBELICS, and those of other scripts."""
EDGES = string.punctuation + string.digits + "’“”‘–—…•·«»"
"""The characters that most often stand at the ends of words."""


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


def plain_words(text: str) -> list[str]:
    """OBELICS' words: split at white space, in lower case, without marks and digits at both ends."""
    words = [word if word.isalpha() else _stripped(word) for word in text.lower().split()]
    return [word for word in words if word]


def _stripped(word: str) -> str:
    word = word.strip(EDGES)
    if word and word[0].isalpha() and word[-1].isalpha():
        return word
    first, last = 0, len(word)
    while first < last and not _is_letter(word[first]):
        first += 1
    while first < last and not _is_letter(word[last - 1]):
        last -= 1
    return word[first:last]


def _is_letter(character: str) -> bool:
    """A letter, or a mark that belongs to one, such as the vowels of Hindi."""
    return character.isalpha() or (character > "\u02ff" and unicodedata.category(character)[0] == "M")


def codes(text: str) -> np.ndarray:
    """The code points of a text (n, uint32)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _classes() -> tuple[np.ndarray, np.ndarray]:
    """For each code point of the first two planes: whether it is special; whether it is part of a word or '."""
    characters = list(map(chr, range(0x20000)))
    kinds = map(unicodedata.category, characters)
    special = np.fromiter((kind[0] not in "LM" for kind in kinds), bool, len(characters))
    special[ord(TSHEG)] = False
    word = np.fromiter((c.isalnum() or c in "_'" for c in characters), bool, len(characters))
    return special, word


def special(characters: np.ndarray) -> np.ndarray:
    """Whether each code point (n) is white space, a digit, a mark or a symbol: neither a letter nor part of one."""
    return _looked_up(_classes()[0], characters)


def punctuation(characters: np.ndarray) -> tuple[int, int]:
    """The number of MARKS among code points (n), and of marks and words, where ' is part of a word."""
    inside = _looked_up(_classes()[1], characters)
    words = int(inside[:1].sum() + (inside[1:] > inside[:-1]).sum())
    marks = int(np.isin(characters, MARKS).sum())
    return marks, words + marks


def _looked_up(table: np.ndarray, characters: np.ndarray) -> np.ndarray:
    # later planes hold rare Han characters; their letters are no word of English
    beyond = characters >= len(table)
    return table[np.where(beyond, ord("\u4e00"), characters)] if beyond.any() else table[characters]
