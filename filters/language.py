"""The language of a text, by py3langid (Lui and Baldwin 2012, langid.py; BSD, its model comes with the package)."""

import py3langid

SAMPLE = 2000
"""Characters looked at: more changes the answer for fewer than one page in a thousand and costs in proportion."""
SHORTEST = 20
"""Characters under which a guess is not worth having."""


def identify(text: str) -> str:
    """An ISO 639-1 code, or "" for a text too short to tell."""
    text = text[:SAMPLE]
    if len(text.strip()) < SHORTEST:
        return ""
    return py3langid.classify(text)[0]
