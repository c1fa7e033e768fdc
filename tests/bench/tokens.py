"""Efficiency of the corpus tokenizer by language.

    python -m tests.bench.tokens CORPUS     bytes per token, by language, of the corpus' own tokenizer on its documents
    python -m tests.bench.tokens            the cost of a limit on the length of a token

For the second, a tokenizer is trained on four fifths of the translations of a language in /usr/share/locale, and the
tokens of the last fifth are counted, without a limit, with 48 bytes and with 24. --record writes to results/.
"""

import gettext
import random
import sys
from collections import Counter
from pathlib import Path

import shards.tokenizer
from shards.readers import read_documents
from tests.bench.results import Figure, record
from train_min.data.windows import open_corpus

LANGUAGES = ("ru", "el", "ka", "hi", "bn", "ta", "ml", "th", "ja", "zh_CN", "de", "fi")
LIMITS = (1 << 30, 48, 24)


def translations(language: str) -> list[str]:
    found: set[str] = set()
    for path in sorted(Path(f"/usr/share/locale/{language}/LC_MESSAGES").glob("*.mo"))[:60]:
        try:
            with path.open("rb") as file:
                messages = gettext.GNUTranslations(file)._catalog.items()  # type: ignore[attr-defined]
        except UnicodeDecodeError:  # some are not of the encoding that they declare
            continue
        found |= {text for message, text in messages if message and isinstance(text, str)}
    texts = sorted(found)
    random.Random(0).shuffle(texts)
    return texts


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--record"]
    recording = len(arguments) < len(sys.argv) - 1
    if arguments:
        corpus = open_corpus(Path(arguments[0]))
        size: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for row in read_documents(corpus.paths("documents/"), columns=["texts", "language"]):
            for text in filter(None, row["texts"]):
                size[row["language"]] += len(text.encode())
                tokens[row["language"]] += len(corpus.tokenizer.encode(text))
        print(f"vocabulary {corpus.tokenizer.vocab_size}")
        for language in sorted(size):
            print(f"{language}  {size[language] / tokens[language]:.2f} bytes a token")
        if recording:
            found = [Figure("vocabulary", corpus.tokenizer.vocab_size)]
            if tokens["ja"]:
                found.append(Figure("Japanese, bytes/token", round(size["ja"] / tokens["ja"], 1)))
            record("tokenizer", found, "python -m tests.bench.tokens CORPUS", f"corpus {Path(arguments[0]).name}")
        return
    costs: dict[int, list[float]] = {limit: [] for limit in LIMITS[1:]}
    for language in LANGUAGES:
        texts = translations(language)
        if not texts:
            print(f"{language:6} no translations here")
            continue
        cut, counts = len(texts) * 4 // 5, []
        for limit in LIMITS:
            shards.tokenizer._LONGEST_TOKEN = limit
            tokenizer = shards.tokenizer.train_corpus_tokenizer(texts[:cut])
            counts.append(sum(len(tokenizer.encode(text)) for text in texts[cut:]))
        for limit, count in zip(LIMITS[1:], counts[1:], strict=True):
            costs[limit].append(count / counts[0] - 1)
        shown = ", ".join(f"{limit} bytes {shares[-1]:+.1%}" for limit, shares in costs.items())
        print(f"{language:6} {counts[0]:7,} tokens without a limit; {shown}")
    if recording and all(costs.values()):
        found = [
            Figure(f"{limit}-byte limit: most extra tokens of a language", round(100 * max(shares), 1), "%")
            for limit, shares in costs.items()
        ]
        record("tokenizer", found, "python -m tests.bench.tokens", "translations in /usr/share/locale")


if __name__ == "__main__":
    main()
