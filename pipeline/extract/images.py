"""Which URLs an image element offers for its picture, and which of them to take."""

import re

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
LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "lazy-srcset", "data-ll-srcset", "data-bgset")

PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|tiff?|jfif)(?:$|[?#])", re.I)
_PLACEHOLDER = re.compile(
    r"(?:^|[/_.-])(?:blank|spacer|space|pixel|placeholder|transparent|clear|empty|1x1|1px|dot|grey|gray|lazy|lazyload|lazy-load"
    r"|loading|loader|spinner|preload|ajax-loader|trans|shim|fallback|default-image|no-?image)(?:[_.-]?\d{0,4}){0,2}"
    r"\.(?:gif|png|svg|jpe?g|webp)(?:$|[?#])",
    re.I,
)
_SIZE = re.compile(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*$", re.I)
_STYLE_SIZE = {
    "width": re.compile(r"(?:^|[;\s])width\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
    "height": re.compile(r"(?:^|[;\s])height\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
}
BACKGROUND = re.compile(
    r"background(?:-image)?\s*:[^;]{0,200}?url\(\s*(?:\"([^\"]{1,4096})\"|'([^']{1,4096})'|([^\"')\s]{1,4096}))\s*\)",
    re.I,
)
_SPACE = "\t\n\f\r "


def srcset(value: str) -> list[tuple[str, float, str]]:
    """The candidates of a srcset: (URL, number, "w" | "x" | "h"), after the HTML standard, 4.8.4.2.2.

    A comma inside a URL belongs to it; one at its end does not."""
    found: list[tuple[str, float, str]] = []
    position, end = 0, len(value)
    while position < end:
        while position < end and value[position] in _SPACE + ",":
            position += 1
        start = position
        while position < end and value[position] not in _SPACE:
            position += 1
        url = value[start:position]
        if not url:
            break
        if url.startswith("data:") and not url.endswith(","):
            pass
        descriptors = ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            stop = value.find(",", position)
            stop = end if stop < 0 else stop
            descriptors = value[position:stop].strip()
            position = stop + 1
        number, unit = 1.0, "x"
        for word in descriptors.split()[:4]:
            if word[-1:] in ("w", "x", "h") and (unit == "x" or word[-1] == "w"):
                try:
                    number, unit = float(word[:-1]), word[-1]
                except ValueError:
                    continue
        if url:
            found.append((url, number, unit))
    # scripts join candidates as "a.jpg 1x,b.jpg 2x" as well as "a.jpg,b.jpg"; the second form is one URL to a browser,
    # and to us unless both halves are absolute
    out: list[tuple[str, float, str]] = []
    for url, number, unit in found:
        parts = re.split(r",(?=https?://)", url) if ",http" in url and not url.startswith("data:") else [url]
        out += [(part, number, unit) for part in parts]
    return out


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
    if (value := attributes.get(name)) and (match := _SIZE.match(value[:32])):
        return int(match[1])
    if (style := attributes.get("style")) and (match := _STYLE_SIZE[name].search(style[:2000])):
        return int(match[1])
    return None


def is_placeholder(url: str) -> bool:
    """Whether a URL stands in for a picture that a script loads later, or is no picture at all."""
    head = url[:16].lstrip().lower()
    return (
        head.startswith(("data:", "blob:", "about:", "javascript:", "#", "{", "<", "cid:"))
        or not head
        or "{{" in url[:300]
        or bool(_PLACEHOLDER.search(url[-300:]))
    )


def offered(attributes: dict[str, str], sources: list[tuple[str, float, str]], max_width: int) -> list[str]:
    """Every URL that an image element and the sources of its picture element offer, best first, as written.

    Placeholders are left out, so the list may be empty."""
    width = dimension(attributes, "width")
    candidates = list(sources)
    for name in ("srcset", *LAZY_SETS):
        if value := attributes.get(name):
            candidates += srcset(value[:100_000])
    urls = by_size(candidates, max_width, width) if candidates else []
    for name in LAZY:
        if name in attributes and (value := attributes[name].strip()) and looks_like_url(value):
            urls.append(value)
    source = attributes.get("src", "").strip()
    if source:
        urls.append(source)
    if not urls or all(map(is_placeholder, urls)):
        # other sites' own lazy attributes: whatever holds the name of a picture file
        for name, value in attributes.items():
            if name not in ("alt", "title", "style", "class", "id", "src") and PICTURE_FILE.search(value[-300:]):
                if " " in value.strip():
                    urls += by_size(srcset(value[:100_000]), max_width, width)
                else:
                    urls.append(value.strip())
    return [url for url in dict.fromkeys(urls) if not is_placeholder(url)]


def is_picture_file(url: str) -> bool:
    """Whether a URL names a picture file, and not a page about one as `/wiki/File:Lamp.jpg` does."""
    return bool(PICTURE_FILE.search(url[-300:])) and ":" not in url.rsplit("/", 1)[-1]


def looks_like_url(value: str) -> bool:
    """Whether an attribute's value is a URL rather than JSON, a number or a flag."""
    return (
        value[:1] not in ("{", "[") and " " not in value and ("/" in value or bool(PICTURE_FILE.search(value[-300:])))
    )
