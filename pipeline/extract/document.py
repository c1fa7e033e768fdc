"""Convert kept blocks to the nodes of a document."""

import re
from collections import Counter
from collections.abc import Sequence

from pipeline.extract import data_urls
from pipeline.extract import hints as H
from pipeline.extract.images import PLACEHOLDER, with_link
from pipeline.extract.numbering import marker
from pipeline.extract.page import HIDDEN, PREFORMATTED, Page, Picture
from pipeline.urls import resolve
from shards.records import Image, Node, Text

_CELLS = ("td", "th")


def nodes(
    page: Page, kept: Sequence[bool], chosen_pictures: set[int], base: str
) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """Text and images of the kept blocks in reading order, and the listings (pre) in the text; images are those whose
    index is in `chosen_pictures`."""
    result: list[Node] = []
    text: list[str] = []
    listings: list[str] = []
    markers: dict[int, str] = {}
    captions = _captions(page, kept)
    previous: tuple[int, int, int, int] | None = None

    def end_text() -> None:
        joined = _paragraphs("".join(text))
        text.clear()
        if joined:
            result.append(Text(joined))

    for index, block in enumerate(page.blocks):
        if not kept[index] and not any(piece in chosen_pictures for piece in block.pieces if isinstance(piece, int)):
            continue
        near = _near(page, index)
        separator = _separator(page, previous, near, index)
        first = True
        words = [place for place, piece in enumerate(block.pieces) if isinstance(piece, str) and piece.strip()]
        for place, piece in enumerate(block.pieces):
            if isinstance(piece, int):
                if piece not in chosen_pictures:
                    continue
                inside = kept[index] and bool(words) and words[0] < place < words[-1]
                within = _white_space(block.pieces, place) if inside else None
                image = _image(page, page.pictures[piece], captions, base, within)
                if image is None:
                    continue
                end_text()
                result.append(image)
            elif kept[index] and piece:
                if first and piece.strip():
                    # an image or nothing before: the first cell with text is no second one
                    separator = separator if text else ""
                    if separator:
                        text.append(separator)
                    if separator != " | " and (item := _started_item(page, index)) >= 0:
                        text.append(marker(page, item, markers))
                    first = False
                    previous = near
                if block.state & PREFORMATTED:
                    listings.append(piece)
                if near[2] >= 0:
                    piece = piece.replace("\n", " ")
                if not block.state & PREFORMATTED and (not text or text[-1].endswith("\n")):
                    piece = piece.lstrip(" ")
                text.append(piece)
    end_text()
    return tuple(result), tuple(listings)


def left_out(page: Page) -> tuple[tuple[str, int], ...]:
    """How many images of a page were left out under each rule."""
    return tuple(sorted(Counter(picture.left_out for picture in page.pictures if picture.left_out).items()))


def inline_svg(page: Page, kept: Sequence[bool]) -> int:
    """How many svg elements are in a kept block, or right before one."""
    return sum(
        tag == "svg" and block < len(kept) and kept[block] and not state & HIDDEN
        for tag, block, state in zip(page.tags, page.first, page.states, strict=True)
    )


def _separator(page: Page, a: tuple[int, ...] | None, b: tuple[int, ...], index: int) -> str:
    """The separator of two blocks: for cells of a row, lines of a list or a table, or paragraphs."""
    if a is None:
        return ""
    if a[2] >= 0 and b[2] >= 0 and a[2] != b[2]:
        if a[1] == b[1]:
            return " | "
        if page.parents[a[1]] == page.parents[b[1]] or a[0] == b[0]:
            return "\n"
    if a[3] >= 0 and b[3] >= 0 and a[3] != b[3] and _started_item(page, index) >= 0:
        return "\n"
    return "\n\n"


def _near(page: Page, index: int) -> tuple[int, int, int, int]:
    """The nearest table, row, cell and list item around a block, -1 if there is none."""
    table = row = cell = item = -1
    element = page.blocks[index].element
    for _ in range(8):
        if element < 0:
            break
        tag = page.tags[element]
        if tag in _CELLS and cell < 0 and table < 0:
            # a cell of several blocks, or of a listing, is layout, not data
            if page.last[element] - page.first[element] > 1 or page.blocks[index].state & PREFORMATTED:
                break
            cell = element
        elif tag == "tr" and row < 0 and cell >= 0:
            row = element
        elif tag == "table":
            table = element
            break
        elif tag == "li" and item < 0:
            item = element
        element = page.parents[element]
    if row < 0:
        cell = -1
    return table, row, cell, item


def _started_item(page: Page, index: int) -> int:
    """The list item that begins with a block, or -1."""
    element = page.blocks[index].element
    for _ in range(4):
        if element < 0 or page.first[element] != index:
            return -1
        if page.tags[element] == "li":
            return element
        element = page.parents[element]
    return -1


def _paragraphs(text: str) -> str:
    """Text with paragraphs separated by one blank line and no white space at line ends."""
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip()


def _captions(page: Page, kept: Sequence[bool]) -> dict[int, str]:
    """Caption text, by the element that holds image and caption."""
    found: dict[int, list[str]] = {}
    for index, block in enumerate(page.blocks):
        if not kept[index] or not block.chars:
            continue
        element = block.element
        for _ in range(6):
            if element < 0:
                break
            if page.tags[element] == "figcaption" or (
                page.hints[element] & H.CAPTION and page.tags[element] != "figure"
            ):
                holder = page.parents[element]
                up = holder
                for _ in range(4):
                    if up < 0:
                        break
                    if page.tags[up] == "figure":
                        holder = up
                        break
                    up = page.parents[up]
                found.setdefault(holder, []).append(block.text.strip())
                break
            element = page.parents[element]
    return {element: "\n".join(dict.fromkeys(lines)) for element, lines in found.items()}


def _white_space(pieces: Sequence[str | int], place: int) -> str:
    """The white space that separates the words on both sides of an image: none, a space, or a line end."""
    before, after = pieces[place - 1], pieces[place + 1]
    around = "".join(
        [
            before[len(before.rstrip()) :] if isinstance(before, str) else "",
            after[: len(after) - len(after.lstrip())] if isinstance(after, str) else "",
        ]
    )
    return "\n" if "\n" in around else " " if around else ""


def _image(page: Page, picture: Picture, captions: dict[int, str], base: str, within: str | None) -> Image | None:
    urls = image_urls(picture, base)
    if not urls:
        picture.left_out = PLACEHOLDER
        return None
    caption = ""
    element = picture.element
    for _ in range(6):
        if element < 0 or caption:
            break
        caption = captions.get(element, "")
        element = page.parents[element]
    terms = page.stated.of(picture.element, urls, page.parents, base)
    spoken = (resolve(picture.captions, base) if picture.captions else None) or ""
    return Image(urls[0], tuple(urls[1:]), picture.alt, caption, picture.width, picture.height, within, *terms, spoken)


def image_urls(picture: Picture, base: str) -> list[str]:
    """The absolute URLs of an image, best first."""
    offered = with_link(picture.urls, picture.link, picture.width)
    absolute = (data_urls.name(url) if data_urls.is_data(url) else resolve(url, base) for url in offered)
    return [url for url in dict.fromkeys(absolute) if url]
