"""The probability that an image belongs to the main content of its page.

A logistic regression over the text and elements around the image, its link, URL and size, and the page's head.
`tests/bench/fit_extraction.py` fits the coefficients (images.csv, one line per feature). No feature rules an image out:
a class such as "has-shares" on a figure is one number among many."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from math import log1p
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract import image_places
from pipeline.extract.content import Candidate, Sums
from pipeline.extract.features import SECTION_NAMES, Matrix
from pipeline.extract.images import is_picture_file
from pipeline.extract.page import IN_FIGURE, IN_TABLE, MAYBE_HIDDEN, PAGE_KINDS, SCOPES, Page, Picture

COEFFICIENTS = Path(__file__).with_name("images.csv")
THRESHOLD = 0.45
"""The probability above which an image is kept. On pages outside the fit .35 to .5 reach the same F1; .45 keeps a
quarter fewer images of other pages than .35."""
LEAD_THRESHOLD = 0.35
"""The same for the first image that the page's head names."""
FIRST_THRESHOLD = 0.4
"""The same for the first likely image, if it stands before the first paragraph."""
LEVELS = 2  # containers around an image whose sums are looked at
NEAR = 3  # elements whose classes count as near: the image, its parent, and its parent's

# The words of each feature, and an expression for those whose surroundings matter; it is searched for only where one of
# its words occurs
_Words = tuple[tuple[str, ...], re.Pattern[str] | None]
_URL_WORDS: dict[str, _Words] = {
    "logo": (("logo", "brand"), None),
    "icon": (("icon", "sprite", "button", "badge", "emoji", "arrow", "glyph"), None),
    "person": (("avatar", "profile", "author", "headshot", "userpic", "byline"), None),
    "advertisement": (
        ("ad", "banner", "promo", "sponsor", "campaign"),
        re.compile(r"(?:^|[/_.-])(?:ads?|banner|promo|sponsor|campaign)s?(?:[/_.-]|$)"),
    ),
    "thumbnail": (
        ("thumb", "small", "crop", "x", "-s", "_s", "w=", "width="),
        re.compile(r"thumb|small|crop|[-_]\d{2,3}x\d{2,3}\b|[-_]s\d{2,3}\b|[?&](?:w|width)=\d{1,3}(?:&|$)"),
    ),
    "upload": (("upload", "content", "media", "photo", "image", "asset", "article"), None),
    "gif": ((".gif",), re.compile(r"\.gif(?:$|[?#])")),
    "png": ((".png",), re.compile(r"\.png(?:$|[?#])")),
    "svg": ((".svg",), re.compile(r"\.svg(?:$|[?#])")),
    "photograph": ((".jp", ".webp", ".avif"), re.compile(r"\.(?:jpe?g|webp|avif)(?:$|[?#])")),
}
_LABELS: dict[str, _Words] = {
    "logo": (("logo", "brand"), None),
    "icon": (("icon", "sprite", "button", "badge", "emoji", "arrow"), None),
    "lazy": (("lazy", "wp-image", "size-", "attachment"), None),
    "hero": (("hero", "lead", "featured", "main", "cover", "poster", "primary"), None),
}
_IMAGE_PAGE = re.compile(r"attachment|photo|galler|/file:|image|lightbox|zoom")
_STEM = re.compile(
    r"(?:[-_.@](?:\d+x\d*|x\d+|w?\d{2,4}w?|[1-4]x|scaled|large|small|medium|thumb(?:nail)?|s\d{2,4}))+$", re.I
)
_SUFFIX = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|svg)$", re.I)

