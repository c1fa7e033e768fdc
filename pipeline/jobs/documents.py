"""Stages split and documents: which pages become documents, which of them are held out, and the documents
themselves."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipeline.jobs import packed, tables
from pipeline.jobs.corpus import Corpus
from pipeline.jobs.images import contents_of
from pipeline.jobs.packed import Block, Join
from pipeline.jobs.schemas import SPLIT
from pipeline.jobs.stage import FileEntry, Task
from shards.records import DOCUMENTS, STORED_FIELDS

FEWEST_SITES = 40
"""With fewer sites than this a split by site would hold out none or too much (DESIGN: a split)."""
LARGEST_SHARE = 0.2
CHUNK_BYTES = 20 * 256 * 4
"""Text of about 20 windows, at four bytes a token: what a book-length page is held out by."""
BOOK_BYTES = 3 * CHUNK_BYTES
"""A page with more text than this is split by chunks where pages are the unit."""
WHOLE = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class Census:
    """What decides the unit of the split: the documents of each site (by hash of its name)."""

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
    unit: str = "site"

    def holds_out(self, name: str) -> bool:
        digest = hashlib.sha256(f"{self.seed}\n{name}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) < self.validation * 2**64


@dataclass(eq=False)
class CountSites(beam.PTransform):
    """Input: part numbers. Output: one Census."""

    corpus: Corpus
    split: Split

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (0, (site hashes, documents of each, held out?))
            | "Sites" >> beam.Map(partial(_sites, self.corpus, self.split))
            | "All" >> beam.GroupByKey()
            | "Count" >> beam.MapTuple(lambda key, found: _census(list(found)))
        )


def _survivors(corpus: Corpus, part: int) -> dict[int, str | None]:
    """The final rule of each page of a part, by row."""
    rules = dict(enumerate(tables.read(corpus.part("text", part), ["rule"])["rule"].to_pylist()))
    left = {
        verdict["row"]
        for verdict in tables.read(corpus.part("verdicts", part), ["row", "rule"]).to_pylist()
        if verdict["rule"] is None
    }
    return {row: "page.no_image_left" if rule is None and row not in left else rule for row, rule in rules.items()}


def _sites(corpus: Corpus, split: Split, part: int) -> tuple[int, tuple[list[bytes], list[int], list[bool]]]:
    rules = _survivors(corpus, part)
    sites = tables.read(corpus.part("pages", part), ["site"])["site"].to_pylist()
    counts: dict[str, int] = {}
    for row, rule in rules.items():
        if rule is None:
            counts[sites[row]] = counts.get(sites[row], 0) + 1
    names = sorted(counts)
    return 0, (
        [tables.short_hash(name) for name in names],
        [counts[name] for name in names],
        [split.holds_out(name) for name in names],
    )


def _census(found: Sequence[tuple[list[bytes], list[int], list[bool]]]) -> Census:
    documents: dict[bytes, int] = {}
    held_out: dict[bytes, bool] = {}
    for names, counts, held in found:
        for name, count, is_held in zip(names, counts, held, strict=True):
            documents[name] = documents.get(name, 0) + count
            held_out[name] = is_held
    return Census(
        len(documents),
        sum(documents.values()),
        sum(count for name, count in documents.items() if held_out[name]),
    )


USE = np.dtype([("high", "<u8"), ("low", "<u8"), ("held", "u1"), ("part", "<u4"), ("row", "<u4"), ("chunk", "<u4")])
"""Chunk `chunk` (WHOLE: all) of page `row` of `part`, held out or not, shows this picture or is of this cluster."""


@dataclass(eq=False)
class AssignSplits(beam.PTransform):
    """Input: part numbers. Output: (part, file entry) of work/split."""

    corpus: Corpus
    split: Split

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        state = parts | "Assign" >> beam.Map(partial(_assign, self.corpus, self.split))
        return (
            state
            | "Leaks" >> Join(partial(_uses, self.corpus), _leaks if self.split.leak else _no_leaks)
            | "Write" >> beam.MapTuple(partial(_write_split, self.corpus))
        )


def _assign(corpus: Corpus, split: Split, part: int) -> tuple[int, pa.Table]:
    """SPLIT before leaks are known."""
    columns = ["site", "doc_id", *(["texts", "images"] if split.unit == "page" else [])]
    pages = tables.read(corpus.part("pages", part), columns).to_pylist()
    clusters = tables.read(corpus.part("text", part), ["cluster"])["cluster"].to_pylist()
    kept_images = _kept_images(corpus, part) if split.unit == "page" else {}
    rows = []
    for row, rule in _survivors(corpus, part).items():
        assigned: dict[str, Any] = {"rule": rule, "split": None, "held_out": None}
        if rule is None:
            page = pages[row]
            name = page["site"] if split.unit == "site" else clusters[row]
            chunks: list[dict[str, Any]] = []
            if split.unit == "page":
                texts, _ = kept_nodes(page["texts"], page["images"], kept_images[row])
                chunks = _held_out_chunks(split, page["doc_id"], texts)
            if chunks:
                assigned |= {"split": "mixed", "held_out": chunks}
            elif split.unit == "page" and _is_book(page["texts"]):
                assigned["split"] = "train"
            else:
                assigned["split"] = "validation" if split.holds_out(name) else "train"
        rows.append(assigned)
    return part, pa.Table.from_pylist(rows, schema=SPLIT)


def _is_book(texts: list[str | None]) -> bool:
    return sum(len(text.encode()) for text in texts if text) > BOOK_BYTES


def _held_out_chunks(split: Split, doc_id: str, texts: list[str | None]) -> list[dict[str, Any]]:
    """The held-out node ranges of a book-length page, chunk by chunk; none for a shorter page."""
    if not _is_book(texts):
        return []
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


def _kept_images(corpus: Corpus, part: int) -> dict[int, dict[int, bytes]]:
    """Page row -> node -> content hash of the images that stay."""
    kept: dict[int, dict[int, bytes]] = {}
    for verdict in tables.read(corpus.part("verdicts", part), ["row", "node", "rule", "content"]).to_pylist():
        if verdict["rule"] is None:
            kept.setdefault(verdict["row"], {})[verdict["node"]] = verdict["content"]
    return kept


def _uses(corpus: Corpus, part: int, splits: pa.Table) -> Block:
    """Every kept picture and every cluster of the part's documents with the split of the place it stands in."""
    rows = splits.to_pylist()
    images = _kept_images(corpus, part)
    clusters = tables.read(corpus.part("text", part), ["cluster"])["cluster"].to_pylist()
    mixed = [row for row, assigned in enumerate(rows) if assigned["split"] == "mixed"]
    pages = tables.read(corpus.part("pages", part), ["texts", "images"]).take(pa.array(mixed, pa.int64())).to_pylist()
    texts_of = dict(zip(mixed, pages, strict=True))
    keys, uses = [], []
    for row, assigned in enumerate(rows):
        if assigned["rule"] is not None:
            continue
        whole = assigned["split"] != "mixed"
        keys.append(tables.short_hash(f"cluster {clusters[row]}"))
        uses.append((assigned["split"] == "validation", row, WHOLE))
        for number in range(0 if whole else len(assigned["held_out"])):
            keys.append(keys[-1])
            uses.append((True, row, number))
        places = dict.fromkeys(images[row], WHOLE)
        if not whole:
            page = texts_of[row]
            _, contents = kept_nodes(page["texts"], page["images"], images[row])
            final = {content: node for node, content in enumerate(contents) if content}
            for node, content in images[row].items():
                inside = [
                    number
                    for number, held in enumerate(assigned["held_out"])
                    if held["start"] <= final[content] < held["stop"]
                ]
                places[node] = inside[0] if inside else WHOLE
        for node, content in images[row].items():
            keys.append(content)
            held = places[node] != WHOLE or (whole and assigned["split"] == "validation")
            uses.append((held, row, places[node]))
    block = np.zeros(len(keys), USE)
    if keys:
        key = packed.keys(keys)
        block["high"], block["low"] = key["high"], key["low"]
        block["held"], block["row"], block["chunk"] = (list(column) for column in zip(*uses, strict=True))
    block["part"] = part
    return block


