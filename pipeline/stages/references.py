"""Stage references: for every image of every surviving page, which capture of the input holds it and which part stores
it.

URLs are compared by hash. A redirect or a revisit record is another name of what it leads to. Of several
captures a page gets the one nearest in time. Each distinct content is stored once, by the lowest part that needs it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup.exact import first_of_each
from filters import consent
from pipeline.engine import joins, tables
from pipeline.engine.corpus import Corpus
from pipeline.engine.joins import Block, Join
from pipeline.engine.tables import url_hash
from pipeline.engine.tasks import FileEntry, Task
from pipeline.sources.record import seconds
from pipeline.stages import fetch
from pipeline.stages.schemas import REFERENCES
from pipeline.urls import unescaped_spellings

HOPS = 5
"""Redirects followed from an image's URL to a capture."""

REFUSED, SUPPLY, LINK, NEED = 0, 1, 2, 3  # in this order: where one capture of a URL opted out, no other counts
ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("kind", "u1"),
        ("part", "<u4"),
        ("index", "<u4"),
        ("other_high", "<u8"),
        ("other_low", "<u8"),
        ("time", "<i8"),
    ]
)
"""A key with what it means: REFUSED: it opted out under consent.RULES[`index`]; SUPPLY: record `index` of `part` has
content `other`; LINK: URL `other`, in `part`, leads to this key; NEED: candidate `index` of `part` has this URL.
`time` is that of the capture, or of the page that needs it."""
LOCATED = np.dtype(
    [
        ("part", "<u4"),
        ("index", "<u4"),
        ("kind", "u1"),
        ("record_part", "<u4"),
        ("record", "<u4"),
        ("high", "<u8"),
        ("low", "<u8"),
    ]
)
"""Candidate or link `index` of `part` leads to a record, or to an opt-out, as `kind` says; `high`, `low` are its
content, or a link's own URL."""
SHARED = np.dtype([("high", "<u8"), ("low", "<u8"), ("kind", "u1"), ("part", "<u4"), ("index", "<u4")])
OWNED = np.dtype([("part", "<u4"), ("kind", "u1"), ("index", "<u4"), ("owner", "<u4"), ("first", "?")])
BY_URL, BY_CONTENT = 0, 1
FAR = np.iinfo(np.int64).max


@dataclass
class State:
    """What a part knows: captures and opt-outs by name (ROW blocks of kind SUPPLY and REFUSED), and its candidates in
    the order of pages and nodes."""

    supply: Block
    links: Block
    candidates: pa.Table
    chosen: pa.Table | None = None


