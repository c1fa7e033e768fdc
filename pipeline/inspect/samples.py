"""A few documents, windows and dropped items to look at; deterministic.

All text comes from strangers: control characters that act on a terminal or reverse a line are removed or shown by
name."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from filters import rules
from filters.image import rows_of
from filters.rules import EXPLAINED
from pipeline.inspect.finished import Finished, ListedFile
from pipeline.stages.schemas import DISTINCT_IMAGES, PAGES
from shards.records import StoredImage, Text, stored_nodes
from shards.tokenizer import IMAGE_MARKER

PER_RULE = 5
BIDI = "\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c"
# C0 and C1 except tab and line feed, bidirectional controls, line separators, lone surrogates
ACTING = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{BIDI}\u2028\u2029\ud800-\udfff]")


def visible(text: str) -> str:
    """Text on one line, with control characters shown by code point: U+202E as ⟨202E⟩."""
    return ACTING.sub(lambda match: f"⟨{ord(match[0]):04X}⟩", " ".join(text.split(" "))).replace("\n", " ")


def harmless(text: str) -> str:
    """Text of several paragraphs without control characters."""
    return ACTING.sub("", text)


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, without control characters."""
    return [paragraph for paragraph in harmless(text).split("\n\n") if paragraph.strip()]


@dataclass(frozen=True)
class SampleDocument:
    """A document as a reader sees it."""

    doc_id: str
    url: str
    title: str
    split: str
    language: str
    nodes: list[Text | StoredImage]


@dataclass(frozen=True)
class SampleWindow:
    """A window: `text` between its images (one piece more than images), and the token of each image."""

    window_id: str
    url: str
    split: str
    tokens: int
    token_start: int
    positions: list[int]
    text: list[str]
    images: list[dict[str, Any]]


@dataclass(frozen=True)
class Dropped:
    """Something dropped: its URL and what is known of the reason. `detail` is empty if a page opted out."""

    url: str
    detail: str

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Dropped":
        opted_out = row["rule"].startswith("consent.")
        return Dropped(row["url"] or "", "" if opted_out else row["detail"] or "")


def rank(key: str) -> bytes:
    """Sort key of a hash-based draw."""
    return hashlib.sha256(f"sample\n{key}".encode("utf-8", "surrogatepass")).digest()


def sample_documents(corpus: Finished, count: int) -> list[SampleDocument]:
    """Documents drawn by hash, one of them held out if possible, from as many sites as possible. Short pages with
    several nodes come first."""
    drawn: list[_Candidate] = []
    for entry in corpus.files("documents"):
        best: dict[tuple[bool, str], _Candidate] = {}
        row = 0
        for batch in corpus.batches(entry, ["doc_id", "site", "split", "texts"]):
            lengths = pc.list_value_length(batch["texts"]).to_pylist()
            ids, sites, splits = (batch[name].to_pylist() for name in ("doc_id", "site", "split"))
            for doc_id, site, split, nodes in zip(ids, sites, splits, lengths, strict=True):
                held_out = split in ("validation", "mixed")
                found = _Candidate(not 4 <= nodes <= 24, rank(doc_id), entry, row, site, held_out)
                best[held_out, site] = min(best.get((held_out, site), found), found)
                row += 1
        drawn += sorted(best.values())[: 4 * count]
    drawn.sort()
    chosen = [candidate for candidate in drawn if candidate.held_out][: min(1, count - 1)]
    for again in (False, True):
        for candidate in drawn:
            fresh = candidate not in chosen and candidate.site not in {other.site for other in chosen}
            if len(chosen) < count and (fresh or (again and candidate not in chosen)):
                chosen.append(candidate)
    return [read_document(corpus, candidate.entry, candidate.row) for candidate in sorted(chosen)]


class _Candidate(NamedTuple):
    """A document in the order of the draw."""

    dull: bool
    drawn: bytes
    entry: ListedFile
    row: int
    site: str
    held_out: bool


def read_row(corpus: Finished, entry: ListedFile, row: int, columns: list[str]) -> dict[str, Any]:
    """Read one row of a Parquet file, and only the rows around it."""
    before = 0
    for batch in corpus.batches(entry, columns, rows=256):
        if row < before + batch.num_rows:
            return batch.slice(row - before, 1).to_pylist()[0]
        before += batch.num_rows
    raise IndexError(f"{entry.path} has no row {row}")


DOCUMENT_COLUMNS = ["doc_id", "url", "metadata", "split", "language", "texts", "images"]


