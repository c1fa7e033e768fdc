"""What the corpus tokenizer makes of languages.

    python -m tests.bench.tokens CORPUS     bytes a token, by language, of the corpus' own tokenizer on its documents
    python -m tests.bench.tokens            what a limit on the length of a token costs

For the second, a tokenizer is trained on four fifths of the translations of a language in /usr/share/locale, and the
tokens of the last fifth are counted, without a limit, with 48 bytes and with 24.
"""

import gettext
import random
import sys
from collections import Counter
from pathlib import Path

import shards.tokenizer
from shards.readers import read_documents
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
    if len(sys.argv) > 1:
        corpus = open_corpus(Path(sys.argv[1]))
        size: Counter[str] = Counter()
        tokens: Counter[str] = Counter()
        for row in read_documents(corpus.paths("documents/"), columns=["texts", "language"]):
            for text in filter(None, row["texts"]):
                size[row["language"]] += len(text.encode())
                tokens[row["language"]] += len(corpus.tokenizer.encode(text))
        print(f"vocabulary {corpus.tokenizer.vocab_size}")
        for language in sorted(size):
            print(f"{language}  {size[language] / tokens[language]:.2f} bytes a token")
        return
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
        costs = ", ".join(
            f"{limit} bytes {count / counts[0] - 1:+.1%}" for limit, count in zip(LIMITS[1:], counts[1:], strict=True)
        )
        print(f"{language:6} {counts[0]:7,} tokens without a limit; {costs}")


if __name__ == "__main__":
    main()