NAMES = (
    *("probability before", "probability after", "smaller of the two", "larger of the two", "probability of its block"),
    *("kept before", "kept after", "kept both", "kept one in a figure", "nothing kept before", "nothing kept after"),
    *("characters to kept text before", "characters to kept text after", "nearest before the first kept"),
    *("in the best part", "in the best part after cleaning", "before the best part", "after the best part"),
    *(
        f"container {level + 1}: {name}"
        for level in range(LEVELS)
        for name in ("kept share", "links", "characters", "images", "like siblings")
    ),
    *("figure", "table", "linked", "linked to an image", "linked to an image's page", "linked to a page"),
    *("linked like siblings", "linked in the best part", "hidden by class"),
    *("lead", "first lead", "repeated before", "first image", "same stem elsewhere"),
    *("has alt", "words of the title in alt", "alt as following text", "long alt"),
    *("no size", "width", "height", "tiny", "small", "large", "very wide", "square"),
    *(f"url {name}" for name in _URL_WORDS),
    "candidates",
    *(f"label {name}" for name in _LABELS),
    *(f"near {name.lower()}" for name in H.NAMES),
    *(f"inside {name.lower()}" for name in H.NAMES),
    *(f"inside <{tag}>" for tag in SCOPES),
    *(f"heading of {name}" for name in SECTION_NAMES),
    *("heading level", "blocks under the heading"),
    *(f"page: {kind}" for kind in PAGE_KINDS),
    *image_places.NAMES,
)
_UNLIKELY = [
    NAMES.index(name)
    for name in (
        *("url logo", "label logo", "url icon", "label icon", "url person", "tiny", "small", "repeated before"),
        *("inside <nav>", "inside <footer>", "inside <aside>"),
    )
]
_LINKED, _LARGE = NAMES.index("linked to a page"), NAMES.index("large")


@dataclass(frozen=True, slots=True)
class TextChoice:
    """The decisions about the text: per block, its probability, whether it was kept, its characters, and whether it
    is the title of an image in a gallery; the probabilities of the page's kinds; the probability above which a block is
    kept; and the rules that overrode it, in order, each with the blocks it changed."""

    probability: Matrix
    kept: NDArray[np.bool_]
    chars: Matrix
    kinds: Matrix
    cards: NDArray[np.bool_]
    threshold: float
    headings: Matrix
    """Features of the heading above each block (`features.headings`)."""
    overrides: tuple[tuple[str, NDArray[np.bool_]], ...] = ()

    def changed(self, rule: str, kept: NDArray[np.bool_]) -> "TextChoice":
        """The same after `rule` decided that `kept` are the kept blocks."""
        return replace(self, kept=kept, overrides=(*self.overrides, (rule, kept != self.kept)))


def stem(url: str) -> str:
    """The name under which versions of an image meet: the last part of the path without size and extension."""
    path = unquote(url.split("?", 1)[0].split("#", 1)[0]).rstrip("/").lower()
    name = path.rsplit("/", 1)[-1]
    short = _STEM.sub("", _SUFFIX.sub("", name))
    return short if len(short) >= 4 else path


def features(page: Page, total: Sums, found: Candidate, text: TextChoice) -> Matrix:
    """An array [images, len(NAMES)] of float32, a row for each of the page's images that offers a URL, in order."""
    chosen = candidates(page)
    if not chosen:
        return np.zeros((0, len(NAMES)), np.float32)
    around = _Texts.of(text)
    stems = {index: stem(page.pictures[index].urls[0]) for index in chosen}
    leads = {stem(url) for url in page.head.leads}
    counts, seen, seen_leads = Counter(stems.values()), set[str](), set[str]()
    shapes = Counter(_shape(page, page.pictures[index]) for index in chosen)
    title = frozenset(page.head.titles[0].lower().split()) if page.head.titles else frozenset[str]()
    rows = []
    for order, index in enumerate(chosen):
        picture = page.pictures[index]
        name = stems[index]
        lead = name in leads
        end = picture.urls[0][-300:].lower()
        rows.append(
            (
                *_text_around(picture, around),
                *_place(page, total, found, picture),
                *_containers(page, total, picture, around),
                *_links(page, found, picture, shapes),
                *(lead, lead and name not in seen_leads, name in seen, order == 0, counts[name] > 1),
                *_alt(page, picture, title),
                *_size(picture),
                *_says(end, _URL_WORDS),
                min(len(picture.urls), 8) / 4,
                *_says(picture.label, _LABELS),
            )
        )
        seen.add(name)
        if lead:
            seen_leads.add(name)
    pictures = [page.pictures[index] for index in chosen]
    looks = np.concatenate(
        [
            np.array(rows, np.float32),
            _hints(page, pictures),
            _headings(page, text.headings, chosen),
            np.broadcast_to(text.kinds, (len(chosen), len(text.kinds))),
        ],
        1,
        dtype=np.float32,
    )
    places = image_places.features(
        page,
        pictures,
        text.kept,
        text.chars,
        looks[:, _UNLIKELY].sum(1) > 0,
        looks[:, _LINKED] > 0,
        looks[:, _LARGE] > 0,
    )
    return np.concatenate([looks, places], 1)


