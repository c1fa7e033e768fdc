"""Stage dedup: which pages are copies of another. Rules in order: the same capture twice, a URL of which another
capture or a redirect opted out, an older capture of the same URL, the same text, nearly the same text. Only pages that
passed every rule before take part."""

from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import near
from dedup.exact import first_of_each
from filters import consent
from pipeline.engine import joins, tables
from pipeline.engine.corpus import Corpus
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.recipe import Dedup
from pipeline.sources.record import seconds
from pipeline.stages.schemas import DEDUP

RULES = ("", "dedup.same_capture", "dedup.url", "dedup.text", "dedup.near_text", *consent.RULES)
KEPT, REJECTED = 0, 255
NO_REFUSAL = 255

ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("refusal", "u1"),
        ("age", "<u8"),
        ("part", "<u4"),
        ("row", "<u4"),
        ("id_high", "<u8"),
        ("id_low", "<u8"),
    ]
)
"""A page by a key; `refusal` is the index in consent.RULES of a page that opted out, NO_REFUSAL for the others, which
sort behind."""
LOSER = np.dtype([("part", "<u4"), ("row", "<u4"), ("rule", "u1"), ("id_high", "<u8"), ("id_low", "<u8")])
"""A page that is a copy, the index of the rule in RULES (KEPT: it stays nevertheless), and the doc_id of the page that
it is a copy of."""
EDGE = np.dtype([("part", "<u4"), ("row", "<u4"), ("other_part", "<u4"), ("other_row", "<u4")])


@dataclass
class Verdicts:
    """The state of a part: for each page an index into RULES (REJECTED: it failed an earlier stage) and the id of the
    page it is a copy of, zeros for none."""

    rules: np.ndarray
    originals: np.ndarray


