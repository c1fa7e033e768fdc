"""The annotated pages in ../shared/data: what each page is and what should come out of it.

Sets under `extract` were tuned on. Of `pages` a part is *locked*: nobody looks at those pages or chooses a rule or a
coefficient by them, and only figures over all of them are printed."""

import functools
import gzip
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.urls import site_of

SHARED = Path(os.environ.get("OPENM3W_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
READABILITY_URL = "http://fakehost/test/page.html"
Nodes = list[tuple[str, str]]
Expected = list[tuple[str, str | tuple[str, ...]]]


@functools.cache
def by_path(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SHARED / "bench" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(SHARED / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


interleave_score = by_path("interleave_score")


@dataclass(frozen=True)
class AnnotatedPage:
    """A page and what should come out of it.

    An expected image is a tuple of all URLs that the page offers for it; `pictures` knows which picture of the page a
    URL stands for. `present` and `absent` are snippets that must and must not appear. `kind` is the kind of page, where
    it is annotated."""

    name: str
    html: bytes
    url: str
    content_type: str | None
    expected: Expected
    kind: str = ""
    locked: bool = False
    pictures: Any = None
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


_MARKDOWN_IMAGE = re.compile(r"!\[(?:[^\]\\]|\\.)*\]\(([^)\s]*)[^)]*\)")
_MARKDOWN_LINK = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")


def markdown_nodes(text: str) -> Expected:
    """Text and images of a Markdown file of defuddle, its header left out."""
    text = re.sub(r"^```json\n.*?\n```\n", "", text, count=1, flags=re.S)
    nodes: Expected = []

    def plain(part: str) -> None:
        part = re.sub(r"<[^>]{1,300}>", " ", part)
        part = re.sub(r"^\[\^?[^\]]*\]:", "", part, flags=re.M)
        for _ in range(2):
            part = _MARKDOWN_LINK.sub(r"\1", part)
        part = re.sub(r"\[\^\w+\]", "", part.replace("\\", ""))
        if part.strip():
            nodes.append(("text", part))

    position = 0
    for match in _MARKDOWN_IMAGE.finditer(text):
        plain(text[position : match.start()])
        nodes.append(("image", match[1]))
        position = match.end()
    plain(text[position:])
    return nodes


def readability() -> list[AnnotatedPage]:
    pictures = by_path("pictures").Pictures
    linear = by_path("score_extraction").linear
    pages = []
    for folder in sorted((SHARED / "data/extract/readability").iterdir()):
        if folder.is_dir():
            expected = "<html><body>" + (folder / "expected.html").read_text("utf8", "replace") + "</body></html>"
            html = (folder / "source.html").read_text("utf8", "replace").encode()
            pages.append(
                AnnotatedPage(
                    folder.name,
                    html,
                    READABILITY_URL,
                    "text/html; charset=utf-8",
                    linear(expected, True),
                    pictures=pictures(html.decode()),
                )
            )
    return pages


def defuddle() -> list[AnnotatedPage]:
    root = SHARED / "data/extract/defuddle"
    return [
        AnnotatedPage(
            path.stem,
            path.read_bytes(),
            "https://example.com/a/b",
            "text/html; charset=utf-8",
            markdown_nodes((root / "expected" / f"{path.stem}.md").read_text("utf8")),
        )
        for path in sorted((root / "fixtures").glob("*.html"))
        if (root / "expected" / f"{path.stem}.md").exists()
    ]


def scrapinghub() -> list[AnnotatedPage]:
    root = SHARED / "data/extract/scrapinghub"
    truth = json.loads((root / "ground-truth.json").read_text("utf8"))
    return [
        AnnotatedPage(
            name,
            gzip.decompress((root / "html" / f"{name}.html.gz").read_bytes()),
            page["url"],
            None,
            [("text", page["articleBody"])],
        )
        for name, page in sorted(truth.items())
    ]


def wcxb() -> list[AnnotatedPage]:
    """300 pages of seven kinds, tuned on."""
    return _wcxb(SHARED / "data/extract/wcxb")


def wcxb_more() -> list[AnnotatedPage]:
    """The other 1,180 pages of the same collection that have a main text; a fifth of the sites is locked."""
    return _wcxb(SHARED / "data/pages/wcxb", lambda url: _hashed(site_of(url)) % 5 == 0)


def _wcxb(root: Path, is_locked: Callable[[str], bool] = lambda url: False) -> list[AnnotatedPage]:
    pages = []
    for path in sorted((root / "ground-truth").glob("*.json")):
        annotation = json.loads(path.read_text("utf8"))
        truth = annotation["ground_truth"]
        if truth.get("main_content"):
            kind = annotation["_internal"]["page_type"]["primary"]
            url = annotation.get("url") or "https://example.org/page"
            pages.append(
                AnnotatedPage(
                    f"{path.stem}-{kind}",
                    gzip.decompress((root / "html" / f"{path.stem}.html.gz").read_bytes()),
                    url,
                    None,
                    [("text", truth["main_content"])],
                    kind,
                    is_locked(url),
                    present=tuple(truth.get("with") or ()),
                    absent=tuple(truth.get("without") or ()),
                )
            )
    return pages


def postlight() -> list[AnnotatedPage]:
    """80 pages whose truth is what selectors written by hand for each site select; half of the sites are locked."""
    pictures = by_path("pictures").Pictures
    linear = by_path("score_extraction").linear
    pages = []
    for folder in sorted((SHARED / "data/pages/postlight").iterdir()):
        if folder.is_dir():
            html = (folder / "source.html").read_text("utf8", "replace")
            shown = pictures(html)
            expected = "<html><body>" + (folder / "expected.html").read_text("utf8", "replace") + "</body></html>"
            pages.append(
                AnnotatedPage(
                    folder.name,
                    html.encode(),
                    (folder / "url.txt").read_text("utf8").strip(),
                    "text/html; charset=utf-8",
                    linear(expected, True),
                    locked=_hashed(folder.name) % 2 == 0,
                    pictures=shown,
                )
            )
    return pages


def _hashed(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def gutenberg() -> list[AnnotatedPage]:
    """Four books: the words of the .txt edition, its illustration marks as images without a name."""
    pages = []
    for folder in sorted((SHARED / "data/gutenberg").iterdir()):
        source = next(folder.glob("*-h/*.htm"))
        text = next(folder.glob("[0-9]*[0-9].txt")).read_text("ascii", "replace").replace("_", "")
        nodes: Expected = []
        position = 0
        for match in re.finditer(r"\[Illustration(?::\s*([^\]]*))?\]", text):
            nodes += [("text", text[position : match.start()]), ("image", ""), ("text", match[1] or "")]
            position = match.end()
        nodes.append(("text", text[position:]))
        url = f"https://example.org/{folder.name}/{source.name}"
        pages.append(AnnotatedPage(folder.name, source.read_bytes(), url, None, nodes))
    return pages


def data_sets() -> dict[str, list[AnnotatedPage]]:
    """The sets whose pages are annotated with their main content."""
    return {"readability": readability(), "defuddle": defuddle(), "scrapinghub": scrapinghub(), "wcxb": wcxb()}
