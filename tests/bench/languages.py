"""What filters/languages.toml holds for languages other than English, measured on translated manuals beside their
English paragraphs.

python -m tests.bench.languages FOLDER

FOLDER holds Debian's packages debian-handbook, installation-guide-amd64 and libreoffice-help-*, unpacked by `dpkg -x`.
Factors are fitted on every second paragraph, and tested on the others."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from justext import get_stoplist
from lxml import html
from wordfreq import available_languages, top_n_list

from filters.language import identify
from filters.word_lists import UNKNOWN, languages, word_list
from filters.words import codes, kinds, special

JUSTEXT = {
    "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "es": "Spanish", "et": "Estonian",
    "eu": "Basque", "fi": "Finnish", "fr": "French", "gl": "Galician", "hu": "Hungarian", "id": "Indonesian",
    "it": "Italian", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sl": "Slovenian", "sv": "Swedish", "tr": "Turkish", "vi": "Vietnamese",
}  # fmt: skip
SHORTEST = 20
"""English words of the shortest paragraph."""
MOST = 2_000
"""Paragraphs of a language."""
LEAST = 600
"""Paragraphs of a language that is measured at all."""
FEW = 8
PAGE, PARAGRAPH = 0.35, 0.3
"""OBELICS' thresholds for stop words."""
TAIL = 0.98
"""Share of paragraphs with fewer special characters, in which a language is compared with English."""
LAXER = 0.9
"""Languages with more special characters than English by a tenth get a factor of their own."""
PARTICLES = ("ko",)
"""Languages whose frequent words are parts of other words."""
FREQUENT = 40
"""Words of a language of which the few are chosen; wordfreq's list, since manuals have frequent words of their own."""
Pair = tuple[str, str]


def paragraphs(file: Path) -> list[tuple[str, str]]:
    """(id, text) of the paragraphs of a page."""
    tree = html.parse(str(file), html.HTMLParser(encoding="utf-8"))
    return [(element.get("id", ""), " ".join(element.text_content().split())) for element in tree.iter("p")]


def translated(english: Path, other: Path) -> Iterator[Pair]:
    """Paragraphs of two pages that correspond by id, or by order if there are as many."""
    ours, theirs = paragraphs(english), paragraphs(other)
    if any(id.startswith("par_") for id, _ in ours):
        by_id = dict(theirs)
        yield from ((text, by_id[id]) for id, text in ours if id in by_id)
    elif len(ours) == len(theirs):
        yield from ((text, there) for (_, text), (_, there) in zip(ours, theirs, strict=True))


def corpus(folder: Path) -> dict[str, list[Pair]]:
    """English and translated paragraphs by language."""
    share, guides = folder / "usr/share", ("swriter", "scalc", "shared", "simpress")
    sets = [
        (share / "doc/debian-handbook/html", "en-US", ("",)),
        (share / "doc/installation-guide-amd64", "en", ("",)),
        (share / "libreoffice/help", "en-US", tuple(f"text/{name}/guide" for name in guides)),
    ]
    found: dict[str, list[Pair]] = {}
    for root, source, parts in sets:
        for place in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in (source, "media")):
            code = place.name.partition("-")[0].partition("_")[0]
            for english in (file for part in parts for file in sorted((root / source / part).glob("*.html"))):
                if (other := place / english.relative_to(root / source)).exists():
                    found.setdefault(code, []).extend(translated(english, other))
    return {code: list(_kept(code, pairs)) for code, pairs in sorted(found.items())}


def _kept(code: str, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """At most MOST pairs, spread over all, that are long enough and translated."""
    good = [(text, other) for text, other in pairs if text != other and other and len(text.split()) >= SHORTEST]
    step = max(1, len(good) // (2 * MOST))
    yield from [pair for pair in good[::step] if identify(pair[1])[0] == code][:MOST]


def words_in(text: str) -> list[str]:
    """OBELICS' words, as text."""
    stripped = (re.sub(r"^[\W\d_]+|[\W\d_]+$", "", word) for word in text.lower().split())
    return [word for word in stripped if word]


def shares(texts: Sequence[str], words: frozenset[str]) -> np.ndarray:
    """The share of listed words of each text."""
    counted = [Counter(words_in(text)) for text in texts]
    return np.array([sum(c[word] for word in words.intersection(c)) / max(1, c.total()) for c in counted])


def specials(texts: Sequence[str]) -> np.ndarray:
    return np.array([special(kinds(codes(text))) for text in texts])


def fitted(code: str, pairs: Sequence[Pair]) -> list[str]:
    """The lines of languages.toml."""
    english, other = zip(*pairs[::2], strict=True)
    lines = [f"[{code}]"]
    if code in JUSTEXT:
        listed = frozenset(map(str.lower, get_stoplist(JUSTEXT[code])))
        frequent = top_n_list(code, FREQUENT) if code in available_languages() and code not in PARTICLES else ()
        in_texts = Counter(word for text in other for word in listed.intersection(words_in(text), frequent))
        few = sorted(in_texts, key=lambda word: (-in_texts[word], word))[:FEW]
        failing = (shares(english, word_list("packaged", "en")) < PAGE).mean()
        factor = PAGE / np.quantile(shares(other, listed), failing)
        lines += [f'few = "{" ".join(few)}"'] if len(few) == FEW else []
        lines += [f'justext = "{JUSTEXT[code]}"', f"stop_words_factor = {factor:.2f}"]
    ratio = np.quantile(specials(english), TAIL) / np.quantile(specials(other), TAIL)
    return [*lines, f"special_factor = {ratio:.2f}"] if ratio < LAXER else lines


def tested(code: str, pairs: Sequence[Pair]) -> str:
    """How many paragraphs that were not fitted fail, in English and in translation, and how many verdicts differ."""
    english, other = zip(*pairs[1::2], strict=True)
    known, told = languages().get(code, UNKNOWN), []
    ours, theirs = specials(english) > 0.3, specials(other) * known.special_factor > 0.3
    told.append(f"special characters: {100 * ours.mean():.1f} % and {100 * theirs.mean():.1f} %")
    if known.justext:
        in_english, in_other = shares(english, word_list("packaged", "en")), shares(other, word_list("packaged", code))
        for least in (PAGE, PARAGRAPH):
            ours, theirs = in_english < least, in_other * known.stop_words_factor < least
            told.append(
                f"stop words {least}: {100 * ours.mean():.1f} % and {100 * theirs.mean():.1f} %,"
                f" {100 * (ours != theirs).mean():.1f} % differ"
            )
    if known.few:
        pages = [" ".join(other[start : start + 5]) for start in range(0, len(other) - 4, 5)]
        few = [len(known.few.intersection(page.lower().split())) < 2 for page in pages]
        told.append(f"under 2 of the few words in five paragraphs: {100 * np.mean(few):.1f} %")
    return f"{code} {len(pairs)} paragraphs; " + "; ".join(told)


def main() -> None:
    for code, pairs in corpus(Path(sys.argv[1])).items():
        if len(pairs) >= LEAST:
            print(*fitted(code, pairs), sep="\n")
            print("#", tested(code, pairs), flush=True)


if __name__ == "__main__":
    main()
