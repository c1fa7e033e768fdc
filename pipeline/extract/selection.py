"""Select the blocks and images of a page that are its main content."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.extract import hints as H
from pipeline.extract import image_classifier, kind
from pipeline.extract.classifier import probabilities, threshold
from pipeline.extract.content import MIN_PARAGRAPH, Candidate, Sums, candidate, sums
from pipeline.extract.features import HEADINGS, Matrix, features
from pipeline.extract.hints import names
from pipeline.extract.image_classifier import TextChoice
from pipeline.extract.images import PLACEHOLDER, THUMBNAIL
from pipeline.extract.page import (
    CODE,
    HIDDEN,
    LOCAL_LINK,
    NOSCRIPT,
    PAGE_KINDS,
    PREFORMATTED,
    Page,
    Picture,
    scope_bits,
)
from pipeline.extract.page import HEADINGS as HEADING_TAGS

Flags = NDArray[np.bool_]

HIDDEN_PICTURE, ICON, OUTSIDE = "image.hidden", "image.icon", "image.outside"
"""Rules under which images are left out, besides PLACEHOLDER."""
FORUM = PAGE_KINDS.index("forum")
DOCUMENTATION = PAGE_KINDS.index("documentation")
PROSE_KINDS = [PAGE_KINDS.index(kind) for kind in ("article", "documentation", "forum")]
SHOP_KINDS = [PAGE_KINDS.index(kind) for kind in ("product", "collection")]
ICON_SIDE = 32
ALONE = 0.9  # the kept share of a page's characters
LIKELY = 0.5  # the probability above which a page is of a kind
WHOLE = 0.6
LISTS = names("dl ul ol")
MIN_CARDS = 6
PROSE = 40  # characters per card; more make an article
ESSAY = 2000  # characters
MAX_CAPTION = 300  # characters; a longer text beside an image is no caption
VERSES, MIN_VERSES = 3, 100  # blocks, characters; shorter text between kept blocks is a label
ENTRIES, HEADING = 3, 40  # links (one if a class says so), and other characters, of a table of contents
ENTRY = 0.8  # the linked share of an entry of a table of contents
HEADING_LEVELS = 6
VOTE = 0.25  # the weight of the best candidate beside the classifier, on pages of prose
ANSWER = 0.1  # the probability above which an answer of a forum is kept, if most were left out
REPEATED, MAX_LABEL = 4, 30  # times, characters; what each answer of a thread repeats: "Reply", "Member", a signature
NAMED = 12  # blocks after the name of a product in which its description begins
NOTICE = 0.8  # the probability above which text in an element named after cookies or privacy is no notice
MIN_LINKS = 200  # characters; a page with less content, all of it links, has none
# Surroundings of images that belong to other pages, to people or to the site
ASIDE = H.AVATAR | H.RELATED | H.SHARE | H.COMMENT | H.NAVIGATION | scope_bits("nav", "aside", "footer", "button")
NO_ANSWER = H.RELATED | H.NAVIGATION | scope_bits("footer")
FOOTER, ARTICLE = scope_bits("footer"), scope_bits("article", "main")


@dataclass(frozen=True, slots=True)
class ChosenImages:
    """The indices of the chosen images of a page; of each image with a URL the probability and the features (`rows`,
    in the order of the page); and the rules under which unlikely ones were chosen."""

    indices: set[int]
    likely: dict[int, float]
    rows: Matrix
    overrides: dict[int, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """The main content of a page, and what it was computed from."""

    text: TextChoice
    images: ChosenImages
    total: Sums
    found: Candidate


def select(page: Page, url: str, comments: bool = False) -> Selection:
    """The main content of a page. Images that are left out get the rule (`Picture.left_out`)."""
    total = sums(page)
    found = candidate(page, total)
    text, revealed = choose_text(page, url, total, found, comments)
    images = _images(page, total, found, text, revealed)
    # text in one block with an image is its caption, or the sentence it is part of
    kept = text.kept.copy()
    for index in images.indices:
        block = page.pictures[index].block
        kept[block] |= 0 < text.chars[block] <= MAX_CAPTION and (revealed or not page.blocks[block].state & HIDDEN)
    return Selection(text.changed("caption of a kept image", kept), images, total, found)


def choose_text(page: Page, url: str, total: Sums, found: Candidate, comments: bool = False) -> tuple[TextChoice, bool]:
    """Which blocks are kept and how likely each is content; whether hidden blocks count as shown.

    Hidden blocks are left out unless the page shows nothing else: a script may reveal them."""
    chars = total.blocks.chars
    hidden, noscript = total.blocks.state & HIDDEN > 0, total.blocks.state & NOSCRIPT > 0
    inside = np.array(found.inside, np.float32)[total.blocks.element]
    values, containers = features(page, total, found)
    kinds = kind.probabilities(kind.features(page, url, total.blocks, values))
    # shops, lists and services have no best part that a score of paragraphs could find
    vote = VOTE * float(kinds[PROSE_KINDS].sum())
    probability = (1 - vote) * probabilities(values, containers, chars, kinds) + vote * inside
    probability[noscript] = 0
    shown = np.where(hidden, 0, probability).astype(np.float32)
    revealed = bool(hidden.any()) and float(shown @ chars) * 10 < float(probability @ chars)
    if revealed:
        shown, hidden = probability, np.zeros_like(hidden)
    least = threshold(shown, chars)
    kept = (shown > least) & (chars > 0)
    # cards beside an article lead to other articles
    cards = np.zeros_like(kept) if kinds[PROSE_KINDS].sum() > LIKELY else _gallery(page, total, kept, chars)
    text = TextChoice(shown, kept, chars, kinds, cards, least, values[:, HEADINGS])
    plain = (inside > 0) & ~hidden & ~noscript
    return _corrected(page, total, text, hidden | noscript | (chars == 0), plain, comments), revealed


def _corrected(page: Page, total: Sums, text: TextChoice, out: Flags, plain: Flags, comments: bool) -> TextChoice:
    """The text after the rules for what the classifier cannot know. `out` are the blocks without text and the hidden
    ones, `plain` the shown ones of the best part."""
    chars, links = text.chars, total.blocks.links
    whole = _wholes(page, text.kept, chars)
    text = text.changed("title of an image", text.kept | (text.cards & ~out))
    text = text.changed("list that is mostly kept", text.kept | (whole & ~out))
    between = _between(page, text.kept, chars, plain & (links == 0))
    text = text.changed("between kept lines", text.kept | (between & ~out))
    # a page with little else, such as a book: small print and cells of tables are its text
    if float(chars @ text.kept) > ALONE * float(chars.sum()):
        text = text.changed("in the best part", text.kept | (plain & (links == 0) & ~out))
    inherited = np.array(page.inherited, np.int64)[total.blocks.element]
    comment = (inherited & H.COMMENT) > 0
    # an article's section on privacy is likely content
    notice = ((inherited & H.COOKIE) > 0) & (text.probability < NOTICE)
    foot = ((inherited & FOOTER) > 0) & ((inherited & ARTICLE) == 0)
    # if most of the content is comments and little else is prose, the page is a thread and they are its content
    kept, readable = text.kept, _readable(total)
    prose = float(chars @ (kept & ~comment & readable))
    # and a manual that describes comments has sections of that name
    thread = max(text.kinds[FORUM], text.kinds[DOCUMENTATION]) > LIKELY
    if not thread and (prose > ESSAY or 2 * float(chars @ (kept & comment)) < float(chars @ kept)):
        text = text.changed("comment", kept | (comment & readable & ~out) if comments else kept & ~comment)
    if text.kinds[FORUM] > LIKELY:
        text = text.changed("answer of a thread", text.kept | (_lost_answers(inherited, text) & readable & ~out))
        text = text.changed("label in a thread", text.kept & ~_labels(page))
    if text.kinds[SHOP_KINDS].sum() > LIKELY:
        text = text.changed("name of a product", text.kept | _product_name(page, text.kept, out))
    asides = (("notice", notice), ("footer", foot), ("table of contents", _contents(page, chars, links)))
    for rule, aside in asides:
        if 2 * float(chars @ (text.kept & aside)) < float(chars @ text.kept):
            text = text.changed(rule, text.kept & ~aside)
    if text.kinds[PROSE_KINDS].sum() > LIKELY:
        text = text.changed("heading of a section that was left out", text.kept & ~_empty_sections(page, total, text))
    if not float((chars - links) @ text.kept) and float(chars @ text.kept) < MIN_LINKS:
        text = text.changed("only links", np.zeros_like(kept))
    return text


def _lost_answers(inherited: NDArray[np.int64], text: TextChoice) -> Flags:
    """Blocks in elements named after answers that may be content, if most of the text in such elements was left out."""
    answers = (inherited & H.ANSWER > 0) & (inherited & NO_ANSWER == 0)
    if 2 * float(text.chars @ (answers & text.kept)) > float(text.chars @ answers):
        return np.zeros_like(answers)
    flags: Flags = answers & (text.probability > ANSWER)
    return flags


def _labels(page: Page) -> Flags:
    """Short texts that the page repeats again and again; numbers, as in tables, and code are none."""
    short = [block.chars <= MAX_LABEL and not block.state & (PREFORMATTED | CODE) for block in page.blocks]
    texts = [block.text if label else "" for block, label in zip(page.blocks, short, strict=True)]
    count = Counter(texts)
    return np.array([count[text] >= REPEATED and any(map(str.isalpha, text)) for text in texts])


def _product_name(page: Page, kept: Flags, out: Flags) -> Flags:
    """The first h1 that is shown, if text soon after it is kept."""
    flags = np.zeros_like(kept)
    for index, block in enumerate(page.blocks):
        if page.tags[block.element] == "h1" and not out[index]:
            flags[index] = kept[index + 1 : index + 1 + NAMED].any()
            break
    return flags


def select_around(page: Page, kept: Flags, url: str) -> set[int]:
    """The indices of the images that belong to blocks selected elsewhere."""
    total = sums(page)
    found = candidate(page, total)
    text, _ = choose_text(page, url, total, found)
    chosen = TextChoice(kept.astype(np.float32), kept, text.chars, text.kinds, np.zeros_like(kept), 0.5, text.headings)
    return _images(page, total, found, chosen, False).indices


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
    # spaces between the parts of a link are not counted
    entry = (links > 0) & (links > ENTRY * LOCAL_LINK * chars - 1) & (links <= LOCAL_LINK * chars + 1)
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


def _empty_sections(page: Page, total: Sums, text: TextChoice) -> Flags:
    """Kept headings under which there is text, all of it left out, and no image."""
    flags = np.zeros(len(page.blocks), bool)
    # a bit per level: whether there is text under it, and whether some was kept, up to the next such heading
    written = kept = 0
    chars, pictured, taken = text.chars.tolist(), total.blocks.pictured.tolist(), text.kept.tolist()
    for index in range(len(page.blocks) - 1, -1, -1):
        tag = page.tags[page.blocks[index].element]
        level = int(tag[1]) if tag in HEADING_TAGS else 0
        empty = False
        if level:
            empty = bool(taken[index] and written >> level & 1 and not kept >> level & 1)
            written, kept = written & (1 << level) - 1, kept & (1 << level) - 1
        if empty:
            flags[index] = True
        if chars[index] or pictured[index]:
            above = (1 << (level or HEADING_LEVELS + 1)) - 2
            written |= above
            if pictured[index] or (taken[index] and not empty):
                kept |= above
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
        if not picture.urls or total.images[card] != 1 or page.inherited[card] & ASIDE or is_decoration(picture):
            continue
        while (parent := page.parents[card]) >= 0 and total.images[parent] == 1:
            card = parent
        if 0 < total.chars[card] <= MAX_CAPTION:
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
    prose = float(chars @ (kept & ~flags & _readable(total)))
    if held[gallery] < MIN_CARDS or prose > PROSE * held[gallery]:
        flags[:] = False
    return flags


def _readable(total: Sums) -> Flags:
    """Blocks that are sentences rather than links and labels."""
    chars, links = total.blocks.chars, total.blocks.links
    flags: Flags = (chars >= MIN_PARAGRAPH) & (2 * links < chars)
    return flags


def _images(page: Page, total: Sums, found: Candidate, text: TextChoice, revealed: bool) -> ChosenImages:
    """The images that are probably the page's own. The others get the reason in `left_out`."""
    # a page with little else, such as a book: what stands in its best part is its own
    alone = float(text.chars @ text.kept) > ALONE * float(text.chars.sum())
    rows = image_classifier.features(page, total, found, text)
    candidates = image_classifier.candidates(page)
    likely = dict(zip(candidates, image_classifier.probabilities(rows).tolist(), strict=True))
    least = dict(zip(candidates, image_classifier.thresholds(rows).tolist(), strict=True))
    documentation, forum = text.kinds[DOCUMENTATION] > LIKELY, text.kinds[FORUM] > LIKELY
    chosen = ChosenImages(set(), likely, rows, {})
    for index, picture in enumerate(page.pictures):
        if not picture.urls:
            picture.left_out = PLACEHOLDER
        elif picture.hidden and not revealed:
            picture.left_out = HIDDEN_PICTURE
        elif is_decoration(picture):
            picture.left_out = ICON
        elif picture.block < 0 or (documentation and _teaser(page, total, text, picture.element)):
            picture.left_out = OUTSIDE
        elif likely[index] > least[index]:
            chosen.indices.add(index)
        elif alone and found.inside[picture.element] and not picture.target:
            chosen.overrides[index] = "in the best part"
        elif forum and (picture.width or 0) > THUMBNAIL and _beside(page, text.kept, text, picture):
            chosen.overrides[index] = "in a kept answer"
        elif _beside(page, text.cards & text.kept, text, picture):
            chosen.overrides[index] = "title is kept"
        else:
            picture.left_out = OUTSIDE
    chosen.indices.update(chosen.overrides)
    return chosen


def _teaser(page: Page, total: Sums, text: TextChoice, element: int) -> bool:
    """Whether the nearest text around an image is short, mostly a link, and was left out: the title of another page."""
    while element > 0 and not total.chars[element]:
        element = page.parents[element]
    short = 0 < total.chars[element] <= MAX_CAPTION and 2 * total.links[element] > total.chars[element]
    return short and not text.kept[page.first[element] : page.last[element]].any()


def _beside(page: Page, flags: Flags, text: TextChoice, picture: Picture) -> bool:
    """Whether all text of an image's card, the nearest element around it with text, has a flag."""
    element = picture.element
    while element >= 0:
        first, last = page.first[element], page.last[element]
        if text.chars[first:last].any():
            return bool(flags[first:last][text.chars[first:last] > 0].all())
        element = page.parents[element]
    return False


def is_decoration(picture: Picture) -> bool:
    """Whether an image is declared as small as an icon or a tracking pixel, or is an avatar."""
    small = picture.width is not None and picture.width <= ICON_SIDE and picture.width == picture.height
    return picture.is_dot() or small or bool(picture.hints & H.AVATAR)
