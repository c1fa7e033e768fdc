"""Stage site_counts: sites and documents, the unit of the split, and a share that holds out enough to measure with."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from dedup import leaks
from dedup.leaks import NEED, NEVER, WHOLE
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.stages.held_out import SiteCounts, Split, chunks_of, final_rules, is_book, paragraph_rows
from pipeline.stages.kept import kept_images, kept_pages, perceptual_hashes
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
        company = partial(leaks.company, self.split.leak_near) if self.split.leak else leaks.no_leaks
        near = self.split if self.split.leak and self.parts <= SMALL else None
        return (
            parts
            # Output: (part, list of SplitUnit)
            | "Units" >> beam.Map(partial(_units, self.corpus, self.split))
            | "Company" >> Join(partial(_ranks, self.corpus, near), company, self.partitions)
            # Output: (0, PartCounts)
            | "Part" >> beam.MapTuple(_part_counts)
            | "All" >> joins.GroupByKey()
            | "Count" >> beam.MapTuple(partial(_write_counts, self.corpus, self.split))
        )


def _units(corpus: CorpusDirectory, split: Split, part: int) -> tuple[int, list[SplitUnit]]:
    kept = kept_images(corpus, part)
    rules = final_rules(corpus, part, kept)
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
            for number, (start, stop) in enumerate(chunks_of(texts)):
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
    of, banded = paragraph_rows(corpus, near, part, NEED, whole.keys())
    for name in ("site", "page"):
        banded[name] = [getattr(whole[row], name) for row in of]
    hashes = [phashes[keys[index]] for index in images]
    return np.concatenate([block, leaks.banded(block[images], hashes, near.leak_near), banded])


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
    counts = asdict(_counted(split, list(found)))
    return key, [tables.write_value(corpus, corpus.part("site_counts", key, "json"), counts)]


def _counted(split: Split, parts: list[PartCounts]) -> SiteCounts:
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
    return SiteCounts(len(sites), documents, held_out(share), unit, share)


def _enough(validation: float, needs: list[tuple[int, str]], sites: int) -> float:
    """The smallest share from `validation` on that holds out MINIMUM documents of `sites` sites; `validation` if none
    does, or if nothing is to be held out. `needs`: the share, as a rank, that each document takes, ascending."""
    names: set[str] = set()
    for number, (need, name) in enumerate(needs if validation else (), 1):
        names.add(name)
        if number >= MINIMUM and len(names) >= sites:
            return max(validation, math.nextafter((need + 1) / 2**64, 2))
    return validation
