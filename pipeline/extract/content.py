"""Which blocks of a page are its main content.

The scoring is that of mozilla/readability (Readability.js, grabArticle and _cleanConditionally), computed on the flat
page: sums over subtrees are one backward loop, and no element is visited twice."""

from dataclasses import dataclass

from pipeline.extract import hints as H
from pipeline.extract.hints import names
from pipeline.extract.page import CODE, HEADINGS, HIDDEN, IN_FIGURE, NOSCRIPT, Page

_INITIAL = {
    **dict.fromkeys(("pre", "td", "blockquote"), 3),
    **dict.fromkeys(("address", "ol", "ul", "dl", "dd", "dt", "li", "form"), -3),
    **dict.fromkeys((*HEADINGS, "th"), -5),
    "div": 5,
}
_SCORED = names("section h2 h3 h4 h5 h6 p td pre div article main center li dd dt blockquote figure")
_CONDITIONAL = names("form fieldset table ul ol div section dl")
_REMOVED = names("footer aside nav button dialog option optgroup menu")
MIN_PARAGRAPH = 25
ENOUGH = 500


@dataclass(slots=True)
class Sums:
    """Per element, over the blocks inside it."""

    chars: list[int]
    links: list[int]
    commas: list[int]
    paragraphs: list[int]
    images: list[int]
    items: list[int]
    headings: list[int]


def sums(page: Page) -> Sums:
    count = len(page.tags)
    chars, links, commas, paragraphs, images, items, headings = ([0] * count for _ in range(7))
    for block in page.blocks:
        element = block.element
        if block.state & (HIDDEN | NOSCRIPT):
            continue
        chars[element] += block.chars
        links[element] += block.link_chars
        commas[element] += count_commas(block.text)
    for picture in page.pictures:
        if not picture.noscript and not picture.hidden:
            images[picture.element] += 1
    for element in range(count - 1, -1, -1):
        tag = page.tags[element]
        if tag == "p":
            paragraphs[element] += 1
        elif tag == "li":
            items[element] += 1
        elif tag in HEADINGS:
            headings[element] += chars[element]
        parent = page.parents[element]
        if parent >= 0:
            chars[parent] += chars[element]
            links[parent] += links[element]
            commas[parent] += commas[element]
            paragraphs[parent] += paragraphs[element]
            images[parent] += images[element]
            items[parent] += items[element]
            headings[parent] += headings[element]
    return Sums(chars, links, commas, paragraphs, images, items, headings)


def count_commas(text: str) -> int:
    if text.isascii():
        return text.count(",")
    return sum(map(text.count, ",،、，﹐﹑؛·。"))


def class_weight(bits: int) -> int:
    return (25 if bits & H.POSITIVE else 0) - (25 if bits & H.NEGATIVE else 0)


def keep(page: Page) -> tuple[list[bool], list[bool]]:
    """For each block, and for each element, whether it is main content."""
    total = sums(page)
    best = -1
    result: tuple[list[bool], list[bool]] = ([False] * len(page.blocks), [False] * len(page.tags))
    for strip, weigh, clean in ((True, True, True), (False, True, True), (False, False, True), (False, False, False)):
        inside = _attempt(page, total, strip, weigh, clean)
        kept = [bool(inside) and inside[b.element] and not b.state & (HIDDEN | NOSCRIPT) for b in page.blocks]
        size = sum(block.chars for block, k in zip(page.blocks, kept, strict=True) if k)
        if size > best:
            best, result = size, (kept, inside)
        if size >= ENOUGH:
            break
    return result


