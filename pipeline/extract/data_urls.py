"""Images that are part of a page: `data:` URLs (RFC 2397)."""

import binascii
import re
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from pipeline.images.header import UNSUPPORTED, ImageDropped, read_header
from shards.records import EMBEDDED

SHORT = 4096
"""Maximum characters of a `data:` URL that counts as a placeholder or preview if the image has other URLs."""
MIN_SIDE = 64  # pixels; a smaller one beside the URL of an image is a preview of it
MAX_ICON = 32  # pixels of the longer side; no larger ones are icons or placeholders
_HEAD = re.compile(r"\s*data:(?:image/[\w.+-]{1,60})?((?:;[^,;]{0,100}){0,8}),", re.I)
_DRAWN = re.compile(rb"<(?:\w+:)?(?:path|rect|circle|ellipse|line|poly\w+|text|image|use)\b", re.I)


def is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def read(url: str) -> bytes | None:
    """The bytes of a `data:` URL that may be an image; None for another media type or a wrong coding."""
    head = _HEAD.match(url[:1000])
    if head is None:
        return None
    body = unquote_to_bytes(url[head.end() :].partition("#")[0])
    if head[1].lower().replace(" ", "").endswith(";base64"):
        try:
            body = binascii.a2b_base64(body + b"==")
        except ValueError:
            return None
    return body or None


def name(url: str) -> str | None:
    """The name of a `data:` URL in a document: the hash of its bytes; None if it has none."""
    body = read(url)
    return None if body is None else EMBEDDED + sha256(body).hexdigest()


def is_picture(url: str, *, alone: bool) -> bool:
    """Whether a `data:` URL is an image: larger than an icon if the page has nothing else (`alone`), larger than a
    preview if there are other URLs."""
    if alone:
        return len(url) > SHORT or _draws(url)
    return len(url) > SHORT and _shorter_side(url) >= MIN_SIDE


def _shorter_side(url: str) -> int:
    try:
        header = read_header(read(url) or b"")
    except ImageDropped:
        return 0
    return min(header.width, header.height)


@lru_cache(maxsize=1000)
def _draws(url: str) -> bool:
    body = read(url)
    if body is None:
        return False
    try:
        header = read_header(body)
    except ImageDropped as error:
        return error.rule_id == UNSUPPORTED and (b"<svg" not in body or _DRAWN.search(body) is not None)
    return max(header.width, header.height) > MAX_ICON
