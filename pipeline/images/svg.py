"""SVG: its size, and its pixels, rendered by resvg in a separate process with limits on time and memory.

resvg runs no scripts and has no network code. It does read local files named by image elements, and a few hundred bytes
can crash it (deep nesting overflows its stack) or keep it busy. Text is drawn with the font inside Pillow, which is the
same on every machine and has the ASCII characters and few others."""

import html
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from PIL import ImageFont

CONFINED, RENDERER = (Path(__file__).with_name(name) for name in ("confined.py", "svg_renderer.py"))
SECONDS = 30
"""A renderer is killed after this many seconds; it may use 5 seconds of CPU time (svg_renderer.py)."""
HEAD_BYTES = 1 << 16
# These patterns take linear time on any bytes, up to the 20 MB of a file.
_ROOT = re.compile(rb"<(?:\w{1,40}:)?svg(?=[\s>/])", re.IGNORECASE)
_ATTRIBUTES = re.compile(rb"(?:[^>\"']|\"[^\"]*+\"|'[^']*+')*+>")
_ATTRIBUTE = re.compile(rb"(?<=[\s\"'])(width|height|viewBox)\s*=\s*[\"']([^\"']*)[\"']")
_LENGTH = re.compile(r"\s*\+?(\d*\.?\d+(?:e[+-]?\d+)?)(px|pt|pc|mm|cm|in|em|ex|)\s*", re.IGNORECASE)
_TEXT = re.compile(rb"<(?:\w{1,40}:)?text[\s>/]")
_FOREIGN = re.compile(rb"<(?:\w{1,40}:)?foreignObject[\s>/]")
_PLAIN_ENTITY = re.compile(rb"<!ENTITY\s{1,99}[\w.-]{1,99}\s{1,99}(?:\"[^\"<&]*+\"|'[^'<&]*+')\s{,99}>")
_INSIDE = rb"#|data:image/(?:png|jpeg|gif|webp)[;,]"
_OUTSIDE = re.compile(
    rb"(href\s*+=\s*+)(?:\"(?!%(inside)b)[^\"]*+\"|'(?!%(inside)b)[^']*+')" % {b"inside": _INSIDE}, re.IGNORECASE
)
_NO_GLYPH = re.compile("[^\\s -~©«°±´·»‘’“”…‹›⁄™]")
# CSS Values 4, section 6.2; em and ex as in resvg without a font
_UNITS = {"px": 1, "": 1, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 960 / 25.4, "in": 96, "em": 16, "ex": 8}


def obstacle(data: bytes) -> str | None:
    """What part of an SVG cannot be drawn, None if all can."""
    if data.count(b"<!ENTITY") != len(_PLAIN_ENTITY.findall(data)):
        return "external entities or markup in them"
    if _FOREIGN.search(data):
        return "foreignObject"
    if _TEXT.search(data) and _NO_GLYPH.search(html.unescape(decoded(_without_comments(data)))):
        return "text beyond ASCII"
    return None


def _without_comments(data: bytes) -> bytes:
    first, *others = data.split(b"<!--")
    return first + b"".join(other.partition(b"-->")[2] for other in others)


def decoded(data: bytes) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


@cache
def _font() -> int:
    """A file descriptor of the font inside Pillow, in a file without a name."""
    font = ImageFont.load_default(16)
    assert isinstance(font, ImageFont.FreeTypeFont)
    file, name = tempfile.mkstemp()
    Path(name).unlink()
    os.write(file, font.font_bytes)
    return file


def size(data: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels: the root's, else those of its viewBox; (0, 0) if both are missing."""
    head = _without_comments(data[:HEAD_BYTES])
    root = _ROOT.search(head)
    attributes = root and _ATTRIBUTES.match(head, root.end())
    found = _ATTRIBUTE.findall(attributes[0]) if attributes else []
    said = {name: value.decode("latin-1") for name, value in found}
    width, height = (_pixels(said.get(name, "")) for name in (b"width", b"height"))
    box = re.split(r"[\s,]+", said.get(b"viewBox", "").strip())
    across, down = (_pixels(value) for value in box[2:]) if len(box) == 4 else (0, 0)
    if across and down:
        if not width and not height:
            width, height = across, down
        width, height = width or height * across / down, height or width * down / across
    width, height = (max(1, round(side)) if 0 < side < 1e9 else 0 for side in (width, height))
    return width, height


def _pixels(value: str) -> float:
    """A CSS length in pixels; 0 if missing and for percentages."""
    found = _LENGTH.fullmatch(value)
    return float(found[1]) * _UNITS[found[2].lower()] if found else 0.0


def png(data: bytes, width: int, height: int) -> bytes:
    """Render an SVG to a PNG file of a size in pixels, one of which may differ by rounding. Raises ValueError."""
    source = decoded(_OUTSIDE.sub(rb'\1""', data)).encode()  # references to anything outside are emptied
    font = _font()
    command = [sys.executable, "-I", str(CONFINED), str(RENDERER), str(width), str(height), f"/dev/fd/{font}"]
    try:
        done = subprocess.run(
            command, input=source, capture_output=True, timeout=SECONDS, cwd="/", env={}, pass_fds=(font,)
        )
    except subprocess.TimeoutExpired:
        raise ValueError("not rendered in time") from None
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip()[:100] if done.returncode == 1 else "not rendered")
    return done.stdout