def as_document(row: dict[str, Any]) -> SampleDocument:
    return SampleDocument(
        row["doc_id"],
        row["url"],
        (row["metadata"] or {}).get("title") or "",
        row["split"],
        row["language"] or "",
        stored_nodes(row["texts"], row["images"]),
    )


def read_document(corpus: Finished, entry: ListedFile, row: int) -> SampleDocument:
    return as_document(read_row(corpus, entry, row, DOCUMENT_COLUMNS))


def documents_by_id(corpus: Finished, wanted: set[str]) -> dict[str, SampleDocument]:
    """Documents by doc_id, as far as they exist."""
    found: dict[str, SampleDocument] = {}
    ids = pa.array(sorted(wanted), pa.string())
    for entry in corpus.files("documents") if wanted else ():
        for batch in corpus.batches(entry, DOCUMENT_COLUMNS, rows=256):
            for row in batch.filter(pc.is_in(batch["doc_id"], ids)).to_pylist():
                found[row["doc_id"]] = as_document(row)
    return found


WINDOW_COLUMNS = ["window_id", "doc_id", "url", "text", "input_ids", "image_positions", "image_metadata", "token_start"]


def as_window(row: dict[str, Any], split: str) -> SampleWindow:
    # a literal marker in the page's text is broken by U+200B, so the remaining ones are markers
    text = row["text"].split(IMAGE_MARKER)
    return SampleWindow(
        row["window_id"],
        row["url"],
        split,
        len(row["input_ids"]),
        row["token_start"],
        list(row["image_positions"]),
        text,
        row["image_metadata"],
    )


def sample_windows(corpus: Finished, split: str, count: int) -> list[SampleWindow]:
    """Windows drawn by hash, of different documents as long as possible."""
    best: dict[str, tuple[bytes, int]] = {}
    index = 0
    for batch in corpus.window_batches(split, ["window_id", "doc_id"]):
        for window_id, doc_id in zip(batch["window_id"].to_pylist(), batch["doc_id"].to_pylist(), strict=True):
            here = (rank(window_id), index)
            best[doc_id] = min(best.get(doc_id, here), here)
            index += 1
        best = dict(sorted(best.items(), key=lambda item: item[1])[:count])
    wanted = sorted(index for _, index in best.values())
    return [as_window(row, split) for row in _rows_at(corpus.window_batches(split, WINDOW_COLUMNS), wanted)]


def _rows_at(batches: Iterator[pa.RecordBatch], wanted: list[int]) -> Iterator[dict[str, Any]]:
    before = 0
    for batch in batches:
        for index in [index - before for index in wanted if before <= index < before + batch.num_rows]:
            yield batch.slice(index, 1).to_pylist()[0]
        before += batch.num_rows


def sample_dropped(corpus: Finished) -> dict[str, list[Dropped]]:
    """Up to PER_RULE items for each rule that dropped something, spread over the corpus.

    Empty without work/. Records that are not responses are left out: there is nothing to show."""
    if not corpus.has_work:
        return {}
    found: dict[str, list[Dropped]] = {}
    for tables in (_record_tables(corpus), _page_tables(corpus), _image_tables(corpus)):
        _collect(found, tables)
    return {rule: _spread(found[rule]) for rule in sorted(found, key=_place)}


def _place(rule: str) -> tuple[int, str]:
    known = list(EXPLAINED)
    return (known.index(rule) if rule in EXPLAINED else len(known), rule)


def _said(details: pa.ChunkedArray) -> pa.ChunkedArray:
    """Details, null if empty."""
    return pc.if_else(pc.equal(details, ""), pa.scalar(None, pa.string()), details)


RECORD_COLUMNS = ["rule", "url", "detail", "status", "media_type"]


def dropped_tables(corpus: Finished, rule: str) -> Iterator[pa.Table]:
    """Tables (rule, url, detail) with everything a rule may have dropped; none without work/."""
    if not corpus.has_work:
        return
    levels = rules.levels(rule)
    if "record" in levels:
        yield from _record_tables(corpus)
    if levels & {"image", "reference"}:
        yield from _image_tables(corpus)
    if "page" in levels:
        yield from _page_tables(corpus)


def _record_tables(corpus: Finished) -> Iterator[pa.Table]:
    """The kind of a record serves as the detail if there is no other."""
    for entry in corpus.work("records"):
        table = corpus.table(entry, RECORD_COLUMNS)
        is_status = pc.equal(table["rule"], "record.status")
        what = pc.if_else(is_status, pc.cast(table["status"], pa.string()), table["media_type"])
        yield table.set_column(2, "detail", pc.coalesce(_said(table["detail"]), what))


