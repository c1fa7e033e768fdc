"""Stage split: which pages become documents, and which of them are held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup import leaks
from dedup.leaks import PARAGRAPH, USE, WHOLE
from dedup.near import KEYS, sketches
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.stages.held_out import Split, chunks_of, final_rules, is_book, paragraph_rows
from pipeline.stages.kept import kept_images, kept_pages, perceptual_hashes
from pipeline.stages.paragraphs import long_paragraphs
from pipeline.stages.schemas import SPLIT


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
                partial(leaks.leaks, self.split.leak_near) if self.split.leak else leaks.no_leaks,
                self.partitions,
            )
            | "Write" >> beam.MapTuple(partial(_write_split, self.corpus))
        )


def _assign(corpus: CorpusDirectory, split: Split, part: int) -> tuple[int, Assigned]:
    by_page = split.unit == "page"
    kept = kept_images(corpus, part)
    rules = final_rules(corpus, part, kept)
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


def _held_out_chunks(split: Split, doc_id: str, texts: list[str | None]) -> list[dict[str, Any]]:
    """The held-out node ranges of a book-length page, chunk by chunk."""
    return [
        {"start": start, "stop": stop, "split": "validation"}
        for number, (start, stop) in enumerate(chunks_of(texts))
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
        [block, leaks.banded(block[images], phashes, split.leak_near), *_paragraph_uses(corpus, split, part, assigned)]
    )


def _paragraph_uses(corpus: CorpusDirectory, split: Split, part: int, assigned: Assigned) -> Iterator[Block]:
    """The keys of the paragraphs of a part's documents, and of the held-out chunks of books. The whole book counts as
    training text."""
    rules, halves = (assigned.splits[name].to_pylist() for name in ("rule", "split"))
    documents = {row for row, rule in enumerate(rules) if rule is None}
    of, rows = paragraph_rows(corpus, split, part, USE, documents)
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


def _write_split(corpus: CorpusDirectory, part: int, both: tuple[Assigned, Block]) -> tuple[int, list[FileEntry]]:
    before, found = both
    rows = before.splits.to_pylist()
    for leak in found if len(found) else ():
        assigned = rows[int(leak["row"])]
        if leak["chunk"] == WHOLE:
            assigned["split"] = "leak"
        else:
            assigned["held_out"][int(leak["chunk"])]["split"] = "leak"
    table = pa.Table.from_pylist(rows, schema=SPLIT)
    return part, [tables.write(corpus, corpus.part("split", part), table)]
