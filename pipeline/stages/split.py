"""Stages site_counts and split: which pages become documents, and which of them are held out."""

import itertools
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup import hamming
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.json_files import read_json
from pipeline.recipe import Recipe
from pipeline.stages.kept import kept_images, kept_pages, perceptual_hashes
from pipeline.stages.schemas import SPLIT
from shards.draws import hash64

FEWEST_SITES = 40
"""With fewer sites, a split by site would hold out nothing or too much."""
LARGEST_SHARE = 0.2
CHUNK_BYTES = 20 * 256 * 4
"""Text bytes of about 20 windows, at four bytes per token: the chunks in which book-length pages are held out."""
BOOK_BYTES = 3 * CHUNK_BYTES
"""If pages are the unit, a page with more text than this is split by chunks."""
WHOLE = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class SiteCounts:
    """Documents of each site (by hash of its name), which decide the unit of the split."""

    sites: int
    documents: int
    held_out: int

    @property
    def unit(self) -> str:
        share = self.held_out / max(self.documents, 1)
        return "site" if self.sites >= FEWEST_SITES and 0 < share <= LARGEST_SHARE else "page"


@dataclass(frozen=True)
class Split:
    """How documents are held out: with probability `validation`, by hash of (seed, unit)."""

    seed: int
    validation: float
    leak: bool
    leak_near: int
    unit: str = "site"

    @classmethod
    def of(cls, recipe: Recipe) -> "Split":
        return cls(recipe.seed, recipe.windows.validation, recipe.split.leak, recipe.split.leak_near)

    def holds_out(self, name: str) -> bool:
        return hash64(f"{self.seed}\n{name}") < self.validation * 2**64


@dataclass(eq=False)
class CountSites(beam.PTransform):
    """Input: part numbers. Output: (0, files): work/site_counts, a `SiteCounts`."""

    corpus: CorpusDirectory
    split: Split

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (0, (site hashes, documents per site, held out?))
            | "Sites" >> beam.Map(partial(_sites, self.corpus, self.split))
            | "All" >> beam.GroupByKey()
            | "Count" >> beam.MapTuple(partial(_write_counts, self.corpus))
        )


def read_site_counts(corpus: CorpusDirectory) -> SiteCounts:
    return SiteCounts(**read_json(corpus.part("site_counts", 0, "json")))


def _final_rules(corpus: CorpusDirectory, part: int, kept: Container[int]) -> list[str | None]:
    """The final rule of each page of a part; `kept` are the rows with a kept image."""
    rules = tables.read(corpus.part("dedup", part), ["rule"])["rule"].to_pylist()
    return ["page.no_image_left" if rule is None and row not in kept else rule for row, rule in enumerate(rules)]


def _sites(corpus: CorpusDirectory, split: Split, part: int) -> tuple[int, tuple[list[bytes], list[int], list[bool]]]:
    rules = _final_rules(corpus, part, kept_images(corpus, part))
    sites = tables.read(corpus.part("pages", part), ["site"])["site"].to_pylist()
    counts: dict[str, int] = {}
    for site, rule in zip(sites, rules, strict=True):
        if rule is None:
            counts[site] = counts.get(site, 0) + 1
    names = sorted(counts)
    return 0, (
        [tables.short_hash(name) for name in names],
        [counts[name] for name in names],
        [split.holds_out(name) for name in names],
    )


def _write_counts(
    corpus: CorpusDirectory, key: int, found: Iterable[tuple[list[bytes], list[int], list[bool]]]
) -> tuple[int, list[FileEntry]]:
    documents: dict[bytes, int] = {}
    held_out: dict[bytes, bool] = {}
    for names, counts, held in found:
        for name, count, is_held in zip(names, counts, held, strict=True):
            documents[name] = documents.get(name, 0) + count
            held_out[name] = is_held
    total = SiteCounts(
        len(documents),
        sum(documents.values()),
        sum(count for name, count in documents.items() if held_out[name]),
    )
    return key, [tables.write_value(corpus, corpus.part("site_counts", key, "json"), asdict(total))]


