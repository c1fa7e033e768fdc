"""What a part of a corpus holds, and what each rule dropped from it: the numbers of the funnel, which add up."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.judged import overlaid
from pipeline.stages.schemas import PAGES, VERDICTS
from shards.windows import Held

CARRIED = "image.page_dropped"
UNSUPPORTED = "image.unsupported"
COVERED = {"tokens": "tokens", "document_images": "images"}
"""Levels of what windows cover, and their columns in work/coverage."""
IMAGE_LEAF = "images.list.element.licence"
"""One leaf of the images of documents tells how many there are."""

Read = Callable[[str, Sequence[str]], pa.Table]
"""Reads columns of a part's table in a folder of work/, or in documents."""


@dataclass
class RuleCounts:
    """Counts by name. `totals`: those that have no names: records, pages, words, pictures (images on pages that were
    judged), kept_paragraphs, distinct (images), stored, shown (images kept by decision; later: by another URL than the
    first), images (in documents), asked (windows, dropped ones too), and what is covered by windows. Of all others, the
    name says what is counted: `..._rules` and `..._lost` by rule, `splits`, `words_kept`, `windows` and `documents` by
    split. `images_lost`: left out by extraction, or their page was dropped before they were judged."""

    totals: Counter[str] = field(default_factory=Counter)
    uses: Counter[str] = field(default_factory=Counter)
    record_rules: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    page_rules: Counter[str] = field(default_factory=Counter)
    words_kept: Counter[str] = field(default_factory=Counter)
    words_lost: Counter[str] = field(default_factory=Counter)
    images_lost: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    paragraphs_lost: Counter[str] = field(default_factory=Counter)
    distinct_rules: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[str] = field(default_factory=Counter)
    tokens_lost: Counter[str] = field(default_factory=Counter)
    document_images_lost: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    window_rules: Counter[str] = field(default_factory=Counter)
    documents: Counter[str] = field(default_factory=Counter)

    def value(self) -> dict[str, dict[str, int]]:
        return {each.name: dict(getattr(self, each.name)) for each in fields(self)}

    def add(self, value: dict[str, dict[str, int]]) -> None:
        """Add the `value` of other parts."""
        for name, counted in value.items():
            getattr(self, name).update(counted)


def count(read: Read) -> RuleCounts:
    """Count a part in the decision columns of its files."""
    told = RuleCounts()
    records = read("records", ["use", "rule"])
    told.totals["records"] = len(records)
    told.uses, told.record_rules = tally(records["use"]), tally(records["rule"])
    _count_pages(told, read)
    _count_images(told, read)
    windows = read("windows", ["rule", "split", "count"])
    kept = windows["rule"].is_null()
    told.totals["asked"] = _sum(windows["count"])
    told.windows = tally(windows["split"].filter(kept))
    told.window_rules = _summed(windows.filter(pc.invert(kept)), "rule", "count")
    coverage = read("coverage", ["rule", *Held._fields])
    told.tokens_lost, told.document_images_lost = (_summed(coverage, "rule", name) for name in COVERED.values())
    for level, name in COVERED.items():
        told.totals[level] = _sum(coverage[name])
        told.totals[f"{level} in windows"] = _sum(coverage.filter(coverage["rule"].is_null())[name])
    count_documents(told, read)
    return told


def count_documents(told: RuleCounts, read: Read) -> None:
    """Add the documents of a part by split, and their images."""
    documents = read("documents", ["split", IMAGE_LEAF])
    nodes = documents["images"].combine_chunks().flatten()
    told.documents.update(tally(documents["split"]))
    told.totals["images"] += len(nodes) - nodes.null_count


def _count_pages(told: RuleCounts, read: Read) -> None:
    columns = ["words", "pictures", "left_out", "masked"]
    changed = [name for name in columns if name in VERDICTS.names]
    judged = read("verdicts", [*changed, "kept_paragraphs", "dropped", "dropped_words"])
    pages = overlaid(read("pages", [name for name in columns if name in PAGES.names]), judged)
    table = read("split", ["rule", "split"]).append_column("words", pc.fill_null(pages["words"], 0))
    pictures = pc.fill_null(pages["pictures"], 0)
    left_out, told.masked = summed_maps(pages["left_out"]), summed_maps(pages["masked"])
    carried = _sum(pictures.filter(read("dedup", ["rule"])["rule"].is_valid()))
    told.images_lost = left_out + Counter({CARRIED: carried})
    told.paragraphs_lost, words_lost = summed_maps(judged["dropped"]), summed_maps(judged["dropped_words"])
    told.splits, told.page_rules = tally(table["split"]), tally(table["rule"])
    told.words_kept, told.words_lost = _summed(table, "split", "words"), words_lost + _summed(table, "rule", "words")
    told.totals["pages"] = len(table)
    told.totals["kept_paragraphs"] = _sum(judged["kept_paragraphs"])
    told.totals["words"] = _sum(table["words"]) + words_lost.total()
    told.totals["pictures"] = _sum(pictures) + left_out.total()


def _count_images(told: RuleCounts, read: Read) -> None:
    distinct = read("distinct_images", ["rule", "format"])
    told.totals["distinct"], told.totals["stored"] = len(distinct), distinct["rule"].null_count
    told.distinct_rules = tally(distinct["rule"])
    told.unsupported = tally(distinct["format"].filter(pc.equal(distinct["rule"], UNSUPPORTED)))
    decisions = read("decisions", ["rule", "candidate"])
    told.images_lost += tally(decisions["rule"])
    told.totals["shown"] = decisions["rule"].null_count
    told.totals["later"] = _sum(pc.greater(decisions["candidate"].filter(decisions["rule"].is_null()), 0))


def summed_maps(column: pa.ChunkedArray) -> Counter[str]:
    """Sums of a column of counts by rule."""
    entries = [pa.table({"rule": chunk.keys, "count": chunk.items}) for chunk in column.chunks]
    return _summed(pa.concat_tables(entries), "rule", "count") if entries else Counter()


def tally(column: pa.Array | pa.ChunkedArray) -> Counter[str]:
    """How often each value of a column occurs, without nulls."""
    return Counter({row["values"]: row["counts"] for row in pc.value_counts(column.drop_null()).to_pylist()})


def _sum(column: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _summed(table: pa.Table, key: str, value: str) -> Counter[str]:
    """Sum of a column for each value of another one; without nulls and zero sums."""
    found: Any = table.group_by(key).aggregate([(value, "sum")])
    rows = zip(found[key].to_pylist(), found[f"{value}_sum"].to_pylist(), strict=True)
    return Counter({name: total for name, total in rows if name is not None and total})
