"""Stage references: for every image of every kept page, which capture of the input holds it and which part stores it.

URLs are compared by hash. A redirect or a revisit record is another name of its target. Of several captures a page gets
the one nearest in time. Of an image's URLs the first with something usable is chosen. Each distinct content is stored
once, by the lowest part that needs it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.exact import first_of_each
from filters import consent
from filters.image import PROBED_COLUMNS, usable
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.nearest import NONE, nearest
from pipeline.engine.tables import short_hash
from pipeline.engine.tasks import FileEntry
from pipeline.sources.record import seconds
from pipeline.stages import fetch
from pipeline.stages.schemas import MISSING, REFERENCES
from pipeline.urls import key_of, unescaped_spellings
from shards.records import EMBEDDED

HOPS = 5
"""Maximum redirects followed from an image's URL to a capture."""

REFUSED, SUPPLY, LINK, NEED = 0, 1, 2, 3  # in this order: if one capture of a URL opted out, the others do not count
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
        ("usable", "?"),
    ]
)
"""A key and its meaning: REFUSED: it opted out under consent.RULES[`index`]; SUPPLY: record `index` of `part` has
content `other`; LINK: row `index` of the links of `part`, whose own key is `other`, leads to this key; NEED: candidate
`index` of `part` has this URL. `time` is that of the capture, or of the page that needs it. `usable`: nothing known
before decoding drops it."""
FOUND = np.dtype(
    [
        ("part", "<u4"),
        ("index", "<u4"),
        ("kind", "u1"),
        ("record_part", "<u4"),
        ("record", "<u4"),
        ("high", "<u8"),
        ("low", "<u8"),
        ("usable", "?"),
    ]
)
"""Candidate or link `index` of `part` leads to a record with content `high`, `low`, or to an opt-out, according to
`kind`."""
SHARED = np.dtype([("high", "<u8"), ("low", "<u8"), ("kind", "u1"), ("part", "<u4"), ("index", "<u4")])
OWNED = np.dtype([("part", "<u4"), ("kind", "u1"), ("index", "<u4"), ("owner", "<u4"), ("first", "?")])
BY_URL, BY_CONTENT = 0, 1
CANDIDATES = pa.schema([("row", pa.int32()), ("node", pa.int32()), ("url", pa.string()), ("time", pa.int64()),
                        ("declared", pa.int32())])  # fmt: skip
"""Every URL of every image of the kept pages, in the order of pages, nodes and preference."""


class Name(NamedTuple):
    """A row of ROW without kind and part: `key` and its meaning."""

    key: bytes
    number: int
    other: bytes = bytes(16)
    time: int = 0
    usable: bool = False


@dataclass(frozen=True)
class State:
    """The state of a part: captures and opt-outs by name (ROW blocks of kind SUPPLY and REFUSED), its links and its
    CANDIDATES."""

    supply: Block
    links: Block
    candidates: pa.Table


