"""Explains an extraction: why each block and image of a page was kept or left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.extract import ExtractOptions, classifier, decoded, flat_page, image_classifier
from pipeline.extract.document import image_urls
from pipeline.extract.features import NAMES as BLOCK_FEATURES
from pipeline.extract.features import Matrix, features
from pipeline.extract.page import PAGE_KINDS, Page
from pipeline.extract.selection import Selection, select
from pipeline.urls import resolve

_DEFAULTS = ExtractOptions()
STRONGEST = 5  # features of each part
_WINDOWS = ("", ", nearby", ", in the container", ", on the page")


@dataclass(frozen=True, slots=True)
class Reason:
    """A feature and what it adds to the log odds: above 0 for keeping, below 0 for leaving out."""

    feature: str
    log_odds: float


@dataclass(frozen=True, slots=True)
class ExplainedPart:
    """A block of text or an image, in document order.

    `content` is the text, or the absolute URL of the image (empty if it has none). `rule` is the rule that decided if
    the probability did not; every image that is left out has the rule it is counted under. `reasons` are the strongest
    features, strongest first."""

    type: Literal["text", "image"]
    content: str
    kept: bool
    probability: float
    rule: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the parts of a page were kept or left out.

    `kinds` are the probabilities of the kinds of pages. Text above `text_threshold` and images above `image_threshold`
    are kept unless a rule decides; the threshold is lower for the first image that the page's head names, and for the
    first likely one if it stands before the first paragraph."""

    url: str
    kinds: dict[str, float]
    text_threshold: float
    image_threshold: float
    parts: tuple[ExplainedPart, ...]

    def lines(self, width: int = 100) -> Iterator[str]:
        """The explanation as lines of text; texts and URLs are cut to `width` characters."""
        likely = sorted(self.kinds.items(), key=lambda kind: -kind[1])[:3]
        yield "kind of page: " + ", ".join(f"{name} {probability:.2f}" for name, probability in likely)
        yield f"kept above: text {self.text_threshold:.2f}, images {self.image_threshold:.2f}"
        for part in self.parts:
            yield f"{'+' if part.kept else '-'} {part.probability:.2f} {part.type} {part.content.strip()[:width]}"
            reasons = [f"{reason.log_odds:+.1f} {reason.feature}" for reason in part.reasons]
            yield "       " + "; ".join([f"rule: {part.rule}"] * bool(part.rule) + reasons)


def explain(
    html: bytes, url: str, *, content_type: str | None = None, options: ExtractOptions = _DEFAULTS
) -> Explanation:
    """Explain what `extract` keeps of a page with the same arguments.

    Raises PageDropped as `extract` does, and ValueError for the engine "trafilatura", which gives no reasons."""
    if options.engine != "openm3w":
        raise ValueError(f"only the engine openm3w can be explained, not {options.engine}")
    page = flat_page(decoded(html, content_type, options), options, url)
    if not page.blocks or not page.tags:
        return Explanation(url, {}, 0.5, image_classifier.THRESHOLD, ())
    selection = select(page, url, options.comments)
    base = (resolve(page.head.base, url) if page.head.base else None) or url
    images = _images(page, base, selection)
    texts = _texts(page, selection)
    parts: list[ExplainedPart] = []
    for text, block in zip(texts, page.blocks, strict=True):
        parts += [images.pop(piece) for piece in block.pieces if isinstance(piece, int) and piece in images]
        if text.content:
            parts.append(text)
    kinds = dict(zip(PAGE_KINDS, selection.text.kinds.tolist(), strict=True))
    return Explanation(url, kinds, selection.text.threshold, image_classifier.THRESHOLD, (*parts, *images.values()))


def _texts(page: Page, selection: Selection) -> list[ExplainedPart]:
    text = selection.text
    values, containers = features(page, selection.total, selection.found)
    rules = [""] * len(page.blocks)
    for rule, changed in text.overrides:
        for index in np.flatnonzero(changed).tolist():
            rules[index] = rule
    reasons = _block_reasons(values, containers, text.chars, text.kinds)
    return [
        ExplainedPart("text", block.text.strip(), bool(kept), float(probability), rule, why)
        for block, kept, probability, rule, why in zip(
            page.blocks, text.kept, text.probability, rules, reasons, strict=True
        )
    ]


def _images(page: Page, base: str, selection: Selection) -> dict[int, ExplainedPart]:
    weights, _ = image_classifier.coefficients()
    images = selection.images
    reasons = dict(zip(images.likely, _strongest(images.rows * weights, image_classifier.NAMES), strict=True))
    parts = {}
    for index, picture in enumerate(page.pictures):
        kept = index in images.indices
        probability = images.likely.get(index, 0.0)
        rule = images.overrides.get(index, "") if kept else picture.left_out
        url = next(iter(image_urls(picture, base)), "")
        parts[index] = ExplainedPart("image", url, kept, probability, rule, reasons.get(index, ()))
    return parts


def _block_reasons(values: Matrix, containers: np.ndarray, chars: Matrix, kinds: Matrix) -> list[tuple[Reason, ...]]:
    table, _ = classifier.coefficients()
    here = table[:, 0] + (table[:, classifier.WINDOWS :] * kinds).sum(1)
    windows = (
        values * here,
        classifier.nearby(values * table[:, 1]),
        classifier.within(values * table[:, 2], containers, chars),
        np.broadcast_to(classifier.overall(values * table[:, 3], chars), values.shape),
    )
    of_windows = [
        _strongest(amounts, [name + where for name in BLOCK_FEATURES])
        for amounts, where in zip(windows, _WINDOWS, strict=True)
    ]
    return [
        tuple(sorted((reason for found in block for reason in found), key=lambda r: -abs(r.log_odds))[:STRONGEST])
        for block in zip(*of_windows, strict=True)
    ]


def _strongest(amounts: Matrix, names: Sequence[str]) -> list[tuple[Reason, ...]]:
    """The features that count most, a tuple per row of `amounts` [rows, features]."""
    order = np.argsort(-np.abs(amounts), 1, kind="stable")[:, :STRONGEST]
    return [
        tuple(Reason(names[column], float(row[column])) for column in columns if row[column])
        for row, columns in zip(amounts, order.tolist(), strict=True)
    ]
