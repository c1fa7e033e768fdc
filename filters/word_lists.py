"""What rules know of languages, and lists of words: packaged ones, and those that a recipe names by path."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from filters.rule import Key
from filters.words import LETTER, codes, kinds, plain_words

LANGUAGES = Path(__file__).parent / "languages.toml"
COMMON = 100_000
"""Words of wordfreq's list, the most frequent ones."""
STOP_WORDS = Key("text.stop_words", "", "List of stop words: \"packaged\", or a file of English words or a folder with"
                 " one for each language, as de.txt; none: \"\"")  # fmt: skip
FLAGGED_WORDS = Key("text.flagged_words", "", "List of flagged words: \"glin-profanity\", or a file or folder as above;"
                    " none: \"\"")  # fmt: skip
COMMON_WORDS = Key("text.common_words", "", 'List of common words: "wordfreq", or a file or folder as above; none: ""')
SPAM_WORDS = Key("paragraph.spam_words", "", 'File of words of spam in English, or a folder as above; none: ""')
LISTS = (STOP_WORDS, FLAGGED_WORDS, COMMON_WORDS, SPAM_WORDS)
"""The keys that name lists of words."""


class Language(NamedTuple):
    """What rules know of a language (languages.toml).

    few: words of which nearly every text has at least two; empty if not known. stop_words_factor, special_factor: what
    makes the shares of stop words and of special characters comparable with those of English. stop_words: its function
    words, if not those of jusText's list `justext`."""

    few: frozenset[str]
    stop_words_factor: float = 1.0
    special_factor: float = 1.0
    stop_words: str = ""
    justext: str = ""


UNKNOWN = Language(frozenset())


@cache
def languages() -> Mapping[str, Language]:
    """The languages of languages.toml, by ISO 639-1 code."""
    found = tomllib.loads(LANGUAGES.read_text("utf-8"))
    return {code: Language(frozenset(of.pop("few", "").split()), **of) for code, of in found.items()}


class WordListError(ValueError):
    """A recipe names a list of words that cannot be read."""


def _stop_words(language: str) -> Iterable[str]:
    from justext import get_stoplist

    known = languages().get(language)
    if known is None:
        return ()
    return get_stoplist(known.justext) if known.justext else known.stop_words.split()


def _common_words(language: str) -> Iterable[str]:
    from wordfreq import top_n_list

    return top_n_list("en", COMMON) if language == "en" else ()


def _flagged_words(language: str) -> Iterable[str]:
    name = FLAGGED_LANGUAGES.get(language)
    if name is None:
        return ()
    file = files("glin_profanity") / "data" / "dictionaries" / f"{name}.json"
    return json.loads(file.read_text("utf-8"))["words"]


FLAGGED_LANGUAGES = {
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "ko": "korean",
    "nl": "dutch",
    "pl": "polish",
    "pt": "portuguese",
    "ru": "russian",
    "sv": "swedish",
}
"""Lists of glin-profanity that flag at most 0.3 % of paragraphs of Debian's manuals at .01. Not its Italian one (1.3 %,
"montare") and its Turkish one (10.5 %, "sayfa": page)."""


class Packaged(NamedTuple):
    """A list in a package: the key that may name it, its package, and its words for a language."""

    key: Key
    package: str
    words: Callable[[str], Iterable[str]]


PACKAGED = {
    "packaged": Packaged(STOP_WORDS, "justext", _stop_words),
    "glin-profanity": Packaged(FLAGGED_WORDS, "glin-profanity", _flagged_words),
    "wordfreq": Packaged(COMMON_WORDS, "wordfreq", _common_words),
}
"""By the name used in recipes."""


@cache
def word_list(name: str, language: str) -> frozenset[str]:
    """The words of a list that a recipe names: one of PACKAGED, a file of English words, or a folder with a file for
    each language. Empty if it does not cover the language.

    Raises WordListError if it cannot be read."""
    if name in PACKAGED:
        return frozenset(word.lower() for word in PACKAGED[name].words(language))
    file = _files(name).get(language)
    return _read(file) if file else frozenset()


@cache
def hashed_list(name: str, language: str) -> np.ndarray:
    """The hashes (n, uint64, sorted) of the words of a list that can be plain words. Raises like `word_list`."""
    words = sorted(word for word in word_list(name, language) if len(word.split()) == 1)
    ends = [kinds(codes("".join(word[end] for word in words))) for end in (0, -1)]
    plain = np.flatnonzero(ends[0] & ends[1] & LETTER)
    return np.sort(plain_words(" ".join(words[place] for place in plain)))


def _files(name: str) -> dict[str, Path]:
    """The files of a list by language; a file is English."""
    path = Path(name)
    if not path.is_dir():
        return {"en": path}
    found = {file.stem: file for file in sorted(path.glob("*.txt"))}
    if not found:
        raise WordListError(f"word list {name}: the folder has no file such as en.txt")
    return found


def _read(file: Path) -> frozenset[str]:
    try:
        return frozenset(file.read_text("utf-8").lower().split())
    except OSError as error:
        raise WordListError(f"word list {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WordListError(f"word list {file} is not UTF-8 text") from None


def file_digest(name: str) -> str:
    """sha256 (hex) of a file; "" without one. Raises WordListError if it cannot be read."""
    try:
        return sha256(Path(name).read_bytes()).hexdigest() if name else ""
    except OSError as error:
        raise WordListError(f"list {name}: {error.strerror}") from None


def list_digest(name: str) -> str:
    """What identifies the list of words that a recipe names: sha256 (hex) of its files, or the version of its package.

    Raises WordListError if it cannot be read."""
    if name in PACKAGED:
        package = PACKAGED[name].package
        try:
            found = f"{package} {version(package)}"
        except PackageNotFoundError:
            raise WordListError(
                f"the recipe names {name}, which is not installed: pip install 'openm3w[lists]'"
            ) from None
        return f"{found} {file_digest(str(LANGUAGES))}"
    if not name or not Path(name).is_dir():
        return file_digest(name)
    found = "".join(f"{code} {file_digest(str(file))}\n" for code, file in _files(name).items())
    return sha256(found.encode()).hexdigest()


def check(values: Mapping[str, object]) -> None:
    """Raises WordListError if a list that the recipe names cannot be read, is not installed, or is one of another
    key."""
    for key in LISTS:
        name = str(values[key.name])
        packaged = PACKAGED.get(name)
        if packaged and packaged.key is not key:
            raise WordListError(f"{key.name} has no list named {name}: it is one of {packaged.key.name}")
        list_digest(name)
        if name and not packaged:
            for file in _files(name).values():
                _read(file)
