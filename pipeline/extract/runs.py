"""Convert a run (the text and images between two block boundaries) to the pieces of a block."""

import re

_DROPPED_CHARACTERS = re.compile("[\u00ad\ufeff\u2060\u200e\u200f]")


def pieces_of(run: list[str | int], preformatted: bool) -> tuple[list[str | int], str]:
    """The pieces of a run with images (by index), and its text. Adjacent texts become one piece."""
    pieces: list[str | int] = []
    texts: list[str] = []
    for piece in run:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if texts:
            pieces.append(normalised("".join(texts), preformatted))
            texts = []
        pieces.append(piece)
    if texts:
        pieces.append(normalised("".join(texts), preformatted))
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
    return " ".join((text if text.isascii() else _DROPPED_CHARACTERS.sub("", text)).split())


def normalised(text: str, preformatted: bool) -> str:
    """White space as a browser shows it: runs become one space, line breaks stay, two or more make a paragraph."""
    if not text.isascii():
        text = _DROPPED_CHARACTERS.sub("", text)
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