def _attempt(page: Page, total: Sums, strip: bool, weigh: bool, clean: bool) -> list[bool]:
    tags, parents, bits = page.tags, page.parents, page.hints
    count = len(tags)
    out = [False] * count  # elements left out, with all that is in them
    for element in range(count):
        parent = parents[element]
        if parent >= 0 and out[parent]:
            out[element] = True
            continue
        if (
            page.states[element] & (HIDDEN | NOSCRIPT)
            or (
                strip
                and bits[element] & H.UNLIKELY
                and not bits[element] & H.MAYBE
                and tags[element] not in ("body", "html", "a", "table", "td", "tr", "code", "pre", *HEADINGS)
                and not page.states[element] & CODE
            )
            or tags[element] in ("nav", "button", "option")
        ):
            out[element] = True
    scores: dict[int, float] = {}

    def add(element: int, points: float) -> None:
        if element not in scores:
            scores[element] = _INITIAL.get(tags[element], 0) + (class_weight(bits[element]) if weigh else 0)
        scores[element] += points

    for block in page.blocks:
        element = block.element
        if block.chars < MIN_PARAGRAPH or not tags or out[element] or tags[element] not in _SCORED:
            continue
        points = 1 + 1 + count_commas(block.text) + min(block.chars // 100, 3)
        mixed = page.last[element] - page.first[element] > 1
        ancestor = element if mixed and tags[element] != "p" else parents[element]
        level = 0
        while ancestor >= 0 and level < 5:
            add(ancestor, points / (1 if level == 0 else 2 if level == 1 else level * 3))
            ancestor = parents[ancestor]
            level += 1
    if not scores:
        return [not left for left in out]
    density = {e: total.links[e] / total.chars[e] if total.chars[e] else 0 for e in scores}
    for element in scores:
        scores[element] *= 1 - density[element]
    ranked = sorted(scores, key=lambda e: (-scores[e], e))[:5]
    top = ranked[0]
    if tags[top] == "html":
        top = next((e for e in ranked if tags[e] == "body"), top)
    # an ancestor that several good candidates share is the better one
    near = [e for e in ranked[1:] if scores[e] >= 0.75 * scores[top]]
    if len(near) >= 3:
        lines = [set(_ancestors(page, e)) for e in near]
        ancestor = parents[top]
        while ancestor >= 0 and tags[ancestor] not in ("body", "html"):
            if sum(ancestor in line for line in lines) >= 3:
                top = ancestor
                break
            ancestor = parents[ancestor]
    # climb while the score rises
    last = scores.get(top, 0)
    threshold = last / 3
    ancestor = parents[top]
    while ancestor >= 0 and tags[ancestor] not in ("body", "html"):
        if ancestor in scores:
            if scores[ancestor] < threshold:
                break
            if scores[ancestor] > last:
                top = ancestor
                break
            last = scores[ancestor]
        ancestor = parents[ancestor]
    children: dict[int, list[int]] = {}
    for element in range(count):
        children.setdefault(parents[element], []).append(element)
    while parents[top] >= 0 and tags[parents[top]] not in ("body", "html") and len(children[parents[top]]) == 1:
        top = parents[top]
    roots = {top}
    bar = max(10, scores.get(top, 0) * 0.2)
    if parents[top] >= 0:
        for sibling in children[parents[top]]:
            if sibling == top or out[sibling]:
                continue
            bonus = 0.0
            if bits[sibling] == bits[top] and bits[top]:
                bonus = scores.get(top, 0) * 0.2
            if sibling in scores and scores[sibling] + bonus >= bar:
                roots.add(sibling)
            elif tags[sibling] == "p":
                chars = total.chars[sibling]
                links = total.links[sibling] / chars if chars else 0
                if (chars > 80 and links < 0.25) or (0 < chars < 80 and links == 0):
                    roots.add(sibling)
    inside = [False] * count
    for element in range(count):
        parent = parents[element]
        inside[element] = (element in roots or (parent >= 0 and inside[parent])) and not out[element]
        if inside[element] and element != top and _drop(page, total, element, weigh, clean):
            inside[element] = False
    return inside


def _ancestors(page: Page, element: int) -> list[int]:
    found = []
    while (element := page.parents[element]) >= 0:
        found.append(element)
    return found


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
