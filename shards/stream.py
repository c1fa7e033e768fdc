"""A document as one token stream: the only place where text and images become token ids.

Windows, online sampling, few-shot prompts and exports all take their tokens from `token_stream`.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from shards.records import Text
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER, Tokenizer

SENTENCE, PARAGRAPH = 1, 2

# a stretch of tokens: ids, begins, breaks and words as in Stream
Run = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_EMPTY: Run = np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.uint8), np.zeros(0, bool)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The n tokens of a document.

    ids: (n,) int32. begins: (n,) bool, whether a window may start at the token: at an `<image>`, or at the start of a
    word or a CJK character. breaks: (n,) uint8: PARAGRAPH at an `<image>` and where a paragraph starts, SENTENCE where
    a line or a sentence does, else 0. words: (n,) bool, whether the token contains a letter or a digit. images: (k,)
    int32, positions of the `<image>` tokens, ascending. image_nodes: (k,) int32, index of each image among the
    document's nodes. nodes: (number of nodes + 1,) int32: node i owns the tokens nodes[i] to nodes[i + 1]. An EOC
    belongs to the node before it.
    """

    ids: np.ndarray
    begins: np.ndarray
    breaks: np.ndarray
    words: np.ndarray
    images: np.ndarray
    image_nodes: np.ndarray
    nodes: np.ndarray
    image_id: int
    eoc_id: int

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> "Stream":
        """The tokens `start` to `stop` as a separate stream, with positions from 0."""
        inside = slice(*np.searchsorted(self.images, (start, stop)))
        return Stream(
            ids=self.ids[start:stop],
            begins=self.begins[start:stop],
            breaks=self.breaks[start:stop],
            words=self.words[start:stop],
            images=self.images[inside] - np.int32(start),
            image_nodes=self.image_nodes[inside],
            nodes=np.clip(self.nodes, start, stop) - np.int32(start),
            image_id=self.image_id,
            eoc_id=self.eoc_id,
        )

    def is_text(self) -> np.ndarray:
        """(n,) bool, true for tokens other than `<image>` and EOC."""
        return (self.ids != self.image_id) & (self.ids != self.eoc_id)


def token_stream(nodes: Sequence[object], tokenizer: Tokenizer, *, close: bool = True) -> Stream:
    """The token stream of a document's `nodes`, each a `Text` or else an image.

    White space beside a marker is dropped. An EOC precedes every image that has text before it in the document and,
    unless `close` is false (for a prompt to be continued), ends the document. Texts without an image between them are
    paragraphs, joined by a blank line. A text of white space only is ignored.
    """
    runs: list[Run] = []
    images: list[int] = []
    image_nodes: list[int] = []
    starts: list[int] = []
    length = 0
    has_text = after_text = False

    def append(run: Run) -> None:
        nonlocal length
        runs.append(run)
        length += len(run[0])

    for index, node in enumerate(nodes):
        if not isinstance(node, Text):
            if has_text:
                append(_marker(tokenizer.eoc_id, False))
            starts.append(length)
            images.append(length)
            image_nodes.append(index)
            append(_marker(tokenizer.image_id, True))
            after_text = False
            continue
        starts.append(length)
        text = node.text.strip()
        if not text:
            continue
        append(_encode("\n\n" + text if after_text else text, tokenizer))
        has_text = after_text = True
    if length and close:
        append(_marker(tokenizer.eoc_id, False))
    ids, begins, breaks, words = (np.concatenate(column) for column in zip(_EMPTY, *runs, strict=True))
    return Stream(
        ids=ids,
        begins=begins,
        breaks=breaks,
        words=words,
        images=np.array(images, np.int32),
        image_nodes=np.array(image_nodes, np.int32),
        nodes=np.array([*starts, length], np.int32),
        image_id=tokenizer.image_id,
        eoc_id=tokenizer.eoc_id,
    )


def _marker(token: int, is_image: bool) -> Run:
    breaks = np.array([PARAGRAPH if is_image else 0], np.uint8)
    return np.array([token], np.int32), np.array([is_image]), breaks, np.zeros(1, bool)


def render(ids: Sequence[int] | np.ndarray, tokenizer: Tokenizer) -> str:
    """`ids` as readable text, with `<image>` and `<|endofchunk|>` for the markers.

    If the page's text contains such a string, U+200B is inserted after its `<`, so every marker in the result is real.
    Bytes of a character that the last token leaves incomplete are not shown."""
    ids = np.asarray(ids)
    markers = np.flatnonzero((ids == tokenizer.image_id) | (ids == tokenizer.eoc_id)).tolist()
    parts: list[str] = []
    start = 0
    for position in [*markers, len(ids)]:
        if position > start:
            text = tokenizer.decode(ids[start:position])
            if position == len(ids):
                text = text.rstrip("\ufffd")
            for literal in (IMAGE_MARKER, EOC_MARKER):
                text = text.replace(literal, literal[0] + "\u200b" + literal[1:])
            parts.append(text)
        if position < len(ids):
            parts.append(IMAGE_MARKER if ids[position] == tokenizer.image_id else EOC_MARKER)
        start = position + 1
    return "".join(parts)


_SPACE, _MODIFIER, _CJK, _ALPHANUMERIC = 1, 2, 3, 4
_TABLE_SIZE = 0x32000  # there are no letters, digits or spaces beyond it


