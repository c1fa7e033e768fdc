"""Words of a text: how texts are cut into words, and lists of words."""

import re
import string
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Scripts written without spaces: each Han or Kana character counts as a word; in Thai, Lao, Khmer and Myanmar a word
# has about four characters.
HAN_KANA = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
SOUTH_EAST_ASIAN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
HAN = re.compile(f"[{HAN_KANA}]")
SEA = re.compile(f"[{SOUTH_EAST_ASIAN}]{{1,4}}")
SPACELESS = re.compile(f"[{HAN_KANA}{SOUTH_EAST_ASIAN}]")
WORD = re.compile(r"\w+")
SPACED_WORD = re.compile(rf"[^\W{HAN_KANA}{SOUTH_EAST_ASIAN}]+")
MARKS = np.array(list(map(ord, ",;:?!.")), np.uint32)
EDGES = string.punctuation + string.digits + "’“”‘–—…•·«»"
"""The characters that most often stand at the ends of words."""
PACKAGED = "packaged"
LANGUAGES = Path(__file__).parent / "languages.toml"


class Words(NamedTuple):
    """The words of a text: their number in all scripts, and those written with spaces. `judged`: whether most words are
    written with spaces, so that rules on words apply."""

    number: int
    spaced: list[str]

    @property
    def judged(self) -> bool:
        return 2 * len(self.spaced) > self.number


def words_of(text: str) -> Words:
    """Runs of letters and digits, each Han or Kana character, and every four characters of South-East Asian scripts."""
    if SPACELESS.search(text) is None:
        spaced = WORD.findall(text)
        return Words(len(spaced), spaced)
    spaced = SPACED_WORD.findall(text)
    return Words(len(spaced) + len(HAN.findall(text)) + len(SEA.findall(text)), spaced)


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
    word = np.fromiter((c.isalnum() or c in "_'" for c in characters), bool, len(characters))
    return special, word


def special(characters: np.ndarray) -> np.ndarray:
    """Whether each code point (n) is white space, a digit, a mark or a symbol: neither a letter nor part of one."""
    return _looked_up(_classes()[0], characters)


def punctuation(characters: np.ndarray) -> tuple[int, int]:
    """The number of marks , ; : ? ! . among code points (n), and of marks and words, where ' is part of a word."""
    inside = _looked_up(_classes()[1], characters)
    words = int(inside[:1].sum() + (inside[1:] > inside[:-1]).sum())
    marks = int(np.isin(characters, MARKS).sum())
    return marks, words + marks


def _looked_up(table: np.ndarray, characters: np.ndarray) -> np.ndarray:
    # later planes hold rare Han characters; their letters are no word of English
    beyond = characters >= len(table)
    return table[np.where(beyond, ord("\u4e00"), characters)] if beyond.any() else table[characters]


class Language(NamedTuple):
    """What rules know of a language (languages.toml): the few words that nearly every text has, its function words, and
    the factor that makes their share comparable with that of English."""

    few: frozenset[str]
    stop_words: frozenset[str]
    factor: float


@cache
def languages() -> Mapping[str, Language]:
    """The languages of languages.toml, by ISO 639-1 code."""
    found = tomllib.loads(LANGUAGES.read_text("utf-8"))
    return {
        code: Language(frozenset(of["few"].split()), frozenset(of["stop_words"].split()), of["factor"])
        for code, of in found.items()
    }


class WordListError(ValueError):
    """A recipe names a list of words that cannot be read."""


@cache
def word_list(name: str, language: str) -> frozenset[str]:
    """The words of a list that a recipe names: `packaged` for the stop words of languages.toml, or a text file of
    English words. Empty if the list does not cover the language.

    Raises WordListError if it cannot be read."""
    if name == PACKAGED:
        known = languages().get(language)
        return known.stop_words if known else frozenset()
    if language != "en":
        return frozenset()
    try:
        return frozenset(Path(name).read_text("utf-8").lower().split())
    except OSError as error:
        raise WordListError(f"word list {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WordListError(f"word list {name} is not UTF-8 text") from None


def list_digest(name: str) -> str:
    """sha256 (hex) of the list that a recipe names; "" without one. Raises WordListError if it cannot be read."""
    if not name:
        return ""
    try:
        return sha256((LANGUAGES if name == PACKAGED else Path(name)).read_bytes()).hexdigest()
    except OSError as error:
        raise WordListError(f"list {name}: {error.strerror}") from None
