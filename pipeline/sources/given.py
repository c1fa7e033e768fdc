"""Documents that need no extraction: their texts and images were put in order by whoever made the corpus they are
from."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pipeline.sources.record import Record
from pipeline.urls import resolve
from shards.records import Document, Image, Node, Text

KIND = "document"
"""`Record.kind` of such a document; its body is JSON."""
BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
STORED = "urn:sha256:"
"""The beginning of the URL of an image that has none on the web, in exports of this project."""
PLACEHOLDER = "image.placeholder"


class NotADocument(ValueError):
    """A row, line or file of a corpus that is not a document of it; says why."""


def document_record(number: int, offset: int, url: str, nodes: Iterable[str | tuple[str, str]]) -> Record:
    """The record of a document with texts and (URL, alt text) of images in reading order.

    Raises NotADocument without an absolute URL. An image without one is counted as `image.placeholder`."""
    address = resolve(url, "")
    if address is None:
        raise NotADocument(f"not an absolute URL: {url[:200]!r}")
    found: list[dict[str, str]] = []
    missing = 0
    for node in nodes:
        if isinstance(node, str):
            text = BLANK_LINES.sub("\n\n", node)
            found += [{"text": text}] if text.strip() else []
            continue
        image = node[0] if node[0].startswith(STORED) else resolve(node[0], "")
        if image is None:
            missing += 1
        else:
            found.append({"url": image, "alt": node[1]})
    body = json.dumps({"nodes": found, "missing": missing}, ensure_ascii=False).encode("utf-8", "replace")
    return Record(number, offset, 0, KIND, address, status=200, body=body)


def document_of(record: Record) -> Document | None:
    """The document in the body of such a record; None if it has neither text nor images."""
    value: dict[str, Any] = json.loads(record.body)
    nodes: list[Node] = []
    for node in value["nodes"]:
        if "url" in node:
            nodes.append(Image(node["url"], alt=node["alt"]))
        elif nodes and isinstance(nodes[-1], Text):
            nodes[-1] = Text(f"{nodes[-1].text}\n\n{node['text']}")
        else:
            nodes.append(Text(node["text"]))
    missing = value["missing"]
    return Document(record.url, tuple(nodes), left_out=((PLACEHOLDER, missing),) if missing else ()) if nodes else None