def _leaks(rows: Block) -> Block:
    """Held-out uses of what another page's training text shows too: a book is alike to itself. Training sorts before
    held out within a key."""
    if not len(rows):
        return rows[["part", "row", "chunk"]]
    bounds = packed.groups(rows, ("high", "low"))
    training = np.add.reduceat((rows["held"] == 0).astype(np.int64), bounds[:-1])
    pages = rows[["part", "row"]]
    lengths = np.diff(bounds)
    first, last = (np.repeat(index, lengths) for index in (bounds[:-1], np.maximum(bounds[:-1] + training, 1) - 1))
    another = (pages[first] != pages) | (pages[last] != pages)
    return rows[np.repeat(training > 0, lengths) & another & (rows["held"] == 1)][["part", "row", "chunk"]]


def _no_leaks(rows: Block) -> Block:
    return rows[:0]


def _write_split(corpus: Corpus, part: int, both: tuple[pa.Table, Block]) -> tuple[int, FileEntry]:
    splits, leaks = both
    rows = splits.to_pylist()
    for leak in leaks if len(leaks) else ():
        assigned = rows[int(leak["row"])]
        if leak["chunk"] == WHOLE:
            assigned["split"] = "leak"
        else:
            assigned["held_out"][int(leak["chunk"])]["split"] = "leak"
    table = pa.Table.from_pylist(rows, schema=SPLIT)
    return part, tables.write(corpus, corpus.part("split", part), table)


