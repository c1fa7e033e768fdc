"""The kept pages: their kept images, and their nodes with only these images."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.placement import placed
from pipeline.stages.verdicts import judged


class KeptImage(NamedTuple):
    """A kept image: the hash of its content, the URL that was found, and the sentence before which it is placed, if not
    in its place on the page."""

    content: bytes
    url: str
    sentence: int | None = None


def kept_images(corpus: CorpusDirectory, part: int) -> dict[int, dict[int, KeptImage]]:
    """Page row -> node -> image. A page keeps each content once: its other references failed `image.repeated`."""
    kept: dict[int, dict[int, KeptImage]] = {}
    columns = ["row", "node", "rule", "content", "url", "sentence"]
    for row in tables.read(corpus.part("decisions", part), columns).to_pylist():
        if row["rule"] is None:
            kept.setdefault(row["row"], {})[row["node"]] = KeptImage(row["content"], row["url"], row["sentence"])
    return kept


def perceptual_hashes(corpus: CorpusDirectory, part: int) -> dict[bytes, int]:
    """The perceptual hash of each image that a part's pages use, by content."""
    owners = tables.read(corpus.part("references", part), ["owner"])["owner"].drop_null().unique().to_pylist()
    found: dict[bytes, int] = {}
    for owner in owners:
        stored = tables.read(corpus.part("distinct_images", owner), ["content", "phash"])
        found |= zip(stored["content"].to_pylist(), stored["phash"].to_pylist(), strict=True)
    return found


@dataclass(frozen=True)
class KeptPage:
    """A kept page: its row in work/pages, columns of it, and its kept images by node."""

    row: int
    columns: dict[str, Any]
    images: dict[int, KeptImage]

    def nodes(self) -> tuple[list[str | None], list[int | None]]:
        """`kept_nodes` of the columns `texts` and `images`, or with the images placed by sentences."""
        sentence_of = {node: image.sentence for node, image in self.images.items() if image.sentence is not None}
        if sentence_of:
            texts = kept_nodes(self.columns["texts"], self.columns["images"], ())[0]
            return placed("".join(text for text in texts if text is not None), sentence_of)
        return kept_nodes(self.columns["texts"], self.columns["images"], self.images)


def kept_pages(
    corpus: CorpusDirectory,
    part: int,
    rules: Sequence[str | None],
    images: dict[int, dict[int, KeptImage]],
    columns: list[str],
) -> Iterator[KeptPage]:
    """The pages of a part whose rule is None (`rules`: one per row), one at a time."""
    pages = judged(corpus, part, columns)
    for row, rule in enumerate(rules):
        if rule is None:
            yield KeptPage(row, pages.slice(row, 1).to_pylist()[0], images[row])


def kept_nodes(
    texts: list[str | None], images: list[dict[str, Any] | None], kept: Container[int]
) -> tuple[list[str | None], list[int | None]]:
    """The nodes of a page with only the images at the nodes `kept`: parallel lists of texts, and of the nodes of
    images. Texts that become adjacent are joined: as two paragraphs, or as one if an image inside a line was
    removed."""
    out_texts: list[str | None] = []
    out_nodes: list[int | None] = []
    gone: list[str | None] = []
    for node, (text, image) in enumerate(zip(texts, images, strict=True)):
        if text is not None and out_texts and out_texts[-1] is not None:
            out_texts[-1] += _joint(gone) + text
        elif text is not None or node in kept:
            out_texts.append(text)
            out_nodes.append(None if text is not None else node)
        elif image is not None:
            gone.append(image["within"])
            continue
        gone = []
    return out_texts, out_nodes


def _joint(gone: list[str | None]) -> str:
    """The separator between two texts in place of images; `gone` are their `Image.within`."""
    inside = [within for within in gone if within is not None]
    return max(inside, key=("", " ", "\n").index) if inside and len(inside) == len(gone) else "\n\n"
