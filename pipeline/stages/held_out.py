"""What the stages site_counts and split share: the unit and the share of the split, and what stands for a document."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.exact import first_of_each
from dedup.leaks import COMMON, PARAGRAPH, WHOLE
from dedup.near import KEYS
from filters.image import IMAGE_SET, PAGE_DROPPED, TOO_MANY_IMAGES
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block
from pipeline.json_files import read_json
from pipeline.recipe import Recipe
from shards.draws import hash64

CHUNK_BYTES = 20 * 256 * 4
"""Text bytes of about 20 windows, at four bytes per token: the chunks in which book-length pages are held out."""
BOOK_BYTES = 3 * CHUNK_BYTES
"""If pages are the unit, a page with more text than this is split by chunks."""


@dataclass(frozen=True)
class SiteCounts:
    """Sites and documents, documents of the sites that are held out, the unit of the split, and the share of units that
    are held out: that of the recipe, raised where it is too small to measure with."""

    sites: int
    documents: int
    held_out: int
    unit: str
    share: float


def read_site_counts(corpus: CorpusDirectory) -> SiteCounts:
    return SiteCounts(**read_json(corpus.part("site_counts", 0, "json")))


@dataclass(frozen=True)
class Split:
    """How documents are held out: with probability `validation`, by hash of (seed, unit)."""

    seed: int
    validation: float
    leak: bool
    leak_near: int
    leak_words: int
    unit: str = "site"

    @classmethod
    def of(cls, recipe: Recipe) -> "Split":
        leak = recipe.split
        words = leak.leak_paragraph_words if leak.leak else 0
        return cls(recipe.seed, recipe.windows.validation, leak.leak, leak.leak_near, words)

    def decided(self, counts: SiteCounts) -> "Split":
        """With the unit and the share that the counts led to."""
        return replace(self, unit=counts.unit, validation=counts.share)

    def rank(self, name: str) -> int:
        return hash64(f"{self.seed}\n{name}")

    def holds_out(self, name: str) -> bool:
        return self.rank(name) < self.validation * 2**64


def final_rules(corpus: CorpusDirectory, part: int, kept: Container[int]) -> list[str | None]:
    """The final rule of each page of a part; `kept` are the rows with a kept image."""
    rules = tables.read(corpus.part("dedup", part), ["rule"])["rule"].to_pylist()
    decisions = tables.read(corpus.part("decisions", part), ["row", "rule", "survivor"])
    full, same = (
        set(decisions.filter(chosen)["row"].to_pylist())
        for chosen in (pc.equal(decisions["rule"], PAGE_DROPPED), decisions["survivor"].is_valid())
    )
    return [
        (IMAGE_SET if row in same else TOO_MANY_IMAGES if row in full else "page.no_image_left")
        if rule is None and row not in kept
        else rule
        for row, rule in enumerate(rules)
    ]


def is_book(texts: Iterable[str | None]) -> bool:
    """Judged by the texts as extracted, so that it does not depend on which images are kept: white space that joins
    two texts in place of an image does not count. A page over `BOOK_BYTES` by that alone is held out as a whole."""
    return sum(len(text.encode()) for text in texts if text) > BOOK_BYTES


def chunks_of(texts: list[str | None]) -> list[tuple[int, int]]:
    """The node ranges of the chunks of a book-length page."""
    chunks, start, size = [], 0, 0
    for node, text in enumerate(texts):
        size += len(text.encode()) if text else 0
        if size >= CHUNK_BYTES or node == len(texts) - 1:
            chunks.append((start, node + 1))
            start, size = node + 1, 0
    return chunks


def paragraph_rows(
    corpus: CorpusDirectory, split: Split, part: int, dtype: np.dtype, documents: Container[int]
) -> tuple[list[int], Block]:
    """The page row of each of the keys of a part's paragraphs, and a row for each key. Of a paragraph that is on more
    than COMMON pages of the part, COMMON + 1 are enough to tell."""
    if not split.leak_words:
        return [], np.zeros(0, dtype)
    table = tables.read(corpus.part("paragraphs", part))
    table = table.filter(pa.array([row in documents for row in table["row"].to_pylist()], pa.bool_()))
    block = np.zeros((table.num_rows, KEYS), dtype)
    block["high"] = np.asarray(table["keys"].combine_chunks().flatten()).reshape(-1, KEYS)
    block["low"], block["row"] = np.asarray(table["sketch"])[:, None], np.asarray(table["row"])[:, None]
    block["near"], block["part"], block["chunk"] = PARAGRAPH, part, WHOLE
    rows = block.reshape(-1)
    rows = rows[np.lexsort([rows[name] for name in ("row", "low", "high")])]
    rows = rows[np.arange(len(rows)) - first_of_each(rows[["high", "low"]]) <= COMMON]
    return rows["row"].tolist(), rows
