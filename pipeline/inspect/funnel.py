"""The funnel: what came in, what each rule dropped, and what was kept.

It is computed from the decision columns of finished files, not from counters kept during the build. Each level is
counted in its own files and checked against the levels before and after it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters import rules
from filters.rule import Level
from pipeline.counts import COVERED, UNSUPPORTED, Read, RuleCounts, count, count_documents
from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished, open_corpus
from pipeline.json_files import write_json

LATER = "later candidate"
"""Kept, by another URL than the first that the page offers: the first was absent or unusable."""
USES = ("page", "image", "captions", "link")
SPLITS = ("train", "validation", "mixed", "leak")
FOLDERS = ("records", "pages", "verdicts", "dedup", "distinct_images", "decisions", "split", "windows", "coverage")


def funnel(corpus: Path | Finished) -> dict[str, Any]:
    """The funnel of a corpus as plain values; deterministic.

    `levels` is a list of {level, in, out: {name: count}, rules: [{rule, count}]}, rules in the order they are applied;
    at each level in = sum of out + sum of rules. The row of image.unsupported has `formats` {name: count}.
    If work/ was deleted, there are no levels; `kept` is always present.
    `not_applied` lists rules of the recipe that were not run.

    Raises BuildError if a level does not add up, which only damage can cause."""
    opened = corpus if isinstance(corpus, Finished) else open_corpus(corpus)
    counts = counted(opened)
    return {
        "levels": levels(opened, counts) if opened.has_work else [],
        "kept": _kept(opened, counts),
        "not_applied": rules.not_applied(opened.recipe.values()),
        "work": opened.has_work,
    }


def write_funnel(corpus: Finished, value: dict[str, Any]) -> None:
    write_json(corpus.root / "funnel.json", value)


def counted(corpus: Finished) -> RuleCounts:
    """The counts of all parts; of documents alone if work/ was deleted."""
    total = RuleCounts()
    for read in part_readers(corpus, FOLDERS if corpus.has_work else ()):
        if corpus.has_work:
            total.add(count(read).value())
        else:
            count_documents(total, read)
    return total


def part_readers(corpus: Finished, folders: Sequence[str] = FOLDERS) -> Iterator[Read]:
    """What reads the documents of each part, and its files in `folders` of work/."""
    entries = {folder: corpus.work(folder) for folder in folders} | {"documents": corpus.files("documents")}
    _same("files of each folder", {len(found) for found in entries.values()}, "parts", {len(entries["documents"])})
    for part in range(len(entries["documents"])):

        def read(folder: str, columns: Sequence[str], part: int = part) -> pa.Table:
            return corpus.table(entries[folder][part], columns)

        yield read


def _kept(corpus: Finished, counts: RuleCounts) -> dict[str, Any]:
    """What is in documents/ and windows/."""
    windows = {split: sum(entry.rows for entry in corpus.windows(split)) for split in ("train", "validation")}
    return {
        "documents": {split: counts.documents[split] for split in SPLITS if counts.documents[split]},
        "images": counts.totals["images"],
        "windows": {split: count for split, count in windows.items() if count},
    }


def levels(corpus: Finished, counts: RuleCounts) -> list[dict[str, Any]]:
    """The levels of the funnel.

    Raises BuildError if they do not add up."""
    told, kept = counts.totals, _kept(corpus, counts)
    covered = [
        _level(level, told[level], {"in windows": told[f"{level} in windows"]}, ("in windows",), lost, "document")
        for level, lost in zip(COVERED, (counts.tokens_lost, counts.document_images_lost), strict=True)
    ]
    _same("page records", counts.uses["page"], "pages read", told["pages"])
    _same("documents by decision and split", counts.splits, "in documents/", Counter(kept["documents"]))
    _same("images kept by decision", told["shown"], "in documents/", kept["images"])
    _same("images looked up in windows", told["document_images"], "in documents/", kept["images"])
    _same("windows by decision and split", counts.windows, "in windows/", Counter(kept["windows"]))
    images = {"kept": told["shown"] - told["later"], LATER: told["later"]}
    found = [
        _level("records", told["records"], counts.uses, USES, counts.record_rules, "record"),
        _level("pages", told["pages"], counts.splits, SPLITS, counts.page_rules, "page"),
        *_masked(counts),
        *_paragraphs(counts),
        _level("words", told["words"], counts.words_kept, SPLITS, counts.words_lost, "paragraph", "page"),
        _distinct(counts),
        _level("images", told["pictures"], images, ("kept", LATER), counts.images_lost, "reference", "image"),
        *covered,
        _level("windows", told["asked"], counts.windows, ("train", "validation"), counts.window_rules, "window"),
    ]
    for level in found:
        dropped = sum(row["count"] for row in level["rules"])
        _same(f"{level['level']} in", level["in"], "kept and dropped", sum(level["out"].values()) + dropped)
    return found


def _distinct(counts: RuleCounts) -> dict[str, Any]:
    """The level of distinct images."""
    stored = {"stored": counts.totals["stored"]}
    level = _level("pictures", counts.totals["distinct"], stored, ("stored",), counts.distinct_rules, "image")
    for row in level["rules"]:
        if row["rule"] == UNSUPPORTED:
            row["formats"] = dict(sorted(counts.unsupported.items()))
    return level


def _paragraphs(counts: RuleCounts) -> list[dict[str, Any]]:
    """The level of paragraphs, if they were judged."""
    kept, lost = counts.totals["kept_paragraphs"], counts.paragraphs_lost
    total = kept + lost.total()
    return [_level("paragraphs", total, {"kept": kept}, ("kept",), lost, "paragraph")] if total else []


def _masked(counts: RuleCounts) -> list[dict[str, Any]]:
    """The level of personal data, if any was masked."""
    total = counts.masked.total()
    return [_level("personal", total, {}, (), counts.masked, "span")] if total else []


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


def _same(what: str, count: object, other: str, other_count: object) -> None:
    if count != other_count:
        raise BuildError(
            f"the funnel does not add up: {what}: {_plain(count)}, {other}: {_plain(other_count)};"
            " the corpus is damaged, m3w verify shows where"
        )


def _plain(count: object) -> object:
    return dict(sorted(count.items())) if isinstance(count, Counter) else count
