"""Stage text: which pages are copies of another. Rules in order: the same capture twice, an older capture of the same
URL, the same text, nearly the same text. Only pages that passed every rule before take part."""

from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup import near
from dedup.exact import first_of_each
from pipeline.jobs import packed, tables
from pipeline.jobs.corpus import Corpus
from pipeline.jobs.packed import Block, Join
from pipeline.jobs.schemas import TEXT
from pipeline.jobs.stage import FileEntry
from pipeline.recipe import Dedup

RULES = ("", "dedup.same_capture", "dedup.url", "dedup.text", "dedup.near_text")
KEPT, REJECTED = 0, 255

ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("age", "<u8"),
        ("part", "<u4"),
        ("row", "<u4"),
        ("id_high", "<u8"),
        ("id_low", "<u8"),
    ]
)
LOSER = np.dtype([("part", "<u4"), ("row", "<u4"), ("id_high", "<u8"), ("id_low", "<u8")])
"""A page that goes, and the doc_id of the page that stays in its place."""
EDGE = np.dtype([("part", "<u4"), ("row", "<u4"), ("other_part", "<u4"), ("other_row", "<u4")])


@dataclass
class Verdicts:
    """The state of a part: for each page an index into RULES (REJECTED: it failed an earlier stage) and its survivor's
    id."""

    rules: np.ndarray
    survivors: np.ndarray


@dataclass(eq=False)
class JudgeText(beam.PTransform):
    """Input: part numbers. Output: (part, file entry) of work/text."""

    corpus: Corpus
    dedup: Dedup

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus = self.corpus
        # Output: (part, Verdicts)
        state = parts | "Load" >> beam.Map(partial(_load, corpus))
        for rule, column, wanted in (
            ("dedup.same_capture", "doc_id", True),
            ("dedup.url", "url_hash", self.dedup.url),
            ("dedup.text", "text_hash", self.dedup.text),
        ):
            if wanted:
                joined = state | rule >> Join(partial(_rows, corpus, column), _all_but_first)
                state = joined | f"{rule} verdicts" >> beam.MapTuple(partial(_drop, rule))
        if self.dedup.near_text:
            losers = (
                state
                # Output: (partition, rows), one row a band and page
                | "Bands" >> beam.FlatMapTuple(partial(packed.by_partition, partial(_bands, corpus)))
                | "Same band" >> beam.GroupByKey()
                # Output: edges between pages that share a band
                | "Candidates" >> beam.MapTuple(lambda partition, blocks: (0, _edges(packed.merged(blocks))))
                | "All" >> beam.GroupByKey()
                # Output: (part, losers)
                | "Clusters" >> beam.FlatMapTuple(partial(_clusters, corpus, self.dedup.near_threshold))
            )
            state = (
                {"state": state, "blocks": losers}
                | "Near verdicts" >> beam.CoGroupByKey()
                | "dedup.near_text"
                >> beam.MapTuple(
                    lambda part, both: _drop("dedup.near_text", part, (both["state"][0], packed.merged(both["blocks"])))
                )
            )
        return state | "Write" >> beam.MapTuple(partial(_write, corpus))


def _load(corpus: Corpus, part: int) -> tuple[int, Verdicts]:
    pages = tables.read(corpus.part("pages", part), ["rule"])
    kept = np.asarray(pages["rule"].is_null())
    return part, Verdicts(np.where(kept, KEPT, REJECTED).astype(np.uint8), np.zeros(len(kept), packed.KEY))


def _rows(corpus: Corpus, column: str, part: int, state: Verdicts) -> Block:
    """The pages of a part that are still kept, keyed by a column."""
    kept = np.flatnonzero(state.rules == KEPT)
    names = dict.fromkeys([column, "doc_id", "capture"])
    pages = tables.read(corpus.part("pages", part), list(names)).take(pa.array(kept))
    rows = np.zeros(len(kept), ROW)
    ids = packed.keys(bytes.fromhex(value) for value in pages["doc_id"].to_pylist())
    key = ids if column == "doc_id" else packed.keys(pages[column].to_pylist())
    rows["high"], rows["low"] = key["high"], key["low"]
    rows["id_high"], rows["id_low"] = ids["high"], ids["low"]
    rows["part"], rows["row"] = part, kept
    if column == "url_hash":
        # the newest capture is the least aged
        dates = [_seconds(capture["date"]) for capture in pages["capture"].to_pylist()]
        rows["age"] = np.iinfo(np.uint64).max - np.asarray(dates, np.uint64)
    return rows


def _seconds(date: str) -> int:
    """A number that grows with a WARC date, 2026-11-21T09:20:26Z or 20261121092026; 0 without one."""
    digits = "".join(character for character in date if character.isdigit())
    return int(digits[:14].ljust(14, "0")) if digits else 0


