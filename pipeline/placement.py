"""Images placed before the sentences they fit, as in mmc4, in place of their order on the page."""

import re
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

SENTENCE_END = re.compile(r"""(?<=[.!?])["'”’)\]]*\s+|(?<=[。！？])|\n{2,}""")
"""The end of a sentence: white space after its mark, a mark of Chinese or Japanese, or the end of a paragraph."""


def starts(text: str) -> list[int]:
    """Where the sentences of a text start."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return [start for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if text[start:end].strip()]


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    places = starts(text)
    return [text[start:end].strip() for start, end in pairwise([*places, len(text)])] if places else []


def assigned(similarity: np.ndarray) -> np.ndarray:
    """The sentence of each image (k) by a matrix of similarities (k, n): the assignment of at most one image to a
    sentence with the greatest sum; an image left over gets its most similar sentence, as in mmc4's code
    (linear_assignment.py:12-61)."""
    from scipy.optimize import linear_sum_assignment  # beyond the base install, like the model

    found: np.ndarray = similarity.argmax(axis=1)
    images, chosen = linear_sum_assignment(similarity, maximize=True)
    found[images] = chosen
    return found


def placed(text: str, sentence_of: Mapping[int, int]) -> tuple[list[str | None], list[int | None]]:
    """Parallel lists of texts, and of the nodes of images: each image (by node) before its sentence, ties in the order
    of the page."""
    places = starts(text)
    texts: list[str | None] = []
    nodes: list[int | None] = []
    begun = 0
    for node, sentence in sorted(sentence_of.items(), key=lambda item: (item[1], item[0])):
        piece = text[begun : places[sentence]].strip()
        begun = places[sentence]
        if piece:
            texts.append(piece)
            nodes.append(None)
        texts.append(None)
        nodes.append(node)
    if rest := text[begun:].strip():
        texts.append(rest)
        nodes.append(None)
    return texts, nodes
