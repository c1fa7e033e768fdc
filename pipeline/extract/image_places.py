"""Where an image stands: before or after the page's title, and before its first paragraph.

The lead image of a page often stands outside the text, above its title or below it. These features tell it from the
rest where the head of the page does not name it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.extract.features import Matrix
from pipeline.extract.page import IN_HEADING, Page, Picture

FAR = 3000.0  # characters; the distance to the title where there is none
BESIDE = 150.0  # characters between the title and the last image before it
PARAGRAPH = 80  # characters
HEAD = 300  # characters of a heading that are compared with the title
ALIKE = 0.4  # the share of the title's words that its heading has at least
SMALL, MEDIUM, LARGE = 100, 200, 400  # pixels of a declared width

NAMES = (
    *("after the title", "before the first paragraph", "first after the title"),
    *("first after the title, not linked, before text", "characters to the title", "widest", "between kept texts"),
    *("large, between title and text", "last before the title", "last before the title, large"),
    *("first likely", "first likely, before text"),
)

Flags = NDArray[np.bool_]


def features(
    page: Page, pictures: Sequence[Picture], kept: Flags, chars: Matrix, unlikely: Flags, linked: Flags, large: Flags
) -> Matrix:
    """An array [images, len(NAMES)] of float32 for `pictures`, in document order.

    `kept` and `chars` are of the page's blocks; `unlikely` tells the images that are no lead by their looks (a logo, an
    icon, one in a menu), `linked` those that link to another page, `large` those that are declared large."""
    title = _title(page)
    place = np.maximum([picture.block for picture in pictures], 0)
    width = np.array([picture.width or 0 for picture in pictures])
    length = np.concatenate(([0.0], np.cumsum(chars, dtype=np.float64)))
    taken = np.concatenate(([0.0], np.cumsum(chars * kept, dtype=np.float64)))
    after = (place >= title) & (title >= 0)
    gap = np.full(len(place), FAR)
    if title >= 0:
        gap = np.where(after, length[place] - length[title + 1], length[title] - length[np.minimum(place + 1, title)])
    before = place <= _first_paragraph(kept, chars)
    zone = after & before
    following = _first(after & ((width == 0) | (width >= SMALL)))
    target = np.array([bool(picture.target) for picture in pictures])
    free = ~unlikely & ~linked
    last = _first((~after & free & before & (gap <= BESIDE))[::-1])[::-1]
    likely = _first(free)
    columns = (
        *(after, before, following, following & before & ~target, np.log1p(np.maximum(gap, 0)) / 4),
        (width == width.max()) & (width > MEDIUM),
        (taken[place] > 0) & (taken[place] < taken[-1]),
        *(zone & (width >= LARGE), last, last & large, likely, likely & before),
    )
    return np.stack(columns, 1).astype(np.float32)


def _title(page: Page) -> int:
    """The block of the title: the first h1, or else the heading that has most words of the page's title; -1 if none."""
    tags = page.tags
    for index, block in enumerate(page.blocks):
        if tags[block.element] == "h1" and block.chars:
            return index
    words = frozenset(page.head.titles[0].lower().split()) if page.head.titles else frozenset[str]()
    best, found = ALIKE * max(len(words), 1), -1
    for index, block in enumerate(page.blocks):
        if block.state & IN_HEADING and block.chars:
            shared = len(words.intersection(block.text[:HEAD].lower().split()))
            if shared > best or (shared == best and found < 0):
                best, found = shared, index
    return found


def _first_paragraph(kept: Flags, chars: Matrix) -> int:
    """The first kept block that is as long as a paragraph, or else the first kept one, or the number of blocks."""
    for written in (kept & (chars >= PARAGRAPH), kept & (chars > 0)):
        if written.any():
            return int(written.argmax())
    return len(kept)


def _first(flags: Flags) -> Flags:
    """The first true one alone."""
    alone = np.zeros_like(flags)
    if flags.any():
        alone[flags.argmax()] = True
    return alone
