"""What all pages of the viewer share: templates, lists, and the values of an address."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import jinja2

from filters import rules
from pipeline.inspect import plots
from pipeline.inspect.figures import short
from pipeline.inspect.report import environment, shown_image
from pipeline.inspect.viewer.database import Found
from pipeline.inspect.viewer.inputs import Inputs
from pipeline.inspect.viewer.queries import Filter, Library
from pipeline.inspect.viewer.tokens import pieces, segments

HERE = Path(__file__).parent
DOCUMENTS, WINDOWS, IMAGES, DROPPED, NODES = 10, 8, 60, 40, 120
"""Items per page: documents, windows, images, dropped items, nodes of a document."""


class Answer(NamedTuple):
    """A response: media type, body, and a policy or a redirect if it needs its own."""

    kind: str
    body: bytes
    policy: str = ""
    location: str = ""


@dataclass
class Layout:
    """Raises LookupError or ValueError for an address that does not exist, BuildError for a damaged corpus."""

    library: Library
    inputs: Inputs

    @cached_property
    def _templates(self) -> jinja2.Environment:
        made = environment()
        made.loader = jinja2.FileSystemLoader([HERE, HERE.parent])
        made.globals |= {"link_to": link_to, "bar": plots.bar, "explained": rules.EXPLAINED, "short": short}
        return made

    def _page(self, template: str, title: str, **content: Any) -> Answer:
        shared = {
            "title": title,
            "name": self.library.corpus.root.resolve().name,
            "has_work": self.library.corpus.has_work,
            "section": template.removesuffix(".html"),
            "before": None,
            "after": None,
            "found": None,
        }
        page = self._templates.get_template(template).render(**shared | content)
        return Answer("text/html; charset=utf-8", page.encode("utf-8", "replace"))

    def _list(self, template: str, wanted: Filter, query: dict[str, str], found: Found, **content: Any) -> Answer:
        """A list, with links to its start and its next page."""
        path = content.pop("path", f"/{template.removesuffix('.html')}")
        start = number(query.get("from", "0"))
        return self._page(
            template,
            content.pop("title", template.removesuffix(".html")),
            query=wanted,
            found=found,
            path=path,
            before=link_to(path, wanted.query()) if start else None,
            after=None if found.next is None else link_to(path, wanted.query() | {"from": str(found.next)}),
            **content,
        )

    @staticmethod
    def _stored(image: dict[str, Any]) -> dict[str, Any]:
        content = image["sha256"].hex()[:32]
        stated = {name: image.get(name) for name in ("licence", "author")}
        return shown_image(image, f"/picture/{content}") | {"content": content} | stated

    def _shown_window(self, row: dict[str, Any], tokens: bool = False) -> dict[str, Any]:
        """A window with its images between pieces of text."""
        images = [self._stored(image) for image in row["image_metadata"]]
        tokenizer = self.library.tokenizer if tokens else None
        parts = segments(row) if tokenizer is None else pieces(row, tokenizer)
        return row | {"images": images, "parts": parts, "tokens": len(row["input_ids"]), "by_token": tokens}


def link_to(path: str, query: dict[str, str]) -> str:
    kept = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(kept, quote_via=quote)}" if kept else path


def given(query: dict[str, str], names: str) -> dict[str, str]:
    return {name: query.get(name, "")[:500] for name in names.split()}


def number(text: str) -> int:
    """Parse a number of at most 12 digits. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ValueError(f"not a number: {text!r}")
    return int(text)
