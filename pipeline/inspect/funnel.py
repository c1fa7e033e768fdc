"""The funnel: what came in, what each rule dropped, and what was kept.

It is computed from the decision columns of finished files, not from counters kept during the build. Each level is
counted in its own files and checked against the levels before and after it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import rules
from filters.rule import Level
from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished, ListedFile, open_corpus
from pipeline.json_files import write_json
from pipeline.stages.schemas import COVERAGE
from shards.windows import Held

CARRIED = "image.page_dropped"
UNSUPPORTED = "image.unsupported"
LATER = "later candidate"
"""Kept, by another URL than the first that the page offers: the first was absent or unusable."""
USES = ("page", "image", "captions", "link")
SPLITS = ("train", "validation", "mixed", "leak")


def funnel(corpus: Path | Finished) -> dict[str, Any]:
    """The funnel of a corpus as plain values; deterministic.

    `levels` is a list of {level, in, out: {name: count}, rules: [{rule, count}]}, rules in the order they are applied;
    at each level in = sum of out + sum of rules. The row of image.unsupported has `formats` {name: count}.
    If work/ was deleted, there are no levels; `kept` is always present.
    `not_applied` lists rules of the recipe that were not run.

    Raises BuildError if a level does not add up, which only damage can cause."""
    opened = corpus if isinstance(corpus, Finished) else open_corpus(corpus)
    kept = _kept(opened)
    levels = _levels(opened, kept) if opened.has_work else []
    for level in levels:
        dropped = sum(row["count"] for row in level["rules"])
        _same(f"{level['level']} in", level["in"], "kept and dropped", sum(level["out"].values()) + dropped)
    return {
        "levels": levels,
        "kept": kept,
        "not_applied": rules.not_applied(opened.recipe.values()),
        "work": opened.has_work,
    }


def write_funnel(corpus: Finished, value: dict[str, Any]) -> None:
    write_json(corpus.root / "funnel.json", value)


def _kept(corpus: Finished) -> dict[str, Any]:
    """Counts from documents/ and windows/ alone."""
    documents: Counter[str] = Counter()
    images = 0
    for entry in corpus.files("documents"):
        for batch in corpus.batches(entry, ["split", "images"]):
            documents.update(tally(batch["split"]))
            nodes = batch["images"].flatten()
            images += len(nodes) - nodes.null_count
    windows = {split: sum(entry.rows for entry in corpus.windows(split)) for split in ("train", "validation")}
    return {
        "documents": {split: documents[split] for split in SPLITS if documents[split]},
        "images": images,
        "windows": {split: count for split, count in windows.items() if count},
    }


def _levels(corpus: Finished, kept: dict[str, Any]) -> list[dict[str, Any]]:
    uses, record_rules = Counter[str](), Counter[str]()
    for entry in corpus.work("records"):
        table = corpus.table(entry, ["use", "rule"])
        record_rules.update(tally(table["rule"]))
        uses.update(tally(table["use"]))
    pages = _pages(corpus)
    picture_rules, unsupported, stored = Counter[str](), Counter[str](), 0
    distinct = _rows(corpus.work("distinct_images"))
    for entry in corpus.work("distinct_images"):
        table = corpus.table(entry, ["rule", "format"])
        picture_rules.update(tally(table["rule"]))
        unsupported.update(tally(table["format"].filter(pc.equal(table["rule"], UNSUPPORTED))))
        stored += table["rule"].null_count
    images_told = _level("pictures", distinct, {"stored": stored}, ("stored",), picture_rules, "image")
    for row in images_told["rules"]:
        if row["rule"] == UNSUPPORTED:
            row["formats"] = dict(sorted(unsupported.items()))
    image_rules, shown, later = pages.pictures_lost, 0, 0
    for entry in corpus.work("decisions"):
        table = corpus.table(entry, ["rule", "candidate"])
        image_rules.update(tally(table["rule"]))
        shown += table["rule"].null_count
        later += pc.sum(pc.greater(table["candidate"].filter(table["rule"].is_null()), 0)).as_py() or 0
    window_rules, windows, asked = Counter[str](), Counter[str](), 0
    for entry in corpus.work("windows"):
        table = corpus.table(entry, ["rule", "split", "count"])
        kept_rows = table["rule"].is_null()
        asked += pc.sum(table["count"]).as_py() or 0
        windows.update(tally(table["split"].filter(kept_rows)))
        window_rules.update(_summed(table.filter(pc.invert(kept_rows)), "rule", "count"))

    tokens, images = _coverage(corpus)
    _same("page records", uses["page"], "pages read", _rows(corpus.work("pages")))
    _same("pages read", uses["page"], "pages judged", pages.read)
    _same("documents by decision and split", pages.splits, "in documents/", Counter(kept["documents"]))
    _same("images kept by decision", shown, "in documents/", kept["images"])
    _same("images looked up in windows", images["in"], "in documents/", kept["images"])
    _same("windows by decision and split", windows, "in windows/", Counter(kept["windows"]))
    return [
        _level("records", _rows(corpus.work("records")), uses, USES, record_rules, "record"),
        _level("pages", pages.read, pages.splits, SPLITS, pages.rules, "page"),
        *_masked(pages),
        *_paragraphs(pages),
        _level("words", pages.words, pages.words_kept, SPLITS, pages.words_lost, "paragraph", "page"),
        images_told,
        _level(
            "images",
            pages.pictures,
            {"kept": shown - later, LATER: later},
            ("kept", LATER),
            image_rules,
            "reference",
            "image",
        ),
        tokens,
        images,
        _level("windows", asked, windows, ("train", "validation"), window_rules, "window"),
    ]


def _coverage(corpus: Finished) -> tuple[dict[str, Any], dict[str, Any]]:
    """Levels for the text and images of documents: kept if they are in at least one window."""
    tables = [corpus.table(entry, ["rule", *Held._fields]) for entry in corpus.work("coverage")]
    table = pa.concat_tables(tables) if tables else COVERAGE.empty_table()
    inside = pc.is_null(table["rule"])
    levels = []
    for level, name in (("tokens", "tokens"), ("document_images", "images")):
        total, found = pc.sum(table[name]).as_py() or 0, _summed(table, "rule", name)
        kept = pc.sum(table.filter(inside)[name]).as_py() or 0
        levels.append(_level(level, total, {"in windows": kept}, ("in windows",), found, "document"))
    return levels[0], levels[1]


@dataclass
class _Pages:
    """Pages, their words and their images: how many came in, what was kept in each split, what each rule dropped.
    `pictures_lost`: images left out by extraction, and those of pages dropped before their images were checked."""

    read: int = 0
    words: int = 0
    pictures: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    words_kept: Counter[str] = field(default_factory=Counter)
    words_lost: Counter[str] = field(default_factory=Counter)
    pictures_lost: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    paragraphs_kept: int = 0
    paragraphs_lost: Counter[str] = field(default_factory=Counter)


def _pages(corpus: Finished) -> _Pages:
    told = _Pages()
    for part, entries in enumerate(zip(*(corpus.work(name) for name in ("split", "dedup", "verdicts")), strict=True)):
        found = corpus.pages(part, ["words", "pictures", "left_out", "masked"])
        verdicts, text, judged = (
            corpus.table(entry, columns)
            for entry, columns in zip(
                entries, (["rule", "split"], ["rule"], ["kept_paragraphs", "dropped", "dropped_words"]), strict=True
            )
        )
        table = verdicts.append_column("words", pc.fill_null(found["words"], 0))
        told.masked.update(left_out(found["masked"]))
        told.paragraphs_kept += pc.sum(judged["kept_paragraphs"]).as_py() or 0
        told.paragraphs_lost.update(left_out(judged["dropped"]))
        lost_words = left_out(judged["dropped_words"])
        told.words += sum(lost_words.values())
        told.words_lost.update(lost_words)
        pictures = pc.fill_null(found["pictures"], 0)
        told.read += table.num_rows
        told.splits.update(tally(table["split"]))
        told.rules.update(tally(table["rule"]))
        told.words += pc.sum(table["words"]).as_py() or 0
        told.words_kept.update(_summed(table, "split", "words"))
        told.words_lost.update(_summed(table, "rule", "words"))
        lost = left_out(found["left_out"])
        carried = pc.sum(pictures.filter(text["rule"].is_valid())).as_py()
        told.pictures_lost.update(lost | ({CARRIED: carried} if carried else {}))
        told.pictures += (pc.sum(pictures).as_py() or 0) + sum(lost.values())
    return told


def _paragraphs(pages: _Pages) -> list[dict[str, Any]]:
    """The level of paragraphs, if they were judged."""
    total = pages.paragraphs_kept + pages.paragraphs_lost.total()
    kept = {"kept": pages.paragraphs_kept}
    return [_level("paragraphs", total, kept, ("kept",), pages.paragraphs_lost, "paragraph")] if total else []


def _masked(pages: _Pages) -> list[dict[str, Any]]:
    """The level of personal data, if any was masked."""
    total = pages.masked.total()
    return [_level("personal", total, {}, (), pages.masked, "span")] if total else []


def left_out(column: pa.ChunkedArray) -> dict[str, int]:
    """Sums of a column of counts by rule."""
    entries = [pa.table({"rule": chunk.keys, "count": chunk.items}) for chunk in column.chunks]
    return _summed(pa.concat_tables(entries), "rule", "count") if entries else {}


def _level(
    name: str, came_in: int, out: dict[str, int], order: tuple[str, ...], found: dict[str, int], *levels: Level
) -> dict[str, Any]:
    names = [*(key for key in order if out.get(key)), *sorted(key for key in out if key not in order)]
    return {
        "level": name,
        "in": came_in,
        "out": {key: out[key] for key in names},
        "rules": in_order(found, *levels),
    }


def in_order(found: dict[str, int], *levels: Level) -> list[dict[str, Any]]:
    """Counts by rule as rows {rule, count}, in the order of the table; unknown rules come last."""
    known = rules.explained(*levels)
    order = [rule for rule in known if rule in found] + sorted(rule for rule in found if rule not in known)
    return [{"rule": rule, "count": found[rule]} for rule in order]


def tally(column: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """How often each value of a column occurs, without nulls."""
    return {row["values"]: row["counts"] for row in pc.value_counts(column.drop_null()).to_pylist()}


def _summed(table: pa.Table, key: str, value: str) -> dict[str, int]:
    """Sum of a column for each value of another one; without nulls and zero sums."""
    summed = table.group_by(key).aggregate([(value, "sum")])
    rows = zip(summed[key].to_pylist(), summed[f"{value}_sum"].to_pylist(), strict=True)
    return {name: total for name, total in rows if name is not None and total}


def _rows(entries: list[ListedFile]) -> int:
    return int(np.sum([entry.rows for entry in entries], dtype=np.int64))


def _same(what: str, count: object, other: str, other_count: object) -> None:
    if count != other_count:
        raise BuildError(
            f"the funnel does not add up: {what}: {_plain(count)}, {other}: {_plain(other_count)};"
            " the corpus is damaged, m3w verify shows where"
        )


def _plain(count: object) -> object:
    return dict(sorted(count.items())) if isinstance(count, Counter) else count
