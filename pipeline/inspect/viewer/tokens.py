"""A window's text by image and by token: what a model sees where."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.inspect.samples import harmless
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER, Tokenizer


class Token(NamedTuple):
    """Some tokens that spell whole characters: their text, position, and ids."""

    text: str
    position: int
    ids: list[int]


class Segment(NamedTuple):
    """What follows image `image` (1, 2, ...; 0: text before the first) up to the next: as text, or as tokens. A token
    sees the last image before it, and none if there is none."""

    image: int
    text: str
    tokens: list[Token]


def segments(row: dict[str, Any]) -> list[Segment]:
    # a literal marker of the page's text is broken by U+200B, so the remaining ones are markers
    return [Segment(number, text, []) for number, text in enumerate(row["text"].split(IMAGE_MARKER))]


def pieces(row: dict[str, Any], tokenizer: Tokenizer) -> list[Segment]:
    """The segments of a window by token."""
    found = [Segment(0, "", [])]
    for token in _spelled(list(row["input_ids"]), tokenizer):
        if token.ids == [tokenizer.image_id]:
            found.append(Segment(len(found), "", []))
        else:
            found[-1].tokens.append(token)
    return found


def _spelled(ids: list[int], tokenizer: Tokenizer) -> Iterator[Token]:
    """Each token's text; tokens that share a character together."""
    start = run = 0  # where the open token and the run of text tokens begin
    before = ""
    for index, id in enumerate(ids):
        if id in (tokenizer.image_id, tokenizer.eoc_id):
            if start < index:
                yield Token("�", start, ids[start:index])
            yield Token("¶" if id == tokenizer.eoc_id else "", index, [id])
            start, run, before = index + 1, index + 1, ""
            continue
        text = tokenizer.decode(ids[run : index + 1])
        if text.endswith("\ufffd") and index - start < 8:
            continue
        piece = text[len(before) :] if text.startswith(before) else tokenizer.decode(ids[start : index + 1])
        yield Token(harmless(piece), start, ids[start : index + 1])
        start, before = index + 1, text
    if start < len(ids):
        yield Token("�", start, ids[start:])


__all__ = ["EOC_MARKER", "Segment", "Token", "pieces", "segments"]
