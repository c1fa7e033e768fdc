"""A page beside what came of it: its nodes with dropped images in place, its windows, and marks for its source."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from filters.rules import EXPLAINED
from pipeline.extract import ExtractOptions, PageDropped
from pipeline.extract.explain import ExplainedPart, explain
from pipeline.inspect.samples import as_document
from pipeline.inspect.viewer.queries import Library
from pipeline.inspect.viewer.source import Mark
from shards.stream import token_stream

WINDOWS = 40
"""Windows shown beside a document."""


def nodes_of(
    row: Mapping[str, Any], verdicts: Mapping[int, Mapping[str, Any]], page: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The nodes of a row of work/pages, with the rule under which an image was dropped; `instead` is the node that
    shows the same image."""
    nodes: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    for index, (text, image) in enumerate(zip(row["texts"] or (), row["images"] or (), strict=True)):
        if text is not None:
            kept = row["kept_texts"]
            parts = [(text, False)] if kept is None else paragraphs(text, kept[index] or "")
            dropped = ", ".join(rule for rule, _ in row["dropped"].items()) if row["dropped"] else ""
            nodes += [
                {"node": index, "text": part, "image": False, "windows": [], "rules": dropped if lost else ""}
                for part, lost in parts
            ]
            continue
        verdict = verdicts.get(index, {"rule": page["rule"], "content": None})
        content = verdict["content"]
        nodes.append(
            {
                "node": index,
                "image": True,
                "url": image["url"],
                "urls": [image["url"], *(image["alternatives"] or ())],
                "alt": image["alt"] or "",
                "rule": verdict["rule"],
                "content": content,
                "instead": first.get(content) if verdict["rule"] == "image.repeated" else None,
                "src": None,
                "width": image["width"] or "?",
                "height": image["height"] or "?",
                "note": "",
                "licence": image.get("licence"),
                "author": image.get("author"),
                "detail": "",
                "windows": [],
            }
        )
        if content:
            first.setdefault(content, index)
    return nodes


def paragraphs(text: str, kept: str) -> list[tuple[str, bool]]:
    """A text in pieces, each with whether its paragraphs were dropped; `kept` is the text without them."""
    left = kept.split("\n\n") if kept else []
    pieces: list[tuple[list[str], bool]] = []
    for paragraph in text.split("\n\n"):
        lost = not left or paragraph != left[0]
        if not lost:
            left.pop(0)
        if pieces and pieces[-1][1] == lost:
            pieces[-1][0].append(paragraph)
        else:
            pieces.append(([paragraph], lost))
    return [("\n\n".join(piece), lost) for piece, lost in pieces]


def document_nodes(nodes: Sequence[dict[str, Any]], images: Sequence[object]) -> None:
    """Add to each node of a kept page `of`: the node of the document that it is part of; None for a dropped image."""
    places = [index for index, image in enumerate(images) if image is not None]
    kept = 0
    for node in nodes:
        if not node["image"]:
            node["of"] = places[kept - 1] + 1 if kept else 0
        elif node["rule"] is None and kept < len(places):
            node["of"] = places[kept]
            kept += 1
        else:
            node["of"] = None


@lru_cache(16)
def _starts(library: Library, part: int, row: int) -> np.ndarray:
    """The first token of each node of a document, and their number."""
    nodes = as_document(library.document(part, row)).nodes
    return token_stream(nodes, library.tokenizer).nodes


def place_windows(
    library: Library, page: Mapping[str, Any], nodes: Sequence[dict[str, Any]], windows: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The windows of a document that touch some of its nodes, whole, with `label`; adds to each node the `windows` it
    is in. Of windows that are given, all are returned, with the first and last of their `nodes`."""
    starts = _starts(library, page["part"], page["document"])
    found = []
    for number, window in enumerate(windows or library.windows_of(page["doc_id"]), 1):
        first, last = (
            int(np.searchsorted(starts, token, side="right")) - 1
            for token in (window["token_start"], window["token_start"] + window["tokens"] - 1)
        )
        inside = [node for node in nodes if node["of"] is not None and first <= node["of"] <= last]
        placed = {"label": number, "nodes": _span(inside, first, last)}
        if windows or inside:
            found.append(window | placed)
        for node in inside:
            node["windows"].append((number, window["window_id"]))
    return library.whole_windows(found[:WINDOWS])


def cut(nodes: Sequence[dict[str, Any]], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The nodes of a window's document, each text of which a window holds only a part in pieces: `outside` is set for
    those it does not hold. `texts` are what stands between the window's images."""
    for node in nodes:
        held = [text.strip() for text in texts if text.strip() and not node["image"] and text.strip() in node["text"]]
        if not held or not node["windows"] or held[0] == node["text"].strip():
            yield node
            continue
        before, after = node["text"].split(held[0], 1)
        for text, outside in ((before, True), (held[0], False), (after, True)):
            if text.strip():
                yield node | {"text": text.strip(), "outside": outside, "windows": [] if outside else node["windows"]}


def _span(inside: Sequence[dict[str, Any]], first: int, last: int) -> tuple[int, int]:
    """The first and last of some nodes, or what the document's own numbers are, for nodes that are not shown."""
    return (inside[0]["node"], inside[-1]["node"]) if inside else (first, last)


def marks(library: Library, page: Mapping[str, Any], body: bytes) -> list[Mark]:
    """What was kept of a page and why, in document order; nothing if the extraction gives no reasons."""
    recipe = library.corpus.recipe
    limits = recipe.limits
    limited = {"max_bytes": limits.page_bytes, "max_depth": limits.page_depth}
    options = ExtractOptions(**recipe.extract.model_dump(), videos=recipe.video.keep, **limited)
    try:
        explanation = explain(body, page["url"], options=options)
    except (PageDropped, ValueError):
        return []
    row = library.extracted(page["part"], page["row"])
    images = row["images"] or ()
    verdicts = library.verdicts(page["part"], page["row"])
    decided: dict[str, list[str | None]] = {}  # an image may be shown twice, and the second time dropped
    for node, verdict in sorted(verdicts.items()):
        decided.setdefault(images[node]["url"], []).append(verdict["rule"])
    urls = {image["url"]: [image["url"], *(image["alternatives"] or ())] for image in images if image}
    return list(_marks(explanation.parts, decided, urls))


def _marks(
    parts: Sequence[ExplainedPart], decided: Mapping[str, list[str | None]], urls: Mapping[str, list[str]]
) -> Iterator[Mark]:
    for part in parts:
        verdicts = decided.get(part.content) if part.type == "image" and part.kept else None
        rule = (verdicts.pop(0) if verdicts else None) or ""
        kept = part.kept and not rule
        rule = rule or part.rule
        reasons = "; ".join(f"{reason.log_odds:+.1f} {reason.feature}" for reason in part.reasons[:3])
        why = f"{rule} ({EXPLAINED[rule]})" if rule in EXPLAINED else rule or f"probability {part.probability:.2f}"
        said = f"{'kept' if kept else 'left out'}: {why}" + (f": {reasons}" if reasons and not rule else "")
        content = " ".join(urls.get(part.content, [part.content])) if part.type == "image" else part.content
        yield Mark(part.type, content, kept, said)