@cache
def _character_classes() -> np.ndarray:
    """(_TABLE_SIZE,) uint8, the class of each code point. CJK are letters of scripts without spaces whose every
    character starts a readable unit: Han, kana and Bopomofo. Length and repetition marks (category Lm) start nothing.
    Thai, Lao, Khmer and Burmese, whose word boundaries need a dictionary, count like spaced scripts: a window starts at
    a phrase."""
    classes = np.zeros(_TABLE_SIZE, np.uint8)
    for code in range(_TABLE_SIZE):
        character = chr(code)
        if character.isspace() or code == 0x200B:
            classes[code] = _SPACE
        elif character.isalnum():
            classes[code] = _MODIFIER if unicodedata.category(character) == "Lm" else _ALPHANUMERIC
    for first, last in (
        (0x3006, 0x3007), (0x3041, 0x3096), (0x309F, 0x309F), (0x30A1, 0x30FA), (0x30FF, 0x30FF), (0x3105, 0x312F),
        (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF6F),
        (0xFF71, 0xFF9D), (0x1B000, 0x1B16F), (0x20000, 0x31FFF),
    ):  # fmt: skip
        classes[first : last + 1] = _CJK
    return classes


def _word_starts(classes: np.ndarray) -> np.ndarray:
    """(characters,) bool: the first character after white space, each CJK character, a letter or digit after one."""
    before = np.concatenate([np.array([_SPACE], np.uint8), classes[:-1]])
    return (classes != _SPACE) & (
        (before == _SPACE) | (classes == _CJK) | ((before == _CJK) & (classes == _ALPHANUMERIC))
    )


_ENDS = ".!?\u2026\u061f\u06d4\u0964\u0965\u3002\uff01\uff0e\uff1f\uff61"
_WIDE_ENDS = "\u3002\uff01\uff0e\uff1f\uff61"
"""Ends of sentences, and those that no space follows."""
_CLOSERS = "\"')]}\u00bb\u2019\u201d\u300d\u300f\u3011\uff09"
"""Quotes and brackets that may follow the end of a sentence."""


_END, _WIDE_END, _CLOSER = 1, 2, 4
_MARKS_SIZE = 0x10000


@cache
def _marks() -> np.ndarray:
    """(_MARKS_SIZE,) uint8, which of _ENDS, _WIDE_ENDS and _CLOSERS each code point is in; none beyond is in any."""
    marks = np.zeros(_MARKS_SIZE, np.uint8)
    for bit, characters in ((_END, _ENDS), (_WIDE_END, _WIDE_ENDS), (_CLOSER, _CLOSERS)):
        marks[[ord(character) for character in characters]] |= bit
    return marks


def _breaks(codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(characters + 1,) uint8: PARAGRAPH, SENTENCE or 0 for a word that starts at each character. A sentence starts
    after a full stop, quotes and brackets aside, unless with a small letter, and a line starts like a sentence."""
    size = len(codes)
    places = np.arange(size)
    newline = codes == 10
    marks = _marks()[np.minimum(codes, _MARKS_SIZE - 1)]
    solid = classes != _SPACE
    before = np.concatenate([[-1], np.maximum.accumulate(np.where(solid, places, -1))[:-1]])
    content = np.concatenate([[-1], np.maximum.accumulate(np.where(solid & (marks & _CLOSER == 0), places, -1))[:-1]])
    last = marks[np.maximum(content, 0)]
    spaced = (before < places - 1) | (last & _WIDE_END > 0)
    ended = (content >= 0) & (last & _END > 0) & spaced
    small = np.zeros(size, bool)
    small[ended] = [chr(code).islower() for code in codes[ended].tolist()]
    lines = np.concatenate([[0], np.cumsum(newline)])
    new_lines = lines[places] - lines[np.maximum(before, 0)]
    found = np.where((ended & ~small) | (new_lines > 0), np.uint8(SENTENCE), np.uint8(0))
    found[(new_lines > 1) | (before < 0)] = PARAGRAPH
    return np.append(found, np.uint8(0))


def _encode(text: str, tokenizer: Tokenizer) -> Run:
    """Token ids of `text`, and for each token whether a word starts there, whether a paragraph or a sentence does, and
    whether it contains a letter or digit."""
    ids, offsets = tokenizer.encode_with_offsets(text)
    if not len(ids):
        return _EMPTY
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    table = _character_classes()
    classes = np.where(codes < _TABLE_SIZE, table[np.minimum(codes, _TABLE_SIZE - 1)], np.uint8(0))
    size = len(codes)
    first, stop = np.minimum(offsets[:, 0], size), np.minimum(offsets[:, 1], size)
    # The first non-space character at or after each one: the space before a word is part of its token.
    solid = np.where(classes != _SPACE, np.arange(size, dtype=np.int32), np.int32(size))
    solid = np.append(np.minimum.accumulate(solid[::-1])[::-1], np.int32(size))[first]
    starts = np.append(_word_starts(classes), False)
    ends_before = np.concatenate([[0], np.maximum.accumulate(stop)[:-1]])
    begins = (solid < stop) & (first >= ends_before) & starts[solid]
    breaks = np.where(begins, _breaks(codes, classes)[solid], np.uint8(0))
    letters = np.concatenate([np.zeros(1, np.int32), np.cumsum(classes >= _MODIFIER, dtype=np.int32)])
    words = letters[np.maximum(stop, first)] > letters[first]
    return ids, begins, breaks, words
