"""Which words of a window its pictures can tell: the names of cards, found from the text alone."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np

from shards.tokenizer import Tokenizer
from train_min.data.windows import WindowArrays

REFRAIN = 0.35
"""Documents repeat this share of their sequences of four tokens, or they are no refrains: of prose with a few invented
names, windows of 256 tokens repeat about 0.22, of refrains 0.35 to 0.95."""

PIECE = 16


def scattered(windows: WindowArrays) -> WindowArrays:
    """The windows with their text cut into pieces of `PIECE` tokens that are dealt to other places at random: words
    stand in their usual company, but what a window said hardly comes back in it."""
    whole = len(windows.tokens) // PIECE * PIECE
    pieces = np.random.default_rng(0).permutation(windows.tokens[:whole].reshape(-1, PIECE))
    return replace(windows, tokens=np.concatenate([pieces.reshape(-1), windows.tokens[whole:]]))


def with_answers(windows: WindowArrays, tokenizer: Tokenizer) -> WindowArrays:
    """The windows with `answers`: the tokens of words that were already said of an earlier picture of their window, but
    not of every picture. The first time a name is used it cannot be known, and words said of all pictures are the
    template around it."""
    pieces = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
    inside = np.array([piece[:1].isalnum() or piece[:1] == "\ufffd" for piece in pieces], bool)
    answers = np.zeros(len(windows.tokens), bool)
    for index in range(len(windows)):
        ids, images = windows.of(index)
        if len(images) > 1:
            start = int(windows.starts[index])
            answers[start : start + len(ids)] = said_again(ids, windows, inside, pieces)
    return replace(windows, answers=answers)


def said_again(ids: np.ndarray, windows: WindowArrays, inside: np.ndarray, pieces: list[str]) -> np.ndarray:
    """`answers` of one window; `inside` (V,): tokens that continue a word."""
    marker = (ids == windows.image_id) | (ids == windows.eoc_id)
    first = ~inside[ids] | marker | np.append(True, marker[:-1])
    picture = np.cumsum(ids == windows.image_id)
    spans = np.append(np.flatnonzero(first), len(ids)).tolist()
    words: list[tuple[str, int, int, int]] = []
    seen: dict[str, set[int]] = defaultdict(set)
    for start, stop in pairwise(spans):
        if marker[start] or not picture[start]:
            continue
        word = "".join(pieces[token] for token in ids[start:stop].tolist()).strip()
        words.append((word, int(picture[start]), start, stop))
        seen[word].add(int(picture[start]))
    described = len({place for _, place, _, _ in words})
    answers = np.zeros(len(ids), bool)
    for word, place, start, stop in words:
        answers[start:stop] = min(seen[word]) < place and len(seen[word]) < described
    return answers


def refrains(windows: WindowArrays) -> np.ndarray:
    """Which windows (W,) belong to documents that repeat themselves: the share of their sequences of four tokens that
    occurred before in the same window is at least `REFRAIN`."""
    again, total = np.zeros(len(windows.units)), np.zeros(len(windows.units))
    for index in range(len(windows)):
        ids = windows.of(index)[0].tolist()
        grams = list(zip(ids, ids[1:], ids[2:], ids[3:], strict=False))
        again[windows.unit[index]] += len(grams) - len(set(grams))
        total[windows.unit[index]] += len(grams)
    return (again >= REFRAIN * np.maximum(total, 1))[windows.unit]