def _says(text: str, features: dict[str, _Words]) -> list[bool]:
    """Whether a text has one of the words of each feature."""
    found = []
    for words, expression in features.values():
        for word in words:
            if word in text:
                found.append(expression is None or expression.search(text) is not None)
                break
        else:
            found.append(False)
    return found


def candidates(page: Page) -> list[int]:
    """The indexes of the images that `features` has rows for."""
    return [index for index, picture in enumerate(page.pictures) if picture.urls]


def thresholds(features: Matrix) -> Matrix:
    """The probability above which each image is kept, from `features` [images, features]."""
    lead, first = (features[:, NAMES.index(name)] > 0 for name in ("first lead", "first likely, before text"))
    result: Matrix = np.select([lead, first], [LEAD_THRESHOLD, FIRST_THRESHOLD], THRESHOLD)
    return result


@dataclass(frozen=True, slots=True)
class _Texts:
    """A `TextChoice` as plain lists, which are faster than arrays for one value at a time.

    `written` are the blocks with text, `taken` the kept ones among them; `length` and `length_taken` are the characters
    before each block, of all and of kept blocks."""

    probability: list[float]
    kept: list[bool]
    written: list[int]
    taken: list[int]
    length: list[float]
    length_taken: list[float]

    @classmethod
    def of(cls, text: TextChoice) -> "_Texts":
        chars, kept = text.chars, text.kept
        return cls(
            text.probability.tolist(),
            kept.tolist(),
            np.flatnonzero(chars).tolist(),
            np.flatnonzero(kept & (chars > 0)).tolist(),
            [0.0, *np.cumsum(chars, dtype=np.float64).tolist()],
            [0.0, *np.cumsum(chars * kept, dtype=np.float64).tolist()],
        )


def _text_around(picture: Picture, around: _Texts) -> list[float]:
    """How likely the text beside an image is content, whether it was kept, and how far the kept text is."""
    block, length, probability = picture.block, around.length, around.probability
    written, kept, taken = around.written, around.kept, around.taken
    at = bisect_left(written, block)
    own = at < len(written) and written[at] == block
    before, after = at - 1, at + own
    p_before = probability[written[before]] if before >= 0 else 0.0
    p_after = probability[written[after]] if after < len(written) else 0.0
    p_own = probability[block] if own else 0.0
    if own:
        p_before, p_after = max(p_before, p_own), max(p_after, p_own)
    k_before = before >= 0 and kept[written[before]]
    k_after = after < len(written) and kept[written[after]]
    if own and kept[block]:
        k_before = k_after = True
    left, right = bisect_right(taken, block) - 1, bisect_left(taken, block)
    place = max(block, 0)
    to_before = length[place] - length[taken[left] + 1] if left >= 0 else 3000.0
    to_after = length[taken[right]] - length[place] if right < len(taken) else 3000.0
    return [
        *(p_before, p_after, min(p_before, p_after), max(p_before, p_after), p_own),
        *(k_before, k_after, k_before and k_after, k_before != k_after),
        *(left < 0, right >= len(taken)),
        *(log1p(max(min(to_before, 3000.0), 0.0)) / 4, log1p(max(min(to_after, 3000.0), 0.0)) / 4),
        left < 0 and right < len(taken) and to_after <= 200,
    ]


def _place(page: Page, total: Sums, found: Candidate, picture: Picture) -> list[float]:
    element = picture.element
    return [
        found.region[element],
        found.inside[element],
        picture.block < total.first[found.top],
        picture.block >= total.last[found.top],
    ]


def _containers(page: Page, total: Sums, picture: Picture, around: _Texts) -> list[float]:
    """Of the two smallest elements around an image that hold text, each larger than the one before."""
    row: list[float] = []
    length, taken = around.length, around.length_taken
    element, held = picture.element, 0.0
    for _ in range(LEVELS):
        while element >= 0 and length[page.last[element]] - length[page.first[element]] <= held:
            element = page.parents[element]
        if element < 0:
            row += [0.0] * 5
            continue
        first, last = page.first[element], page.last[element]
        held = float(length[last] - length[first])
        parent = page.parents[element]
        label = page.hints[element], page.tags[element]
        like = 0
        if parent >= 0:
            child, stop = parent + 1, page.ends[parent]
            for _ in range(24):
                if child >= stop:
                    break
                like += (page.hints[child], page.tags[child]) == label
                child = page.ends[child]
        row += [
            float(taken[last] - taken[first]) / held,
            total.links[element] / (total.chars[element] + 1),
            log1p(held) / 4,
            log1p(total.images[element]) / 2,
            log1p(like) / 2,
        ]
    return row


