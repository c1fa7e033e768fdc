"""The URLs an image element offers, and which of them to use."""

import json
import re
from dataclasses import dataclass, field

from lxml import etree

from pipeline.extract import data_urls
from pipeline.extract.runs import one_line

# Attributes that hold the real URL until a script moves it to src, most trusted first
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
"""The rule of an image without a URL of its own."""
_LAZY_RANK = {name: rank for rank, name in enumerate(LAZY)}
LAZY_BACKGROUNDS = ("data-bg", "data-background", "data-background-image", "data-bg-src")
LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "lazy-srcset", "data-ll-srcset", "data-bgset")
_BESIDE_SRC = frozenset(("srcset", *LAZY, *LAZY_SETS))

PICTURE_FILE = re.compile(r"\.(?:jpe?g|png|gif|webp|avif|bmp|tiff?|jfif)(?:$|[?#])", re.I)
# Names of placeholders shown until a script loads the image. A name alone proves nothing (sofa-grey.jpg): it counts
# only if the image itself is named beside it.
_STAND_INS = (
    *("blank", "spacer", "space", "pixel", "placeholder", "transparent", "clear", "empty", "1x1", "1px", "dot", "grey"),
    *("gray", "lazy", "lazyload", "loading", "loader", "spinner", "preload", "trans", "shim", "fallback"),
    *("default-image", "no-image", "noimage"),
)
_STAND_IN = re.compile(
    rf"(?:.*[_.-])?(?:{'|'.join(_STAND_INS)})(?:[_.-]?[0-9]{{0,4}}){{0,2}}\.(?:gif|png|svg|jpe?g|webp)$", re.I
)
_STAND_IN_ENDS = tuple(name.rstrip("0123456789") for name in _STAND_INS)
_MARKUP = re.compile("<img", re.I)
_EMOJI_CLASSES = ("emoji", "smiley", "smilie", "emoticon")
_FORMULA_CLASS = re.compile(r"\b(?:latex|tex|mathtex|ql-img-\S*-formula)(?:\s|$)")
_FORMULA_PICTURE = re.compile(r"/(?:latex\.php\?|mimetex\.cgi|mathtex\.cgi)|//latex\.codecogs\.com/")
_MATH_CLASS, _MATH = re.compile(r"(?:^|\s)math(?:\s|$)"), re.compile(r"[\\^_={}+<>]|^\w$")
_INITIAL_CLASS = re.compile(r"drop-?cap|initial")
_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27bf\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
    "[\ufe0f\u200d\u20e3\U0001f000-\U0001faff\u2640\u2642\u2764]*$"
)
_SMILEY = re.compile(r"[:;=>][’'`]?[-o^]?[()\[\]{}DPpOoSsXx3|/\\*$?]|[:;]-?[()]{2}|\^_?\^|:[a-z][a-z0-9_+-]{1,30}:")
_NOT_FETCHED = ("blob:", "about:", "javascript:", "#", "<", "cid:")
_TEMPLATE = re.compile(
    r"\{\{|\$\{|%7b%7b|<%|(?:\{|%7b)(?!\s*(?:[0-9a-f]{8}-|[0-9a-f]{32}))\s*[\w.:-]{1,64}\s*(?:\}|%7d)", re.I | re.A
)
_UNDECODED = re.compile(r"image/(?!(?:jpe?g|pjpeg|a?png|x-png|webp|gif|avif|bmp|x-ms-bmp)\s*(?:;|$))", re.I)
SCREEN_WIDTH = 1280
"""CSS pixels of the screen for which `media` attributes are evaluated: light, in landscape format."""
_MEDIA_WIDTH = re.compile(r"\(\s*(min|max)-(?:device-)?width\s*:\s*(\d{1,5}(?:\.\d{1,5})?)\s*(px|r?em)?\s*\)")
_OTHER_SCREENS = re.compile(
    r"prefers-color-scheme\s*:\s*dark|prefers-reduced-motion\s*:\s*reduce|\(\s*orientation\s*:\s*portrait"
)
_NOT_SCREENS = re.compile(r"^\s*(?:only\s+)?(?:print|speech|aural|braille|tty|tv|projection)\b")
_SIZE = re.compile(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*$", re.I)
_STYLE_SIZE = {
    "width": re.compile(r"(?:^|[;\s])width\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
    "height": re.compile(r"(?:^|[;\s])height\s*:\s*(\d{1,5})(?:\.\d+)?px", re.I),
}
BACKGROUND = re.compile(
    r"background(?:-image)?\s*:[^;]{0,200}?url\(\s*(?:\"([^\"]{1,4096})\"|'([^']{1,4096})'|([^\"')\s]{1,4096}))\s*\)",
    re.I,
)
_SIZE_SUFFIX, MAX_SUFFIX = re.compile(r"[-_]\d{1,4}x\d{0,4}(\.\w{3,4})$"), 16
_SIZE_PARAMETERS = re.compile(
    r"[&;](?:amp;)?(?:w|h|width|height|maxwidth|maxheight|q|quality|blur|fit|auto|fm|format|dpr|size|resize|s|strip)=[^&;]*",
    re.I,
)
_PIXELS = re.compile(r"(?<![0-9A-Za-z])(?:w_?|width[=,_-]?)?(\d{2,4})(?=x?\d*(?:[^0-9A-Za-z*]|$))")
_SIZE_FOLDER = re.compile(
    r"/(?:(?:max|fit|fill|crop|resized?|scale|sizes?|width|w|height|h)/\d{2,4}(?:/\d{2,4})?|\d{2,4}x\d{2,4})(?=/)", re.I
)
_NOT_DISTINCT = re.compile(r"\d{1,4}x\d{0,4}|%[0-9A-Fa-f]{2}|\.\w{3,4}$")
DISTINCT = 16  # characters of a file's name, without its size and extension
_NUMBER = re.compile(r"\d{1,6}(?:\.\d{1,6})?$")
_WIDTH = re.compile(r"\d{1,6}$")
_SET = re.compile(r"\s\d{1,6}(?:\.\d{1,6})?[wxh]\s*(?:,|$)")
_FILE_NAME = re.compile(
    r"[^\n]{0,200}\.(?:jpe?g|png|gif|webp|avif|bmp|tiff?|svg|heic)|(?:img|dsc[nf]?|pict|pxl|image)[_-]?\d{2,}[\w-]*",
    re.I,
)
_NO_URL = re.compile(
    r"(?:style|class|id|src|srcset|usemap|sizes|on\w+)$|.*(?:\b|_)(?:alt|title|caption|description|name|label)s?\b"
)
MAX_SOURCES = 64
"""Maximum candidates of all sources of one picture element."""
MAX_SET, MAX_JSON = 100_000, 20_000  # characters of an attribute
THUMBNAIL = 200  # declared width in pixels up to which the image behind a link is the better one
CUSTOM = ("-img", "-image")
"""Endings of the names of custom elements that show an image."""
IMAGE_TAGS = frozenset(("img", "image", "graphic", "amp-anim"))
DESCRIBED_TAGS = frozenset(("div", "figure", "span"))
"""Elements that a script fills with the image that JSON in one of DESCRIBING describes."""
DESCRIBING = frozenset((*(name for name in LAZY if name.startswith("data-im")), "data-image-info"))
PICTURE_TAGS = IMAGE_TAGS | {"source", "track", "picture", "video", "object"}
"""Elements known to `PictureElements.shown`, besides CUSTOM ones and DESCRIBED_TAGS."""
_TRACKS = ("captions", "subtitles")
"""Kinds of tracks that hold what is said."""
OF_VIDEO = ("alt", "title", "aria-label", "class", "id", "width", "height", "style")
"""Attributes of a video element that an img has too."""


Candidate = tuple[str, float, str]
"""A URL, a number and its unit: "w", "x" or "h"; "" if browsers skip the candidate."""


def srcset(value: str) -> list[Candidate]:
    """The candidates of a srcset, after the HTML standard, 4.8.4.2.2.

    A comma inside a URL belongs to it; one at its end does not."""
    found: list[Candidate] = []
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
                if head:
                    number, unit = _descriptor(head, number, unit)
                if rest:  # "a.jpg 1x,b.jpg 2x"
                    words[position] = rest
                else:
                    position += 1
                if comma:
                    break
        if url:
            found.append((url, number, unit))
    return found


def _descriptor(text: str, number: float, unit: str) -> tuple[float, str]:
    """The number and unit of a candidate after another descriptor; a width outweighs the others."""
    kind = text[-1]
    if not unit or kind not in "wxh" or not (_WIDTH if kind == "w" else _NUMBER).match(text[:-1]):
        return number, ""
    return (number, unit) if unit == "w" else (float(text[:-1]), kind)


def by_size(candidates: list[Candidate], max_width: int, width: int | None) -> list[str]:
    """URLs of srcset candidates, best first: the widest up to `max_width` pixels, then narrower ones, then wider ones.
    If the widest is less than half of that, the next wider one comes first.

    A density is multiplied by the declared `width`, or by half of `max_width` if none is declared."""
    scale = {"w": 1.0, "h": 1.0, "x": float(width or max_width / 2), "": 0.0}
    sized = [(number * scale[unit], index, url) for index, (url, number, unit) in enumerate(candidates)]
    fits = sorted((s for s in sized if s[0] <= max_width), key=lambda s: (-s[0], s[1]))
    over = sorted((s for s in sized if not s[0] <= max_width), key=lambda s: (s[0], s[1]))
    if over and fits and fits[0][0] < max_width / 2:
        fits.insert(0, over.pop(0))
    return [url for _, _, url in fits + over]


def screen_rank(media: str) -> int | None:
    """0 if the media queries of a source match a screen, 1 if they match only other screens (narrow, dark, ...), None
    if they match none."""
    ranks = []
    for query in media.lower()[:1000].split(","):
        query, negated = query.strip().removeprefix("not "), query.lstrip().startswith("not ")
        if _NOT_SCREENS.match(query):
            if negated:
                ranks.append(0)
            continue
        rank = int(_OTHER_SCREENS.search(query) is not None)
        for bound, number, unit in _MEDIA_WIDTH.findall(query):
            pixels = float(number) * (1 if unit == "px" else 16)
            if not (pixels <= SCREEN_WIDTH if bound == "min" else pixels >= SCREEN_WIDTH):
                rank = 1
        ranks.append(1 - rank if negated else rank)
    return min(ranks, default=None)


def dimension(attributes: dict[str, str], name: str) -> int | None:
    """The declared width or height of an element, in CSS pixels; None for 0, which pages use for "unknown"."""
    if value := attributes.get(name):
        if len(value) < 6 and value.isascii() and value.isdigit():
            return int(value) or None
        if match := _SIZE.match(value[:32]):
            return int(match[1]) or None
    if (style := attributes.get("style")) and (match := _STYLE_SIZE[name].search(style[:2000])):
        return int(match[1]) or None
    return None


def is_reference(url: str) -> bool:
    """Whether a URL can be fetched: not a template for a script, and no other scheme."""
    head = url[:16].lstrip().lower()
    if not head or head.startswith(_NOT_FETCHED):
        return False
    if head.startswith("data:"):
        return True
    return not (("{" in url or "%7" in url or "<%" in url) and _TEMPLATE.search(url[:2000]))


def named_like_stand_in(url: str) -> bool:
    """Whether the file name is that of a placeholder shown until a script loads the image."""
    name = url.split("?", 1)[0].split("#", 1)[0].rsplit("/", 1)[-1]
    # the cheap look at the end of the name spares most URLs the expression
    likely = len(name) < 100 and name.rpartition(".")[0].rstrip("0123456789_.-").lower().endswith(_STAND_IN_ENDS)
    return likely and _STAND_IN.match(name) is not None and not data_urls.is_data(url)


def may_stand_in(url: str) -> bool:
    """Whether a URL may be a placeholder for an image that a script loads later."""
    return data_urls.is_data(url) or named_like_stand_in(url)


@dataclass(slots=True)
class Sources:
    """The candidates of a picture element's sources, by `screen_rank`; 2 for formats that are not decoded."""

    ranked: tuple[list[Candidate], list[Candidate], list[Candidate]] = field(default_factory=lambda: ([], [], []))
    lazy: bool = False
    """Whether a script loads one of them."""
    count: int = 0

    def add(self, attributes: dict[str, str]) -> None:
        """Add a source element; at most MAX_SOURCES candidates are read."""
        rank = screen_rank(attributes["media"]) if attributes.get("media") else 0
        if rank is None:
            return
        if _UNDECODED.match(attributes.get("type", "").strip()):
            rank = 2
        for name in ("srcset", *LAZY_SETS, "data-src", "src"):
            if (value := attributes.get(name)) and self.count < MAX_SOURCES:
                found = srcset(value[:MAX_SET])[: MAX_SOURCES - self.count]
                self.ranked[rank].extend(found)
                self.count += len(found)
                self.lazy = self.lazy or name.startswith("data-")


class PictureElements:
    """The images shown by the elements of a page, given in document order. Both the crawler's requests and the
    references of documents come from here."""

    def __init__(self, max_width: int, videos: bool = False) -> None:
        self.max_width, self.videos = max_width, videos
        self.sources: Sources | None = None  # of the open picture or video element
        self.video: dict[str, str] | None = None  # the open video element, if clips are wanted
        self.tracks: list[tuple[int, str]] = []  # its captions: rank and URL

    def shown(self, tag: str, attributes: dict[str, str]) -> dict[str, str] | None:
        """The attributes of an element that shows an image, in the form of an img's; None if it shows none."""
        if tag == "img":
            return attributes
        if tag in DESCRIBED_TAGS:
            return _described(attributes)
        if tag == "source":
            if self.video is not None:
                self._offer_clip(attributes)
            elif self.sources is not None:
                self.sources.add(attributes)
            return None
        if tag == "track":
            if self.video is not None:
                self._offer_track(attributes)
            return None
        if tag == "picture":
            self.sources = Sources()
            return None
        if tag == "video":
            poster = attributes.get("poster") or attributes.get("data-poster")
            if self.videos:
                told = {name: attributes[name] for name in OF_VIDEO if name in attributes}
                self.video, self.sources, self.tracks = {**told, "src": poster or ""}, Sources(), []
                self._offer_clip(attributes)
                return None
            return {**attributes, "src": poster} if poster else None
        if tag == "object":
            kind, data = attributes.get("type", ""), attributes.get("data", "")
            known = kind.startswith("image/") or (not kind and is_picture_file(data))
            return {**attributes, "src": data} if known else None
        if tag == "image":  # of an svg, or what browsers read as img
            href = attributes.get("href") or attributes.get("xlink:href")
            return {**attributes, "src": href} if href else attributes
        known = tag in IMAGE_TAGS or (
            tag.endswith(CUSTOM) and ("src" in attributes or not _BESIDE_SRC.isdisjoint(attributes))
        )
        return attributes if known else None

    def _offer_clip(self, attributes: dict[str, str]) -> None:
        """Add the file that a video or source element names to those of the open video."""
        kind = attributes.get("type", "").strip().lower()
        if self.sources is None or (kind and not kind.startswith(("video/", "application/ogg"))):
            return  # a playlist, for example
        for name in ("src", "data-src"):
            if (url := attributes.get(name, "").strip()) and len(self.sources.ranked[0]) < MAX_SOURCES:
                self.sources.ranked[0].append((url, 1.0, "x"))

    def _offer_track(self, attributes: dict[str, str]) -> None:
        """Add the captions that a track element names to those of the open video. Captions say all that is heard,
        subtitles are mostly translations; of one kind the one that is shown by default comes first."""
        kind = attributes.get("kind", "subtitles").strip().lower()
        if kind in _TRACKS and (url := attributes.get("src", "").strip()) and len(self.tracks) < MAX_SOURCES:
            self.tracks.append((2 * _TRACKS.index(kind) + ("default" not in attributes), url))

    def captions(self) -> str:
        """The URL of the captions of the video that has just ended, "" without any."""
        tracks, self.tracks = self.tracks, []
        return min(tracks, key=lambda track: track[0])[1] if tracks else ""

    def end_video(self) -> dict[str, str] | None:
        """The end of a video element: its clips, then its poster, in the form of an img; None without any."""
        shown, self.video = self.video, None
        if shown is None or self.sources is None or not (shown["src"] or self.sources.ranked[0]):
            self.sources, self.tracks = None, []
            return None
        return shown

    def end_picture(self) -> None:
        """The end of a picture element."""
        self.sources = None

    def offered(self, attributes: dict[str, str]) -> list[str]:
        """All URLs offered by an image element and the sources of its picture element, best first, as written: what a
        screen shows, lazy attributes, src, other screens, formats that are not decoded, and images in `data:` URLs.

        Placeholders are left out, so the list may be empty."""
        source = attributes.get("src", "").strip()
        plain = self.sources is None and _BESIDE_SRC.isdisjoint(attributes)
        if plain and is_reference(source) and not may_stand_in(source):
            return [source]  # as most do
        sources, self.sources = self.sources or Sources(), None  # a picture element shows its first img
        width = dimension(attributes, "width")
        candidates, lazy = list(sources.ranked[0]), []
        is_lazy = sources.lazy
        for name in attributes:
            if name == "srcset" or name in LAZY_SETS:
                candidates += srcset(attributes[name][:MAX_SET])
                is_lazy = is_lazy or name != "srcset"
            elif name in _LAZY_RANK and (found := self.named(attributes[name], width)):
                lazy.append((_LAZY_RANK[name], found))
        passed_over = [url for url, _, unit in candidates if not unit]
        urls = by_size([known for known in candidates if known[2]], self.max_width, width) if candidates else []
        for _, found in sorted(lazy):
            urls += found
        rest = [*by_size(sources.ranked[1], self.max_width, width), *passed_over]
        rest += by_size(sources.ranked[2], self.max_width, width)
        if not any(is_reference(url) and not may_stand_in(url) for url in (*urls, source, *rest)):
            # site-specific lazy attributes: anything with the path of an image file, or its name if there is no URL
            # beside it
            known = is_reference(source) and not data_urls.is_data(source)
            for name, value in attributes.items():
                if (
                    (value[:1] in ("{", "[") or PICTURE_FILE.search(value[-300:]))
                    and ("/" in value or not known)
                    and not _NO_URL.match(name)
                ):
                    lazy.append((len(LAZY), found := self.named(value, width)))
                    urls += found
        named = [url for url in (*urls, *rest) if is_reference(url) and not data_urls.is_data(url)]
        if source and not (named and (lazy or is_lazy) and named_like_stand_in(source)):
            urls.append(source)
        return chosen([*urls, *rest])

    def named(self, value: str, width: int | None) -> list[str]:
        """The URLs in a lazy attribute: one, which may contain spaces, a srcset, or JSON."""
        value = value.strip()
        if value[:1] in ("{", "["):
            return urls_of_json(value) if "}" in value or "]" in value else []
        if not ("/" in value or PICTURE_FILE.search(value[-300:])):
            return []
        if " " not in value:
            return [value]
        if _SET.search(value[:MAX_SET]):
            return by_size(srcset(value[:MAX_SET]), self.max_width, width)
        return [value] if PICTURE_FILE.search(value[-300:]) else []


def chosen(urls: list[str]) -> list[str]:
    """The references among the URLs of an image, without repeats, `data:` ones last."""
    found = [url for url in dict.fromkeys(urls) if is_reference(url)]
    if not any(map(data_urls.is_data, found)):
        return found
    remote = [url for url in found if not data_urls.is_data(url)]
    # a short one beside a URL is a preview
    return remote + [url for url in found if data_urls.is_data(url) and data_urls.is_picture(url, alone=not remote)]


def with_link(urls: list[str], link: str, width: int | None) -> list[str]:
    """The URLs of an image and of the image file it links to, which comes first if the page shows a thumbnail."""
    if not link:
        return urls
    return [link, *urls] if width is not None and width <= THUMBNAIL else [*urls, link]


def sizes_of_one(one: str, other: str) -> bool:
    """Whether two URLs only differ in the size of one image: in the size that ends a file's name (`lamp-300x200.jpg`),
    in query parameters about size and quality, in a folder that names a size (`max/300/`, `300x200/`), or in the
    folders before a long name with digits, which is a hash or a number and identifies one image."""
    if one == other:
        return False
    (path, _, query), (other_path, _, other_query) = one.partition("?"), other.partition("?")
    if path == other_path:
        return _SIZE_PARAMETERS.sub("", f"&{query}") == _SIZE_PARAMETERS.sub("", f"&{other_query}")
    folder, _, name = _without_size(path).rpartition("/")
    other_folder, _, other_name = _without_size(other_path).rpartition("/")
    if name != other_name:
        return False
    if _SIZE_FOLDER.sub("/", path) == _SIZE_FOLDER.sub("/", other_path):
        return True
    stem = _NOT_DISTINCT.sub("", name)
    return folder == other_folder or (len(stem) >= DISTINCT and sum(map(str.isdigit, stem)) >= 2)


def _without_size(path: str) -> str:
    """The path without the size that ends the name of a file."""
    return _SIZE_SUFFIX.sub(r"\1", path) if "x" in path[-MAX_SUFFIX:] else path


def widths_in(url: str) -> int:
    """The largest number in a URL, outside the name of the image, that may be its width in pixels; 0 if there is
    none."""
    path, _, query = url.partition("?")
    suffix = _SIZE_SUFFIX.search(path)
    folder = path.rpartition("/")[0]
    return max(
        (int(number) for number in _PIXELS.findall(f"{folder} {suffix[0] if suffix else ''} {query}")), default=0
    )


def urls_of_json(value: str) -> list[str]:
    """The URLs of image files in a JSON value, in order."""
    if len(value) > MAX_JSON:
        return []
    try:
        waiting = [json.loads(value)]
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    while waiting and len(found) < MAX_SOURCES:
        item = waiting.pop()
        if isinstance(item, str):
            if is_picture_file(item) and " " not in item:
                found.append(item)
        elif isinstance(item, dict):
            waiting += [part for pair in reversed(item.items()) for part in reversed(pair)]
        elif isinstance(item, list):
            waiting += reversed(item)
    return found


def _described(attributes: dict[str, str]) -> dict[str, str] | None:
    """The attributes of an element that a script fills with an image, in the form of an img's."""
    for name in DESCRIBING.intersection(attributes):
        value = attributes[name]
        if value.lstrip()[:1] == "{" and any("/" in url for url in urls_of_json(value)):
            return {"data-src": value}
    return None


def background(attributes: dict[str, str]) -> str:
    """The background image of an element, from its style or a lazy attribute; "" if there is none."""
    if "style" in attributes and (found := BACKGROUND.search(attributes["style"][:10_000])):
        return next(filter(None, found.groups()))
    return next((attributes[name].strip() for name in LAZY_BACKGROUNDS if name in attributes), "")


def alternative(attributes: dict[str, str]) -> str:
    """The alternative text of an image element: its alt, else its title or aria-label; file names do not count."""
    for name in ("alt", "title", "aria-label"):
        words = one_line(attributes.get(name, "")[:10_000])
        if words and not _FILE_NAME.fullmatch(words):
            return words
    return ""


def stands_for_text(alt: str, label: str) -> bool:
    """Whether an image stands for a character: an emoji, or the initial of a paragraph. `label` is its classes and
    id, in lower case."""
    if len(alt) == 1 and alt.isalpha() and _INITIAL_CLASS.search(label):
        return True
    if len(alt) > 32:
        return False
    sign = _EMOJI.match(alt) or _SMILEY.fullmatch(alt)
    return sign is not None or any(name in label for name in _EMOJI_CLASSES)


def is_formula(alt: str, label: str, source: str) -> bool:
    """Whether an image is a drawn formula with the formula's source as its alt. `label` is its classes and id, in lower
    case."""
    # expressions are searched for only where a part of them occurs: few images are formulas
    return bool(
        (("tex" in label or "formula" in label) and _FORMULA_CLASS.search(label))
        or ("tex" in source and _FORMULA_PICTURE.search(source[:300]))
        or ("math" in label and _MATH_CLASS.search(label) and _MATH.search(alt))
    )


def is_picture_file(url: str) -> bool:
    """Whether a URL names an image file, not a page about one such as `/wiki/File:Lamp.jpg`."""
    return bool(PICTURE_FILE.search(url[-300:])) and ":" not in url.rsplit("/", 1)[-1]


class _Elements:
    def __init__(self) -> None:
        self.found: list[dict[str, str]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "img":
            self.found.append(dict(attributes))

    def close(self) -> list[dict[str, str]]:
        return self.found


def elements(markup: str) -> list[dict[str, str]]:
    """The attributes of the img elements in the first 100,000 characters of HTML that is escaped in a noscript
    element."""
    if not _MARKUP.search(markup):
        return []
    target = _Elements()
    try:
        etree.fromstring(markup[:100_000].encode("utf-8", "replace"), etree.HTMLParser(target=target, encoding="utf-8"))
    except etree.XMLSyntaxError:
        return []
    return target.found