def _all_but_first(rows: Block) -> Block:
    first = first_of_each(rows[["high", "low"]])
    lost = np.flatnonzero(first != np.arange(len(rows)))
    losers = np.zeros(len(lost), LOSER)
    for name in ("part", "row"):
        losers[name] = rows[name][lost]
    for name in ("id_high", "id_low"):
        losers[name] = rows[name][first[lost]]
    return losers


def _drop(rule: str, part: int, both: tuple[Verdicts, Block]) -> tuple[int, Verdicts]:
    state, losers = both
    rules, survivors = state.rules.copy(), state.survivors.copy()
    if len(losers):
        rules[losers["row"]] = RULES.index(rule)
        survivors["high"][losers["row"]] = losers["id_high"]
        survivors["low"][losers["row"]] = losers["id_low"]
    return part, Verdicts(rules, survivors)


def _signatures(corpus: Corpus, part: int, rows: np.ndarray) -> np.ndarray:
    column = tables.read(corpus.part("pages", part), ["minhash"])["minhash"].take(pa.array(rows))
    return np.frombuffer(b"".join(column.to_pylist()), "<u4").reshape(len(rows), near.PERMUTATIONS)


def _bands(corpus: Corpus, part: int, state: Verdicts) -> Block:
    kept = np.flatnonzero(state.rules == KEPT)
    hashes = near.bands(_signatures(corpus, part, kept))
    rows = np.zeros(hashes.shape, np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4")]))
    rows["high"], rows["low"] = hashes, np.arange(near.BANDS)
    rows["part"], rows["row"] = part, kept[:, None]
    return rows.reshape(-1)


def _edges(rows: Block) -> Block:
    """Each page with the first one of its band and with the one before it."""
    first = first_of_each(rows[["high", "low"]])
    later = np.flatnonzero(first != np.arange(len(rows)))
    edges = np.zeros(2 * len(later), EDGE)
    for half, other in ((slice(0, len(later)), first[later]), (slice(len(later), None), later - 1)):
        edges["part"][half], edges["row"][half] = rows["part"][later], rows["row"][later]
        edges["other_part"][half], edges["other_row"][half] = rows["part"][other], rows["row"][other]
    return np.unique(edges)


def _clusters(corpus: Corpus, threshold: float, key: int, blocks: list[Block]) -> list[tuple[int, Block]]:
    """(part, losers): of each cluster of pages that are verified as alike the first stays, in the order of parts and
    rows."""
    edges = np.unique(packed.merged(blocks)) if blocks else np.zeros(0, EDGE)
    if len(edges) == 0 or "other_part" not in (edges.dtype.names or ()):
        return []
    ends = np.concatenate(
        [
            np.stack([edges["part"], edges["row"]], 1),
            np.stack([edges["other_part"], edges["other_row"]], 1),
        ]
    ).astype(np.int64)
    pages, index = np.unique(ends, axis=0, return_inverse=True)
    index = index.reshape(2, -1)
    signatures = np.zeros((len(pages), near.PERMUTATIONS), np.uint32)
    ids = np.zeros(len(pages), packed.KEY)
    for part in np.unique(pages[:, 0]):
        of_part = np.flatnonzero(pages[:, 0] == part)
        rows = pages[of_part, 1]
        signatures[of_part] = _signatures(corpus, int(part), rows)
        doc_ids = tables.read(corpus.part("pages", int(part)), ["doc_id"])["doc_id"].take(pa.array(rows))
        ids[of_part] = packed.keys(bytes.fromhex(value) for value in doc_ids.to_pylist())
    alike = near.similarity(signatures[index[0]], signatures[index[1]]) >= threshold
    labels = near.components(len(pages), index[:, alike].T)
    lost = np.flatnonzero(labels != np.arange(len(pages)))
    losers = np.zeros(len(lost), LOSER)
    losers["part"], losers["row"] = pages[lost, 0], pages[lost, 1]
    losers["id_high"], losers["id_low"] = ids["high"][labels[lost]], ids["low"][labels[lost]]
    return list(packed.split(losers, losers["part"])) if len(losers) else []


def _write(corpus: Corpus, part: int, state: Verdicts) -> tuple[int, FileEntry]:
    pages = tables.read(corpus.part("pages", part), ["rule", "doc_id"])
    before, doc_ids = pages["rule"].to_pylist(), pages["doc_id"].to_pylist()
    rules, survivors, clusters = [], [], []
    for row, code in enumerate(state.rules):
        rule = before[row] if code == REJECTED else RULES[code] or None
        survivor = state.survivors[row].tobytes().hex() if code not in (KEPT, REJECTED) else None
        rules.append(rule)
        survivors.append(survivor)
        clusters.append(survivor if rule == "dedup.near_text" else doc_ids[row] if rule is None else None)
    table = pa.table({"rule": rules, "survivor": survivors, "cluster": clusters}, schema=TEXT)
    return part, tables.write(corpus, corpus.part("text", part), table)
