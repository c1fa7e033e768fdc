"""Minimum amount of held-out text for a meaningful validation."""

from collections.abc import Iterable
from pathlib import Path

from shards.readers import read_documents

DOCUMENTS = 30
SITES = 8
"""Below these limits an interval is too wide to be useful or, with few sites, unreliable (docs/validation.md)."""


def too_few(documents: int, sites: int | None) -> str:
    """Why this many held-out documents are too few; empty if they are enough. `sites`: None if the split is not by
    site."""
    if documents >= DOCUMENTS and (sites is None or sites >= SITES):
        return ""
    found, needed = (
        f"{documents} held-out {'document' if documents == 1 else 'documents'} (or pieces of books)",
        f"{DOCUMENTS}",
    )
    if sites is not None:
        found, needed = f"{found} of {sites} {'site' if sites == 1 else 'sites'}", f"{DOCUMENTS} of {SITES}"
    return (
        f"too few to say: {found} with text that sees an image, the minimum is {needed}; "
        "build a larger corpus or raise windows.validation"
    )


def too_few_held_out(paths: Iterable[Path]) -> str:
    """`too_few` for the held-out documents in documents/*.parquet with text after an image, and their sites unless
    these have training documents. Stops reading once there are enough."""
    documents = 0
    held: set[str] = set()
    trained: set[str] = set()
    for row in read_documents(paths, columns=["site", "split", "held_out", "texts"]):
        pieces = [range(held["start"], held["stop"]) for held in row["held_out"] or () if held["split"] == "validation"]
        if row["split"] == "validation":
            pieces.append(range(len(row["texts"])))
        if row["split"] in ("train", "mixed"):
            trained.add(row["site"])
        telling = sum(text_behind_image(row["texts"], piece) for piece in pieces)
        documents += telling
        held |= {row["site"]} if telling else set()
        if not too_few(documents, len(held)):
            return ""
    return too_few(documents, len(held) if held.isdisjoint(trained) else None)


def text_behind_image(texts: list[str | None], nodes: range) -> bool:
    """Whether text follows an image; a node without text is an image."""
    first = next((node for node in nodes if texts[node] is None), nodes.stop)
    return any(texts[node] is not None for node in range(first, nodes.stop))
