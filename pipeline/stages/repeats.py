"""Stage repeats: on how many pages and sites each paragraph occurs. It runs only if a recipe has rules on that."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup import repeats
from dedup.repeats import SHOWN, TOTAL
from dedup.shingles import mixed
from filters import paragraph
from filters.words import words_of
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block
from pipeline.engine.tables import short_hash
from pipeline.engine.tasks import FileEntry
from pipeline.stages.schemas import REPEATS
from pipeline.stages.step import Step

COLUMNS = ["rule", "texts", "site", "url_hash", "text_hash"]
MEMBER = np.dtype([("high", "<u8"), ("low", "<u8"), ("site", "<u8"), ("part", "<u4")])
"""A text that is on pages of a site in a part; `site` is 0 if it does not matter."""


@dataclass(eq=False)
class CountRepeats(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/repeats.

    A paragraph of a million pages costs no step more than its pages in one part: see `dedup.repeats`."""

    corpus: CorpusDirectory
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus, partitions = self.corpus, self.partitions
        # Output: (part, SHOWN)
        shown = parts | "Shown" >> beam.Map(partial(_shown, corpus))
        counts = (
            shown
            # Output: (partition, SHOWN)
            | "Spread" >> beam.FlatMapTuple(partial(_spread, partitions))
            | "Same page" >> joins.GroupByKey()
            # Output: (partition of text and site, COUNT)
            | "Count pages" >> beam.FlatMapTuple(partial(_page_counts, partitions))
        )
        # Output: (partition of text and site, MEMBER)
        on_sites = shown | "On sites" >> beam.FlatMapTuple(partial(_members, True, partitions))
        pages = (
            {"counts": counts, "members": on_sites}
            | "Same text and site" >> joins.CoGroupByKey()
            # Output: (TOTAL, MEMBER)
            | "Sum pages" >> beam.MapTuple(_site_pages)
        )
        # Output: (partition of text, TOTAL)
        sites = pages | "Of sites" >> beam.FlatMap(partial(_site_counts, partitions))
        # Output: (partition of text, MEMBER)
        anywhere = shown | "Anywhere" >> beam.FlatMapTuple(partial(_members, False, partitions))
        common = (
            {"counts": sites, "members": anywhere}
            | "Same text" >> joins.CoGroupByKey()
            # Output: (TOTAL, MEMBER)
            | "Sum sites" >> beam.MapTuple(_common)
        )
        # Output: (part, TOTAL)
        returned = [
            (parts | "Parts" >> beam.Map(lambda part: (part, np.zeros(0, TOTAL)))),
            (pages | "Return pages" >> beam.FlatMap(_by_part)),
            (common | "Return sites" >> beam.FlatMap(_by_part)),
        ]
        return (
            returned
            | "All" >> beam.Flatten()
            | "By part" >> joins.GroupByKey()
            | "Write" >> beam.MapTuple(partial(_write, corpus))
        )


def folded(text: str) -> bytes:
    """The hash of a paragraph or line; case and space do not matter."""
    return short_hash(" ".join(text.lower().split()))


def lines(text: str) -> list[str]:
    """The lines of a paragraph that are not empty."""
    return [line for line in text.split("\n") if line.strip()]


def _shown(corpus: CorpusDirectory, part: int) -> tuple[int, Block]:
    """The part, and a row (SHOWN) for each text on a page: paragraphs and their lines."""
    pages = tables.read(corpus.part("pages", part), COLUMNS)
    pages = pages.filter(pages["rule"].is_null())
    hashes: list[bytes] = []
    lengths: list[int] = []
    for texts in pages["texts"].to_pylist():
        found = {
            folded(piece)
            for text in texts
            if text
            for whole in paragraph.split(text)
            for piece in (whole, *lines(whole))
        }
        hashes += found
        lengths.append(len(found))
    rows = np.zeros((2, len(hashes)), SHOWN)
    keys = joins.keys(hashes)
    rows["high"], rows["low"] = keys["high"], keys["low"]
    rows["site"] = np.repeat(_site_keys(pages["site"].to_pylist()), lengths)
    for by_text, column in enumerate(("url_hash", "text_hash")):
        rows["by_text"][by_text] = by_text
        rows["page"][by_text] = np.repeat(joins.keys(pages[column].to_pylist())["high"], lengths)
    return part, repeats.distinct(rows.reshape(-1))