USE = np.dtype(
    [
        *(("high", "<u8"), ("low", "<u8"), ("held", "u1"), ("near", "u1")),
        *(("part", "<u4"), ("row", "<u4"), ("chunk", "<u4")),
    ]
)
"""Chunk `chunk` (WHOLE: all) of page `row` of `part`, held out or not, uses this image or belongs to this cluster; or,
if `near`, it uses an image with the perceptual hash `low`, and `high` is the key of one of the bands of that hash."""
COMPARED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Assigned:
    """The splits of a part before leaks are known (a table of SPLIT), and for each page held out in chunks, which chunk
    uses which image: page row -> content -> number of the chunk. One number is enough, because a page keeps each
    content once (`kept_images`)."""

    splits: pa.Table
    chunks: dict[int, dict[bytes, int]]


@dataclass(eq=False)
class AssignSplits(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/split."""

    corpus: CorpusDirectory
    split: Split

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (part, Assigned)
            | "Assign" >> beam.Map(partial(_assign, self.corpus, self.split))
            | "Leaks"
            >> Join(
                partial(_uses, self.corpus, self.split.leak_near),
                partial(_leaks, self.split.leak_near) if self.split.leak else _no_leaks,
            )
            | "Write" >> beam.MapTuple(partial(_write_split, self.corpus))
        )


def _assign(corpus: CorpusDirectory, split: Split, part: int) -> tuple[int, Assigned]:
    by_page = split.unit == "page"
    kept = kept_images(corpus, part)
    rules = _final_rules(corpus, part, kept)
    clusters = tables.read(corpus.part("dedup", part), ["cluster"])["cluster"].to_pylist()
    rows: list[dict[str, Any]] = [{"rule": rule, "split": None, "held_out": None} for rule in rules]
    shown: dict[int, dict[bytes, int]] = {}
    columns = ["doc_id", "texts", "images"] if by_page else ["site"]
    for page in kept_pages(corpus, part, rules, kept, columns):
        if by_page and is_book(page.columns["texts"]):
            texts, nodes = page.nodes()
            chunks = _held_out_chunks(split, page.columns["doc_id"], texts)
            rows[page.row] |= {"split": "mixed", "held_out": chunks} if chunks else {"split": "train"}
            shown[page.row] = {
                page.images[node].content: number
                for number, chunk in enumerate(chunks)
                for node in nodes[chunk["start"] : chunk["stop"]]
                if node is not None
            }
        else:
            held_out = split.holds_out(clusters[page.row] if by_page else page.columns["site"])
            rows[page.row]["split"] = "validation" if held_out else "train"
    return part, Assigned(pa.Table.from_pylist(rows, schema=SPLIT), shown)


def is_book(texts: Iterable[str | None]) -> bool:
    """Judged by the texts as extracted, so that it does not depend on which images are kept: white space that joins
    two texts in place of an image does not count. A page over `BOOK_BYTES` by that alone is held out as a whole."""
    return sum(len(text.encode()) for text in texts if text) > BOOK_BYTES


def _held_out_chunks(split: Split, doc_id: str, texts: list[str | None]) -> list[dict[str, Any]]:
    """The held-out node ranges of a book-length page, chunk by chunk."""
    chunks, start, size = [], 0, 0
    for node, text in enumerate(texts):
        size += len(text.encode()) if text else 0
        if size >= CHUNK_BYTES or node == len(texts) - 1:
            chunks.append((start, node + 1))
            start, size = node + 1, 0
    return [
        {"start": start, "stop": stop, "split": "validation"}
        for number, (start, stop) in enumerate(chunks)
        if split.holds_out(f"{doc_id} {number}")
    ]


class Use(NamedTuple):
    """A row of USE without its part, by the hash of an image or a cluster. `phash` is of an image."""

    key: bytes
    phash: int | None
    held: bool
    row: int
    chunk: int


def _uses(corpus: CorpusDirectory, distance: int, part: int, assigned: Assigned) -> Block:
    uses = list(_each_use(corpus, part, assigned))
    block = joins.keyed(USE, (use.key for use in uses))
    block["part"] = part
    for name in ("held", "row", "chunk"):
        block[name] = [getattr(use, name) for use in uses]
    images = [index for index, use in enumerate(uses) if use.phash is not None]
    near = np.repeat(block[images], distance + 1)
    hashes = np.array([uses[index].phash for index in images], np.uint64)
    near["high"], near["low"] = hamming.bands(hashes, distance).reshape(-1), np.repeat(hashes, distance + 1)
    near["near"] = 1
    return np.concatenate([block, near])


def _each_use(corpus: CorpusDirectory, part: int, assigned: Assigned) -> Iterator[Use]:
    """Every kept image and every cluster of the part's documents, with the split of the place that uses it."""
    images = kept_images(corpus, part)
    phashes = perceptual_hashes(corpus, part)
    clusters = tables.read(corpus.part("dedup", part), ["cluster"])["cluster"].to_pylist()
    for row, document in enumerate(assigned.splits.to_pylist()):
        if document["rule"] is None:
            held_out = document["split"] == "validation"
            cluster = tables.short_hash(f"cluster {clusters[row]}")
            yield Use(cluster, None, held_out, row, WHOLE)
            for chunk in range(len(document["held_out"] or ())):
                yield Use(cluster, None, True, row, chunk)
            for content, _ in images[row].values():
                chunk = assigned.chunks.get(row, {}).get(content, WHOLE)
                yield Use(content, phashes[content], held_out or chunk != WHOLE, row, chunk)


def _leaks(distance: int, rows: Block) -> Block:
    """Held-out uses that also occur in another page's training text, or use an image that looks like one there: their
    perceptual hashes differ in at most `distance` bits. A book may resemble itself."""
    return np.unique(np.concatenate([_same(rows), *_alike(distance, rows[rows["near"] == 1])]))


def _alike(distance: int, rows: Block) -> Iterator[Block]:
    """For the rows of each band, the held-out ones whose hash is near that of another page's training image."""
    bounds = joins.groups(rows, ("high",))
    for start, stop in itertools.pairwise(bounds.tolist()):
        band = rows[start:stop]
        training, held = (band[band["held"] == side] for side in (0, 1))
        if not len(training) or not len(held):
            continue
        hashes, of_hash, uses = np.unique(training["low"], return_index=True, return_counts=True)
        pages = training[["part", "row"]]
        last = pages[of_hash + uses - 1]
        for some in np.array_split(held, 1 + len(held) * len(hashes) // COMPARED_AT_ONCE):
            # a hash with several training pages has one beside the held-out page's own
            page = some[["part", "row"]][:, None]
            another = (page != pages[of_hash][None]) | (page != last[None])
            found = (hamming.alike(some["low"], hashes, distance) & another).any(axis=1)
            yield some[found][["part", "row", "chunk"]]


def _same(rows: Block) -> Block:
    """Held-out uses whose key another page's training text has. Training sorts before held out within a key."""
    if not len(rows):
        return rows[["part", "row", "chunk"]]
    bounds = joins.groups(rows, ("high", "low"))
    training = np.add.reduceat((rows["held"] == 0).astype(np.int64), bounds[:-1])
    pages = rows[["part", "row"]]
    lengths = np.diff(bounds)
    first, last = (np.repeat(index, lengths) for index in (bounds[:-1], np.maximum(bounds[:-1] + training, 1) - 1))
    another = (pages[first] != pages) | (pages[last] != pages)
    return rows[np.repeat(training > 0, lengths) & another & (rows["held"] == 1)][["part", "row", "chunk"]]


def _no_leaks(rows: Block) -> Block:
    return rows[:0]


def _write_split(corpus: CorpusDirectory, part: int, both: tuple[Assigned, Block]) -> tuple[int, list[FileEntry]]:
    assigned_before, leaks = both
    rows = assigned_before.splits.to_pylist()
    for leak in leaks if len(leaks) else ():
        assigned = rows[int(leak["row"])]
        if leak["chunk"] == WHOLE:
            assigned["split"] = "leak"
        else:
            assigned["held_out"][int(leak["chunk"])]["split"] = "leak"
    table = pa.Table.from_pylist(rows, schema=SPLIT)
    return part, [tables.write(corpus, corpus.part("split", part), table)]
