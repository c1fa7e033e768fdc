"""Selects the blocks and images of a page that are its main content."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract.classifier import probabilities, threshold
from pipeline.extract.content import MIN_PARAGRAPH, Candidate, Sums, candidate, sums
from pipeline.extract.features import features
from pipeline.extract.hints import names
from pipeline.extract.images import PLACEHOLDER
from pipeline.extract.page import HIDDEN, IN_FIGURE, LOCAL_LINK, NOSCRIPT, Page, Picture, scope_bits

Flags = NDArray[np.bool_]

HIDDEN_PICTURE, ICON, OUTSIDE = "image.hidden", "image.icon", "image.outside"
"""Rules under which images are left out, besides PLACEHOLDER."""
ICON_SIDE = 32
LIKELY = 0.5
SHARE = 0.5
WHOLE = 0.6
LISTS = names("dl ul ol")
MIN_CARDS = 6
ESSAY = 2000  # characters
PROSE = 40  # characters per card; more make an article
MAX_CARD = 300  # characters; a longer text about an image is not a title
VERSES, MIN_VERSES = 3, 100  # blocks, characters; shorter text between kept blocks is a label
ENTRIES, HEADING = 3, 40  # links (one if a class says so), and other characters, of a table of contents
VOTE = 0.25  # the weight of the best candidate relative to the classifier
MIN_LINKS = 200  # characters; a page with less content, all of it links, has none
# Surroundings of images that belong to other pages, to people or to the site
ASIDE = H.AVATAR | H.RELATED | H.SHARE | H.COMMENT | H.NAVIGATION | scope_bits("nav", "aside", "footer", "button")
FOOTER, ARTICLE = scope_bits("footer"), scope_bits("article", "main")


def select(page: Page, comments: bool = False) -> tuple[Flags, set[int]]:
    """The kept blocks, as flags, and the indices of the kept images.

    Hidden blocks are left out unless the page shows nothing else: a script may reveal them."""
    chars = np.array([block.chars for block in page.blocks], np.float32)
    hidden = np.array([bool(block.state & HIDDEN) for block in page.blocks])
    noscript = np.array([bool(block.state & NOSCRIPT) for block in page.blocks])
    found = candidate(page, total := sums(page))
    inside = np.array([found.inside[block.element] for block in page.blocks], np.float32)
    probability = (1 - VOTE) * probabilities(*features(page, total, found), chars) + VOTE * inside
    probability[noscript] = 0
    shown = np.where(hidden, 0, probability).astype(np.float32)
    revealed = bool(hidden.any()) and float(shown @ chars) * 10 < float(probability @ chars)
    if revealed:
        shown, hidden = probability, np.zeros_like(hidden)
    kept = (shown > threshold(shown, chars)) & (chars > 0)
    links = np.array([block.link_chars for block in page.blocks], np.float32)
    out = hidden | noscript | (chars == 0)
    kept = (kept | _gallery(page, total, kept, chars) | _wholes(page, kept, chars)) & ~out
    kept |= _between(page, kept, chars, (inside > 0) & (links == 0) & ~hidden & ~noscript) & ~out
    inherited = np.array([page.inherited[block.element] for block in page.blocks])
    comment, notice = (inherited & H.COMMENT) > 0, (inherited & H.COOKIE) > 0
    foot = ((inherited & FOOTER) > 0) & ((inherited & ARTICLE) == 0)
    # if most of the content is comments and little else is prose, the page is a thread and they are its content
    prose = float(chars @ (kept & ~comment & _readable(page, chars)))
    if prose > ESSAY or 2 * float(chars @ (kept & comment)) < float(chars @ kept):
        kept = kept | (comment & _readable(page, chars) & ~hidden) if comments else kept & ~comment
    for aside in (notice, foot, _contents(page, chars, links)):
        if 2 * float(chars @ (kept & aside)) < float(chars @ kept):
            kept &= ~aside
    if not float((chars - links) @ kept) and float(chars @ kept) < MIN_LINKS:
        kept[:] = False
    pictures = _pictures(page, kept, shown, chars, found, revealed)
    # text in one block with an image is its caption, or the sentence it is part of
    for index in pictures:
        block = page.pictures[index].block
        kept[block] |= 0 < chars[block] <= MAX_CARD and not hidden[block]
    return kept, pictures


def select_around(page: Page, kept: Flags) -> set[int]:
    """The indices of the images that belong to blocks selected elsewhere."""
    chars = np.array([block.chars for block in page.blocks], np.float32)
    return _pictures(page, kept, kept.astype(np.float32), chars, candidate(page, sums(page)), False)


def _wholes(page: Page, kept: Flags, chars: NDArray[np.float32]) -> Flags:
    """The blocks of lists that were mostly kept: terms stay with their definitions, short items with long ones."""
    length = np.concatenate(([0], np.cumsum(chars, dtype=np.float64)))
    taken = np.concatenate(([0], np.cumsum(chars * kept, dtype=np.float64)))
    whole = np.zeros_like(kept)
    for element, tag in enumerate(page.tags):
        if tag in LISTS:
            first, last = page.first[element], page.last[element]
            if taken[last] - taken[first] > WHOLE * (length[last] - length[first]):
                whole[first:last] = True
    return whole


def _between(page: Page, kept: Flags, chars: NDArray[np.float32], plain: Flags) -> Flags:
    """The blocks between two kept blocks, if all of them are `plain`: verses, and other text of short lines."""
    held = np.zeros_like(kept)
    for before, behind in pairwise(np.flatnonzero(kept).tolist()):
        if behind - before <= VERSES:
            continue
        gap = np.arange(before + 1, behind)
        written = gap[chars[gap] > 0]
        if len(written) >= VERSES and chars[written].sum() >= MIN_VERSES and plain[written].all():
            held[written] = not any(
                page.inherited[page.blocks[block].element] & (ASIDE | H.NUMBERING) for block in written
            )
    return held


def _contents(page: Page, chars: NDArray[np.float32], links: NDArray[np.float32]) -> Flags:
    """Tables of contents: elements with links into the page itself and nothing else but a heading."""
    entry = (chars > 0) & (np.abs(links - LOCAL_LINK * chars) <= 1)
    count = np.concatenate(([0], np.cumsum(entry)))
    other = np.concatenate(([0], np.cumsum(chars * ~entry, dtype=np.float64)))
    first, last = np.array(page.first, np.int64), np.array(page.last, np.int64)
    enough = np.where(np.array(page.hints) & H.NAVIGATION, 1, ENTRIES)
    tables = (count[last] - count[first] >= enough) & (other[last] - other[first] <= HEADING)
    flags = np.zeros(len(page.blocks), bool)
    for element in np.flatnonzero(tables).tolist():
        if page.tags[element] != "body":
            flags[first[element] : last[element]] = True
    return flags


def _gallery(page: Page, total: Sums, kept: Flags, chars: NDArray[np.float32]) -> Flags:
    """The titles of images, if images are what a page is about: in a gallery, a shop window, a portfolio.

    An image's card is the widest element around it that holds no other image; a gallery is the element with the most
    cards among those whose text is mostly in cards. An article takes precedence over it."""
    size = len(page.tags)
    cards, characters = np.zeros(size + 1, np.int64), np.zeros(size + 1, np.int64)
    flags = np.zeros(len(page.blocks), bool)
    for picture in page.pictures:
        card = picture.element
        if not picture.urls or total.images[card] != 1 or page.inherited[card] & ASIDE or _is_decoration(picture):
            continue
        while (parent := page.parents[card]) >= 0 and total.images[parent] == 1:
            card = parent
        if 0 < total.chars[card] <= MAX_CARD:
            cards[card + 1] += 1
            characters[card + 1] += total.chars[card]
            flags[page.first[card] : page.last[card]] = True
    if cards.sum() < MIN_CARDS:
        return np.zeros_like(flags)
    cards, characters = np.cumsum(cards), np.cumsum(characters)
    held = cards[total.ends] - cards[:-1]
    written = characters[total.ends] - characters[:-1]
    held[2 * written < total.table[0]] = 0
    gallery = size - 1 - int(np.argmax(held[::-1]))  # the innermost of equals
    flags[: page.first[gallery]] = flags[page.last[gallery] :] = False
    prose = float(chars @ (kept & ~flags & _readable(page, chars)))
    if held[gallery] < MIN_CARDS or prose > PROSE * held[gallery]:
        flags[:] = False
    return flags


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
    """The images of the best part of the page, and those elsewhere that belong to kept text. The others get the reason
    in `left_out`."""
    text = np.flatnonzero(chars)
    first, last = (int(i) for i in np.flatnonzero(kept)[[0, -1]]) if kept.any() else (0, -1)
    chars_before = np.concatenate(([0.0], np.cumsum(chars, dtype=np.float64)))
    kept_before = np.concatenate(([0.0], np.cumsum(chars * kept, dtype=np.float64)))

    def share(picture: Picture) -> float:
        """The kept share of the text of the smallest element with text around an image."""
        element = picture.element
        while element >= 0:
            low, high = page.first[element], page.last[element]
            if chars_before[high] > chars_before[low]:
                return float((kept_before[high] - kept_before[low]) / (chars_before[high] - chars_before[low]))
            element = page.parents[element]
        return 0.0

    def amid(block: int, figure: int) -> bool:
        """Whether the text before and after an image is likely content; in a figure, one of the two."""
        at = int(np.searchsorted(text, block))
        own = at < len(text) and text[at] == block
        following = at + own
        around = [
            probability[text[at - 1]] if at else 0.0,
            probability[text[following]] if following < len(text) else 0.0,
        ]
        if own:
            around = [max(side, probability[block]) for side in around]
        return bool((max if figure else min)(around) > LIKELY)

    chosen = set()
    for index, picture in enumerate(page.pictures):
        block = picture.block
        if not picture.urls:
            picture.left_out = PLACEHOLDER
        elif picture.hidden and not revealed:
            picture.left_out = HIDDEN_PICTURE
        elif _is_decoration(picture):
            picture.left_out = ICON
        elif block >= 0 and (
            found.inside[picture.element]
            or (
                first <= block <= last
                and not page.inherited[picture.element] & ASIDE
                and (amid(block, page.states[picture.element] & IN_FIGURE) or share(picture) > SHARE)
            )
        ):
            chosen.add(index)
        else:
            picture.left_out = OUTSIDE
    return chosen


def _is_decoration(picture: Picture) -> bool:
    small = picture.width is not None and picture.width <= ICON_SIDE and picture.width == picture.height
    return picture.is_dot() or small or bool(picture.hints & H.AVATAR)