def kept_nodes(
    texts: list[str | None], images: list[dict[str, Any] | None], kept: dict[int, bytes]
) -> tuple[list[str | None], list[bytes | None]]:
    """The nodes of a page with only the images `kept` (node -> content): parallel lists of texts and contents. Texts
    that come to stand side by side become one: two paragraphs, or one where a picture stood inside it."""
    out_texts: list[str | None] = []
    out_contents: list[bytes | None] = []
    gone: list[str | None] = []
    for node, (text, image) in enumerate(zip(texts, images, strict=True)):
        if text is not None and out_texts and out_texts[-1] is not None:
            out_texts[-1] += _joint(gone) + text
        elif text is not None or node in kept:
            out_texts.append(text)
            out_contents.append(None if text is not None else kept[node])
        elif image is not None:
            gone.append(image["within"])
            continue
        gone = []
    return out_texts, out_contents


def _joint(gone: list[str | None]) -> str:
    """What stands between two texts in the place of pictures; `gone` are their `Image.within`."""
    inside = [within for within in gone if within is not None]
    return max(inside, key=("", " ", "\n").index) if inside and len(inside) == len(gone) else "\n\n"


@dataclass(frozen=True)
class WriteDocuments:
    """The work of a part: writes documents/P.parquet."""

    corpus: Corpus

    def __call__(self, task: Task) -> list[FileEntry]:
        corpus, part = self.corpus, task.number
        contents = contents_of(corpus, part)
        kept = _kept_images(corpus, part)
        urls = {
            (verdict["row"], verdict["node"]): verdict["url"]
            for verdict in tables.read(corpus.part("verdicts", part), ["row", "node", "url"]).to_pylist()
        }
        clusters = tables.read(corpus.part("text", part), ["cluster"])["cluster"].to_pylist()
        splits = tables.read(corpus.part("split", part)).to_pylist()
        rows = tables.Rows(DOCUMENTS)
        pages = tables.read(corpus.part("pages", part))
        for row, assigned in enumerate(splits):
            if assigned["rule"] is not None:
                continue
            page = pages.slice(row, 1).to_pylist()[0]
            texts, stored = kept_nodes(page["texts"], page["images"], kept[row])
            places = iter(sorted(kept[row]))
            images = [
                None
                if content is None
                else _image(page["images"][node := next(places)], urls[row, node], contents[content])
                for content in stored
            ]
            rows.add(
                {name: page[name] for name in ("doc_id", "url", "site", "metadata", "language", "capture")}
                | {"texts": texts, "images": images, "cluster": clusters[row]}
                | {"split": assigned["split"], "held_out": assigned["held_out"]}
            )
        return [rows.write(corpus, corpus.part("documents", part))]


def _image(declared: dict[str, Any], fetched_url: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: declared[name] for name in ("url", "alternatives", "alt", "caption")},
        "declared_width": declared["width"],
        "declared_height": declared["height"],
        "fetched_url": fetched_url,
        **{name: content[name] for name in STORED_FIELDS if name != "fetched_url"},
    }