@dataclass(eq=False)
class FindImages(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/references and work/missing; if `wanted`, only what is missing,
    to be fetched: work/wanted. With `links`, some record of the input is a redirect or a revisit. List i of `lists`
    lists of fetched images is record part `parts` + i."""

    corpus: CorpusDirectory
    parts: int
    partitions: int
    links: bool
    lists: int = 0
    wanted: bool = False

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus = self.corpus
        # Output: (part, State)
        state = parts | "Load" >> beam.Map(partial(_load, corpus, self.parts, self.lists))
        for hop in range(HOPS if self.links else 0):
            state = (
                state
                | f"Hop {hop + 1}" >> Join(_supply_and_links, partial(find, LINK), self.partitions)
                | f"Hop {hop + 1} taken" >> beam.MapTuple(_add_supply)
            )
        return (
            state
            | "Locate" >> Join(_supply_and_needs, partial(find, NEED), self.partitions)
            # Output: (part, table of REFERENCES without `first` and `owner`)
            | "Choose" >> beam.MapTuple(_choose)
            | "Own" >> Join(_shared, _own, self.partitions)
            | "Write" >> beam.MapTuple(partial(_write, corpus, self.wanted))
        )


def _load(corpus: CorpusDirectory, parts: int, lists: int, part: int) -> tuple[int, State]:
    columns = ["use", "number", "url", "date", "sha256", "digest", "rule", "kind", *PROBED_COLUMNS]
    table = tables.read(corpus.part("records", part), columns)
    records = table.append_column("usable", pa.array(usable(table))).to_pylist()
    fetched = list(fetch.supply(corpus, part, parts, lists))
    refused = [row for row in (*records, *(row for _, rows in fetched for row in rows)) if row["rule"] in consent.RULES]
    supply = [
        _block(REFUSED, part, (Name(_key(row["url"]), consent.RULES.index(row["rule"])) for row in refused)),
        _block(SUPPLY, part, (name for row in records if row["use"] == "image" for name in _capture(row))),
        *(
            _block(SUPPLY, parts + number, (_fetched(row) for row in rows if row["rule"] is None))
            for number, rows in fetched
        ),
    ]
    linking = tables.read(corpus.part("links", part)).to_pylist()
    links = _block(LINK, part, (name for row in linking for name in _link(row)))
    links["index"] = np.arange(len(links))
    candidates = _candidates(corpus, part)
    supply.append(
        _block(SUPPLY, part, _embedded(candidates, [row["number"] for row in records if row["use"] == "page"]))
    )
    return part, State(np.concatenate(supply), links, candidates)


def _key(url: str) -> bytes:
    """The key that matches an image with its captures. Browsers request `https:` for a page's `http:` without a
    recorded redirect."""
    key = key_of(url)
    return short_hash(f"http{key[5:]}" if key.startswith("https:") else key)


def _capture(row: dict[str, Any]) -> Iterator[Name]:
    keys = [_key(row["url"]), *_digest(row)]
    if row["kind"] == "file":
        # a file that literally has this spelling comes first in a listing, so it is found first
        keys += map(_key, unescaped_spellings(row["url"]))
    for key in keys:
        yield Name(key, row["number"], row["sha256"][:16], seconds(row["date"]), row["usable"])


def _embedded(candidates: pa.Table, pages: Sequence[int]) -> Iterator[Name]:
    """The images that are part of a page; `pages` are the numbers of the records of a part's pages, row by row."""
    embedded = candidates.filter(pc.starts_with(candidates["url"], EMBEDDED))
    for row in embedded.to_pylist():
        content = bytes.fromhex(row["url"].removeprefix(EMBEDDED))[:16]
        yield Name(_key(row["url"]), pages[row["row"]], content, row["time"], usable=True)


def _fetched(row: dict[str, Any]) -> Name:
    return Name(_key(row["url"]), row["number"], bytes.fromhex(row["sha256"])[:16], usable=row["usable"])


def _link(row: dict[str, Any]) -> Iterator[Name]:
    for key in (_key(row["target"]), *_digest(row)):
        yield Name(key, row["number"], _key(row["url"]), seconds(row["date"]))


def _digest(row: dict[str, Any]) -> list[bytes]:
    return [short_hash(f"digest {row['digest']}")] if row["digest"] else []


def _candidates(corpus: CorpusDirectory, part: int) -> pa.Table:
    verdicts = tables.read(corpus.part("dedup", part), ["rule"])
    kept = np.flatnonzero(np.asarray(verdicts["rule"].is_null()))
    pages = tables.read(corpus.part("pages", part), ["images", "capture"]).take(pa.array(kept)).to_pylist()
    found = tables.Rows(CANDIDATES)
    for row, page in zip(kept.tolist(), pages, strict=True):
        time = seconds(page["capture"]["date"])
        for node, image in enumerate(page["images"]):
            if image is None:
                continue
            declared = min((side for side in (image["width"], image["height"]) if side is not None), default=None)
            for url in (image["url"], *image["alternatives"]):
                found.add({"row": row, "node": node, "url": url, "time": time, "declared": declared})
    return found.table()


def _block(kind: int, part: int, names: Iterable[Name]) -> Block:
    rows = list(names)
    block = joins.keyed(ROW, (row.key for row in rows))
    other = joins.keys(row.other for row in rows)
    block["other_high"], block["other_low"] = other["high"], other["low"]
    block["index"], block["time"] = [row.number for row in rows], [row.time for row in rows]
    block["kind"], block["part"], block["usable"] = kind, part, [row.usable for row in rows]
    return block


def _supply_and_links(part: int, state: State) -> Block:
    return np.concatenate([state.supply, state.links])


def _supply_and_needs(part: int, state: State) -> Block:
    wanted = zip(state.candidates["url"].to_pylist(), state.candidates["time"].to_pylist(), strict=True)
    needs = (Name(_key(url), index, time=time) for index, (url, time) in enumerate(wanted))
    return np.concatenate([state.supply, _block(NEED, part, needs)])


def find(kind: int, rows: Block) -> Block:
    """The targets of the rows of a kind (FOUND), without rows that have none: an opt-out if any capture of their key
    opted out, else the usable capture nearest in time, else the nearest, because a page and its images were captured
    together. Ties go to the older capture, then to the lowest part and record."""
    keys, captures = rows[["high", "low"]], rows["kind"] == SUPPLY
    first = first_of_each(keys)
    supply = nearest(keys, rows["time"], captures & rows["usable"])
    supply = np.where(supply == NONE, nearest(keys, rows["time"], captures), supply)
    supply = np.where(rows["kind"][first] == REFUSED, first, supply)
    met = np.flatnonzero((rows["kind"] == kind) & (supply >= 0))
    from_, to = rows[met], rows[supply[met]]
    found = np.zeros(len(met), FOUND)
    found["part"], found["index"] = from_["part"], from_["index"]
    found["kind"], found["record_part"], found["record"] = to["kind"], to["part"], to["index"]
    found["high"], found["low"], found["usable"] = to["other_high"], to["other_low"], to["usable"]
    return found


def _add_supply(part: int, both: tuple[State, Block]) -> tuple[int, State]:
    """The targets of links become captures under the links' own URLs."""
    state, found = both
    if not len(found):
        return part, state
    links = state.links[found["index"]]
    supply = np.zeros(len(found), ROW)
    supply["high"], supply["low"], supply["time"] = links["other_high"], links["other_low"], links["time"]
    supply["kind"], supply["part"], supply["index"] = found["kind"], found["record_part"], found["record"]
    supply["other_high"], supply["other_low"], supply["usable"] = found["high"], found["low"], found["usable"]
    return part, replace(state, supply=np.unique(np.concatenate([state.supply, supply])))


def _choose(part: int, both: tuple[State, Block]) -> tuple[int, pa.Table]:
    """Choose the URL of an image: the first found and usable, else the first found, else the first that opted out, else
    the first."""
    state, met = both
    table = state.candidates
    found = np.zeros(len(table), FOUND)
    found["kind"] = NEED
    if len(met):  # the result of an empty join has no fields
        found[met["index"]] = met
    place = first_of_each(np.rec.fromarrays([np.asarray(table["row"]), np.asarray(table["node"])]))
    order = np.lexsort([np.where(found["usable"], 0, np.choose(found["kind"], (2, 1, 3, 3))), place])
    chosen = order[np.unique(place)]
    unsettled = chosen[~found["usable"][chosen] & (found["kind"][chosen] != REFUSED)]
    open_ = (found["kind"] == NEED) & np.isin(place, place[unsettled])
    ask: dict[int, list[str]] = {}
    for at, url in zip(place[open_].tolist(), table["url"].filter(pa.array(open_)).to_pylist(), strict=True):
        ask.setdefault(at, []).append(url)
    found = found[chosen]
    missing = found["kind"] != SUPPLY
    contents = np.stack([found["high"], found["low"]], axis=1)
    rules = [
        None if kind == SUPPLY else consent.RULES[number] if kind == REFUSED else fetch.NOT_FETCHED
        for kind, number in zip(found["kind"], found["record"], strict=True)
    ]
    columns = {
        **{name: table[name].take(pa.array(chosen)) for name in ("row", "node", "url", "declared")},
        "found": pa.array(~missing),
        "record_part": pa.array(found["record_part"], pa.int32(), mask=missing),
        "record": pa.array(found["record"], pa.int32(), mask=missing),
        "content": pa.array([content.tobytes() for content in contents], pa.binary(16), mask=missing),
        "rule": pa.array(rules, pa.string()),
        "candidate": pa.array(chosen - place[chosen], pa.int16()),
        "ask": pa.array([ask.get(at, []) for at in place[chosen].tolist()], MISSING.field("urls").type),
    }
    return part, pa.table(columns)


def _shared(part: int, chosen: pa.Table) -> Block:
    urls, contents = chosen["url"].to_pylist(), chosen["content"].to_pylist()
    stored = [index for index, content in enumerate(contents) if content is not None]
    block = joins.keyed(SHARED, [*map(short_hash, urls), *(contents[index] for index in stored)])
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


def _write(
    corpus: CorpusDirectory, wanted: bool, part: int, both: tuple[pa.Table, Block]
) -> tuple[int, list[FileEntry]]:
    chosen, owned = both
    first, owner = np.zeros(len(chosen), bool), np.zeros(len(chosen), np.int32)
    if len(owned):
        by_url, by_content = (owned[owned["kind"] == kind] for kind in (BY_URL, BY_CONTENT))
        first[by_url["index"]] = by_url["first"]
        owner[by_content["index"]] = by_content["owner"]
    table = chosen.append_column("first", pa.array(first)).append_column(
        "owner", pa.array(owner, mask=~np.asarray(chosen["found"]))
    )
    lacking = fetch.missing(table["ask"].filter(table["first"]).to_pylist())
    missing = tables.write(corpus, corpus.part("wanted" if wanted else "missing", part), lacking)
    if wanted:
        return part, [missing]
    chosen = table.select(REFERENCES.names).cast(REFERENCES)
    return part, [tables.write(corpus, corpus.part("references", part), chosen), missing]
