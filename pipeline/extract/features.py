"""What the block classifier sees: one row of numbers per block, from the flat page alone."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract.content import Candidate, Sums
from pipeline.extract.page import CODE, HEADINGS, HIDDEN, IN_FIGURE, IN_HEADING, IN_TABLE, PREFORMATTED, Page

Matrix = NDArray[np.float32]

TAG_GROUPS: tuple[tuple[str, ...], ...] = (
    ("p",),
    ("li",),
    ("h1",),
    ("h2",),
    ("h3", "h4", "h5", "h6"),
    ("td", "th"),
    ("pre",),
    ("blockquote",),
    ("dt", "dd"),
    ("figcaption", "caption", "figure"),
    ("button", "label", "legend", "summary", "option"),
    ("div", "section", "article", "main", "center"),
    ("body", "html"),
)
_GROUP = {tag: index for index, group in enumerate(TAG_GROUPS) for tag in group}
# Tags whose presence among the ancestors says something
SCOPES = (
    "nav",
    "header",
    "footer",
    "aside",
    "form",
    "article",
    "main",
    "section",
    "table",
    "ul",
    "ol",
    "dl",
    "figure",
    "blockquote",
    "details",
    "dialog",
    "address",
    "button",
)
_SCOPE = {tag: 1 << index for index, tag in enumerate(SCOPES)}
_BOILERPLATE = re.compile(
    r"©|\(c\) ?(?:19|20)\d\d|copyright|all rights reserved|cookie|privacy policy|terms of (?:use|service)|subscribe|sign ?up"
    r"|log ?in|newsletter|read more|share (?:this|on)|follow us|advertis|leave a (?:comment|reply)|related|you (?:may|might) also"
    r"|powered by|click here|back to top|skip to|add to cart|view (?:all|more)|load more|previous|next|filed under|posted (?:on|by|in)",
    re.I,
)
_ENDS = re.compile(r"[.!?…。！？।۔؟:;][\"'”’)\]»」]*$")
_DIGITS = re.compile(r"\d")
_FUNCTION_WORD = re.compile(
    r" (?:the|a|of|to|and|in|is|that|for|was|with|you|it|der|die|und|de|la|le|et|que|en|el|un|den|och|i|w|na|и|в|не) ",
    re.I,
)


def features(page: Page, total: Sums, found: Candidate) -> Matrix:
    """An array [blocks, features] of float32, every value within about [-3, 3]."""
    blocks = page.blocks
    count = len(blocks)
    elements = np.fromiter((b.element for b in blocks), np.int32, count)
    parents = np.array(page.parents, np.int32)
    chars = np.fromiter((b.chars for b in blocks), np.float32, count)
    links = np.fromiter((b.link_chars for b in blocks), np.float32, count)
    states = np.fromiter((b.state for b in blocks), np.int32, count)
    top_score = max(found.scores.values(), default=0.0)
    # handed down from element to element
    size = len(page.tags)
    inherited = [0] * size
    scopes = [0] * size
    score_above = [0.0] * size
    depth = [0] * size
    for element, (parent, tag) in enumerate(zip(page.parents, page.tags, strict=True)):
        own = found.scores.get(element, 0.0)
        if parent >= 0:
            inherited[element] = inherited[parent] | page.hints[element]
            scopes[element] = scopes[parent] | _SCOPE.get(tag, 0)
            score_above[element] = max(own, score_above[parent])
            depth[element] = depth[parent] + 1
        else:
            inherited[element] = page.hints[element] if tag not in ("html", "body") else 0
            scopes[element] = _SCOPE.get(tag, 0)
            score_above[element] = own
        if tag == "body":
            inherited[element] = 0
    element_first = np.array(page.first, np.int32)
    element_last = np.array(page.last, np.int32)
    element_blocks = (element_last - element_first).astype(np.float32)
    element_chars = np.array(total.chars, np.float32)
    element_links = np.array(total.links, np.float32)
    element_images = np.array(total.images, np.float32)
    element_paragraphs = np.array(total.paragraphs, np.float32)
    element_headings = np.array(total.headings, np.float32)
    children = np.bincount(parents[parents >= 0], minlength=size).astype(np.float32)
    # the nearest ancestors that hold more blocks than the level below
    columns: list[Matrix] = []
    up = elements
    held = element_blocks[up]
    for _level in range(4):
        for _ in range(6):
            above = parents[up]
            climb = (element_blocks[up] <= held) & (above >= 0)
            if not climb.any():
                break
            up = np.where(climb, above, up)
        held = element_blocks[up]
        group_chars = element_chars[up]
        columns += [
            np.log1p(group_chars) / 4,
            element_links[up] / (group_chars + 1),
            np.log1p(held) / 3,
            np.log1p(group_chars / (held + 1)) / 3,
            np.log1p(element_images[up]) / 2,
            np.log1p(element_paragraphs[up]) / 2,
            element_headings[up] / (group_chars + 1),
            np.log1p(children[up]) / 3,
        ]
    bits = np.array(inherited, np.int64)[elements]
    own_bits = np.array(page.hints, np.int64)
    near_bits = own_bits[elements] | own_bits[np.maximum(parents[elements], 0)]
    scope = np.array(scopes, np.int64)[elements]
    hint_shift = np.arange(H.COUNT)
    scope_shift = np.arange(len(SCOPES))
    groups = np.fromiter((_GROUP.get(page.tags[e], len(TAG_GROUPS)) for e in elements), np.int32, count)
    text = [b.text for b in blocks]
    lengths = chars + 1
    commas = np.fromiter((t.count(",") + t.count("，") + t.count("、") for t in text), np.float32, count)
    stops = np.fromiter((t.count(". ") + t.count("。") for t in text), np.float32, count)
    ends = np.fromiter((bool(_ENDS.search(t[-6:])) for t in text), np.float32, count)
    boiler = np.fromiter((len(t) < 300 and bool(_BOILERPLATE.search(t)) for t in text), np.float32, count)
    digits = np.fromiter((len(_DIGITS.findall(t[:200])) for t in text), np.float32, count)
    upper = np.fromiter((t[:1].isupper() for t in text), np.float32, count)
    capital = np.fromiter((len(t) > 3 and t.isupper() for t in text), np.float32, count)
    function = np.fromiter((len(_FUNCTION_WORD.findall(t[:300])) for t in text), np.float32, count)
    seen: dict[str, int] = {}
    for t in text:
        seen[t] = seen.get(t, 0) + 1
    repeats = np.fromiter((seen[t] for t in text), np.float32, count)
    region = np.fromiter((found.region[e] for e in elements), np.float32, count)
    inside = np.fromiter((found.inside[e] for e in elements), np.float32, count)
    order = np.arange(count, dtype=np.float32)
    first_in, last_in = (element_first[found.top], element_last[found.top]) if size else (0, count)
    headings = [i for i, b in enumerate(blocks) if page.tags[b.element] == "h1"]
    h1 = headings[0] if headings else -1
    all_chars = float(chars.sum()) + 1
    title = set(re.findall(r"\w+", " ".join(page.head.titles[:1]).lower()))
    likeness = np.zeros(count, np.float32)
    if title:
        for i, t in enumerate(text):
            if 3 < len(t) < 200:
                words = set(re.findall(r"\w+", t.lower()))
                if words:
                    likeness[i] = len(words & title) / len(words | title)
    running = np.cumsum(chars) / all_chars
    page_wide = [
        np.log1p(all_chars) / 5,
        float(links.sum()) / all_chars,
        np.log1p(count) / 3,
        float((chars * inside).sum()) / all_chars,
        float((chars * region).sum()) / all_chars,
        found.attempt / 2,
        float(h1 >= 0),
        float(sum(tag == "article" for tag in page.tags)) / 5 if size else 0,
        float("main" in page.tags),
        np.log1p(float(element_paragraphs[0]) if size else 0) / 3,
    ]
    columns += [
        np.log1p(chars) / 3,
        links / lengths,
        (links > 0.9 * chars) & (chars > 0),
        commas / lengths * 20,
        np.log1p(commas + stops),
        ends,
        boiler,
        digits / np.minimum(lengths, 200),
        upper,
        capital,
        function / np.minimum(lengths, 300) * 20,
        np.log(repeats),
        region,
        inside,
        (order < first_in),
        (order >= last_in),
        np.array(score_above, np.float32)[elements] / (top_score + 1),
        (order < h1) if h1 >= 0 else np.zeros(count),
        np.clip((order - h1) / 20, 0, 2) if h1 >= 0 else np.zeros(count),
        likeness,
        order / max(count, 1),
        running,
        np.log1p(order) / 4,
        np.log1p(count - order) / 4,
        np.array(depth, np.float32)[elements] / 12,
        np.fromiter((any(isinstance(p, int) for p in b.pieces) for b in blocks), np.float32, count),
        (chars == 0),
        *((states & flag) > 0 for flag in (HIDDEN, PREFORMATTED, CODE, IN_TABLE, IN_FIGURE, IN_HEADING)),
    ]
    parts = [
        np.stack([np.asarray(c, np.float32) for c in columns], 1),
        (groups[:, None] == np.arange(len(TAG_GROUPS) + 1)).astype(np.float32),
        (bits[:, None] >> hint_shift & 1).astype(np.float32),
        (near_bits[:, None] >> hint_shift & 1).astype(np.float32),
        (scope[:, None] >> scope_shift & 1).astype(np.float32),
        np.broadcast_to(np.array(page_wide, np.float32), (count, len(page_wide))),
    ]
    return np.clip(np.concatenate(parts, 1), -4, 4).astype(np.float32)


__all__ = ["HEADINGS", "features"]