MEASURED = {
    rule.id: rule.metrics[0]
    for rule in rules.PAGES_JUDGED
    if rule.keys and rule.metrics and rule.metrics[0] in PAGES.names and rule.metrics[0] != "url"
}
"""The column of work/pages that a rule reads, other than the URL, which is shown anyway."""


def _page_tables(corpus: Finished) -> Iterator[pa.Table]:
    survivors = _survivor_urls(corpus)
    for part, (text, split) in enumerate(zip(corpus.work("dedup"), corpus.work("split"), strict=True)):
        table = corpus.pages(part, ["url", "detail", *dict.fromkeys(MEASURED.values())])
        rule = corpus.table(split, ["rule"])["rule"]
        detail = pc.coalesce(_said(table["detail"]), _named(_survivors(corpus, part, text), survivors))
        for failed, column in MEASURED.items():
            value = pc.binary_join_element_wise(column.replace("_", " "), table[column].cast(pa.string()), " ")
            detail = pc.if_else(pc.fill_null(pc.equal(rule, failed), False), value, detail)
        yield pa.table({"rule": rule, "url": table["url"], "detail": detail})


def _survivors(corpus: Finished, part: int, entry: ListedFile) -> pa.ChunkedArray:
    """The doc_id of the page kept instead of each page of a part: for its text (work/dedup) or its images."""
    texts = corpus.table(entry, ["survivor"])["survivor"]
    if not corpus.recipe.dedup.image_set:
        return texts
    images = corpus.table(corpus.work("decisions")[part], ["row", "survivor"])
    found = images.filter(images["survivor"].is_valid()).group_by("row").aggregate([("survivor", "max")])
    places = pc.index_in(pa.array(range(len(texts)), pa.int32()), found["row"].combine_chunks())
    return pc.coalesce(texts, found["survivor_max"].take(places))


def _survivor_urls(corpus: Finished) -> dict[str, str]:
    """URLs of the pages kept instead of the first few duplicates of each part."""
    wanted: set[str] = set()
    for part, entry in enumerate(corpus.work("dedup")):
        wanted.update(_survivors(corpus, part, entry).drop_null().unique().slice(0, 200).to_pylist())
    urls: dict[str, str] = {}
    for entry in corpus.work("pages"):
        pages = corpus.table(entry, ["doc_id", "url"])
        found = pages.filter(pc.is_in(pages["doc_id"], pa.array(sorted(wanted), pa.string())))
        urls.update(zip(found["doc_id"].to_pylist(), found["url"].to_pylist(), strict=True))
    return urls


def _named(survivors: pa.ChunkedArray, urls: dict[str, str]) -> pa.ChunkedArray:
    return pa.chunked_array(
        [[f"kept: {urls[doc]}" if doc in urls else None for doc in survivors.to_pylist()]], pa.string()
    )


def _image_tables(corpus: Finished) -> Iterator[pa.Table]:
    """Decisions of each part with the size of each image, or why it could not be read."""
    contents = corpus.work("distinct_images")
    for verdicts, references in zip(corpus.work("decisions"), corpus.work("references"), strict=True):
        table = corpus.table(verdicts, ["rule", "url", "content"])
        owners = corpus.table(references, ["owner"])["owner"].unique().drop_null().to_pylist()
        stored = (corpus.table(contents[owner], _SIZES.names) for owner in owners)
        found = rows_of(table["content"], stored, _SIZES)
        width, height = (found[name].cast(pa.string()) for name in ("original_width", "original_height"))
        said = pc.coalesce(_said(found["detail"]), pc.binary_join_element_wise(width, height, "×"))
        yield table.append_column("detail", said)


_SIZES = pa.schema([DISTINCT_IMAGES.field(name) for name in ("content", "detail", "original_width", "original_height")])


def _collect(found: dict[str, list[Dropped]], tables: Iterator[pa.Table]) -> None:
    for table in tables:
        for rule in table["rule"].drop_null().unique().to_pylist():
            if rule == "record.not_response":
                continue
            mine = table.filter(pc.equal(table["rule"], rule))
            step = max(1, mine.num_rows // PER_RULE)
            for row in mine.take(list(range(0, mine.num_rows, step))[:PER_RULE]).to_pylist():
                found.setdefault(rule, []).append(Dropped.from_row(row))


def _spread(things: list[Dropped]) -> list[Dropped]:
    distinct = list(dict.fromkeys(things))
    step = max(1, len(distinct) // PER_RULE)
    return distinct[::step][:PER_RULE]
