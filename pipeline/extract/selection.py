"""Which blocks and pictures of a page are its main content."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract.classifier import probabilities, threshold
from pipeline.extract.content import MIN_PARAGRAPH, Candidate, candidate, sums
from pipeline.extract.features import features
from pipeline.extract.page import HIDDEN, IN_FIGURE, NOSCRIPT, Page, Picture, scope_bits

Flags = NDArray[np.bool_]

MIN_SIDE = 3  # pixels; smaller declared sizes are tracking pixels and rules
ICON_SIDE = 32
LIKELY = 0.5
MIN_LINKS = 200  # characters; a page whose content would be fewer, all of them links, has none
# What surrounds pictures that belong to other pages, to people or to the site
ASIDE = H.AVATAR | H.RELATED | H.SHARE | H.COMMENT | H.NAVIGATION | scope_bits("nav", "aside", "footer", "button")
SPRITE = re.compile(r"[/_-]sprites?[./_-]", re.I)


def select(page: Page, comments: bool = False) -> tuple[Flags, set[int]]:
    """The blocks kept, as flags, and the indexes of the pictures kept.

    Hidden blocks are out unless the page shows nothing else: a script may reveal it."""
    chars = np.array([block.chars for block in page.blocks], np.float32)
    hidden = np.array([bool(block.state & HIDDEN) for block in page.blocks])
    noscript = np.array([bool(block.state & NOSCRIPT) for block in page.blocks])
    found = candidate(page, total := sums(page))
    probability = probabilities(features(page, total, found), chars)
    probability[noscript] = 0
    shown = np.where(hidden, 0, probability).astype(np.float32)
    revealed = bool(hidden.any()) and float(shown @ chars) * 10 < float(probability @ chars)
    if revealed:
        shown, hidden = probability, np.zeros_like(hidden)
    kept = (shown > threshold(shown, chars)) & (chars > 0)
    comment = np.array([bool(page.inherited[block.element] & H.COMMENT) for block in page.blocks])
    # where most of the content are comments, the page is a thread and they are what it is about
    if 2 * float(chars @ (kept & comment)) < float(chars @ kept):
        kept = kept | (comment & _readable(page, chars) & ~hidden) if comments else kept & ~comment
    links = np.array([block.link_chars for block in page.blocks], np.float32)
    if not float((chars - links) @ kept) and float(chars @ kept) < MIN_LINKS:
        kept[:] = False
    return kept, _pictures(page, kept, shown, chars, found, revealed)


def _readable(page: Page, chars: NDArray[np.float32]) -> Flags:
    """Blocks that are sentences rather than links and labels."""
    links = np.array([block.link_chars for block in page.blocks], np.float32)
    flags: Flags = (chars >= MIN_PARAGRAPH) & (2 * links < chars)
    return flags


def _pictures(
    page: Page,
    kept: Flags,
    probability: NDArray[np.float32],
    chars: NDArray[np.float32],
    found: Candidate,
    revealed: bool,
) -> set[int]:
    """The pictures of the best part of the page, and elsewhere those that stand amid likely text."""
    text = np.flatnonzero(chars)
    first, last = (int(i) for i in np.flatnonzero(kept)[[0, -1]]) if kept.any() else (0, -1)
    chosen = set()
    for index, picture in enumerate(page.pictures):
        block = picture.block
        if not picture.urls or block < 0 or _is_decoration(picture) or (picture.hidden and not revealed):
            continue
        if found.inside[picture.element]:
            chosen.add(index)
        elif first <= block <= last and not page.inherited[picture.element] & ASIDE:
            at = int(np.searchsorted(text, block))
            before = probability[text[at - 1]] if at else 0.0
            own = at < len(text) and text[at] == block
            following = at + own
            after = probability[text[following]] if following < len(text) else 0.0
            if own:
                before, after = max(before, probability[block]), max(after, probability[block])
            figure = page.states[picture.element] & IN_FIGURE
            if (max if figure else min)(before, after) > LIKELY:
                chosen.add(index)
    return chosen


def _is_decoration(picture: Picture) -> bool:
    for side in (picture.width, picture.height):
        if side is not None and side <= MIN_SIDE:
            return True
        if side is not None and side <= ICON_SIDE and picture.width == picture.height:
            return True
    if picture.hints & H.AVATAR:
        return True
    return bool(SPRITE.search(picture.urls[0][-200:]))
