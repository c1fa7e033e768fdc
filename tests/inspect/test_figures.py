"""Figures computed from columns equal those counted row by row."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import paragraph, rules
from pipeline.inspect import plots
from pipeline.inspect.figures import COUNTS, Values, figures, hosts_of, metric_figures, ranking, windows_per_document
from pipeline.inspect.finished import open_corpus
from shards.readers import read_documents, read_windows


def test_figures_are_what_counting_gives(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    told = figures(corpus)
    documents = list(read_documents(corpus.path(entry) for entry in corpus.files("documents")))
    images = [[image for image in row["images"] if image] for row in documents]
    assert told["images_per_document"]["mean"] == round(np.mean([len(row) for row in images]), 2)
    lengths = [sum(len(text) for text in row["texts"] if text) for row in documents]
    assert told["document_characters"]["max"] == max(lengths) and told["document_characters"]["min"] == min(lengths)
    before = [
        sum(len(text) for text in row["texts"][:node] if text) / max(length, 1)
        for row, length in zip(documents, lengths, strict=True)
        for node, image in enumerate(row["images"])
        if image
    ]
    assert told["image_position"]["mean"] == pytest.approx(np.mean(before), abs=0.006)
    formats = Counter(image["format"] for row in images for image in row)
    assert {row["name"]: row["count"] for row in told["formats"]["rows"]} == formats
    assert told["distinct_pictures"] == len({image["stored_sha256"] for row in images for image in row})

    windows = [row for split in ("train", "validation") for row in read_windows(
        corpus.path(entry) for entry in corpus.windows(split)
    )]  # fmt: skip
    markers = {corpus.tokenizer().image_id, corpus.tokenizer().eoc_id}
    text = seeing = 0
    for row in windows:
        first = row["image_positions"][0]
        for place, token in enumerate(row["input_ids"].tolist()):
            text += token not in markers
            seeing += token not in markers and place > first
    assert (told["text_tokens"], told["text_tokens_that_see_an_image"]) == (text, seeing)
    assert told["tokens"] == sum(len(row["input_ids"]) for row in windows)
    possible = sum(row["split"] != "leak" for row in documents)
    assert told["windows_per_document"]["count"] == possible
    assert told["windows_per_document"]["mean"] == round(len(windows) / possible, 2)


def test_documents_without_a_window_count_among_windows_per_document(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    documents = read_documents(corpus.path(entry) for entry in corpus.files("documents"))
    ids = [row["doc_id"] for row in documents if row["split"] != "leak"]
    told = windows_per_document(corpus, [pa.array(ids[:1] * 2), pa.array(ids[1:3])]).figure(COUNTS)
    assert (told["count"], told["min"], told["max"]) == (len(ids), 0, 2)
    assert [row["count"] for row in told["bins"][:3]] == [len(ids) - 3, 2, 1]


@given(st.lists(st.integers(0, 10_000)), st.lists(st.integers(0, 9_000), min_size=1, unique=True))
def test_a_histogram_counts_everything_once(numbers: list[int], edges: list[int]) -> None:
    values = Values()
    values.add(np.array(numbers, np.int64))
    bins = values.figure([0, *sorted({*edges} - {0})])["bins"]
    assert sum(row["count"] for row in bins) == len(numbers)
    assert len({row["name"] for row in bins}) == len(bins) or max(edges) > 999


def test_a_ranking_counts_everything_once() -> None:
    told = ranking(Counter({str(number): number for number in range(1, 30)}))
    assert sum(row["count"] for row in told["rows"]) + told["others"] == sum(range(1, 30))
    assert [row["name"] for row in ranking(Counter("bbaac"), 2)["rows"]] == ["a", "b", "c"]


def test_hosts() -> None:
    urls = ["http://A.example:80/x", "https://user:word@b.example", "file:///x", "nothing", "http://[::1]:8/"]
    assert hosts_of(pa.array(urls)).to_pylist() == ["a.example:80", "b.example", "", "", "[::1]:8"]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_enclose_what_they_are_for(low: float, size: float) -> None:
    ticks = plots.ticks(low, low + size)
    assert ticks[0] <= low + 1e-6 and ticks[-1] >= low + size - 1e-6 * max(1, size)
    assert 2 <= len(ticks) <= 13 and all(one < other for one, other in pairwise(ticks))


def test_plots_of_nothing_are_nothing() -> None:
    assert plots.histogram([], "x") == plots.lines({}, "x") == plots.intervals([], "x") == ""
    assert plots.histogram([{"name": "a", "count": 0}], "x") == ""


def test_names_in_plots_are_escaped() -> None:
    assert "<script>" not in plots.histogram([{"name": "<script>", "count": 1}], '"><script>')
    assert "<script>" not in plots.lines({"<script>": [(0, 1), (1, 2)]}, "<script>")


def test_a_line_of_one_point_is_seen() -> None:
    (drawn,) = re.findall(r'<polyline[^>]* points="([^"]*)"', plots.lines({"only": [(0, 0.5)]}, "x"))
    assert len(set(drawn.split())) == 2


def test_every_metric_of_a_rule_has_a_histogram_of_what_was_stored(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    told = metric_figures(corpus)
    numbers = {name for name, metric in rules.metrics().items() if metric.edges}
    # what the recipe asks no model for, and does not count
    absent = {"nsfw", "quality", "perplexity", "similarity", "benchmark_grams"}
    absent |= {metric.name for metric in (*paragraph.METRICS, *paragraph.COPY_METRICS)}
    assert told.keys() == numbers - absent
    pages = [row for entry in corpus.work("pages") for row in corpus.table(entry, ["words", "pictures"]).to_pylist()]
    words = [row["words"] for row in pages if row["words"] is not None]
    assert told["words"]["count"] == len(words) and told["words"]["max"] == max(words)
    few = next(row["count"] for row in told["words"]["bins"] if row["name"] == "10–19")
    assert few == sum(10 <= count < 20 for count in words)
    stored = corpus.table(corpus.work("distinct_images")[0], ["rule"])["rule"].null_count
    assert told["shorter_side"]["count"] >= stored > 0