@dataclass(eq=False)
class FindCopies(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/dedup."""

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
            if wanted or column == "url_hash":
                joined = state | rule >> Join(partial(_rows, corpus, column), partial(_copies, rule, wanted))
                state = joined | f"{rule} verdicts" >> beam.MapTuple(_judged)
        near_copies = (
            state
            # Output: (partition, rows), one row a band and page
            | "Bands" >> beam.FlatMapTuple(partial(joins.by_partition, partial(_bands, corpus)))
            | "Same band" >> beam.GroupByKey()
            # Output: edges between pages that share a band
            | "Candidates" >> beam.MapTuple(lambda partition, blocks: (0, _edges(joins.merged(blocks))))
            | "All" >> beam.GroupByKey()
            # Output: (part, losers)
            | "Clusters" >> beam.FlatMapTuple(partial(_clusters, corpus, self.dedup))
        )
        state = (
            {"state": state, "blocks": near_copies}
            | "Near verdicts" >> beam.CoGroupByKey()
            | "dedup.near_text"
            >> beam.MapTuple(lambda part, both: _judged(part, (both["state"][0], joins.merged(both["blocks"]))))
        )
        return state | "Write" >> beam.MapTuple(partial(_write, corpus))


def _load(corpus: Corpus, part: int) -> tuple[int, Verdicts]:
    pages = tables.read(corpus.part("pages", part), ["rule"])
    kept = np.asarray(pages["rule"].is_null())
    return part, Verdicts(np.where(kept, KEPT, REJECTED).astype(np.uint8), np.zeros(len(kept), joins.KEY))


def _rows(corpus: Corpus, column: str, part: int, state: Verdicts) -> Block:
    """The pages of a part that are still kept, keyed by a column; by URL also what opted out."""
    pages = tables.read(corpus.part("pages", part), list(dict.fromkeys([column, "doc_id", "capture", "rule"])))
    taking_part = np.flatnonzero(state.rules == KEPT)
    if column == "url_hash":
        refused = [row for row, rule in enumerate(pages["rule"].to_pylist()) if rule in consent.RULES]
        taking_part = np.concatenate([taking_part, np.array(refused, taking_part.dtype)])
    pages = pages.take(pa.array(taking_part))
    rows = np.zeros(len(taking_part), ROW)
    ids = joins.keys(bytes.fromhex(value or "00" * 16) for value in pages["doc_id"].to_pylist())
    key = ids if column == "doc_id" else joins.keys(pages[column].to_pylist())
    rows["high"], rows["low"] = key["high"], key["low"]
    rows["id_high"], rows["id_low"] = ids["high"], ids["low"]
    rows["part"], rows["row"] = part, taking_part
    rows["refusal"] = NO_REFUSAL
    if column == "url_hash":
        # the newest capture is the least aged
        dates = [seconds(capture["date"]) if capture else 0 for capture in pages["capture"].to_pylist()]
        rows["age"] = np.iinfo(np.uint64).max - np.asarray(dates, np.uint64)
        rows["refusal"] = [
            consent.RULES.index(rule) if rule in consent.RULES else NO_REFUSAL for rule in pages["rule"].to_pylist()
        ]
        rows = np.concatenate([rows, _refusals(corpus, part)])
    return rows


def _refusals(corpus: Corpus, part: int) -> Block:
    """A row for each record that is no page and opted out, by its URL: a redirect, or what repeats another capture."""
    records = tables.read(corpus.part("records", part), ["url", "rule"])
    records = records.filter(pc.is_in(records["rule"], pa.array(consent.RULES)))
    rows = np.zeros(len(records), ROW)
    key = joins.keys(map(tables.url_hash, records["url"].to_pylist()))
    rows["high"], rows["low"], rows["part"] = key["high"], key["low"], part
    rows["refusal"] = [consent.RULES.index(rule) for rule in records["rule"].to_pylist()]
    return rows


def _copies(rule: str, all_of_them: bool, rows: Block) -> Block:
    """All but the first of each key; where the first opted out, all that did not. Without `all_of_them` only those."""
    first = first_of_each(rows[["high", "low"]])
    refusal = rows["refusal"][first]
    refused = refusal != NO_REFUSAL
    lost = np.flatnonzero((rows["refusal"] == NO_REFUSAL) & (refused | (all_of_them & (first != np.arange(len(rows))))))
    losers = np.zeros(len(lost), LOSER)
    losers["rule"] = np.where(refused, RULES.index(consent.RULES[0]) + refusal % NO_REFUSAL, RULES.index(rule))[lost]
    for name in ("part", "row"):
        losers[name] = rows[name][lost]
    for name in ("id_high", "id_low"):
        losers[name] = rows[name][first[lost]]
    return losers


def _judged(part: int, both: tuple[Verdicts, Block]) -> tuple[int, Verdicts]:
    state, losers = both
    rules, originals = state.rules.copy(), state.originals.copy()
    if len(losers):
        rules[losers["row"]] = losers["rule"]
        originals["high"][losers["row"]] = losers["id_high"]
        originals["low"][losers["row"]] = losers["id_low"]
    return part, Verdicts(rules, originals)


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


def _clusters(corpus: Corpus, dedup: Dedup, key: int, blocks: list[Block]) -> list[tuple[int, Block]]:
    """(part, losers): of each cluster of pages that are verified as alike all but the first, in the order of parts and
    rows."""
    edges = np.unique(joins.merged(blocks)) if blocks else np.zeros(0, EDGE)
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
    ids = np.zeros(len(pages), joins.KEY)
    for part in np.unique(pages[:, 0]):
        of_part = np.flatnonzero(pages[:, 0] == part)
        rows = pages[of_part, 1]
        signatures[of_part] = _signatures(corpus, int(part), rows)
        doc_ids = tables.read(corpus.part("pages", int(part)), ["doc_id"])["doc_id"].take(pa.array(rows))
        ids[of_part] = joins.keys(bytes.fromhex(value) for value in doc_ids.to_pylist())
    alike = near.similarity(signatures[index[0]], signatures[index[1]]) >= dedup.near_threshold
    labels = near.components(len(pages), index[:, alike].T)
    lost = np.flatnonzero(labels != np.arange(len(pages)))
    losers = np.zeros(len(lost), LOSER)
    losers["part"], losers["row"] = pages[lost, 0], pages[lost, 1]
    losers["rule"] = RULES.index("dedup.near_text") if dedup.near_text else KEPT
    losers["id_high"], losers["id_low"] = ids["high"][labels[lost]], ids["low"][labels[lost]]
    return list(joins.split(losers, losers["part"])) if len(losers) else []


def _write(corpus: Corpus, part: int, state: Verdicts) -> tuple[int, list[FileEntry]]:
    pages = tables.read(corpus.part("pages", part), ["rule", "doc_id"])
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
