"""Trafilatura's selection of text with our reading of the page: its text decides which blocks are kept."""

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipeline.extract.page import NOSCRIPT, Page

_WORDS = re.compile(r"\w+")
SHARE = 0.5  # share of a block's words that must occur in trafilatura's text
SHINGLE = 3


def trafilatura_blocks(html: str, url: str, page: Page, comments: bool) -> NDArray[np.bool_]:
    """The blocks of `page` that trafilatura takes as the main content of the same HTML text.

    trafilatura omits most images and moves others, so only its selection of text is used: a block is kept if its words
    occur in trafilatura's text, at or after the place of the block before."""
    import trafilatura

    found = trafilatura.bare_extraction(
        html, url=url, include_comments=comments, include_tables=True, with_metadata=False, deduplicate=False
    )
    kept = np.zeros(len(page.blocks), bool)
    text = getattr(found, "text", None) or ""
    if comments and (below := getattr(found, "comments", None)):
        text = f"{text}\n{below}"
    if not text:
        return kept
    words = _WORDS.findall(text.lower())
    shingles = Counter(zip(*(words[i:] for i in range(SHINGLE)), strict=False))
    lines = Counter(" ".join(_WORDS.findall(line.lower())) for line in text.split("\n"))
    for index, block in enumerate(page.blocks):
        if block.state & NOSCRIPT or not block.chars:
            continue
        own = _WORDS.findall(block.text.lower())
        if len(own) < SHINGLE + 2:
            line = " ".join(own)
            if own and lines[line] > 0:
                lines[line] -= 1
                kept[index] = True
            continue
        grams = list(zip(*(own[i:] for i in range(SHINGLE)), strict=False))
        present = [gram for gram in grams if shingles[gram] > 0]
        if len(present) >= SHARE * len(grams):
            kept[index] = True
            shingles.subtract(present)
    return kept