@dataclass(eq=False)
class FindImages(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/STAGE. List i of `lists` lists of fetched pictures is
    record part `parts` + i."""

    corpus: Corpus
    links: bool
    stage: str = "references"
    parts: int = 1
    lists: int = 0

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus = self.corpus
        # Output: (part, State)
        state = parts | "Load" >> beam.Map(partial(_load, corpus, self.parts, self.lists))
        for hop in range(HOPS if self.links else 0):
            state = (
                state
                | f"Hop {hop + 1}" >> Join(_supply_and_links, _lead)
                | f"Hop {hop + 1} taken" >> beam.MapTuple(_add_supply)
            )
        return (
            state
            | "Locate" >> Join(_supply_and_needs, _locate)
            | "Choose" >> beam.MapTuple(_choose)
            | "Own" >> Join(_shared, _own)
            | "Write" >> beam.MapTuple(partial(_write, corpus, self.stage))
        )


def has_links(corpus: Corpus, parts: Sequence[Task]) -> bool:
    """Whether any record of the input is a redirect or a revisit."""
    return any(
        "link" in tables.read(corpus.part("records", part.number), ["use"])["use"].unique().to_pylist()
        for part in parts
    )


def _load(corpus: Corpus, parts: int, lists: int, part: int) -> tuple[int, State]:
    columns = ["use", "number", "url", "date", "sha256", "digest", "target", "rule", "kind"]
    records = tables.read(corpus.part("records", part), columns)
    rows = [row | {"time": seconds(row["date"])} for row in records.to_pylist()]
    images = [row for row in rows if row["use"] == "image"]
    supply = _block(
        SUPPLY,
        part,
        [(url_hash(row["url"]), row["number"], row["sha256"][:16], row["time"]) for row in images]
        + [(_digest(row), row["number"], row["sha256"][:16], row["time"]) for row in images if row["digest"]]
        # a file whose name is what such a spelling says comes first in a listing, so it is found first
        + [
            (url_hash(other), row["number"], row["sha256"][:16], row["time"])
            for row in images
            if row["kind"] == "file"
            for other in unescaped_spellings(row["url"])
        ],
    )
    refused = [row for row in rows if row["rule"] in consent.RULES]
    fetched = []
    for number, told in fetch.supply(corpus, part, parts, lists):
        refused += [row for row in told if row["rule"] is not None]
        found = [row for row in told if row["rule"] is None]
        named = [(url_hash(row["url"]), row["number"], bytes.fromhex(row["sha256"])[:16], 0) for row in found]
        fetched.append(_block(SUPPLY, parts + number, named))
    opted_out = [(url_hash(row["url"]), consent.RULES.index(row["rule"]), bytes(16), 0) for row in refused]
    links = [row for row in rows if row["use"] == "link"]
    leads = _block(
        LINK,
        part,
        [(url_hash(row["target"]), row["number"], url_hash(row["url"]), row["time"]) for row in links]
        + [(_digest(row), row["number"], url_hash(row["url"]), row["time"]) for row in links if row["digest"]],
    )
    verdicts = tables.read(corpus.part("dedup", part), ["rule"])
    kept = np.flatnonzero(np.asarray(verdicts["rule"].is_null()))
    pages = tables.read(corpus.part("pages", part), ["images", "capture"]).take(pa.array(kept))
    candidates: dict[str, list[Any]] = {"row": [], "node": [], "url": [], "time": []}
    captures = pages["capture"].to_pylist()
    for row, capture, images_of_page in zip(kept.tolist(), captures, pages["images"].to_pylist(), strict=True):
        time = seconds(capture["date"])
        for node, image in enumerate(images_of_page):
            for url in [] if image is None else [image["url"], *image["alternatives"]]:
                candidates["row"].append(row)
                candidates["node"].append(node)
                candidates["url"].append(url)
                candidates["time"].append(time)
    schema = pa.schema([("row", pa.int32()), ("node", pa.int32()), ("url", pa.string()), ("time", pa.int64())])
    return part, State(
        np.concatenate([_block(REFUSED, part, opted_out), supply, *fetched]), leads, pa.table(candidates, schema=schema)
    )


def _digest(row: dict[str, Any]) -> bytes:
    return tables.short_hash(f"digest {row['digest']}")


def _block(kind: int, part: int, rows: list[tuple[bytes, int, bytes, int]]) -> Block:
    block = np.zeros(len(rows), ROW)
    if rows:
        key = joins.keys(row[0] for row in rows)
        other = joins.keys(row[2] for row in rows)
        block["high"], block["low"] = key["high"], key["low"]
        block["other_high"], block["other_low"] = other["high"], other["low"]
        block["index"], block["time"] = [row[1] for row in rows], [row[3] for row in rows]
    block["kind"], block["part"] = kind, part
    return block


def _supply_and_links(part: int, state: State) -> Block:
    return np.concatenate([state.supply, state.links])


def _supply_and_needs(part: int, state: State) -> Block:
    wanted = enumerate(zip(state.candidates["url"].to_pylist(), state.candidates["time"].to_pylist(), strict=True))
    needs = _block(NEED, part, [(url_hash(url), index, bytes(16), time) for index, (url, time) in wanted])
    return np.concatenate([state.supply, needs])


def _meet(rows: Block, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a kind whose key has a supply, and for each such a supply: an opt-out, or the capture that `_nearest`
    finds."""
    first = first_of_each(rows[["high", "low"]])
    supply = np.where(rows["kind"][first] == REFUSED, first, _nearest(rows))
    met = np.flatnonzero((rows["kind"] == kind) & (supply >= 0))
    return met, supply[met]


def _nearest(rows: Block) -> np.ndarray:
    """For each row, of the supplies of its key the one nearest in time, -1 without any. Of two as near the older
    counts, of two of one time that of the lowest part and record. A page and its pictures were captured together."""
    order = np.lexsort([rows["time"], rows["low"], rows["high"]])
    time, supplies = rows["time"][order], np.flatnonzero(rows["kind"][order] == SUPPLY)
    if not len(supplies):
        return np.full(len(rows), -1)
    key = first_of_each(rows[["high", "low"]])  # the order above leaves the rows of a key together
    after = np.searchsorted(supplies, np.arange(len(rows)))
    older = first_of_each(rows[["high", "low", "time"]][order])[supplies[np.maximum(after, 1) - 1]]
    newer = supplies[np.minimum(after, len(supplies) - 1)]
    apart = [np.where(key[other] == key, abs(time - time[other]), FAR) for other in (older, newer)]
    nearest = np.where(apart[0] <= apart[1], older, newer)
    found = np.empty(len(rows), np.int64)
    found[order] = np.where(np.minimum(*apart) < FAR, order[nearest], -1)
    return found


def _lead(rows: Block) -> Block:
    """What links lead to becomes a capture under their own URL."""
    met, supply = _meet(rows, LINK)
    new = np.zeros(
        len(met), np.dtype([*LOCATED.descr, ("content_high", "<u8"), ("content_low", "<u8"), ("time", "<i8")])
    )
    new["part"], new["index"] = rows["part"][met], rows["index"][met]
    new["kind"] = rows["kind"][supply]
    new["record_part"], new["record"] = rows["part"][supply], rows["index"][supply]
    new["high"], new["low"], new["time"] = rows["other_high"][met], rows["other_low"][met], rows["time"][met]
    new["content_high"], new["content_low"] = rows["other_high"][supply], rows["other_low"][supply]
    return new


def _add_supply(part: int, both: tuple[State, Block]) -> tuple[int, State]:
    state, new = both
    if len(new) == 0:
        return part, state
    supply = np.zeros(len(new), ROW)
    supply["high"], supply["low"], supply["time"] = new["high"], new["low"], new["time"]
    supply["kind"], supply["part"], supply["index"] = new["kind"], new["record_part"], new["record"]
    supply["other_high"], supply["other_low"] = new["content_high"], new["content_low"]
    return part, State(np.unique(np.concatenate([state.supply, supply])), state.links, state.candidates)


def _locate(rows: Block) -> Block:
    met, supply = _meet(rows, NEED)
    found = np.zeros(len(met), LOCATED)
    found["part"], found["index"] = rows["part"][met], rows["index"][met]
    found["kind"] = rows["kind"][supply]
    found["record_part"], found["record"] = rows["part"][supply], rows["index"][supply]
    found["high"], found["low"] = rows["other_high"][supply], rows["other_low"][supply]
    return found


def _choose(part: int, both: tuple[State, Block]) -> tuple[int, State]:
    """Of the URLs of a picture the first that was found stands for it, else the first that opted out, else the
    first."""
    state, located = both
    table = state.candidates
    if not len(located):
        located = np.zeros(0, LOCATED)  # a join that met nothing knows no fields
    found, refused = located[located["kind"] == SUPPLY], located[located["kind"] == REFUSED]
    rules = {int(row["index"]): consent.RULES[row["record"]] for row in refused}
    at = dict(zip(found["index"].tolist(), range(len(found)), strict=True))
    chosen: dict[tuple[int, int], int] = {}
    rows, nodes = table["row"].to_pylist(), table["node"].to_pylist()
    for index, place in enumerate(zip(rows, nodes, strict=True)):
        if place not in chosen or _standing(index, at, rules) > _standing(chosen[place], at, rules):
            chosen[place] = index
    indexes = list(chosen.values())
    contents = [
        np.array([found[at[index]]["high"], found[at[index]]["low"]], "<u8").tobytes() if index in at else None
        for index in indexes
    ]
    columns = {
        "row": [rows[index] for index in indexes],
        "node": [nodes[index] for index in indexes],
        "url": table["url"].take(pa.array(indexes, pa.int64())).to_pylist(),
        "found": [index in at for index in indexes],
        "record_part": [int(found[at[index]]["record_part"]) if index in at else None for index in indexes],
        "record": [int(found[at[index]]["record"]) if index in at else None for index in indexes],
        "content": contents,
        "rule": [None if index in at else rules.get(index, fetch.NOT_FETCHED) for index in indexes],
    }
    schema = pa.schema([REFERENCES.field(name) for name in columns])
    return part, State(state.supply[:0], state.links[:0], table.slice(0, 0), pa.table(columns, schema=schema))


def _standing(index: int, found: Container[int], refused: Container[int]) -> int:
    return 2 if index in found else int(index in refused)


def _shared(part: int, state: State) -> Block:
    assert state.chosen is not None
    urls, contents = state.chosen["url"].to_pylist(), state.chosen["content"].to_pylist()
    stored = [index for index, content in enumerate(contents) if content is not None]
    block = np.zeros(len(urls) + len(stored), SHARED)
    if urls:
        key = joins.keys([*(tables.short_hash(url) for url in urls), *(contents[index] for index in stored)])
        block["high"], block["low"] = key["high"], key["low"]
    block["kind"] = [BY_URL] * len(urls) + [BY_CONTENT] * len(stored)
    block["part"] = part
    block["index"] = [*range(len(urls)), *stored]
    return block


def _own(rows: Block) -> Block:
    first = first_of_each(rows[["high", "low", "kind"]])
    owned = np.zeros(len(rows), OWNED)
    for name in ("part", "kind", "index"):
        owned[name] = rows[name]
    owned["owner"] = rows["part"][first]
    owned["first"] = first == np.arange(len(rows))
    return owned


def _write(corpus: Corpus, stage: str, part: int, both: tuple[State, Block]) -> tuple[int, list[FileEntry]]:
    state, owned = both
    assert state.chosen is not None
    first = np.zeros(len(state.chosen), bool)
    owner: list[int | None] = [None] * len(state.chosen)
    if len(owned):
        by_url = owned[owned["kind"] == BY_URL]
        first[by_url["index"]] = by_url["first"]
        for row in owned[owned["kind"] == BY_CONTENT]:
            owner[row["index"]] = int(row["owner"])
    table = state.chosen.append_column("first", pa.array(first)).append_column("owner", pa.array(owner, pa.int32()))
    return part, [tables.write(corpus, corpus.part(stage, part), table.select(REFERENCES.names).cast(REFERENCES))]
