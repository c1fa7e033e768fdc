"""Figures of a corpus: histograms and rankings, computed from whole columns without Python objects per row."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import image, paragraph, rules
from filters.rule import Metric
from filters.scorers import named
from pipeline.counts import tally
from pipeline.inspect.finished import Finished
from pipeline.judged import MEASURED
from pipeline.stages.schemas import DISTINCT_IMAGES, REFERENCES

TOP = 12
"""Rows of a ranking; the rest is summed up in one row."""
PICTURE = pa.schema([DISTINCT_IMAGES.field(name) for name in ("rule", *image.STORED)])
DECLARED = pa.schema([REFERENCES.field("declared")])
DECILES = tuple(round(0.1 * step, 1) for step in range(11))
CHARACTERS = (0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
SIDES = (0, 64, 128, 256, 512, 1024, 2048, 4096)
ASPECTS = (0, 1 / 3, 1 / 2, 2 / 3, 4 / 5, 5 / 4, 3 / 2, 2, 3)
ASPECT_NAMES = ("< 1:3", "1:3", "1:2", "2:3", "≈ 1:1", "5:4", "3:2", "2:1", "≥ 3:1")
COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 50)


@dataclass
class Values:
    """Numbers collected batch by batch."""

    _batches: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        self._batches.append(values)

    def all(self) -> np.ndarray:
        return np.concatenate(self._batches) if self._batches else np.zeros(0)

    def figure(self, edges: Sequence[float], names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return {count, mean, median, min, max, bins: [{name, count}]}. A bin includes its edge and ends before the
        next; the last has no upper end."""
        values = self.all()
        counts, _ = np.histogram(values, [*edges, np.inf])
        labels = names or _labels(edges)
        summary: dict[str, Any] = {"count": len(values)}
        if len(values):
            summary |= {"mean": round(float(values.mean()), 2), "median": _plain(np.median(values))}
            summary |= {"min": _plain(values.min()), "max": _plain(values.max())}
        bins = [{"name": name, "count": int(count)} for name, count in zip(labels, counts, strict=True)]
        return summary | {"bins": bins}


def _plain(number: Any) -> int | float:
    return int(number) if float(number).is_integer() else round(float(number), 2)


def _labels(edges: Sequence[float]) -> list[str]:
    """Bins of width 1 are named by their number, others by their first and last value."""
    names = []
    for low, high in pairwise(edges):
        whole = isinstance(low, int) and isinstance(high, int)
        names.append(short(low) if whole and high - low == 1 else f"{short(low)}–{short(high - 1 if whole else high)}")
    return [*names, f"{short(edges[-1])}+"]


def short(number: float) -> str:
    """Abbreviate: 1200 as 1.2k."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def ranking(counts: Counter[str], top: int = TOP) -> dict[str, Any]:
    """Return {distinct, rows: [{name, count}], others}, most frequent first, ties by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    top += len(ordered) == top + 1  # a row "1 others" would be as long
    rows = [{"name": name or "(none)", "count": count} for name, count in ordered[:top]]
    return {"distinct": len(ordered), "rows": rows, "others": sum(count for _, count in ordered[top:])}


def figures(corpus: Finished) -> dict[str, Any]:
    """All figures as plain values; deterministic."""
    return _document_figures(corpus) | _window_figures(corpus) | {"metrics": metric_figures(corpus)}


def metric_figures(corpus: Finished) -> dict[str, Any]:
    """A histogram of each stored metric that rules read, over pages with main content and distinct images. Empty
    without work/."""
    if not corpus.has_work:
        return {}
    known = {name: metric for name, metric in rules.metrics().items() if metric.edges}
    found = {name: Values() for name in known}
    of_pages = [metric.name for metric in rules.PAGE_METRICS if metric.edges]
    for part in range(len(corpus.work("pages"))):
        pages = corpus.pages(part, of_pages)
        for name in of_pages:
            found[name].add(np.asarray(pages[name].drop_null()))
        for stage, column, of_paragraphs in _paragraph_columns(corpus):
            inner = corpus.table(corpus.work(stage)[part], [column])[column].combine_chunks().flatten()
            for name in known.keys() & {metric.name for metric in of_paragraphs} if len(inner) else ():
                found[name].add(np.asarray(inner.field(name)))
    for entry in corpus.work("distinct_images"):
        pictures = corpus.known(entry, PICTURE)
        pictures = pictures.filter(pictures["rule"].is_null())
        columns = image.columns(pictures.append_column("url", pa.nulls(pictures.num_rows, pa.string())))
        for name in known.keys() & columns.keys():
            found[name].add(columns[name])
    for entry in corpus.work("references"):
        found[image.DECLARED_SIDE].add(np.asarray(corpus.known(entry, DECLARED)["declared"].drop_null()))
    for stage, (key, metric) in MEASURED.items():
        for entry in corpus.work(stage) if corpus.recipe.values()[key] else ():
            found[metric].add(np.asarray(corpus.table(entry)[metric].drop_null()))
    for entry in corpus.work("scores") if named(corpus.recipe.values()) else ():
        scores = corpus.table(entry)
        for name in known.keys() & set(scores.column_names):
            found[name].add(np.asarray(scores[name].drop_null()))
    return {name: values.figure(known[name].edges) for name, values in found.items() if len(values.all())}


def _paragraph_columns(corpus: Finished) -> list[tuple[str, str, tuple[Metric, ...]]]:
    """Stage, column and metrics of what is measured of paragraphs."""
    copies = paragraph.active(corpus.recipe.values(), paragraph.COPIES)
    counted = [("repeats", "repeats", paragraph.COPY_METRICS)] if copies else []
    return [("pages", "paragraphs", paragraph.METRICS), *counted]