def _of_site(rows: Block, partitions: int) -> np.ndarray:
    """The partition of a text on a site."""
    return mixed(rows["high"] ^ mixed(rows["site"])) % np.uint64(partitions)


def _spread(partitions: int, part: int, rows: Block) -> Iterator[tuple[int, Block]]:
    yield from joins.split(rows, mixed(rows["high"] ^ mixed(rows["page"])) % np.uint64(partitions))


def _members(on_site: bool, partitions: int, part: int, shown: Block) -> Iterator[tuple[int, Block]]:
    rows = np.zeros(len(shown), MEMBER)
    rows["high"], rows["low"], rows["part"] = shown["high"], shown["low"], part
    if on_site:
        rows["site"] = shown["site"]
    rows = repeats.distinct(rows)
    yield from joins.split(rows, _of_site(rows, partitions))


def _page_counts(partitions: int, partition: int, blocks: Iterable[Block]) -> Iterator[tuple[int, Block]]:
    counts = repeats.page_counts(np.concatenate(list(blocks)))
    yield from joins.split(counts, _of_site(counts, partitions))


def _site_pages(partition: int, both: dict[str, Iterable[Block]]) -> tuple[Block, Block]:
    totals = repeats.site_pages(np.concatenate(list(both["counts"])))
    return totals, np.concatenate(list(both["members"]))


def _site_counts(partitions: int, both: tuple[Block, Block]) -> Iterator[tuple[int, Block]]:
    counts = repeats.sites(both[0])
    yield from joins.split(counts, _of_site(counts, partitions))


def _common(partition: int, both: dict[str, Iterable[Block]]) -> tuple[Block, Block]:
    return repeats.summed(np.concatenate(list(both["counts"]))), np.concatenate(list(both["members"]))


def _by_part(both: tuple[Block, Block]) -> Iterator[tuple[int, Block]]:
    """Totals (TOTAL) above 1, to the parts that have these texts."""
    totals, members = both
    told = np.zeros(len(members), TOTAL)
    for name in ("high", "low", "site"):
        told[name] = members[name]
    told["count"] = repeats.counts_of(members, totals)
    several = told["count"] > 1
    yield from joins.split(told[several], members["part"][several])


def _write(corpus: CorpusDirectory, part: int, blocks: Iterable[Block]) -> tuple[int, list[FileEntry]]:
    """The repetition of each paragraph of a part, from the totals of its texts."""
    pages = tables.read(corpus.part("pages", part), COLUMNS)
    totals = {(high, low, site): count for high, low, site, count in np.concatenate(list(blocks)).tolist()}
    found: list[list[dict[str, object]] | None] = []
    for rule, texts, site in zip(*(pages[name].to_pylist() for name in ("rule", "texts", "site")), strict=True):
        found.append(_repeats(_paragraphs(texts), site, totals) if rule is None else None)
    return part, [tables.write(corpus, corpus.part("repeats", part), pa.table({"repeats": found}, schema=REPEATS))]


def _repeats(
    paragraphs: list[tuple[int, str]], site: str, totals: dict[tuple[int, int, int], int]
) -> list[dict[str, object]]:
    """The repetition of each paragraph (node, text) of a page."""
    here = int(_site_keys([site])[0])

    def count(text: str, where: int) -> int:
        high, low = joins.keys([folded(text)])[0].tolist()
        return totals.get((high, low, where), 1)

    alike = repeats.likeness([whole for _, whole in paragraphs]).round(4).tolist()
    return [
        {
            "node": node,
            "paragraph_words": words_of(whole).number,
            "paragraph_site_pages": count(whole, here),
            "paragraph_sites": count(whole, 0),
            "paragraph_line_pages": min((count(line, here) for line in lines(whole)), default=1),
            "paragraph_likeness": likeness,
        }
        for (node, whole), likeness in zip(paragraphs, alike, strict=True)
    ]


def _site_keys(sites: Iterable[str]) -> np.ndarray:
    return joins.keys(map(short_hash, sites))["high"]


def _paragraphs(texts: list[str | None]) -> list[tuple[int, str]]:
    """The node and the text of each paragraph."""
    return [(node, whole) for node, text in enumerate(texts) if text is not None for whole in paragraph.split(text)]


REPEATED = Step(
    "repeats",
    ("pages",),
    lambda b: CountRepeats(b.corpus, b.partitions),
    join=True,
    wanted=lambda b: paragraph.active(b.recipe.values(), paragraph.COPIES),
)
