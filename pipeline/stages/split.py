"""Stages site_counts and split: which pages become documents, and which of them are held out."""

import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import hamming
from dedup.exact import first_of_each
from dedup.near import KEYS, SKETCH_BITS, sketches
from filters.image import IMAGE_SET, PAGE_DROPPED, TOO_MANY_IMAGES
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.json_files import read_json
from pipeline.recipe import Recipe
from pipeline.stages.kept import kept_images, kept_pages, perceptual_hashes
from pipeline.stages.paragraphs import long_paragraphs
from pipeline.stages.schemas import SPLIT
from shards.draws import hash64
from shards.enough import DOCUMENTS, SITES, text_behind_image

FEWEST_SITES = 40
"""With fewer sites, a split by site would hold out nothing or too much."""
LARGEST_SHARE = 0.2
RAISED_SHARE = 1 / 3
"""Largest shares of documents held out by site, as asked for and raised to the minimum."""
LARGEST_RAISED = 0.5
"""Largest share that pages are held out with to reach the minimum."""
MINIMUM = DOCUMENTS + DOCUMENTS // 10
"""Documents to hold out at least. A few more than needed: windows may leave out the text that follows an image."""
SMALL = 64
"""Parts of an input up to which images that look alike are compared before the share is chosen. A larger one holds out
more than `MINIMUM` documents whatever they share."""
CHUNK_BYTES = 20 * 256 * 4
"""Text bytes of about 20 windows, at four bytes per token: the chunks in which book-length pages are held out."""
BOOK_BYTES = 3 * CHUNK_BYTES
"""If pages are the unit, a page with more text than this is split by chunks."""
COMMON = 10
"""A paragraph on more pages is boilerplate, such as a licence, and leaks nothing."""
SAME, IMAGE, PARAGRAPH = 0, 1, 2
"""What a row of the joins compares: a key, an image by its hash, or a paragraph."""
WHOLE = np.iinfo(np.uint32).max
NEVER = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class SiteCounts:
    """Sites and documents, documents of the sites that are held out, the unit of the split, and the share of units that
    are held out: that of the recipe, raised where it is too small to measure with."""

    sites: int
    documents: int
    held_out: int
    unit: str
    share: float


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


class SplitUnit(NamedTuple):
    """A document, or a chunk of a book (chunk WHOLE: its text outside of held-out chunks, in a cluster). `site` and
    `page` are the ranks by which it is held out as part of its site or by itself; `by_site`, `by_page`: whether it
    counts if they are the unit. `keys` are its images and its cluster."""

    row: int
    chunk: int
    name: str
    site: int
    page: int
    by_site: bool
    by_page: bool
    keys: list[bytes]


NEED = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("near", "u1"),
        ("part", "<u4"),
        ("row", "<u4"),
        ("chunk", "<u4"),
        ("site", "<u8"),
        ("page", "<u8"),
    ]
)
"""A unit with this key, and its ranks; or (`near`: IMAGE or PARAGRAPH) with an image of the perceptual hash or a
paragraph of the sketch `low`, `high` being one of their keys."""


class PartCounts(NamedTuple):
    """Sites of a part: documents and rank. The lowest shares (as ranks) at which documents are held out and in no
    training document's company, by site and by page."""

    sites: dict[str, tuple[int, int]]
    by_site: list[tuple[int, str]]
    by_page: list[int]


@dataclass(eq=False)
class CountSites(beam.PTransform):
    """Input: part numbers. Output: (0, files): work/site_counts, a `SiteCounts`.

    A document is of use in validation if it and all documents with an image or the cluster of it are held out. The
    greatest of their ranks is the share that this takes, so sorting documents by it gives the smallest share with
    enough of them."""

    corpus: CorpusDirectory
    split: Split
    parts: int
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        company = partial(_company, self.split.leak_near) if self.split.leak else _no_leaks
        near = self.split if self.split.leak and self.parts <= SMALL else None
        return (
            parts
            # Output: (part, list of SplitUnit)
            | "Units" >> beam.Map(partial(_units, self.corpus, self.split))
            | "Company" >> Join(partial(_ranks, self.corpus, near), company, self.partitions)
            # Output: (0, PartCounts)
            | "Part" >> beam.MapTuple(_part_counts)
            | "All" >> beam.GroupByKey()
            | "Count" >> beam.MapTuple(partial(_write_counts, self.corpus, self.split))
        )


