"""Convert a run (the text and images between two block boundaries) to the pieces of a block."""

import re

from pipeline.extract.scripts import resolved

# Thai, Lao, Burmese and Khmer set no spaces between words; a zero-width space says where a line may break
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"
# What no reader sees: controls, soft hyphens, marks of direction, noncharacters, and tags but those of flags. Joiners
# (U+200C, U+200D) make other letters of those beside them, and stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]"
    f"|(?<![{_UNSPACED}])\u200b(?![{_UNSPACED}])"
    "|(?<!\U0001f3f4)(?<![\U000e0020-\U000e007e])[\U000e0000-\U000e007f]+"
)


def seen(text: str) -> str:
    """The text without invisible characters."""
    return text if text.isprintable() else _UNSEEN.sub("", text)


def one_line(text: str) -> str:
    """The text of an attribute or a title, in one line."""
    return " ".join(seen(text).split())


def pieces_of(run: list[str | int], preformatted: bool, marked: bool = False) -> tuple[list[str | int], str]:
    """The pieces of a run with images (by index), and its text. Adjacent texts become one piece.
    `marked`: the run holds marks of scripts.py."""
    pieces: list[str | int] = []
    texts: list[str] = []
    written = resolved if marked else str
    for piece in run:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if texts:
            pieces.append(normalised(written("".join(texts)), preformatted))
            texts = []
        pieces.append(piece)
    if texts:
        pieces.append(normalised(written("".join(texts)), preformatted))
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    if not text.strip():
        return [piece for piece in pieces if isinstance(piece, int)], ""
    return pieces, text


def trimmed(text: str, preformatted: bool) -> str:
    """The text of a run without images, without surrounding white space; the first line of a listing stays indented."""
    if preformatted:
        text = normalised(text, True).rstrip()
        return text if text and not text.isspace() else ""
    if "\n" in text:
        text = normalised(text, False).strip(" ")
        return "" if text.isspace() else text
    line = " ".join(text.split())
    return line if line.isprintable() else " ".join(seen(text).split())


def normalised(text: str, preformatted: bool) -> str:
    """White space as a browser shows it: runs become one space, line breaks stay, two or more make a paragraph."""
    text = seen(text)
    if preformatted:
        lines = [line.rstrip() for line in text.expandtabs(4).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
    if "\n" not in text:
        stripped = " ".join(text.split())
        if not stripped:
            return " " if text else ""
        return (" " if text[0].isspace() else "") + stripped + (" " if text[-1].isspace() else "")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    lead = "\n" if not lines[0] else (" " if text[0].isspace() else "")
    trail = "\n" if not lines[-1] else (" " if text[-1].isspace() else "")
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n"))
    return lead + joined + trail if joined else "\n"
