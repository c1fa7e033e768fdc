"""The review of a decontaminated corpus: what was left out as image or text of a benchmark, beside what it matched."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filters import image, rules
from pipeline.errors import BuildError
from pipeline.inspect import matched_images, matched_texts
from pipeline.inspect.finished import Finished
from pipeline.inspect.pictures import Pictures
from pipeline.inspect.report import environment, style
from shards.files import atomic

MOST = 500
"""Pairs shown of each kind; all are counted."""


class Reviewed(NamedTuple):
    """How many different images and passages were left out; None if the build had no index of them."""

    images: int | None
    passages: int | None


def write_review(corpus: Finished, images: Sequence[Path], texts: Sequence[Path], path: Path) -> Reviewed:
    """Write the review as one HTML file. `images` and `texts` are the folders and files that the indexes were made of;
    without them only the names of benchmarks are shown.

    Raises BuildError if the build had no index, if an index cannot be read or is another one now, or if work/ was
    deleted."""
    values = corpus.recipe.values()
    named = {kind: values[key.name] for kind, key in (("images", image.BENCHMARKS), ("texts", rules.BENCHMARKS))}
    if not any(named.values()):
        raise BuildError(
            f"{corpus.root}: nothing of benchmarks was left out: its recipe has no {image.BENCHMARKS.name} and no"
            f" {rules.BENCHMARKS.name}"
        )
    if not corpus.has_work:
        raise BuildError(f"{corpus.root}: work/ was deleted, and what was left out with it")
    matches = _matched_images(corpus, images) if named["images"] else None
    passages = _matched_texts(corpus, texts) if named["texts"] else None
    page = (
        environment()
        .get_template("review.html")
        .render(name=corpus.root.resolve().name, style=style(), images=matches, texts=passages)
    )
    with atomic(path) as file:
        file.write(page.encode("utf-8", "replace"))
    return Reviewed(*(None if found is None else int(found["count"]) for found in (matches, passages)))


def _matched_images(corpus: Finished, paths: Sequence[Path]) -> dict[str, Any]:
    found = matched_images.matches(corpus)
    shown = found[:MOST]
    theirs = matched_images.benchmark_images(paths, shown)
    pictures = Pictures(corpus, MOST)
    return {
        "count": len(found),
        "more": len(found) - len(shown),
        "benchmarks": sorted(Counter(match.benchmark for match in found).items()),
        "given": bool(paths),
        "pairs": [
            {"match": match, "ours": pictures.uri(match.place), "theirs": theirs.get((match.image, match.phash))}
            for match in shown
        ],
    }


def _matched_texts(corpus: Finished, paths: Sequence[Path]) -> dict[str, Any]:
    found = matched_texts.passages(corpus)
    shown = found[:MOST]
    pages = Counter(name for name, _ in {(name, url) for one in found for name in one.benchmarks for url in one.pages})
    return {
        "count": len(found),
        "more": len(found) - len(shown),
        "benchmarks": sorted(pages.items()),
        "given": bool(paths),
        "pairs": list(zip(shown, matched_texts.benchmark_texts(paths, shown), strict=True)),
    }
