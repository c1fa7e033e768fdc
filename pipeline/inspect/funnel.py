"""The funnel: what came in, what was dropped under which rule, what stayed.

It is told from the verdict columns of finished files; nothing here trusts a counter that ran during the build. Each
level is counted in its own files and checked against those before and after it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import BuildError
from pipeline.inspect import rules
from pipeline.inspect.finished import Entry, Finished, open_corpus
from pipeline.jobs.corpus import write_json

SPLITS = ("train", "validation", "mixed", "leak")


def funnel(corpus: Path | Finished) -> dict[str, Any]:
    """The funnel of a corpus as plain values, the same for the same corpus.

    `levels` is a list of {level, in, out: {name: count}, rules: [{rule, count}]}, rules in the order of asking; at each
    level in = sum of out + sum of rules. Where work/ was deleted there are no levels; `kept` is there in any case.
    `not_applied` names rules of the recipe that were not run.

    Raises BuildError where a level does not add up, which a damaged corpus alone can cause."""
    opened = corpus if isinstance(corpus, Finished) else open_corpus(corpus)
    kept = _kept(opened)
    levels = _levels(opened, kept) if opened.has_work else []
    for level in levels:
        dropped = sum(row["count"] for row in level["rules"])
        _same(f"{level['level']} that came in", level["in"], "kept and dropped", sum(level["out"].values()) + dropped)
    return {"levels": levels, "kept": kept, "not_applied": not_applied(opened), "work": opened.has_work}


def write_funnel(corpus: Finished, value: dict[str, Any]) -> None:
    write_json(corpus.root / "funnel.json", value)


def not_applied(corpus: Finished) -> list[str]:
    """Keys of the recipe whose rule needs a model that was not named."""
    return sorted(
        f"{section}.{key}"
        for section, content in corpus.recipe.table().items()
        if isinstance(content, dict)
        for key, value in content.items()
        if (key == "model" or key.endswith("_model")) and value == ""
    )


def _kept(corpus: Finished) -> dict[str, Any]:
    """What documents/ and windows/ alone say."""
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
    page_rules, splits = Counter[str](), Counter[str]()
    for entry in corpus.work("split"):
        table = corpus.table(entry, ["rule", "split"])
        page_rules.update(tally(table["rule"]))
        splits.update(tally(table["split"]))
    picture_rules, stored = Counter[str](), 0
    for entry in corpus.work("contents"):
        rule = corpus.table(entry, ["rule"])["rule"]
        picture_rules.update(tally(rule))
        stored += rule.null_count
    image_rules, shown = Counter[str](), 0
    for entry in corpus.work("verdicts"):
        rule = corpus.table(entry, ["rule"])["rule"]
        image_rules.update(tally(rule))
        shown += rule.null_count
    window_rules, windows, asked = Counter[str](), Counter[str](), 0
    for entry in corpus.work("windows"):
        table = corpus.table(entry, ["rule", "split", "count"])
        kept_rows = table["rule"].is_null()
        asked += pc.sum(table["count"]).as_py() or 0
        windows.update(tally(table["split"].filter(kept_rows)))
        window_rules.update(_weighted(table.filter(pc.invert(kept_rows))))

    pages, references = _rows(corpus.work("pages")), _rows(corpus.work("references"))
    _same("pages among the records", uses["page"], "pages that were read", pages)
    _same("pages that were read", pages, "pages that were judged", _rows(corpus.work("split")))
    _same("documents of each split by their verdicts", splits, "in documents/", Counter(kept["documents"]))
    _same("pictures kept by their verdicts", shown, "in documents/", kept["images"])
    _same("windows of each split by their verdicts", windows, "in windows/", Counter(kept["windows"]))
    return [
        _level("records", _rows(corpus.work("records")), uses, ("page", "image", "link"), record_rules, rules.RECORDS),
        _level("pages", pages, splits, SPLITS, page_rules, rules.PAGES),
        _level(
            "pictures", _rows(corpus.work("contents")), {"stored": stored}, ("stored",), picture_rules, rules.PICTURES
        ),
        _level("images", references, {"kept": shown}, ("kept",), image_rules, rules.IMAGES),
        _level("windows", asked, windows, ("train", "validation"), window_rules, rules.WINDOWS),
    ]


def _level(
    name: str, came_in: int, out: dict[str, int], order: tuple[str, ...], found: dict[str, int], known: dict[str, str]
) -> dict[str, Any]:
    names = [*(key for key in order if out.get(key)), *sorted(key for key in out if key not in order)]
    return {
        "level": name,
        "in": came_in,
        "out": {key: out[key] for key in names},
        "rules": rules.in_order(found, known),
    }


def tally(column: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """How often each value of a column occurs; nulls do not count."""
    return {row["values"]: row["counts"] for row in pc.value_counts(column.drop_null()).to_pylist()}


def _weighted(table: pa.Table) -> dict[str, int]:
    summed = table.group_by("rule").aggregate([("count", "sum")])
    return dict(zip(summed["rule"].to_pylist(), summed["count_sum"].to_pylist(), strict=True))


def _rows(entries: list[Entry]) -> int:
    return int(np.sum([entry.rows for entry in entries], dtype=np.int64))


def _same(what: str, count: object, other: str, other_count: object) -> None:
    if count != other_count:
        raise BuildError(
            f"the funnel does not add up: {what}: {_plain(count)}, {other}: {_plain(other_count)};"
            " the corpus is damaged, m3w verify tells where"
        )


def _plain(count: object) -> object:
    return dict(sorted(count.items())) if isinstance(count, Counter) else count
