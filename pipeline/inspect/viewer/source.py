"""A page of the input as a document that runs nothing and loads nothing, with what was left out marked in place.

It is shown in a sandboxed frame under `POLICY`; what is removed here is removed so that the page looks right, not for
safety alone."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import lxml.html
from lxml import etree

from pipeline.urls import resolve

POLICY = (
    "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
REMOVED = (
    *("script", "iframe", "frame", "object", "embed", "applet", "base", "meta", "template", "audio", "video", "title"),
    *("portal", "dialog"),
)
KEPT_ATTRIBUTES = {
    *("class", "id", "style", "title", "alt", "lang", "dir", "colspan", "rowspan", "width", "height", "start", "align"),
    *("valign", "bgcolor", "border", "cellpadding", "cellspacing", "viewbox", "d", "fill", "points", "x", "y", "r"),
    *("cx", "cy", "x1", "x2", "y1", "y2", "rx", "ry", "transform", "stroke", "open"),
}
IMAGE_ATTRIBUTES = ("src", "data-src", "data-original", "data-lazy-src", "data-srcset", "srcset", "href")
LOADED = re.compile(r"@import[^;]*;?|url\(\s*['\"]?(?!data:)[^)]*\)|[\x00-\x08\x0b-\x1f]", re.IGNORECASE)
"""What a style sheet would load, and control characters."""
HERE = "m3w-window"
SHORT, BEGINNING = 8, 30
"""Letters of the shortest text that is looked for in a window, and of a window's beginning or end looked for in a
text."""
PICTURES, SHEETS = 150, 8
"""Maximum images and style sheets shown of a page."""
STYLE = """
html { color-scheme: light; background: #fff; color: #111; }
.m3w-kept { background: rgba(43, 106, 148, .16) !important; }
.m3w-left-out { background: rgba(201, 96, 63, .2) !important; }
.m3w-window { background: rgba(43, 106, 148, .38) !important; scroll-margin: 4rem; }
img.m3w-kept { outline: 3px solid #2b6a94; } img.m3w-left-out { outline: 3px dashed #c9603f; opacity: .7; }
.m3w-why { all: initial; display: inline-block !important; font: 12px/1.3 system-ui, sans-serif !important;
  color: #fff !important; background: #a8482b !important; padding: 1px 5px !important; border-radius: 3px; }
.m3w-missing { all: initial; display: inline-block !important; font: 12px/1.3 system-ui, sans-serif !important;
  color: #555 !important; border: 1px dashed #999 !important; padding: 6px !important; }
"""


class Mark(NamedTuple):
    """A block of text or an image (its URLs) of the page, whether it was kept, and why."""

    type: str
    content: str
    kept: bool
    why: str


def source_page(
    html: str,
    url: str,
    marks: Sequence[Mark],
    fetch: Callable[[Iterable[str]], Mapping[str, bytes]],
    small: Any,
    window: str = "",
) -> bytes:
    """The page as a whole document. `fetch` returns the bodies that the input holds at some URLs; `small` makes a JPEG
    of an image's bytes, None if it cannot. The texts that stand in the text `window` are marked more strongly, and the
    first of them has the id HERE."""
    parser = lxml.html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8")
    text = html.encode("utf-8", "replace")
    try:
        root = lxml.html.document_fromstring(text or b"<p>", parser=parser)
    except (etree.ParserError, ValueError):
        root = lxml.html.document_fromstring(b"<p>")
    base = next((resolve(found.get("href") or "", url) for found in root.iter("base")), None) or url
    links = (resolve(link.get("href") or "", base) for link in root.iter("link") if _is_sheet(link))
    sheets = [link for link in links if link][:SHEETS]
    _mark_texts(root, [mark for mark in marks if mark.type == "text"], _letters(window))
    _show_images(root, base, [mark for mark in marks if mark.type == "image"], fetch, small)
    _remove(root)
    head = root.find("head")
    if head is None:
        head = etree.SubElement(root, "head")
        root.insert(0, head)
    found = fetch(sheets)
    for css in (*(found[sheet].decode("utf-8", "replace")[:300_000] for sheet in sheets if sheet in found), STYLE):
        etree.SubElement(head, "style").text = css
    for style in root.iter("style"):
        style.text = LOADED.sub("", style.text or "").replace("</", "<\\/")
    return b"<!doctype html>\n" + lxml.html.tostring(root, encoding="utf-8")


def _is_sheet(link: Any) -> bool:
    return "stylesheet" in (link.get("rel") or "").lower() and "print" not in (link.get("media") or "")


def _remove(root: Any) -> None:
    for element in list(root.iter(*REMOVED, "link")):
        element.drop_tree()
    for element in root.iter(etree.Element):
        for name in list(element.attrib):
            shown = element.tag == "img" and name == "src" and element.get(name).startswith("data:image/")
            if name.lower() not in KEPT_ATTRIBUTES and not shown:
                del element.attrib[name]
        if "style" in element.attrib:
            element.set("style", LOADED.sub("", element.get("style")))


def _texts(root: Any) -> Iterator[tuple[Any, bool, str]]:
    """(element, whether it is its tail, text) of each text of a page, in document order."""
    hidden = {"script", "style", "template", "head", "title", "noscript"}
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if not isinstance(element.tag, str):
            continue
        if event == "start" and element.text and element.tag not in hidden:
            yield element, False, element.text
        elif event == "end" and element.tail and element is not root:
            yield element, True, element.tail


def _mark_texts(root: Any, marks: Sequence[Mark], window: str) -> None:
    """Wrap each text in an element that says whether it was kept. A text belongs to the next block that contains its
    letters; blocks and texts are in the same order."""
    keys = [_letters(mark.content) for mark in marks]
    current = position = 0
    wrapped: list[tuple[Any, bool, Mark]] = []
    for element, tail, text in list(_texts(root)):
        key = _letters(text)
        if not key or not keys:
            continue
        near = current + 3 + len(key) // 2
        for index in range(current, min(near, len(keys))):
            at = keys[index].find(key, position if index == current else 0)
            if at >= 0:
                current, position = index, at + len(key)
                wrapped.append((element, tail, marks[index]))
                break
    inside: list[tuple[int, Any]] = []
    for element, tail, mark in reversed(wrapped):
        span = _wrap(element, tail, mark)
        place = _place(_letters(span.text), window) if window and mark.kept else -1
        if place >= 0:
            span.set("class", f"{_class(mark)} m3w-window")
            inside.append((place, span))
    if inside:
        min(reversed(inside), key=lambda found: found[0])[1].set("id", HERE)


def _place(letters: str, window: str) -> int:
    """Where a text of the page stands in the text of a window, -1 if it does not. A window may begin or end in it."""
    if len(letters) >= SHORT and (at := window.find(letters)) >= 0:
        return at
    if window[:BEGINNING] in letters:
        return 0
    return len(window) - BEGINNING if window[-BEGINNING:] in letters else -1


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _wrap(element: Any, tail: bool, mark: Mark) -> Any:
    span = lxml.html.Element("span", {"class": _class(mark), "title": mark.why})
    if tail:
        span.text, element.tail = element.tail, None
        parent = element.getparent()
        parent.insert(parent.index(element) + 1, span)
    else:
        span.text, element.text = element.text, None
        element.insert(0, span)
    return span


def _class(mark: Mark) -> str:
    return "m3w-kept" if mark.kept else "m3w-left-out"


def _show_images(
    root: Any,
    base: str,
    marks: Sequence[Mark],
    fetch: Callable[[Iterable[str]], Mapping[str, bytes]],
    small: Callable[[bytes], bytes | None],
) -> None:
    by_url: dict[str, list[Mark]] = {}
    for mark in marks:
        for url in mark.content.split():
            by_url.setdefault(url, []).append(mark)
    images = [(image, list(_urls(image, base))) for image in list(root.iter("img"))[:PICTURES]]
    shown = {url for image, urls in images if next(image.iterancestors("noscript"), None) is None for url in urls}
    for image, urls in list(images):
        fallback = next(image.iterancestors("noscript"), None)
        if fallback is not None and shown.intersection(urls):
            image.drop_tree()  # for browsers without scripts, the same image again
            images.remove((image, urls))
    bodies = fetch({url for _, urls in images for url in urls})
    for image, urls in images:
        same = next((by_url[url] for url in urls if url in by_url), [])
        decided = (same.pop(0) if len(same) > 1 else same[0]) if same else None
        source = image.get("src") or ""
        body = next((bodies[url] for url in urls if url in bodies), b"")
        data = small(body) if body else None
        if data is not None:
            image.set("src", f"data:image/jpeg;base64,{base64.b64encode(data).decode()}")
        elif not source.startswith("data:image/"):
            image.attrib.pop("src", None)
        if data is None and not source.startswith("data:image/"):
            _note(image, "m3w-missing", f"image: {image.get('alt') or urls[0] if urls else 'without a URL'}"[:120])
        if decided is not None:
            image.set("class", _class(decided))
            image.set("title", decided.why)
            if not decided.kept:
                _note(image, "m3w-why", decided.why)


def _note(image: Any, kind: str, text: str) -> None:
    note = lxml.html.Element("span", {"class": kind})
    note.text, note.tail, image.tail = text, image.tail, None
    image.addnext(note)


def _urls(image: Any, base: str) -> Iterator[str]:
    """The URLs an image of the markup may have, best guess first."""
    around = [image, *image.iterancestors("picture", "a")][:3]
    within = [source for element in around if element.tag == "picture" for source in element.iter("source")]
    for element in (*around, *within):
        for name in IMAGE_ATTRIBUTES:
            value = element.get(name) or ""
            entries = re.split(r",\s+", value) if "set" in name else [value]
            for url in (entry.split()[0].rstrip(",") for entry in entries if entry.split()):
                absolute = None if url.startswith("data:") else resolve(url, base)
                if absolute:
                    yield absolute
