"""Estimates and their intervals, against numbers known beforehand."""

from typing import Any

import numpy as np
import pytest

from tests.train_min.test_data import EOC, IMAGE, windows_of
from train_min.data.permute import permute
from train_min.data.windows import seen_images
from train_min.measuring import validate
from train_min.measuring.validate import (
    Clusters,
    Estimate,
    clusters_of,
    documents,
    estimate,
    gain,
    information,
    interval,
    penalty,
    sentence,
    unit_sums,
)

BIT = np.log(2)


def corpus(n: int = 60, hosts: int = 60) -> Any:
    return windows_of([[(10, [2 * k, 2 * k + 1])] for k in range(n)], [f"h{k % hosts}" for k in range(n)])


def by_site(windows: Any) -> Clusters:
    return Clusters([unit["doc_id"] for unit in windows.units], [unit["site"] for unit in windows.units], True)


def losses(windows: Any, seed: int, gain: float = 0.0, own: float = 0.0) -> dict[str, np.ndarray]:
    """Noise shared by the variants of a seed, and `gain` bits more in the reference."""
    noise = np.random.default_rng(0).exponential(2.0, len(windows.tokens))
    return {
        "own": (noise + own + gain * BIT + np.random.default_rng(seed).normal(0, 0.1, len(noise))).astype(np.float32)
    }


def test_text_sees_the_image_of_the_token_before_it() -> None:
    windows = windows_of([[(3, [0, 1])]])  # <image> 0 1 2 <image> 0 1 2
    seen = seen_images(windows)
    assert seen.image.tolist() == [-1, 0, 0, 0, -1, 1, 1, 1]
    assert seen.distance[[1, 2, 3, 5, 6, 7]].tolist() == [0, 1, 2, 0, 1, 2]
    follows = seen_images(windows, follow=True)
    assert follows.image.tolist() == [-1, 1, 1, 1, -1, -1, -1, -1]
    assert follows.distance[[1, 2, 3]].tolist() == [4, 3, 2]


def test_markers_do_not_count_as_text() -> None:
    windows = windows_of([[(3, [0])]])
    windows.tokens[3] = EOC
    assert windows.tokens[0] == IMAGE
    assert seen_images(windows).image.tolist() == [-1, 0, 0, -1]


@pytest.mark.parametrize("hosts", [60, 5])
def test_a_known_gain_lies_in_its_interval(hosts: int) -> None:
    windows = corpus(hosts=hosts)
    found = information(
        windows,
        by_site(windows),
        [losses(windows, s) for s in range(3)],
        [losses(windows, s + 19, 0.1) for s in range(3)],
    )
    gain = found["gain"]
    assert gain["low"] < 0.1 < gain["high"] and gain["high"] - gain["low"] < 0.08
    assert gain["value"] == pytest.approx(0.1, abs=0.02)
    assert gain["documents"] == 60 and gain["tokens"] == 60 * 20
    assert sum(part["tokens"] for part in found["by_distance"].values()) == gain["tokens"]
    assert list(found["by_distance"]) == ["0-8", "8-32"]
    assert len(found["by_host"]) == min(20, hosts) and len(found["per_seed"]) == 3


