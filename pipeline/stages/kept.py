"""The kept images of a page, and its nodes with only these images."""

from typing import Any

from pipeline.engine import tables
from pipeline.engine.corpus import Corpus


def kept_images(corpus: Corpus, part: int) -> dict[int, dict[int, bytes]]:
    """Page row -> node -> content hash of the kept images."""
    kept: dict[int, dict[int, bytes]] = {}
    for verdict in tables.read(corpus.part("decisions", part), ["row", "node", "rule", "content"]).to_pylist():
        if verdict["rule"] is None:
            kept.setdefault(verdict["row"], {})[verdict["node"]] = verdict["content"]
    return kept


def kept_nodes(
    texts: list[str | None], images: list[dict[str, Any] | None], kept: dict[int, bytes]
) -> tuple[list[str | None], list[bytes | None]]:
    """The nodes of a page with only the images `kept` (node -> content): parallel lists of texts and contents. Texts
    that become adjacent are joined: as two paragraphs, or as one if an image inside a line was removed."""
    out_texts: list[str | None] = []
    out_contents: list[bytes | None] = []
    gone: list[str | None] = []
    for node, (text, image) in enumerate(zip(texts, images, strict=True)):
        if text is not None and out_texts and out_texts[-1] is not None:
            out_texts[-1] += _joint(gone) + text
        elif text is not None or node in kept:
            out_texts.append(text)
            out_contents.append(None if text is not None else kept[node])
        elif image is not None:
            gone.append(image["within"])
            continue
        gone = []
    return out_texts, out_contents


def _joint(gone: list[str | None]) -> str:
    """The separator between two texts in place of images; `gone` are their `Image.within`."""
    inside = [within for within in gone if within is not None]
    return max(inside, key=("", " ", "\n").index) if inside and len(inside) == len(gone) else "\n\n"
