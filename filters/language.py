"""The language of a text, identified by py3langid (Lui and Baldwin 2012, langid.py; BSD, the package includes its
model)."""

import py3langid

SAMPLE = 2000
"""Characters read: more changes the answer for fewer than one page in a thousand and costs in proportion."""
SHORTEST = 20
"""Minimum characters for a useful guess."""


def identify(text: str) -> str:
    """An ISO 639-1 code, or "" if the text is too short."""
    text = text[:SAMPLE]
    if len(text.strip()) < SHORTEST:
        return ""
    return py3langid.classify(text)[0]