@pytest.mark.parametrize(
    ("sites", "of_site", "of_seed", "seeds"),
    [(60, 0.0, 0.0, 3), (12, 0.3, 0.0, 3), (8, 0.3, 0.0, 1), (4, 0.3, 0.05, 3), (2, 0.3, 0.0, 3), (40, 0.1, 0.3, 2)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(
    sites: int, of_site: float, of_seed: float, seeds: int
) -> None:
    cluster = [str(unit % sites) for unit in range(60)]
    covered = 0
    for trial in range(600):
        rng = np.random.default_rng(trial)
        tokens = rng.uniform(20, 200, 60)
        unit = 0.05 + rng.normal(0, of_site, sites)[np.arange(60) % sites] + rng.normal(0, 0.2, 60)
        models = unit + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, 0.1, (seeds, 60))
        _, low, high = interval(models * tokens, tokens, cluster)
        covered += low <= 0.05 <= high
    assert 0.91 <= covered / 600 <= 0.99


def test_one_seed_is_said_to_tell_nothing_of_seeds() -> None:
    windows = corpus(40, 40)
    found = information(windows, by_site(windows), [losses(windows, 0)], [losses(windows, 9, 0.1)])["gain"]
    assert found["seeds"] == 1
    assert sentence(found, None).endswith("of 40 sites, excluding the variance between seeds (one seed)")


def test_sites_are_the_clusters_where_none_stands_on_both_sides() -> None:
    held_out = windows_of([[(3, [0])]] * 4, ["a", "a", "b", "c"])
    others = windows_of([[(3, [0])]] * 2, ["d", "e"])
    for number, unit in enumerate(others.units):
        unit["doc_id"] = f"other {number}"
    found = clusters_of(held_out, others)
    assert found.by_site and found.cluster == ["a", "a", "b", "c"] and found.document == ["d0", "d1", "d2", "d3"]
    others.units[0]["site"] = "c"
    found = clusters_of(held_out, others)
    assert not found.by_site and found.cluster == found.document == ["d0", "d1", "d2", "d3"]


def test_pieces_of_a_page_are_documents_where_other_pieces_are_trained_on() -> None:
    held_out, others = windows_of([[(3, [0])]] * 3, ["a"] * 3), windows_of([[(3, [0])]], ["a"])
    for unit in held_out.units[:2]:
        unit["doc_id"] = "book"
    others.units[0]["doc_id"] = "another"
    assert len(set(clusters_of(held_out, others).document)) == 2  # a long page is one document
    others.units[0]["doc_id"] = "book"
    assert len(set(clusters_of(held_out, others).document)) == 3


def test_one_site_has_a_value_and_no_interval() -> None:
    windows = corpus(10, 1)
    found = estimate(windows, by_site(windows), [losses(windows, 0)["own"]], seen_images(windows).image >= 0)
    assert found.row()["value"] is not None and found.row()["low"] is None and not found.row()["enough"]
    parts = information(windows, by_site(windows), [losses(windows, 0)], [losses(windows, 9)])
    assert parts["by_host"]["h0"]["low"] is not None  # over its documents


def test_only_the_hosts_with_most_tokens_are_told_apart() -> None:
    windows = windows_of([[(3 + k, [k])] for k in range(30)], [f"h{k:02}" for k in range(30)])
    found = information(windows, by_site(windows), [losses(windows, 0)], [losses(windows, 9)])
    assert list(found["by_host"]) == [f"h{k}" for k in range(10, 30)]
    assert gain(windows, by_site(windows), [losses(windows, 0)], [losses(windows, 9)]) == found["gain"]


def test_documents_that_differ_widen_the_interval_and_hosts_more() -> None:
    rng = np.random.default_rng(0)
    alike, apart = corpus(100, 100), corpus(100, 20)
    of_host = rng.normal(0, 1, 20)
    token = np.repeat(of_host[np.arange(100) % 20], np.diff(alike.starts))
    chosen = seen_images(alike).image >= 0
    by_document = estimate(alike, by_site(alike), [token], chosen)
    by_host = estimate(apart, by_site(apart), [token], chosen)
    assert by_host.high - by_host.low > 1.5 * (by_document.high - by_document.low)


def test_a_penalty_counts_tokens_whose_image_was_replaced() -> None:
    windows = windows_of([[(4, [0, 1])], [(4, [2])]])
    images, replaced = permute(windows, "document", 0)
    assert replaced.tolist() == [True, True, False] and images.tolist() == [1, 0, 2]
    own = np.zeros(len(windows.tokens), np.float32)
    other = np.arange(len(own), dtype=np.float32)
    found = penalty(windows, by_site(windows), [{"own": own, "document": other}], "document", replaced)
    assert found["tokens"] == 8 and found["documents"] == 1
    assert found["value"] == pytest.approx(np.mean([1, 2, 3, 4, 6, 7, 8, 9]) / BIT, rel=1e-4)


def test_nothing_to_count_is_said_so() -> None:
    windows = windows_of([[(4, [])]])
    found = estimate(windows, by_site(windows), [np.zeros(4)], seen_images(windows).image >= 0)
    assert found.tokens == 0 and found.row()["value"] is None
    losses = [{"next": np.zeros(4)}]
    assert information(windows, by_site(windows), losses, losses, "next", True)["per_seed"] == [None]


def test_the_best_and_worst_documents_are_named_with_windows_and_pictures() -> None:
    windows = corpus(8)
    true, reference = losses(windows, 0), losses(windows, 0)
    reference["own"] = true["own"] + np.repeat(np.arange(8) * 0.1 * BIT, np.diff(windows.starts)).astype(np.float32)
    ranked = documents(windows, [true], [reference], lambda digest: {"url": digest.hex()[:4]}, str, n=3)
    assert [entry["doc_id"] for entry in ranked["best"]] == ["d7", "d6", "d5"]
    assert [entry["doc_id"] for entry in ranked["worst"]] == ["d0", "d1", "d2"]
    assert ranked["best"][0]["gain"] == pytest.approx(0.7, abs=1e-3)
    assert ranked["best"][0]["windows"] == [windows.window_ids[7]]
    assert [image["sha256"] for image in ranked["best"][0]["images"]] == [
        windows.hashes[k].tobytes().hex() for k in (14, 15)
    ]
    assert "part" not in ranked["best"][0]
    for unit in windows.units[6:]:  # a book in two parts
        unit["doc_id"] = "book"
    ranked = documents(windows, [true], [reference], lambda digest: {}, lambda tokens: f"{len(tokens)} tokens", n=3)
    part = ranked["best"][0]["part"]
    tokens, images = windows.of(7)
    assert part["start"] == windows.starts[7] and part["text"] == f"{len(tokens)} tokens"
    assert part["images"] == [windows.hashes[k].tobytes().hex() for k in images]


def row(value: float, low: float, high: float, documents: int = 100, sites: int = 31, by_site: bool = True) -> dict:
    return Estimate(value, low, high, 1000, documents, sites, by_site, 3).row()


def test_the_sentence() -> None:
    assert sentence(row(0.09, 0.08, 0.1, 1212), row(0.0001, -0.01, 0.01), ["de", "en"]) == (
        "images carry 0.09 bits per token of the text they belong to, 95 % interval 0.08 to 0.10 over 1,212 documents "
        "of 31 sites; a corpus with shuffled images carries 0.00"
    )
    assert "not distinguishable from zero" in sentence(row(0.01, -0.01, 0.02), None)
    assert sentence(row(0.014, 0.008, 0.02), None).count("0.014 bits") == 1
    assert sentence(row(0.09, 0.08, 0.1), None, ["en"]).endswith("of 31 sites in one language (en)")
    of_pages = row(0.09, 0.08, 0.1, 100, 3, False)
    assert sentence(of_pages, None).endswith("over 100 documents of 3 sites, which were also trained on")


def test_too_few_documents_or_sites_say_nothing() -> None:
    assert sentence(row(0.09, 0.08, 0.1, 29, 3, False), None).startswith("too few to say: 29 held-out documents")
    assert "100 held-out documents (or pieces of books) of 7 sites" in sentence(row(0.09, 0.08, 0.1, 100, 7), None)
    assert row(0.09, 0.08, 0.1, 100, 8)["enough"] and not row(0.09, 0.08, 0.1, 100, 7)["enough"]


def test_unit_sums_add_the_tokens_of_each_document() -> None:
    windows = windows_of([[(2, [0]), (2, [1])], [(3, [2])]])
    values = np.ones(len(windows.tokens))
    assert unit_sums(windows, values, np.ones(len(values), bool)).tolist() == [6.0, 4.0]
    assert pytest.approx(1.442695) == validate.BITS