def _document_figures(corpus: Finished) -> dict[str, Any]:
    images_per_document, characters, position, longest, aspect = Values(), Values(), Values(), Values(), Values()
    formats, languages, hosts = Counter[str](), Counter[str](), Counter[str]()
    pictures: list[pa.Array] = []
    for entry in corpus.files("documents"):
        distinct = []
        for batch in corpus.batches(entry, ["url", "language", "texts", "images"]):
            languages.update(tally(batch["language"].fill_null("")))
            hosts.update(tally(hosts_of(batch["url"])))
            lengths, is_image, document = _nodes(batch)
            total = np.bincount(document, lengths, batch.num_rows)
            characters.add(total.astype(np.int64))
            images_per_document.add(np.bincount(document[is_image], minlength=batch.num_rows))
            before = np.cumsum(lengths) - lengths
            starts = np.concatenate([[0], np.cumsum(total)[:-1]]) if batch.num_rows else np.zeros(0)
            of_image = document[is_image]
            position.add((before[is_image] - starts[of_image]) / np.maximum(total[of_image], 1))
            images = batch["images"].flatten().drop_null()
            width, height = (np.asarray(images.field(name)) for name in ("original_width", "original_height"))
            longest.add(np.maximum(width, height))
            aspect.add(width / np.maximum(height, 1))
            formats.update(tally(images.field("format")))
            distinct.append(images.field("stored_sha256"))
        if distinct:
            pictures.append(pc.unique(pa.chunked_array(distinct)))
    return {
        "images_per_document": images_per_document.figure(COUNTS[1:]),
        "document_characters": characters.figure(CHARACTERS),
        "image_position": position.figure(DECILES[:-1], [f"{10 * tenth}–{10 * tenth + 10} %" for tenth in range(10)]),
        "image_longest_side": longest.figure(SIDES),
        "image_aspect": aspect.figure(ASPECTS, ASPECT_NAMES),
        "formats": ranking(formats),
        "languages": ranking(languages),
        "hosts": ranking(hosts),
        "distinct_pictures": len(pc.unique(pa.chunked_array(pictures))) if pictures else 0,
    }


def _nodes(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every node of a batch's documents: characters (0 for an image), whether it is an image, and the row of its
    document."""
    texts = batch["texts"]
    lengths = np.asarray(pc.utf8_length(texts.flatten()).fill_null(0)).astype(np.int64)
    is_image = np.asarray(batch["images"].flatten().is_valid())
    return lengths, is_image, np.asarray(pc.list_parent_indices(texts)).astype(np.int64)


def hosts_of(urls: pa.Array) -> pa.Array:
    """Host of each URL, with its port; "" if there is none."""
    found = pc.extract_regex(urls, r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#@]*)")
    return pc.utf8_lower(found.field("host")).fill_null("")


def _window_figures(corpus: Finished) -> dict[str, Any]:
    tokenizer = corpus.tokenizer()
    tokens, images, positions = Values(), Values(), Values()
    per_document: list[pa.Array] = []
    text_tokens = seeing = 0
    for split in ("train", "validation"):
        for batch in corpus.window_batches(split, ["doc_id", "input_ids", "image_positions"]):
            count = np.asarray(pc.list_value_length(batch["input_ids"]))
            tokens.add(count)
            images.add(np.asarray(pc.list_value_length(batch["image_positions"])))
            positions.add(np.asarray(batch["image_positions"].flatten()))
            per_document.append(batch["doc_id"])
            first = _first(batch["image_positions"])
            window = np.repeat(np.arange(len(count)), count)
            place = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
            ids = np.asarray(batch["input_ids"].flatten())
            is_text = (ids != tokenizer.image_id) & (ids != tokenizer.eoc_id)
            text_tokens += int(is_text.sum())
            seeing += int((is_text & (place > first[window])).sum())
    recipe = corpus.recipe.windows
    edges = [*range(0, recipe.tokens, max(1, recipe.tokens // 16)), recipe.tokens]
    return {
        "tokens_per_window": tokens.figure(edges, [*_labels(edges)[:-1], str(edges[-1])]),
        "images_per_window": images.figure(range(recipe.images + 1), [str(n) for n in range(recipe.images + 1)]),
        "windows_per_document": windows_per_document(corpus, per_document).figure(COUNTS),
        "image_token": positions.figure(edges[:-1], _labels(edges)[:-1]),
        "tokens": int(tokens.all().sum()),
        "text_tokens": text_tokens,
        "text_tokens_that_see_an_image": seeing,
        "vocabulary": tokenizer.vocab_size,
    }


def windows_per_document(corpus: Finished, doc_ids: Iterable[pa.Array]) -> Values:
    """Windows of every document that may have some; documents left out as leaks may not."""
    values = Values()
    column = pa.chunked_array(list(doc_ids), pa.string())
    counts = np.asarray(pc.value_counts(column).field("counts"))
    splits = [batch["split"] for entry in corpus.files("documents") for batch in corpus.batches(entry, ["split"])]
    documents = sum(pc.sum(pc.not_equal(split, "leak")).as_py() or 0 for split in splits)
    values.add(np.concatenate([counts, np.zeros(max(0, documents - len(counts)), counts.dtype)]))
    return values


def _first(positions: pa.ListArray) -> np.ndarray:
    """First of each list of positions; larger than any token for an empty list."""
    lengths = np.asarray(pc.list_value_length(positions))
    flat = np.asarray(positions.flatten())
    first = np.full(len(lengths), np.iinfo(np.int32).max)
    starts = np.cumsum(lengths) - lengths
    first[lengths > 0] = flat[starts[lengths > 0]]
    return first
