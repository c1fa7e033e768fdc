"""Which URLs an image element offers for its picture, and which of them to take."""

import re

from lxml import etree

# Attributes that hold the real URL until a script moves it to src, in the order in which they are trusted
LAZY = (
    "data-src",
    "data-lazy-src",
    "data-original",
    "data-lazy",
    "data-url",
    "data-orig-file",
    "data-original-src",
    "data-src-medium",
    "data-hi-res-src",
    "data-large-file",
    "data-full-src",
    "data-image",
    "data-image-src",
    "data-actualsrc",
    "data-echo",
    "data-real-src",
    "data-defer-src",
    "data-delayed-url",
    "data-cfsrc",
    "data-pin-media",
    "data-large_image",
    "data-img-url",
    "data-raw-src",
    "data-runner-src",
    "data-ll-src",
    "data-lzy",
    "data-flickity-lazyload",
    "data-lazyload",
    "data-thumb",
    "lazy-src",
    "lazysrc",
    "file",
)
PLACEHOLDER = "image.placeholder"
"""The rule of a picture that has no URL, or none but a placeholder's."""
_LAZY_RANK = {name: rank for rank, name in enumerate(LAZY)}
LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "lazy-srcset", "data-ll-srcset", "data-bgset")

PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|tiff?|jfif)(?:$|[?#])", re.I)
_PLACEHOLDER = re.compile(
    r"(?:.*[_.-])?(?:blank|spacer|space|pixel|placeholder|transparent|clear|empty|1x1|1px|dot|grey|gray|lazy|lazyload"
    r"|loading|loader|spinner|preload|trans|shim|fallback|default-image|no-?image)(?:[_.-]?\d{0,4}){0,2}"
    r"\.(?:gif|png|svg|jpe?g|webp)$",
    re.I,
)
_EMOJI_CLASS = re.compile(r"emoji|smiley|smilie|emoticon|wp-smiley", re.I)
_INITIAL_CLASS = re.compile(r"drop-?cap|initial", re.I)
_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
    "[\ufe0f\u200d\u20e3\U0001f000-\U0001faff\u2640\u2642\u2764]*$"
)
_NOT_FETCHED = ("data:", "blob:", "about:", "javascript:", "#", "{", "<", "cid:")
_SIZE = re.compile(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*$", re.I)
_STYLE_SIZE = {
    "width": re.compile(r"(?:^|[;\s])width\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
    "height": re.compile(r"(?:^|[;\s])height\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
}
BACKGROUND = re.compile(
    r"background(?:-image)?\s*:[^;]{0,200}?url\(\s*(?:\"([^\"]{1,4096})\"|'([^']{1,4096})'|([^\"')\s]{1,4096}))\s*\)",
    re.I,
)
_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?$")
MAX_SOURCES = 64
"""Candidates that the sources of one picture element may offer together."""


def srcset(value: str) -> list[tuple[str, float, str]]:
    """The candidates of a srcset: (URL, number, "w" | "x" | "h"), after the HTML standard, 4.8.4.2.2.

    A comma inside a URL belongs to it; one at its end does not."""
    found: list[tuple[str, float, str]] = []
    words = value.split()
    position = 0
    while position < len(words):
        url = words[position].lstrip(",")
        position += 1
        if not url:
            continue
        number, unit = 1.0, "x"
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            while position < len(words):
                head, comma, rest = words[position].partition(",")
                if head[-1:] in ("w", "x", "h") and (unit == "x" or head[-1] == "w") and _NUMBER.match(head[:-1]):
                    number, unit = float(head[:-1]), head[-1]
                if rest:  # "a.jpg 1x,b.jpg 2x"
                    words[position] = rest
                else:
                    position += 1
                if comma:
                    break
        if url:
            found.append((url, number, unit))
    return found


def by_size(candidates: list[tuple[str, float, str]], max_width: int, width: int | None) -> list[str]:
    """URLs of srcset candidates, best first: the widest up to `max_width` pixels, then narrower ones, then wider ones.

    A density counts as that many times the declared `width`, or as if that were half of `max_width` where none is."""
    scale = {"w": 1.0, "h": 1.0, "x": float(width or max_width / 2)}
    sized = [(number * scale[unit], index, url) for index, (url, number, unit) in enumerate(candidates)]
    fits = sorted((s for s in sized if s[0] <= max_width), key=lambda s: (-s[0], s[1]))
    over = sorted((s for s in sized if not s[0] <= max_width), key=lambda s: (s[0], s[1]))
    return [url for _, _, url in fits + over]


def dimension(attributes: dict[str, str], name: str) -> int | None:
    """The width or height that an element declares, in CSS pixels."""
    if value := attributes.get(name):
        if len(value) < 6 and value.isascii() and value.isdigit():
            return int(value)
        if match := _SIZE.match(value[:32]):
            return int(match[1])
    if (style := attributes.get("style")) and (match := _STYLE_SIZE[name].search(style[:2000])):
        return int(match[1])
    return None


def is_placeholder(url: str) -> bool:
    """Whether a URL stands in for a picture that a script loads later, or is no picture at all."""
    head = url[:16].lstrip().lower()
    if not head or head.startswith(_NOT_FETCHED) or "{{" in url[:300]:
        return True
    name = url.split("?", 1)[0].split("#", 1)[0].rsplit("/", 1)[-1]
    return len(name) < 100 and bool(_PLACEHOLDER.match(name))


def offered(attributes: dict[str, str], sources: list[tuple[str, float, str]], max_width: int) -> list[str]:
    """Every URL that an image element and the sources of its picture element offer, best first, as written.

    Placeholders are left out, so the list may be empty."""
    candidates = list(sources)
    lazy = []
    for name in attributes:
        if name == "srcset" or name in LAZY_SETS:
            candidates += srcset(attributes[name][:100_000])
        elif name in _LAZY_RANK and looks_like_url(value := attributes[name].strip()):
            lazy.append((_LAZY_RANK[name], value))
    urls = by_size(candidates, max_width, dimension(attributes, "width")) if candidates else []
    urls += [value for _, value in sorted(lazy)]
    source = attributes.get("src", "").strip()
    if source:
        urls.append(source)
    if not urls or all(map(is_placeholder, urls)):
        # other sites' own lazy attributes: whatever holds the name of a picture file
        for name, value in attributes.items():
            if name not in ("alt", "title", "style", "class", "id", "src") and PICTURE_FILE.search(value[-300:]):
                if " " in value.strip():
                    urls += by_size(srcset(value[:100_000]), max_width, dimension(attributes, "width"))
                else:
                    urls.append(value.strip())
    return [url for url in dict.fromkeys(urls) if not is_placeholder(url)]


def stands_for_text(alt: str, label: str) -> bool:
    """Whether a picture is a character that was drawn: an emoji, or the initial of a paragraph. `label` is its classes
    and id."""
    if len(alt) == 1 and alt.isalpha() and _INITIAL_CLASS.search(label):
        return True
    return len(alt) <= 32 and bool(_EMOJI.match(alt) or _EMOJI_CLASS.search(label))


def is_picture_file(url: str) -> bool:
    """Whether a URL names a picture file, and not a page about one as `/wiki/File:Lamp.jpg` does."""
    return bool(PICTURE_FILE.search(url[-300:])) and ":" not in url.rsplit("/", 1)[-1]


def looks_like_url(value: str) -> bool:
    """Whether an attribute's value is a URL rather than JSON, a number or a flag."""
    return (
        value[:1] not in ("{", "[") and " " not in value and ("/" in value or bool(PICTURE_FILE.search(value[-300:])))
    )


class _Elements:
    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "img":
            self.found.append(dict(attributes))

    def close(self) -> list[dict[str, str]]:
        return self.found


def elements(markup: str) -> list[dict[str, str]]:
    """The attributes of the img elements in the first 100,000 characters of a piece of HTML."""
    target = _Elements()
    try:
        etree.fromstring(markup[:100_000].encode("utf-8", "replace"), etree.HTMLParser(target=target, encoding="utf-8"))
    except etree.XMLSyntaxError:
        return []
    return target.found
