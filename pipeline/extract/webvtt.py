"""The text of captions: WebVTT files (W3C, Web Video Text Tracks Format).

Parsers on PyPI stop at a malformed cue, where browsers show the others, and leave character references as they are."""

import html
import re

_SIGNATURE = re.compile(rb"(?:\xef\xbb\xbf)?WEBVTT(?:[ \t\r\n]|$)")
_MARKUP = re.compile(r"<[^>]*>?")
_TIMES = "-->"


def is_captions(data: bytes) -> bool:
    """Whether a file is WebVTT; servers send it under several types."""
    return _SIGNATURE.match(data) is not None


def spoken(data: bytes) -> str:
    """The text of all cues in order, as one paragraph: without times, settings, comments, styles and markup. Lines that
    a cue repeats from the one before, as captions that roll up do, are said once."""
    said: list[str] = []
    earlier = set[str]()
    text = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    for block in re.split(r"\n{2,}", text):
        lines = block.split("\n")
        times = next((number for number, line in enumerate(lines[:2]) if _TIMES in line), None)
        if times is None:
            continue  # the head, a comment, a style
        shown = [" ".join(html.unescape(_MARKUP.sub("", line)).split()) for line in lines[times + 1 :]]
        shown = [line for line in shown if line]
        said += [line for line in shown if line not in earlier]
        earlier = set(shown)
    return " ".join(said)
