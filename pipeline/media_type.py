"""Media type of a body: its bytes decide, its labels are hints.

Follows the MIME Sniffing standard (WHATWG), as browsers do, with two differences: nothing is executed here, so the
bytes of an image override any label; and a doctype makes anything but an image a page.
"""

import re

SNIFF_BYTES = 1445
"""Bytes of a body that are examined (MIME Sniffing standard, section 5.2, "resource header")."""
HTML = ("text/html", "application/xhtml+xml")
XML = ("application/xml", "text/xml")
UNKNOWN = ("", "application/octet-stream", "binary/octet-stream", "unknown/unknown", "application/unknown", "*/*")
"""Uninformative labels that servers use as defaults."""

_ESSENCE = re.compile(r"[\s\"']*([\w!#$&^.+*-]+/[\w!#$&^.+*-]+)")
# Servers use labels of other types on purpose
_VAGUE = re.compile(
    r"application/(?!vnd\.|.*(?:script|json|xml|zip|gzip|tar|compress|rar|7z|pdf|rtf|font|flash|java|archive|package|msword"
    r"|ogg|mp4|mpeg|iso9660|epub|wasm|protobuf))"
)
_PICTURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"\0\0\2\0", "cur"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"8BPS", "psd"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_FILES = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"OggS\0", "application/ogg"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
)
# MIME Sniffing standard, section 3, "binary data byte"
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_PROLOG = re.compile(
    rb"(?:\xef\xbb\xbf)?+(?:\s++|<\?.*?\?>|<!--.*?-->|<!doctype (?!html).*?>)*+", re.DOTALL | re.IGNORECASE
)
_DOCTYPE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<!doctype html[\s>]", re.IGNORECASE)
_ROOT = re.compile(rb"<(!doctype(?=\shtml)|[a-z][\w:-]{0,40})[\s>/]", re.IGNORECASE)
_ROOTS = {b"!doctype": HTML[0], b"html": HTML[0], b"svg": "image/svg+xml", b"svg:svg": "image/svg+xml"} | dict.fromkeys(
    (b"rss", b"feed", b"rdf:rdf", b"urlset", b"sitemapindex"), XML[0]
)
# MIME Sniffing standard, section 7.1, the rows of text/html
_TAG = re.compile(
    rb"\s*(?:<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[\s>]|<!--)",
    re.IGNORECASE,
)


def essence(label: str) -> str:
    """The media type of a Content-Type, lower-case, without parameters; "" if invalid. The first of several; anything
    after a space is ignored."""
    found = _ESSENCE.match(label)
    return found[1].lower() if found else ""


def vague(known: str) -> bool:
    """Whether a media type leaves open what the body is."""
    return known in UNKNOWN or known == "text/plain" or _VAGUE.match(known) is not None


def picture_format(body: bytes) -> str | None:
    """The image format whose signature a body starts with, or None. SVG is text and has no signature."""
    for magic, name in _PICTURES:
        if body.startswith(magic):
            return name
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "webp"
    if body[4:8] == b"ftyp":
        brands = {body[i : i + 4] for i in (8, *range(16, min(int.from_bytes(body[:4]), 256), 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & _HEIF_BRANDS:
            return "heif"
    return None


def media_type(label: str, body: bytes, identified: str = "") -> str:
    """The media type of a body: one of HTML for a page, image/... for an image, else anything.

    `label` is the value of Content-Type, `identified` that of WARC-Identified-Payload-Type, which is used if the first
    leaves the type open."""
    head = body[:SNIFF_BYTES]
    known = essence(label)
    if vague(known) and known != "text/plain":
        known = essence(identified) or known
    picture = picture_format(head)
    # text may start with BM or GIF89a
    text = known.startswith("text/") or known in HTML
    if picture is not None and not (text and (_BINARY.search(head) is None or (known in HTML and head[:2] == b"BM"))):
        return f"image/{picture}"
    if known.startswith("image/"):
        return known
    if known not in HTML:  # extraction separates real pages from files that only claim to be pages
        for magic, name in _FILES:
            if head.startswith(magic):
                return name
    return _markup(known, head)


def _markup(known: str, head: bytes) -> str:
    """The media type of a body that is neither an image nor an archive."""
    start = _PROLOG.match(head)
    root = _ROOT.match(head, start.end() if start else 0)
    named = _ROOTS.get(root[1].lower(), "") if root else ""
    if known in HTML:
        return named if named == XML[0] else known
    if known in XML:
        return named or known
    if _DOCTYPE.match(head):
        return HTML[0]
    if head.lstrip()[:5] == b"<?xml" and known == "text/plain":
        return XML[1]
    if known == "text/plain" or not vague(known):
        return known
    if named:
        return named
    if known in UNKNOWN and b"<html" in head.lower():
        return HTML[0]
    if head.lstrip()[:5] == b"<?xml":
        return XML[1]
    return HTML[0] if _TAG.match(head) else known