def _shape(page: Page, picture: Picture) -> tuple[object, ...]:
    """What similar images have in common: tag and classes around them, label, width, and whether they are linked."""
    element = picture.element
    return (page.tags[element], page.hints[element], picture.label[:40], bool(picture.target), picture.width)


def _links(page: Page, found: Candidate, picture: Picture, shapes: Counter[tuple[object, ...]]) -> list[float]:
    state = page.states[picture.element]
    target = picture.target
    to_image = bool(target) and is_picture_file(target)
    to_page_of_image = bool(target) and not to_image and bool(_IMAGE_PAGE.search(target))
    away = bool(target) and not to_image and target[:1] != "#"
    return [
        bool(state & IN_FIGURE),
        bool(state & IN_TABLE),
        bool(target),
        to_image,
        to_page_of_image,
        away,
        log1p(shapes[_shape(page, picture)] - 1) / 2 * away,
        away and found.inside[picture.element],
        bool(state & MAYBE_HIDDEN),
    ]


def _alt(page: Page, picture: Picture, title: frozenset[str]) -> list[float]:
    words = picture.alt.lower().split()
    following = page.blocks[picture.block].text if 0 <= picture.block < len(page.blocks) else ""
    if not following and 0 <= picture.block + 1 < len(page.blocks):
        following = page.blocks[picture.block + 1].text
    return [
        bool(words),
        len(title.intersection(words)) / max(len(title), 1) if words else 0.0,
        bool(words) and following.strip().lower()[:200].startswith(picture.alt.lower()[:60]),
        min(len(words), 20) / 10,
    ]


def _size(picture: Picture) -> list[float]:
    width, height = picture.width or 0, picture.height or 0
    known = [side for side in (width, height) if side]
    return [
        not known,
        log1p(width) / 6,
        log1p(height) / 6,
        bool(known) and max(known) <= 32,
        bool(known) and 32 < max(known) <= 110,
        bool(known) and max(known) >= 400,
        bool(width and height and width > 3.5 * height),
        bool(width and width == height),
    ]


def _hints(page: Page, pictures: list[Picture]) -> Matrix:
    """The classes near each image and around it, and the tags around it, as bits."""
    elements = np.array([picture.element for picture in pictures])
    hints, parents = np.array(page.hints, np.int64), np.array(page.parents, np.int64)
    near, at = np.array([picture.hints for picture in pictures], np.int64), elements
    for _ in range(NEAR):
        near |= np.where(at < 0, 0, hints[at])
        at = np.where(at < 0, at, parents[at])
    inherited = np.array(page.inherited, np.int64)[elements]
    bits = (near[:, None] >> np.arange(H.COUNT) & 1, inherited[:, None] >> np.arange(H.COUNT + len(SCOPES)) & 1)
    return np.concatenate(bits, 1, dtype=np.float32)


def _headings(page: Page, headings: Matrix, chosen: list[int]) -> Matrix:
    """The heading above each image; zeros for an image in no block."""
    blocks = np.array([page.pictures[index].block for index in chosen])
    known = (blocks >= 0) & (blocks < len(headings))
    return np.where(known[:, None], headings[np.where(known, blocks, 0)], np.float32(0))


@cache
def coefficients() -> tuple[Matrix, float]:
    """An array [features] and the intercept."""
    _header, intercept, *lines = COEFFICIENTS.read_text("ascii").splitlines()
    rows = [line.rsplit(",", 1) for line in lines]
    if tuple(name for name, _ in rows) != NAMES:
        raise ValueError(f"{COEFFICIENTS}: other features than pipeline/extract/image_classifier.py computes")
    return np.array([value for _, value in rows], np.float32), float(intercept.split(",")[1])


def probabilities(features: Matrix) -> Matrix:
    """The probability of each image, from `features` [images, features]."""
    weights, intercept = coefficients()
    logits = (features * weights).sum(1, dtype=np.float64) + intercept
    result: Matrix = (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)
    return result
