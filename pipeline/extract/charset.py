"""Decode a page: byte order mark, HTTP header, meta element, then detection."""

import codecs
import re

import chardet
import webencodings

# How far to look for a declaration. HTML standard, 13.2.3.2, "prescan a byte stream": 1024 bytes, but many pages put
# scripts first
DECLARATION_BYTES = 8192
# Enough to detect a page's language, and fast on any page
DETECTION_BYTES = 20_000
# How far they are looked for behind the first non-ASCII byte
SEARCHED_BYTES = 500_000

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_META = re.compile(rb"<meta[^>]{0,400}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_:.-]{2,40})", re.I)
_XML = re.compile(rb"\s{0,99}<\?xml[^>]{0,200}?encoding\s{0,9}=\s{0,9}[\"']([A-Za-z0-9_:.-]{2,40})", re.I)
_HEADER = re.compile(r"charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_:.-]{2,40})", re.I)

# Encodings of the Encoding standard (WHATWG) for which another Python codec reads pages better: a superset, or what
# HTML's prescan takes x-user-defined as. `replacement` stands for encodings in which harmless bytes become markup.
_CODECS = {"gbk": "gb18030", "x-user-defined": "cp1252", "replacement": None}
# Names used by databases and detectors that the standard does not know
_OTHERS = {"utf8mb4": "utf-8", "johab": "cp949"}
_TAGS = re.compile(rb"<[^<>]{0,2000}>")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_TEXT_CODECS = re.compile(r"(?:cp\d+|iso8859-16|iso2022_jp|big5hkscs|koi8-t|mac-.*|utf-(?:8|32).*)$")


def codec(label: str) -> str | None:
    """The Python codec of a web encoding label, None if it is unknown or unsafe."""
    label = label.strip().lower()
    label = _OTHERS.get(label, label)
    found = webencodings.lookup(label)
    if found is None:
        try:
            name = codecs.lookup(label).name  # Python's spellings: latin-1, utf_8
        except LookupError:
            return None
        found = webencodings.lookup(name.replace("_", "-"))
        if found is None:
            return name if _TEXT_CODECS.match(name) else None
    return _CODECS.get(found.name, found.codec_info.name)


# The encoding whose Hebrew lines are stored as they are shown, from left to right, in pages of the 1990s
VISUAL = "iso-8859-8"
_MARKUP = re.compile(r"(<[^<>]{0,2000}>)")
_HEBREW_LINE = re.compile(r"[^\n]*[\u05d0-\u05ea][^\n]*")
_LEFT_TO_RIGHT = re.compile(r"&#?\w{1,10};|[A-Za-z0-9](?:[^\u0590-\u05ff\n&;]*[A-Za-z0-9])?")
_MIRRORED = str.maketrans("()[]{}«»", ")(][}{»«")


def logical(text: str) -> str:
    """HTML whose Hebrew lines are stored in visual order, in the order of reading: each line is reversed, except for
    Latin words and numbers. Lines with markup inside are reversed piece by piece."""

    def turned(line: re.Match[str]) -> str:
        parts, position = [], 0
        for run in _LEFT_TO_RIGHT.finditer(line[0]):
            parts += [line[0][position : run.start()][::-1].translate(_MIRRORED), run[0]]
            position = run.end()
        return "".join(reversed([*parts, line[0][position:][::-1].translate(_MIRRORED)]))

    pieces = _MARKUP.split(text)
    pieces[::2] = [_HEBREW_LINE.sub(turned, piece) for piece in pieces[::2]]
    return "".join(pieces)


def decode(html: bytes, content_type: str | None = None) -> str:
    """The text of a page. Never fails: invalid bytes become U+FFFD.

    A byte order mark decides. Otherwise bytes that are valid UTF-8 throughout are taken as UTF-8, whatever is declared
    (other encodings do not pass that test by chance); else the header's and the page's declarations are tried in this
    order and the first one under which every byte decodes is used, then the detector's."""
    for mark, name in BYTE_ORDER_MARKS:
        if html.startswith(mark):
            return html[len(mark) :].decode(name, "replace")
    head = html[:DECLARATION_BYTES]
    if b"\0" in head:
        wide = _utf16_without_mark(head)
        if wide:
            return html.decode(wide, "replace")
    escaped = b"\x1b" in html and (b"\x1b$" in html or b"\x1b(" in html)
    if not escaped:
        try:
            return html.decode("utf-8")
        except UnicodeDecodeError as error:
            # the page ends inside a character
            if error.start >= len(html) - 3 and error.reason == "unexpected end of data":
                return html.decode("utf-8", "replace")
    declared: list[str] = []
    visual = False
    for label in _declarations(head, content_type):
        found = codec(label)
        visual = visual or (not declared and getattr(webencodings.lookup(label.strip()), "name", "") == VISUAL)
        if found and not found.startswith(("utf-16", "utf-32")) and found not in declared:
            declared.append(found)
    for name in declared:
        try:
            text = html.decode(name)
        except UnicodeDecodeError:
            continue
        return logical(text) if visual and name == "iso8859-8" else text
    if not declared or declared == ["utf-8"]:
        # mostly UTF-8 with a few stray bytes is UTF-8; anything else goes to the detector
        text = html.decode("utf-8", "replace")
        stray = text.count("\ufffd")
        if stray * 5 < sum(1 for _ in _NON_ASCII.finditer(text)) - stray:
            return text
        return html.decode(_detect(html) or "cp1252", "replace")
    return html.decode(declared[0], "replace")


def _declarations(head: bytes, content_type: str | None) -> list[str]:
    labels = []
    if content_type and (match := _HEADER.search(content_type)):
        labels.append(match[1])
    for pattern in (_META, _XML):
        if found := pattern.search(head):
            labels.append(found[1].decode("ascii"))
    return labels


def _utf16_without_mark(head: bytes) -> str | None:
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) // 5 and even * 20 < odd:
        return "utf-16-le"
    if even > len(head) // 5 and odd * 20 < even:
        return "utf-16-be"
    return None


def sample(html: bytes) -> bytes:
    """What a detector looks at: the texts of a page that have non-ASCII bytes, from the first on, without tags."""
    first = next(re.finditer(rb"[\x80-\xff]", html), None)
    if first is None:
        return html[:DETECTION_BYTES]
    texts, size = [], 0
    # from a tag on, because the rest of a tag would look like text
    start = html.rfind(b"<", 0, first.start()) if b"<" in html[: first.start()] else max(0, first.start() - 200)
    for text in _TAGS.split(html[start : first.start() + SEARCHED_BYTES]):
        if not text.isascii():
            texts.append(text)
            size += len(text)
            if size >= DETECTION_BYTES:
                break
    return b" ".join(texts)[:DETECTION_BYTES]


def _detect(html: bytes) -> str | None:
    """What a detector finds for a page with non-ASCII bytes, if its text decodes."""
    if b"\x1b$" in html or b"\x1b(" in html:
        return "iso2022_jp"
    text = sample(html)
    if not text:
        return None  # all of it stands in attributes: file names, which say too little
    name = codec(chardet.detect(text)["encoding"] or "")
    return name if name and _decodes(text, name) else None


def _decodes(text: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(text)  # it may end inside a character
    except UnicodeDecodeError:
        return False
    return True
