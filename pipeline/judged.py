"""Verdicts on measured pages: paragraph rules drop paragraphs, then page rules drop pages.

The stage verdicts and what-if use the same function, so that what-if gives what a build gives."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.near import signature
from filters import paragraph, rules, text
from filters.rule import judge
from filters.text import PERPLEXITY, PERPLEXITY_MODEL
from pipeline.engine.tables import short_hash
from pipeline.stages.schemas import VERDICTS

PARAGRAPH_COLUMNS = ("texts", "listings", "paragraphs")
"""Columns of work/pages by which paragraphs are judged, beside `repeats` of work/repeats."""
COLUMNS = ("rule", "url", "metadata")
"""What verdicts read of pages, beside METRICS."""
MEASURED = {
    "page_scores": (PERPLEXITY_MODEL.name, PERPLEXITY.name),
    "page_grams": (rules.BENCHMARKS.name, rules.BENCHMARK_GRAMS.name),
}
"""The stages that measure pages if the recipe names a model or an index: its key, and the metric."""
METRICS = [metric.name for metric in rules.PAGE_METRICS]


def verdicts(pages: pa.Table, values: Mapping[str, Any]) -> pa.Table:
    """The verdicts (n rows of VERDICTS) on pages (n): COLUMNS (`rule` is that of extraction), the metrics, those
    of MEASURED stages that ran, PARAGRAPH_COLUMNS if the recipe has rules on paragraphs, and `repeats` if they were
    counted."""
    changed = _without_paragraphs(pages, values) if "texts" in pages.column_names else {}
    if changed:
        table = pa.Table.from_pylist([changed.get(row, {}) for row in range(pages.num_rows)], schema=VERDICTS)
        found = overlaid(pages.select(METRICS), table)
    else:
        table = pa.table([pa.nulls(pages.num_rows, field.type) for field in VERDICTS], schema=VERDICTS)
        found = pages
    before = np.array([*pages["rule"].to_pylist(), None], object)[:-1]
    columns = {name: filled(found[name]) for name in METRICS} | {"url": filled(pages["url"])}
    columns["licence"] = pc.fill_null(pc.struct_field(pages["metadata"].combine_chunks(), "licence"), "")
    columns |= {metric: filled(pages[metric]) for _, metric in MEASURED.values() if metric in pages.column_names}
    judged = judge(rules.PAGES_JUDGED, columns, values, before)
    return table.set_column(0, "rule", pa.array(judged, pa.string()))


def overlaid(pages: pa.Table, found: pa.Table) -> pa.Table:
    """Pages (n) as their verdicts (n) leave them: `rule`, and what changed when paragraphs were dropped."""
    for place, name in enumerate(pages.column_names):
        if name in found.column_names:
            column = found[name] if name == "rule" else pc.coalesce(found[name], pages[name])
            pages = pages.set_column(place, name, column)
    return pages


def filled(column: pa.ChunkedArray) -> Any:
    """A metric without nulls, as `judge` takes it."""
    if pa.types.is_string(column.type):
        return column.combine_chunks().fill_null("")
    return np.asarray(pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0))


def _without_paragraphs(pages: pa.Table, values: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """By row, what differs in pages with dropped paragraphs, and `kept_paragraphs` of every measured page."""
    sources = [
        name for name in ("paragraphs", "repeats") if name in pages.column_names and pages[name].null_count < len(pages)
    ]
    measured = np.asarray(pages["rule"].is_null())
    for name in sources:
        measured = measured & np.asarray(pages[name].is_valid())
    measured = np.flatnonzero(measured)
    if not sources or not len(measured):
        return {}
    pages = pages.take(pa.array(measured))
    lengths = np.asarray(pc.list_value_length(pages[sources[0]].combine_chunks()))
    columns: dict[str, Any] = {}
    for name in sources:
        inner = pa.Table.from_struct_array(pages[name].combine_chunks().flatten())
        columns |= {column: filled(inner[column]) for column in inner.column_names}
    judging = [rule for rule in paragraph.RULES if columns.keys() >= set(rule.metrics)]
    nodes, words = columns.pop("node"), columns["paragraph_words"]
    failed = judge(judging, columns, values, np.full(len(nodes), None))
    changed: dict[int, dict[str, Any]] = {}
    start = 0
    for index, (row, length) in enumerate(zip(measured.tolist(), lengths.tolist(), strict=True)):
        mine = slice(start, start + length)
        start += length
        dropped = Counter[str](rule for rule in failed[mine] if rule is not None)
        changed[row] = {"kept_paragraphs": length - dropped.total()}
        if dropped:
            lost = Counter[str]()
            for rule, count in zip(failed[mine], words[mine].tolist(), strict=True):
                if rule is not None:
                    lost[rule] += count
            page = pages.slice(index, 1).to_pylist()[0]
            changed[row] |= {"dropped": list(dropped.items()), "dropped_words": list(lost.items())}
            changed[row] |= _remeasured(page, nodes[mine], failed[mine], values)
    return changed


def _remeasured(
    page: dict[str, Any], nodes: np.ndarray, failed: np.ndarray, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Texts and metrics of a page without the paragraphs that failed."""
    texts: list[str | None] = []
    for node, whole in enumerate(page["texts"]):
        if whole is None:
            texts.append(None)
            continue
        pieces = zip(paragraph.split(whole), failed[nodes == node], strict=True)
        texts.append("\n\n".join(piece for piece, rule in pieces if rule is None) or None)
    return {"texts": texts} | content(texts, page["listings"] or (), page["language"], values)


def content(texts: list[str | None], listings: Any, language: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics and hashes of the text of a page."""
    words = whole(texts)
    compared = folded(words)
    return {
        **text.measure(words, listings, language, values),
        "text_hash": short_hash(compared),
        "minhash": signature(compared),
    }


def folded(text: str) -> str:
    """A text as it is compared with others: in lower case, white space as one space."""
    return " ".join(text.lower().split())


def whole(texts: list[str | None]) -> str:
    """The text of a page."""
    return "\n\n".join(piece for piece in texts if piece is not None)