def read_site_counts(corpus: CorpusDirectory) -> SiteCounts:
    return SiteCounts(**read_json(corpus.part("site_counts", 0, "json")))


def _final_rules(corpus: CorpusDirectory, part: int, kept: Container[int]) -> list[str | None]:
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


def _units(corpus: CorpusDirectory, split: Split, part: int) -> tuple[int, list[SplitUnit]]:
    kept = kept_images(corpus, part)
    rules = _final_rules(corpus, part, kept)
    sites = tables.read(corpus.part("pages", part), ["site"])["site"].to_pylist()
    clusters = tables.read(corpus.part("dedup", part), ["cluster"])["cluster"].to_pylist()
    # with so many sites, these are the unit, and texts need not be read
    with_texts = len({site for site, rule in zip(sites, rules, strict=True) if rule is None}) < FEWEST_SITES
    units = []
    for page in kept_pages(corpus, part, rules, kept, ["doc_id", *(("texts", "images") if with_texts else ())]):
        name, cluster = sites[page.row], clusters[page.row]
        key = tables.short_hash(f"cluster {cluster}")
        site, rank = split.rank(name), split.rank(cluster)
        if with_texts and is_book(page.columns["texts"]):
            texts, nodes = page.nodes()
            units.append(SplitUnit(page.row, WHOLE, name, site, NEVER, True, False, [key]))
            for number, (start, stop) in enumerate(_chunks(texts)):
                keys = [page.images[node].content for node in nodes[start:stop] if node is not None]
                telling = text_behind_image(texts, range(start, stop))
                rank = split.rank(f"{page.columns['doc_id']} {number}")
                units.append(SplitUnit(page.row, number, name, site, rank, False, telling, [key, *keys]))
        else:
            keys = [key, *(image.content for image in kept[page.row].values())]
            texts = page.nodes()[0] if with_texts else [None, ""]
            telling = text_behind_image(texts, range(len(texts)))
            units.append(SplitUnit(page.row, WHOLE, name, site, rank, telling, telling, keys))
    return part, units


def _ranks(corpus: CorpusDirectory, near: Split | None, part: int, units: list[SplitUnit]) -> Block:
    """The keys of units with their ranks, and the bands of their images' hashes and paragraphs, if the split compares
    what is `near`."""
    keys = [key for unit in units for key in unit.keys]
    block = joins.keyed(NEED, keys)
    block["part"] = part
    for name in ("row", "chunk", "site", "page"):
        block[name] = [getattr(unit, name) for unit in units for _ in unit.keys]
    if near is None:
        return block
    phashes = perceptual_hashes(corpus, part)
    images = [index for index, key in enumerate(keys) if key in phashes]
    whole = {unit.row: unit for unit in units if unit.chunk == WHOLE}
    of, banded = _paragraphs(corpus, near, part, NEED, whole.keys())
    for name in ("site", "page"):
        banded[name] = [getattr(whole[row], name) for row in of]
    hashes = [phashes[keys[index]] for index in images]
    return np.concatenate([block, _banded(block[images], hashes, near.leak_near), banded])


def _banded(rows: Block, phashes: list[int], distance: int) -> Block:
    """Each row of an image as often as its hash has bands, by band."""
    hashes = np.array(phashes, np.uint64)
    near = np.repeat(rows, distance + 1)
    near["high"], near["low"] = hamming.bands(hashes, distance).reshape(-1), np.repeat(hashes, distance + 1)
    near["near"] = IMAGE
    return near


