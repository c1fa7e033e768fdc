"""The features of the block classifier: one row of numbers per block, from the flat page alone."""

import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract.content import Candidate, Sums
from pipeline.extract.hints import names
from pipeline.extract.page import (
    CODE,
    HIDDEN,
    IN_FIGURE,
    IN_HEADING,
    IN_TABLE,
    MAYBE_HIDDEN,
    PREFORMATTED,
    SCOPES,
    Page,
)

Matrix = NDArray[np.float32]
Spans = NDArray[np.int64]

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
_BOILERPLATE = names(
    "© copyright reserved. cookie cookies privacy policy terms subscribe sign login log newsletter more share follow"
    " advertisement comment comments reply related also powered click skip cart view load previous next filed posted"
    " rights email tags read search menu home contact help account sponsored updated published"
)
# The most common words of a few languages: running text has many of them, lists of links have few
_FUNCTION_WORDS = names(
    "the a of to and in is that for was with you it on be are as at this der die und das ist nicht zu den le la et les"
    " des que en el los un una de och att det som i w na z się и в не на что"
)
# What the heading above a block announces: other pages, replies, reviews, the thing itself, an appeal, the site
_SECTIONS = (
    names(
        "related recommended recommendations recommend similar also more latest recent popular trending next most"
        " viewed bought customers ähnliche verwandte mehr weitere auch beliebt similaires aussi plus lire relacionados"
        " relacionadas también más populares correlati anche altri leia mais gerelateerd meer ook podobne także więcej"
    ),
    names("comments comment reply replies discussion responses kommentare commentaires comentarios commenti reacties"),
    names("review reviews rating ratings testimonials faq faqs questions q&a bewertungen avis opiniones recensioni"),
    names("description details overview features specifications specs information ingredients about product summary"),
    names("newsletter subscribe sign follow share contact join free started try demo touch updates download app"),
    names("us company categories category tags archives menu navigation links resources legal quick account search"),
)
SECTION_NAMES = ("other pages", "replies", "reviews", "the thing", "an appeal", "the site")
_WORD = re.compile(r"[\w&]+")
_ENDS = frozenset(".!?…。！？।۔؟:;")
_CLOSERS = "\"'”’)]»」 "
LEVELS = 2  # levels of containers around a block whose sums are used
HEAD = 200  # characters at the start of a block that are examined

_SUMS = (
    "characters",
    "links",
    "blocks",
    "characters per block",
    "images",
    "paragraphs",
    "headings",
    "elements",
    "score",
)
_OWN = (
    *("characters", "links", "only a link", "repeated", "in the best part", "in the best part after cleaning"),
    *("before the best part", "after the best part", "before h1", "after h1", "place by blocks", "place by characters"),
    *("blocks before", "blocks after", "depth", "has images", "only images"),
    *("hidden", "hidden by class", "preformatted", "code", "table", "figure", "heading"),
)
_WORDS = (
    *("commas", "sentences", "ends a sentence", "boilerplate words", "numbers", "capital first", "capitals"),
    *("function words", "words of the title"),
)
NAMES = (
    *(f"container {level + 1}: {name}" for level in range(LEVELS) for name in _SUMS),
    *_OWN,
    *_WORDS,
    *(f"heading of {name}" for name in SECTION_NAMES),
    *("level of the heading", "blocks under the heading"),
    *(f"tag {' '.join(group)}" for group in TAG_GROUPS),
    "tag other",
    *(f"inside {name.lower()}" for name in H.NAMES),
    *(f"inside <{tag}>" for tag in SCOPES),
    *(f"class {name.lower()}" for name in H.NAMES),
)
"""The meaning of each column of the matrix."""
_FIRST_HEADING = NAMES.index(f"heading of {SECTION_NAMES[0]}")
HEADINGS = slice(_FIRST_HEADING, _FIRST_HEADING + len(SECTION_NAMES) + 2)
"""The columns of `headings`."""


def features(page: Page, total: Sums, found: Candidate) -> tuple[Matrix, Spans]:
    """An array [blocks, len(NAMES)] of float32, every value in [-4, 4]; and an array [2, blocks]: the first block of
    the second container around each block, and the one after its last.

    A container is the nearest ancestor that holds more blocks."""
    elements = total.blocks.element
    parents, hints = np.array(page.parents, np.int64), np.array(page.hints, np.int64)
    inherited = np.array(page.inherited, np.int64)[elements]
    near = hints[elements] | hints[np.maximum(parents[elements], 0)]
    tags = page.tags
    groups = np.array([_GROUP.get(tags[element], len(TAG_GROUPS)) for element in elements.tolist()])
    title = frozenset(page.head.titles[0].lower().split()) if page.head.titles else frozenset()
    wider, stats = _wider(parents, total), _stats(total, found)
    around = [elements]
    for _ in range(LEVELS):
        around.append(wider[around[-1]])
    matrix = np.concatenate(
        [
            *(stats[container] for container in around[1:]),
            np.stack([np.asarray(column, np.float32) for column in _own(page, total, found)], 1),
            np.array([_text(block.text, title) for block in page.blocks], np.float32),
            headings(page, total),
            groups[:, None] == np.arange(len(TAG_GROUPS) + 1),
            inherited[:, None] >> np.arange(H.COUNT + len(SCOPES)) & 1,
            near[:, None] >> np.arange(H.COUNT) & 1,
        ],
        1,
        dtype=np.float32,
    )
    places = np.arange(len(page.blocks))
    spans = np.stack([np.minimum(total.first[around[-1]], places), np.maximum(total.last[around[-1]], places + 1)])
    return np.clip(matrix, -4, 4, out=matrix), spans


