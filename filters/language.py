"""The language of a text, identified by py3langid (Lui and Baldwin 2012, langid.py; BSD) or pycld2 (Google's CLD2;
Apache-2.0). Both packages include their models."""

from functools import cache
from importlib.util import find_spec

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from filters.models import ModelError
from filters.rule import Key

IDENTIFIER = Key("text.identifier", "py3langid", "Package that identifies the language; pycld2 is faster and makes more"
                 " errors", choices=("py3langid", "pycld2"))  # fmt: skip
SAMPLE = 500
"""Characters read; see results/recipes.md."""
SHORTEST = 20
"""Minimum characters for a useful guess."""
OLD_CODES = {"iw": "he", "jw": "jv", "un": ""}
"""CLD2's codes that are no longer, or not, those of ISO 639-1."""


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify(text: str, by: str = "py3langid") -> tuple[str, float]:
    """An ISO 639-1 code and its probability (0 to 1), or ("", 0.0) if the text is too short or of no known language.

    pycld2 has no probability: the score is the share of the text in that language, at most .99, or 0 where it calls
    itself unreliable."""
    text = text[:SAMPLE]
    if len(text.strip()) < SHORTEST:
        return "", 0.0
    if by == "pycld2":
        return _by_cld2(text)
    code, probability = _identifier().classify(text)
    return str(code), float(probability)


def _by_cld2(text: str) -> tuple[str, float]:
    import pycld2

    # it refuses control characters and surrogates
    reliable, _, found = pycld2.detect("".join(c if c.isprintable() else " " for c in text), isPlainText=True)
    _, code, percent, _ = found[0]
    code = code.partition("-")[0]
    code = OLD_CODES.get(code, code)
    return (code, percent / 100 if reliable else 0.0) if code else ("", 0.0)


def check(identifier: str) -> None:
    """Raises ModelError if the package that a recipe names is not installed."""
    if find_spec(identifier) is None:
        raise ModelError(f"{IDENTIFIER.name} needs {identifier}, which is not installed: pip install 'openm3w[cld2]'")
