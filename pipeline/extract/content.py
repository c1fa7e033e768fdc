"""Finds the best part of a page by readability's scores.

The scoring is that of mozilla/readability (Readability.js, grabArticle and _cleanConditionally), computed on the flat
page: sums over subtrees take one backward loop, and no element is visited twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract.hints import names
from pipeline.extract.page import CODE, HEADINGS, HIDDEN, IN_FIGURE, IN_HEADING, MAYBE_HIDDEN, NOSCRIPT, Page

_INITIAL = {
    **dict.fromkeys(("pre", "td", "blockquote"), 3),
    **dict.fromkeys(("address", "ol", "ul", "dl", "dd", "dt", "li", "form"), -3),
    **dict.fromkeys((*HEADINGS, "th"), -5),
    "div": 5,
}
_SCORED = names("section h2 h3 h4 h5 h6 p td pre div article main center li dd dt blockquote figure")
_CONDITIONAL = names("form fieldset table ul ol div section dl")
ROOTS = ("body", "html")
_LIKELY = frozenset((*ROOTS, "a", "table", "td", "tr", "code", "pre", *HEADINGS))
_CONTROLS = ("nav", "button", "option")
_REMOVED = names("footer aside nav button dialog option optgroup menu")
MIN_PARAGRAPH = 25
ENOUGH = 500


@dataclass(frozen=True, slots=True)
class Columns:
    """The blocks of a page as arrays: element, characters, those in links, state, and whether there is an image."""

    element: NDArray[np.int64]
    chars: NDArray[np.float32]
    links: NDArray[np.float32]
    state: NDArray[np.int64]
    pictured: NDArray[np.bool_]

    @classmethod
    def of(cls, page: Page) -> "Columns":
        blocks = page.blocks
        pictured = [len(block.pieces) > 1 or isinstance(block.pieces[0], int) for block in blocks]
        return cls(
            np.array([block.element for block in blocks], np.int64),
            np.array([block.chars for block in blocks], np.float32),
            np.array([block.link_chars for block in blocks], np.float32),
            np.array([block.state for block in blocks], np.int64),
            np.array(pictured, bool),
        )


@dataclass(slots=True)
class Sums:
    """Sums per element over everything inside it, without hidden blocks."""

    blocks: Columns
    chars: list[int]
    links: list[int]
    commas: list[int]
    paragraphs: list[int]
    images: list[int]
    items: list[int]
    headings: list[int]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    ends: NDArray[np.int64]
    table: NDArray[np.int64]  # [4, elements]: characters, characters in links, paragraphs, characters in headings


def sums(page: Page) -> Sums:
    """Sums over subtrees: elements and blocks are in document order, so each is a difference of two prefix sums."""
    first, last = np.array(page.first, np.int64), np.array(page.last, np.int64)
    ends = np.array(page.ends, np.int64)
    starts = np.arange(len(ends))

    def over(
        values: list[int] | list[bool] | NDArray[Any], low: NDArray[np.int64], high: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        prefix = np.concatenate(([0], np.cumsum(np.asarray(values, np.int64))))
        difference: NDArray[np.int64] = prefix[high] - prefix[low]
        return difference

    columns = Columns.of(page)
    shown = columns.state & (HIDDEN | MAYBE_HIDDEN | NOSCRIPT) == 0
    chars, links = columns.chars * shown, columns.links * shown
    commas = [count_commas(block.text) if seen else 0 for block, seen in zip(page.blocks, shown.tolist(), strict=True)]
    pictures = [0] * len(page.tags)
    for picture in page.pictures:
        if not picture.noscript and not picture.hidden:
            pictures[picture.element] += 1
    char_sums, link_sums = over(chars, first, last), over(links, first, last)
    paragraphs = over([tag == "p" for tag in page.tags], starts, ends)
    headings = over(columns.chars * (columns.state & IN_HEADING > 0), first, last)
    return Sums(
        columns,
        char_sums.tolist(),
        link_sums.tolist(),
        over(commas, first, last).tolist(),
        paragraphs.tolist(),
        over(pictures, starts, ends).tolist(),
        over([tag == "li" for tag in page.tags], starts, ends).tolist(),
        headings.tolist(),
        first,
        last,
        ends,
        np.stack([char_sums, link_sums, paragraphs, headings]),
    )


def count_commas(text: str) -> int:
    if len(text) < MIN_PARAGRAPH:
        return 0
    if text.isascii():
        return text.count(",")
    return sum(map(text.count, ",،、，﹐﹑؛·。"))


def class_weight(bits: int) -> int:
    return (25 if bits & H.POSITIVE else 0) - (25 if bits & H.NEGATIVE else 0)


@dataclass(slots=True)
class Candidate:
    """The best-scoring part of a page: for each element whether it is in the part (`region`), and whether it also
    survives cleaning (`inside`); the scores; how many rules had to be dropped (`attempt`)."""

    region: list[bool]
    inside: list[bool]
    scores: dict[int, float]
    top: int
    attempt: int = 0


def candidate(page: Page, total: Sums) -> Candidate:
    """The best part of a page; rules are dropped one by one while it has fewer than ENOUGH characters."""
    best = -1.0
    result = None
    rules = ((True, True, True), (False, True, True), (False, False, True), (False, False, False))
    for attempt, (strip, weigh, clean) in enumerate(rules):
        found = _attempt(page, total, strip, weigh, clean)
        found.attempt = attempt
        shown = total.blocks.state & (HIDDEN | MAYBE_HIDDEN | NOSCRIPT) == 0
        size = float(total.blocks.chars[shown & np.array(found.inside)[total.blocks.element]].sum(dtype=np.float64))
        if size > best:
            best, result = size, found
        if size >= ENOUGH:
            break
    assert result is not None
    return result


def _attempt(page: Page, total: Sums, strip: bool, weigh: bool, clean: bool) -> Candidate:
    out = _left_out(page, strip)
    scores = _scores(page, total, out, weigh)
    if not scores:
        body = [not left for left in out]
        return Candidate(body, body, {}, 0)
    top = _top(page, scores)
    roots = {top, *_siblings(page, total, out, scores, top)}
    parents, ends = page.parents, page.ends
    inside = [False] * len(out)
    region = [False] * len(out)
    for element in range(min(roots), max(ends[root] for root in roots)):
        parent = parents[element]
        region[element] = element in roots or (parent >= 0 and region[parent])
        inside[element] = (element in roots or (parent >= 0 and inside[parent])) and not out[element]
        if inside[element] and element != top and _drop(page, total, element, weigh, clean):
            inside[element] = False
    return Candidate(region, inside, scores, top)


def _left_out(page: Page, strip: bool) -> list[bool]:
    """Elements that are left out with everything inside: hidden ones, controls and, if `strip`, those with unlikely
    class names."""
    tags, states, bits = page.tags, page.states, page.hints
    out = [False] * len(tags)
    for element, parent in enumerate(page.parents):
        out[element] = bool(
            (parent >= 0 and out[parent])
            or states[element] & (HIDDEN | MAYBE_HIDDEN | NOSCRIPT)
            or (
                strip
                and bits[element] & H.UNLIKELY
                and not bits[element] & H.MAYBE
                and tags[element] not in _LIKELY
                and not states[element] & CODE
            )
            or tags[element] in _CONTROLS
        )
    return out


def _scores(page: Page, total: Sums, out: list[bool], weigh: bool) -> dict[int, float]:
    """Scores of elements: those of the paragraphs inside, decreasing with each level and with the share of links.
    `weigh` makes class names count."""
    tags, parents = page.tags, page.parents
    scores: dict[int, float] = {}
    for block in page.blocks:
        element = block.element
        if block.chars < MIN_PARAGRAPH or not tags or out[element] or tags[element] not in _SCORED:
            continue
        points = 1 + 1 + count_commas(block.text) + min(block.chars // 100, 3)
        mixed = page.last[element] - page.first[element] > 1
        ancestor = element if mixed and tags[element] != "p" else parents[element]
        level = 0
        while ancestor >= 0 and level < 5:
            if ancestor not in scores:
                weight = class_weight(page.hints[ancestor]) if weigh else 0
                scores[ancestor] = _INITIAL.get(tags[ancestor], 0) + weight
            scores[ancestor] += points / (1 if level == 0 else 2 if level == 1 else level * 3)
            ancestor = parents[ancestor]
            level += 1
    for element in scores:
        scores[element] *= 1 - (total.links[element] / total.chars[element] if total.chars[element] else 0)
    return scores


def _top(page: Page, scores: dict[int, float]) -> int:
    """The element with the best score, or a better one around it."""
    tags, ends = page.tags, page.ends
    ranked = sorted(scores, key=lambda e: (-scores[e], e))[:5]
    top = ranked[0]
    if tags[top] == "html":
        top = next((e for e in ranked if tags[e] == "body"), top)
    # an ancestor shared by several good candidates is better
    near = [e for e in ranked[1:] if scores[e] >= 0.75 * scores[top]]
    if len(near) >= 3:
        lines = [set(_ancestors(page, e)) for e in near]
        shared = (a for a in _ancestors(page, top) if sum(a in line for line in lines) >= 3)
        top = next(shared, top)
    # climb while the score rises
    last = scores.get(top, 0)
    threshold = last / 3
    for ancestor in _ancestors(page, top):
        if ancestor not in scores:
            continue
        if scores[ancestor] < threshold:
            break
        if scores[ancestor] > last:
            top = ancestor
            break
        last = scores[ancestor]
    for parent in _ancestors(page, top):
        if top != parent + 1 or ends[top] != ends[parent]:
            break
        top = parent  # the only element in it
    return top


def _siblings(page: Page, total: Sums, out: list[bool], scores: dict[int, float], top: int) -> Iterator[int]:
    """The siblings of the best element that belong to it: by score, or paragraphs with few links."""
    tags, bits, ends, parent = page.tags, page.hints, page.ends, page.parents[top]
    best = scores.get(top, 0)
    bar = max(10, best * 0.2)
    after = parent + 1
    while parent >= 0 and after < ends[parent]:
        sibling, after = after, ends[after]
        if sibling == top or out[sibling]:
            continue
        bonus = best * 0.2 if bits[sibling] == bits[top] and bits[top] else 0.0
        if sibling in scores and scores[sibling] + bonus >= bar:
            yield sibling
        elif tags[sibling] == "p":
            chars = total.chars[sibling]
            links = total.links[sibling] / chars if chars else 0
            if (chars > 80 and links < 0.25) or (0 < chars < 80 and links == 0):
                yield sibling


def _ancestors(page: Page, element: int) -> Iterator[int]:
    """The ancestors of an element, nearest first, below body."""
    while (element := page.parents[element]) >= 0 and page.tags[element] not in ROOTS:
        yield element


def _drop(page: Page, total: Sums, element: int, weigh: bool, clean: bool) -> bool:
    tag, bits = page.tags[element], page.hints[element]
    if tag in _REMOVED or tag == "h1":
        return True
    if bits & H.SHARE and total.chars[element] < ENOUGH:
        return True
    if tag in ("h2", "h1") and weigh and class_weight(bits) < 0:
        return True
    if not clean or tag not in _CONDITIONAL:
        return False
    state = page.states[element]
    if state & CODE:
        return False
    if (
        tag == "table"
        and total.chars[element]
        and not bits & H.NEGATIVE
        and total.links[element] < 0.5 * total.chars[element]
    ):
        return False
    weight = class_weight(bits) if weigh else 0
    if weight < 0:
        return True
    if total.commas[element] >= 10:
        return False
    chars = total.chars[element]
    links = total.links[element] / chars if chars else 0.0
    images = total.images[element]
    paragraphs = total.paragraphs[element]
    listing = tag in ("ul", "ol", "dl") or total.items[element] * 30 > chars > 0
    figure = bool(state & IN_FIGURE)
    if images > 1 and paragraphs / images < 0.5 and not figure and chars > 400:
        return True
    if not listing and not figure and chars < 25 and (images == 0 or images > 2) and links > 0:
        return True
    if not listing and weight < 25 and links > 0.2 and images == 0:
        return True
    if weight >= 25 and links > 0.5:
        return True
    return tag in ("ul", "ol") and links > 0.6 and chars > 0