def _wider(parents: Spans, total: Sums) -> Spans:
    """For each element the nearest ancestor that holds more blocks."""
    held = total.last - total.first
    wider = np.maximum(parents, 0)
    for _ in range(8):
        climb = held[wider] <= held
        climb[0] = False
        if not climb.any():
            break
        wider[climb] = np.maximum(parents[wider[climb]], 0)
    return wider


def _stats(total: Sums, found: Candidate) -> Matrix:
    """The columns of _SUMS, a row per element."""
    size = len(total.ends)
    scores = np.zeros(size, np.float32)
    if found.scores:
        scores[list(found.scores)] = list(found.scores.values())
        scores /= max(float(scores.max()), 1.0)
    held = total.last - total.first
    chars, links, paragraphs, headings = total.table.astype(np.float32)
    columns = [
        np.log1p(chars) / 4,
        links / (chars + 1),
        np.log1p(held) / 3,
        np.log1p(chars / (held + 1)) / 3,
        np.log1p(np.array(total.images, np.float32)) / 2,
        np.log1p(paragraphs) / 2,
        headings / (chars + 1),
        np.log1p(total.ends - np.arange(size)) / 4,
        scores,
    ]
    return np.stack(columns, 1).astype(np.float32)


def _own(page: Page, total: Sums, found: Candidate) -> list[NDArray[Any]]:
    """The columns of _OWN, a value per block."""
    texts = [block.text for block in page.blocks]
    count = len(texts)
    elements, chars, links, states = total.blocks.element, total.blocks.chars, total.blocks.links, total.blocks.state
    seen = Counter(texts)
    order = np.arange(count, dtype=np.float32)
    h1 = next((i for i, element in enumerate(elements.tolist()) if page.tags[element] == "h1"), -1)
    return [
        np.log1p(chars) / 3,
        links / (chars + 1),
        (links > 0.9 * chars) & (chars > 0),
        np.log([seen[text] for text in texts]),
        np.array(found.region)[elements],
        np.array(found.inside)[elements],
        order < total.first[found.top],
        order >= total.last[found.top],
        order < h1,
        np.clip((order - h1) / 20, 0, 2) * (h1 >= 0),
        order / max(count, 1),
        np.cumsum(chars) / (float(chars.sum()) + 1),
        np.log1p(order) / 4,
        np.log1p(count - order) / 4,
        np.array(page.depths)[elements] / 12,
        total.blocks.pictured,
        chars == 0,
        *((states & flag) > 0 for flag in (HIDDEN, MAYBE_HIDDEN, PREFORMATTED, CODE, IN_TABLE, IN_FIGURE, IN_HEADING)),
    ]


def headings(page: Page, total: Sums) -> Matrix:
    """What the last heading up to each block announces, its level (0 where there is none), and how far above it is."""
    count = len(page.blocks)
    places = np.flatnonzero((total.blocks.state & IN_HEADING > 0) & (total.blocks.chars > 0))
    said = np.zeros((len(places) + 1, len(_SECTIONS) + 1), np.float32)  # the first row: before the first heading
    for row, place in enumerate(places.tolist(), 1):
        block = page.blocks[place]
        words = _WORD.findall(block.text[:HEAD].lower())
        tag = page.tags[block.element]
        level = int(tag[1]) / 3 if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit() else 1.0
        said[row] = *(min(len(section.intersection(words)), 2) / 2 for section in _SECTIONS), level
    order = np.arange(count)
    last = np.searchsorted(places, order, "right")
    begun = np.concatenate(([0], places))[last]
    return np.concatenate([said[last], np.minimum(order - begun, 40)[:, None] / 20], 1, dtype=np.float32)


def _text(text: str, title: frozenset[str]) -> tuple[float, ...]:
    """Features of the first words and the last character of a block."""
    if not text:
        return (0.0,) * 9
    head = text[:HEAD]
    words = head.lower().split()
    count = len(words) or 1
    short = len(text) <= HEAD
    return (
        head.count(",") / count * 5,
        head.count(". ") / 3 if head.isascii() else (head.count(". ") + head.count("。") + head.count("、")) / 3,
        text[-8:].rstrip(_CLOSERS)[-1:] in _ENDS,
        len(_BOILERPLATE.intersection(words)) / count * 3 if short else 0.0,
        sum(map(str.isnumeric, words)) / count,
        head[0].isupper(),
        short and head.isupper(),
        len(_FUNCTION_WORDS.intersection(words)) / count * 3,
        len(title.intersection(words)) / max(count, len(title)) * 2 if short and title else 0.0,
    )
