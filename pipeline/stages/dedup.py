"""Stage dedup: which pages are copies of others. Rules in order: the same capture twice, a URL that opted out in
another capture or redirect, an older capture of the same URL, the same text, nearly the same text. Only pages that
passed all earlier rules are compared. A page whose URL or text is in an earlier corpus is dropped as known instead."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import near
from dedup.exact import COPY, KNOWN, NO_REFUSAL, PAGE, copies, rank
from filters import consent
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.recipe import DedupSection
from pipeline.sources.record import seconds
from pipeline.stages.known import known_files, known_rows, known_texts
from pipeline.stages.schemas import DEDUP
from pipeline.stages.verdicts import judged

RULES = ("", "dedup.same_capture", "dedup.url", "dedup.text", "dedup.near_text", "dedup.known", *consent.RULES)
KEPT, REJECTED = 0, 255


@dataclass
class Verdicts:
    """The state of a part: for each page an index into RULES (REJECTED: it failed an earlier stage) and the id of the
    page it is a copy of, zeros if none."""

    rules: np.ndarray
    originals: np.ndarray


@dataclass(eq=False)
class FindCopies(beam.PTransform):
    """Input: the numbers of all `parts`. Output: (part, files): work/dedup."""

    corpus: CorpusDirectory
    dedup: DedupSection
    parts: int
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus, known = self.corpus, known_files(self.dedup.known)
        # Output: (part, Verdicts)
        state = parts | "Load" >> beam.Map(partial(_load, corpus))
        for rule, column, wanted in (
            ("dedup.same_capture", "doc_id", True),
            ("dedup.url", "url_hash", self.dedup.url),
            ("dedup.text", "text_hash", self.dedup.text),
        ):
            if wanted or column == "url_hash":
                emit = partial(_with_known, corpus, known, self.parts, column)
                joined = state | rule >> Join(emit, partial(copies, refused_only=not wanted), self.partitions)
                state = joined | f"{rule} verdicts" >> beam.MapTuple(partial(_judged, rule))
        texts = Texts(corpus, self.parts, known if self.dedup.near_text else [])
        near_copies = state | "Near copies" >> FindNearCopies(texts, self.dedup.near_threshold, self.partitions)
        near_rule = "dedup.near_text" if self.dedup.near_text else ""
        state = (
            {"state": state, "blocks": near_copies}
            | "Near verdicts" >> joins.CoGroupByKey()
            | "dedup.near_text"
            >> beam.MapTuple(
                lambda part, both: _judged(near_rule, part, (both["state"][0], joins.merged(both["blocks"])))
            )
        )
        return state | "Write" >> beam.MapTuple(partial(_write, corpus))


def _load(corpus: CorpusDirectory, part: int) -> tuple[int, Verdicts]:
    pages = judged(corpus, part, ["rule"])
    kept = np.asarray(pages["rule"].is_null())
    return part, Verdicts(np.where(kept, KEPT, REJECTED).astype(np.uint8), np.zeros(len(kept), joins.KEY))


def _with_known(
    corpus: CorpusDirectory, known: list[Path], parts: int, column: str, part: int, state: Verdicts
) -> Block:
    """The rows of a part, and those of its share of the files of earlier corpora."""
    rows = _rows(corpus, column, part, state)
    return rows if column == "doc_id" else np.concatenate([rows, known_rows(known[part::parts], column)])


def _rows(corpus: CorpusDirectory, column: str, part: int, state: Verdicts) -> Block:
    """The pages of a part that are still kept, keyed by a column; by URL also those that opted out."""
    pages = judged(corpus, part, list(dict.fromkeys([column, "doc_id", "capture", "rule", "url", "url_hash"])))
    taking_part = np.flatnonzero(state.rules == KEPT)
    if column == "url_hash":
        refused = [row for row, rule in enumerate(pages["rule"].to_pylist()) if rule in consent.RULES]
        taking_part = np.concatenate([taking_part, np.array(refused, taking_part.dtype)])
    pages = pages.take(pa.array(taking_part))
    doc_ids = [bytes.fromhex(value or "00" * 16) for value in pages["doc_id"].to_pylist()]
    rows = joins.keyed(PAGE, doc_ids if column == "doc_id" else pages[column].to_pylist())
    ids = joins.keys(doc_ids)
    rows["id_high"], rows["id_low"] = ids["high"], ids["low"]
    rows["part"], rows["row"] = part, taking_part
    rows["refusal"] = NO_REFUSAL
    if column == "text_hash":
        rows["age"] = _ranks(pages)
    if column == "url_hash":
        # the newest capture has the lowest age
        dates = [seconds(capture["date"]) if capture else 0 for capture in pages["capture"].to_pylist()]
        rows["age"] = np.iinfo(np.uint64).max - np.asarray(dates, np.uint64)
        rows["refusal"] = [
            consent.RULES.index(rule) if rule in consent.RULES else NO_REFUSAL for rule in pages["rule"].to_pylist()
        ]
        rows = np.concatenate([rows, _refusals(corpus, part)])
    return rows


def _ranks(pages: pa.Table) -> np.ndarray:
    urls, hashes = pages["url"].to_pylist(), pages["url_hash"].to_pylist()
    return np.array([rank(url, url_hash) for url, url_hash in zip(urls, hashes, strict=True)], np.uint64)


def _refusals(corpus: CorpusDirectory, part: int) -> Block:
    """A row by URL for each record that is not a page and opted out: a redirect or a revisit."""
    records = tables.read(corpus.part("records", part), ["url", "rule"])
    records = records.filter(pc.is_in(records["rule"], pa.array(consent.RULES)))
    rows = joins.keyed(PAGE, map(tables.url_hash, records["url"].to_pylist()))
    rows["part"] = part
    rows["refusal"] = [consent.RULES.index(rule) for rule in records["rule"].to_pylist()]
    return rows


def _judged(rule: str, part: int, both: tuple[Verdicts, Block]) -> tuple[int, Verdicts]:
    """The state after dropping `copies` under a rule; under "" they are kept, and only their original is recorded."""
    state, copies = both
    rules, originals = state.rules.copy(), state.originals.copy()
    if len(copies):
        code_of = np.zeros(NO_REFUSAL + 1, np.uint8)
        code_of[: len(consent.RULES)] = RULES.index(consent.RULES[0]) + np.arange(len(consent.RULES))
        code_of[KNOWN], code_of[NO_REFUSAL] = RULES.index("dedup.known"), RULES.index(rule)
        rules[copies["row"]] = code_of[copies["refusal"]]
        originals["high"][copies["row"]] = copies["id_high"]
        originals["low"][copies["row"]] = copies["id_low"]
    return part, Verdicts(rules, originals)


@dataclass(frozen=True)
class Texts:
    """What nearly the same text is looked for in: the pages of a corpus, and the files of earlier ones, which are
    numbered like parts from `parts` on and come before all pages."""

    corpus: CorpusDirectory
    parts: int
    known: list[Path]

    def signed(self, part: int, rows: np.ndarray | None) -> np.ndarray:
        """SIGNED for the pages `rows` of a part; None: all of a file."""
        if part < self.parts:
            table = judged(self.corpus, part, ["doc_id", "url", "url_hash", "minhash"]).take(pa.array(rows))
            ranks = _ranks(table)
        else:
            table = known_texts(self.known[part - self.parts], rows)
            ranks = np.array([rank("", url_hash) for url_hash in table["url_hash"].to_pylist()], np.uint64)
        ids = joins.keys(bytes.fromhex(value) for value in table["doc_id"].to_pylist())
        found = np.zeros(table.num_rows, SIGNED)
        found["page"] = near.page(part, np.arange(table.num_rows) if rows is None else rows)
        found["rank"], found["id_high"], found["id_low"] = ranks, ids["high"], ids["low"]
        signatures = np.frombuffer(b"".join(table["minhash"].to_pylist()), "<u4")
        found["values"] = signatures.reshape(table.num_rows, near.VALUES)
        return found


@dataclass(eq=False)
class FindNearCopies(beam.PTransform):
    """Input: (part, Verdicts). Output: (part, COPY): all but the first page of each near-duplicate cluster.

    No step needs all pages in one place: pairs are compared in the parts of their pages, and only the pages of clusters
    meet, as forests that are contracted on their way."""

    texts: Texts
    threshold: float
    partitions: int

    def expand(self, state: beam.PCollection) -> beam.PCollection:
        texts = self.texts
        files = [(texts.parts + number, None) for number in range(len(texts.known))]
        if files:
            state = (state, state.pipeline | "Known" >> beam.Create(files)) | beam.Flatten()
        return (
            state
            # Output: (partition, BAND)
            | "Bands" >> beam.FlatMapTuple(partial(joins.by_partition, partial(_bands, texts), self.partitions))
            | "Same band" >> joins.GroupByKey()
            # Output: (part of the first page, EDGE)
            | "Candidates" >> beam.FlatMapTuple(_candidates)
            | "By first page" >> joins.GroupByKey()
            # Output: (part of the second page, (EDGE, ids and signatures of the first pages))
            | "Sign" >> beam.FlatMapTuple(partial(_signed, texts))
            | "By second page" >> joins.GroupByKey()
            | "Compare" >> beam.MapTuple(partial(_alike, texts, self.threshold))
            | "Clusters" >> beam.CombineGlobally(near.contracted).with_fanout(CONTRACTED_AT_ONCE).without_defaults()
            # Output: (part, COPY)
            | "By part" >> beam.FlatMap(partial(_near_copies, texts.parts))
        )


CONTRACTED_AT_ONCE = 64
"""Groups in which forests are contracted before they meet."""
SIGNED = np.dtype(
    [
        *((name, "<u8") for name in ("page", "rank", "id_high", "id_low")),
        ("values", "<u4", (near.VALUES,)),
    ]
)
"""A page with its rank, id and signature."""


def _bands(texts: Texts, part: int, state: Verdicts | None) -> Block:
    pages = texts.signed(part, None if state is None else np.flatnonzero(state.rules == KEPT))
    return near.band_rows(pages["values"], pages["page"], pages["rank"])


def _candidates(partition: int, blocks: Iterable[Block]) -> Iterator[tuple[int, Block]]:
    edges = near.candidates(joins.merged(blocks))
    if len(edges):
        yield from joins.split(edges, near.part_of(edges["one"]))


def _signed(texts: Texts, part: int, blocks: Iterable[Block]) -> Iterator[tuple[int, tuple[Block, Block]]]:
    edges = near.distinct(np.concatenate(list(blocks)))
    for other, some in joins.split(edges, near.part_of(edges["other"])):
        rows = near.row_of(np.unique(some["one"]))
        yield other, (some, texts.signed(part, rows))


def _alike(texts: Texts, threshold: float, part: int, pairs: Iterable[tuple[Block, Block]]) -> Block:
    """The clusters (near.TREE) of those pairs that are similar enough."""
    found = []
    for edges, ones in pairs:
        rows, second = np.unique(near.row_of(edges["other"]), return_inverse=True)
        one = ones[np.searchsorted(ones["page"], edges["one"])]
        other = texts.signed(part, rows)[second]
        same = near.similarity(one["values"], other["values"]) >= threshold
        trees = np.zeros(int(same.sum()), near.TREE)
        trees["page"], trees["root"] = edges["one"][same], edges["other"][same]
        trees["rank"], trees["id_high"], trees["id_low"] = (one[name][same] for name in ("rank", "id_high", "id_low"))
        trees["root_rank"], trees["root_high"], trees["root_low"] = (
            other[name][same] for name in ("rank", "id_high", "id_low")
        )
        found.append(trees)
    return near.contracted(found)


def _near_copies(parts: int, trees: Block) -> Iterator[tuple[int, Block]]:
    trees = trees[near.part_of(trees["page"]) < parts]
    if not len(trees):
        return
    copies = np.zeros(len(trees), COPY)
    copies["part"], copies["row"] = near.part_of(trees["page"]), near.row_of(trees["page"])
    copies["id_high"], copies["id_low"] = trees["root_high"], trees["root_low"]
    copies["refusal"] = np.where(near.part_of(trees["root"]) < parts, NO_REFUSAL, KNOWN)
    yield from joins.split(copies, copies["part"])


def _write(corpus: CorpusDirectory, part: int, state: Verdicts) -> tuple[int, list[FileEntry]]:
    pages = judged(corpus, part, ["rule", "doc_id"])
    before, doc_ids = pages["rule"].to_pylist(), pages["doc_id"].to_pylist()
    rules, survivors, clusters = [], [], []
    for row, code in enumerate(state.rules):
        rule = before[row] if code == REJECTED else RULES[code] or None
        copied = state.originals[row].tobytes()
        original = copied.hex() if any(copied) else None
        rules.append(rule)
        survivors.append(original if rule is not None else None)
        clusters.append(original or doc_ids[row] if rule in (None, "dedup.near_text") else None)
    table = pa.table({"rule": rules, "survivor": survivors, "cluster": clusters}, schema=DEDUP)
    return part, [tables.write(corpus, corpus.part("dedup", part), table)]