def _paragraphs(
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


def _company(distance: int, rows: Block) -> Block:
    """For each unit the highest ranks of other pages with a key of it, or with an image or paragraph like one of
    it."""
    return np.concatenate(
        [
            _highest_others(rows[rows["near"] == SAME]),
            *_highest_alike(distance, NEVER, rows[rows["near"] == IMAGE]),
            *_highest_alike(SKETCH_BITS, COMMON, rows[rows["near"] == PARAGRAPH]),
        ]
    )


def _highest_alike(distance: int, most: int, rows: Block) -> Iterator[Block]:
    """For each row of each band, the highest ranks of other pages with a hash near its own, if it is like at most
    `most` rows."""
    bounds = joins.groups(rows, ("high",))
    owner = _owner(rows)
    starts = np.flatnonzero(np.diff(bounds) > 1)
    for start, stop in zip(bounds[starts].tolist(), bounds[starts + 1].tolist(), strict=True):
        band, pages = rows[start:stop], owner[start:stop]
        for index in np.array_split(np.arange(len(band)), 1 + len(band) ** 2 // COMPARED_AT_ONCE):
            some = band[index]
            alike = hamming.alike(some["low"], band["low"], distance)
            alike &= (alike.sum(axis=1) <= most)[:, None] & (pages[index][:, None] != pages[None])
            found = some[["part", "row", "chunk", "site", "page"]].copy()
            for name in ("site", "page"):
                found[name] = np.where(alike, band[name][None], np.uint64(0)).max(axis=1)
            yield found[alike.any(axis=1)]


def _highest_others(rows: Block) -> Block:
    """For each unit and key the highest ranks of other pages with this key, 0 if there are none."""
    found = rows[["part", "row", "chunk", "site", "page"]].copy()
    if not len(rows):
        return found
    bounds = joins.groups(rows, ("high", "low"))
    lengths = np.diff(bounds)
    group = np.repeat(np.arange(len(lengths)), lengths)
    owner = _owner(rows)
    for name in ("site", "page"):
        ranks = rows[name]
        last = np.lexsort([ranks, group])[bounds[1:] - 1]  # of each group, the row with the highest rank
        first_owner = owner[last][group]
        others = np.maximum.reduceat(np.where(owner == first_owner, np.uint64(0), ranks), bounds[:-1])
        found[name] = np.where(owner == first_owner, others[group], ranks[last][group])
    return found


def _owner(rows: Block) -> np.ndarray:
    """The page of each row, as one number."""
    return rows["part"].astype(np.uint64) << np.uint64(32) | rows["row"].astype(np.uint64)


def _part_counts(part: int, both: tuple[list[SplitUnit], Block]) -> tuple[int, PartCounts]:
    units, others = both
    of_page: dict[int, int] = {}
    of_unit: dict[tuple[int, int], int] = {}
    for other in others if len(others) else ():
        row, chunk = int(other["row"]), int(other["chunk"])
        of_page[row] = max(of_page.get(row, 0), int(other["site"]))
        of_unit[row, chunk] = max(of_unit.get((row, chunk), 0), int(other["page"]))
    sites: dict[str, tuple[int, int]] = {}
    by_site: dict[str, list[int]] = {}
    by_page = []
    for unit in units:
        if unit.chunk == WHOLE:
            sites[unit.name] = (sites.get(unit.name, (0, 0))[0] + 1, unit.site)
        if unit.by_site:
            by_site.setdefault(unit.name, []).append(max(unit.site, of_page.get(unit.row, 0)))
        if unit.by_page:
            by_page.append(max(unit.page, of_unit.get((unit.row, unit.chunk), 0)))
    lowest = [(need, name) for name, needs in by_site.items() for need in sorted(needs)[:MINIMUM]]
    return 0, PartCounts(sites, sorted(lowest), sorted(by_page)[:MINIMUM])


def _write_counts(
    corpus: CorpusDirectory, split: Split, key: int, found: Iterable[PartCounts]
) -> tuple[int, list[FileEntry]]:
    parts = list(found)
    sites: dict[str, tuple[int, int]] = {}
    for part in parts:
        for name, (count, rank) in part.sites.items():
            sites[name] = (sites.get(name, (0, 0))[0] + count, rank)
    documents = sum(count for count, _ in sites.values())

    def held_out(share: float) -> int:
        return sum(count for count, rank in sites.values() if rank < share * 2**64)

    share = _enough(split.validation, sorted(need for part in parts for need in part.by_site), SITES)
    largest = LARGEST_SHARE if share == split.validation else RAISED_SHARE
    if len(sites) >= FEWEST_SITES and 0 < held_out(share) <= largest * documents:
        unit = "site"
    else:
        unit = "page"
        raised = _enough(split.validation, sorted((need, "") for part in parts for need in part.by_page), 0)
        share = raised if raised <= LARGEST_RAISED else split.validation
    counts = SiteCounts(len(sites), documents, held_out(share), unit, share)
    return key, [tables.write_value(corpus, corpus.part("site_counts", key, "json"), asdict(counts))]


def _enough(validation: float, needs: list[tuple[int, str]], sites: int) -> float:
    """The smallest share from `validation` on that holds out MINIMUM documents of `sites` sites; `validation` if none
    does, or if nothing is to be held out. `needs`: the share, as a rank, that each document takes, ascending."""
    names: set[str] = set()
    for number, (need, name) in enumerate(needs if validation else (), 1):
        names.add(name)
        if number >= MINIMUM and len(names) >= sites:
            return max(validation, math.nextafter((need + 1) / 2**64, 2))
    return validation


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
    content once (`kept_images`). `texts`: the long paragraphs of each held-out chunk (page row, number)."""

    splits: pa.Table
    chunks: dict[int, dict[bytes, int]]
    texts: dict[tuple[int, int], list[str]]


@dataclass(eq=False)
class AssignSplits(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/split."""

    corpus: CorpusDirectory
    split: Split
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (part, Assigned)
            | "Assign" >> beam.Map(partial(_assign, self.corpus, self.split))
            | "Leaks"
            >> Join(
                partial(_uses, self.corpus, self.split),
                partial(_leaks, self.split.leak_near) if self.split.leak else _no_leaks,
                self.partitions,
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
    long: dict[tuple[int, int], list[str]] = {}
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
            for number, chunk in enumerate(chunks if split.leak_words else ()):
                long[page.row, number] = long_paragraphs(texts[chunk["start"] : chunk["stop"]], split.leak_words)
        else:
            held_out = split.holds_out(clusters[page.row] if by_page else page.columns["site"])
            rows[page.row]["split"] = "validation" if held_out else "train"
    return part, Assigned(pa.Table.from_pylist(rows, schema=SPLIT), shown, long)


def is_book(texts: Iterable[str | None]) -> bool:
    """Judged by the texts as extracted, so that it does not depend on which images are kept: white space that joins
    two texts in place of an image does not count. A page over `BOOK_BYTES` by that alone is held out as a whole."""
    return sum(len(text.encode()) for text in texts if text) > BOOK_BYTES


def _chunks(texts: list[str | None]) -> list[tuple[int, int]]:
    """The node ranges of the chunks of a book-length page."""
    chunks, start, size = [], 0, 0
    for node, text in enumerate(texts):
        size += len(text.encode()) if text else 0
        if size >= CHUNK_BYTES or node == len(texts) - 1:
            chunks.append((start, node + 1))
            start, size = node + 1, 0
    return chunks


def _held_out_chunks(split: Split, doc_id: str, texts: list[str | None]) -> list[dict[str, Any]]:
    """The held-out node ranges of a book-length page, chunk by chunk."""
    return [
        {"start": start, "stop": stop, "split": "validation"}
        for number, (start, stop) in enumerate(_chunks(texts))
        if split.holds_out(f"{doc_id} {number}")
    ]


class Use(NamedTuple):
    """A row of USE without its part, by the hash of an image or a cluster. `phash` is of an image."""

    key: bytes
    phash: int | None
    held: bool
    row: int
    chunk: int


def _uses(corpus: CorpusDirectory, split: Split, part: int, assigned: Assigned) -> Block:
    uses = list(_each_use(corpus, part, assigned))
    block = joins.keyed(USE, (use.key for use in uses))
    block["part"] = part
    for name in ("held", "row", "chunk"):
        block[name] = [getattr(use, name) for use in uses]
    images = [index for index, use in enumerate(uses) if use.phash is not None]
    phashes = [use.phash for use in uses if use.phash is not None]
    return np.concatenate(
        [block, _banded(block[images], phashes, split.leak_near), *_paragraph_uses(corpus, split, part, assigned)]
    )


def _paragraph_uses(corpus: CorpusDirectory, split: Split, part: int, assigned: Assigned) -> Iterator[Block]:
    """The keys of the paragraphs of a part's documents, and of the held-out chunks of books. The whole book counts as
    training text."""
    rules, halves = (assigned.splits[name].to_pylist() for name in ("rule", "split"))
    documents = {row for row, rule in enumerate(rules) if rule is None}
    of, rows = _paragraphs(corpus, split, part, USE, documents)
    rows["held"] = [halves[row] == "validation" for row in of]
    yield rows
    for (row, chunk), texts in assigned.texts.items():
        keys, sketch = sketches(texts)
        rows = np.zeros((len(texts), KEYS), USE)
        rows["high"], rows["low"], rows["near"] = keys, sketch[:, None], PARAGRAPH
        rows["held"], rows["part"], rows["row"], rows["chunk"] = True, part, row, chunk
        yield rows.reshape(-1)


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
            for content in (image.content for image in images[row].values()):
                chunk = assigned.chunks.get(row, {}).get(content, WHOLE)
                yield Use(content, phashes[content], held_out or chunk != WHOLE, row, chunk)


def _leaks(distance: int, rows: Block) -> Block:
    """Held-out uses that also occur in another page's training text, or use an image or paragraph that is like one
    there: their perceptual hashes differ in at most `distance` bits. A book may resemble itself."""
    images, paragraphs = (rows[rows["near"] == kind] for kind in (IMAGE, PARAGRAPH))
    alike = (*_alike(distance, NEVER, images), *_alike(SKETCH_BITS, COMMON, paragraphs))
    return np.unique(np.concatenate([_same(rows[rows["near"] == SAME]), *alike]))


def _alike(distance: int, most: int, rows: Block) -> Iterator[Block]:
    """For the rows of each band, the held-out ones whose hash is near that of another page's training text, if it is
    near those of at most `most` rows."""
    bounds = joins.groups(rows, ("high",))
    if not len(rows):
        return
    held_in = np.add.reduceat(rows["held"].astype(np.int64), bounds[:-1])
    both = np.flatnonzero((held_in > 0) & (held_in < np.diff(bounds)))
    for start, stop in zip(bounds[both].tolist(), bounds[both + 1].tolist(), strict=True):
        band = rows[start:stop]
        training, held = (band[band["held"] == side] for side in (0, 1))
        hashes, of_hash, uses = np.unique(training["low"], return_index=True, return_counts=True)
        every, counts = np.unique(band["low"], return_counts=True)
        pages = training[["part", "row"]]
        last = pages[of_hash + uses - 1]
        for some in np.array_split(held, 1 + len(held) * len(every) // COMPARED_AT_ONCE):
            # a hash with several training pages has one beside the held-out page's own
            page = some[["part", "row"]][:, None]
            another = (page != pages[of_hash][None]) | (page != last[None])
            found = (hamming.alike(some["low"], hashes, distance) & another).any(axis=1)
            if most != NEVER:
                found &= hamming.alike(some["low"], every, distance) @ counts <= most
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
