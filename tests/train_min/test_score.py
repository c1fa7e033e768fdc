"""The gain of each document and image, from models that never saw it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters import gain
from shards.readers import read_documents
from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import rewrite, write_corpus
from train_min import TrainError
from train_min.against import only
from train_min.data.windows import WindowArrays, cut_windows, open_corpus, perceptual_hashes
from train_min.measuring.validate import BITS
from train_min.score import FOLDS, OTHERS, apart, folds_of, gains_of, run_score
from train_min.training.prepare import TILES

FEW = replace(QUICK, steps=2, lm_steps=2)


def test_every_document_is_scored_by_models_that_never_saw_its_site(corpus_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    path = run_score(corpus_folder, tmp_path, FEW, lines.append)
    rows = pq.read_table(path).to_pylist()
    documents = list(read_documents(open_corpus(corpus_folder).paths("documents/")))
    every = {(row["url"], image["sha256"]) for row in documents for image in row["images"] if image}
    shown = {(row["url"], row["sha256"]) for row in rows if row["sha256"]}
    # the others have too little text for a window
    assert shown <= every and len(shown) > 0.9 * len(every)
    assert {row["url"] for row in rows if row["sha256"] is None} == {url for url, _ in shown}
    for row in rows:
        if row["sha256"] is None:
            parts = [part for part in rows if part["url"] == row["url"] and part["sha256"]]
            assert row["tokens"] == sum(part["tokens"] for part in parts)
            assert row["gain"] == pytest.approx(sum(part["gain"] for part in parts), abs=0.01)
    for number in range(FOLDS):
        folder = tmp_path / f"fold-{number}" / "data"
        train, text, scored = (WindowArrays.load(folder / f"{name}.npz") for name in ("train", "text", "validation"))
        sites = {scored.units[unit]["site"] for unit in scored.unit}
        assert {row["fold"] for row in rows if row["url"] in {scored.units[u]["url"] for u in scored.unit}} == {number}
        for windows in (train, text):
            assert len(windows) and sites.isdisjoint(windows.units[unit]["site"] for unit in windows.unit)
    assert gain.pages_below(pa.array([rows[0]["url"]]), str(path), 1e6).all()
    # a second call trains nothing
    before = (tmp_path / "log.jsonl").read_bytes()
    assert pq.read_table(run_score(corpus_folder, tmp_path, FEW, lines.append)) == pq.read_table(path)
    assert (tmp_path / "log.jsonl").read_bytes() == before
    assert lines[-1].startswith(f"{len(shown)} images of {len({url for url, _ in shown})} documents scored")


def test_what_is_nearly_the_same_or_shows_the_same_image_is_not_trained_on(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", 24, sites=24)
    documents = list(read_documents(open_corpus(corpus).paths("documents/")))
    same, image, alike = (documents[number]["url"] for number in (1, 2, 3))

    table = pq.read_table(corpus / "documents/00000.parquet")
    rows = table.to_pylist()
    rows[0]["cluster"] = rows[1]["cluster"] = rows[0]["doc_id"]
    taken = next(image for image in rows[0]["images"] if image)
    rows[2]["images"] = [taken if image else None for image in rows[2]["images"]]
    shown = next(image for image in rows[3]["images"] if image)
    shown["phash"] = taken["phash"] ^ 0b1111
    rewrite(corpus, "documents/00000.parquet", pa.Table.from_pylist(rows, table.schema))
    opened = open_corpus(corpus)
    known = perceptual_hashes(opened)
    windows = cut_windows(opened, opened.tokenizer, None, TILES)
    first = [index for index in range(len(windows)) if windows.units[windows.unit[index]]["url"] == documents[0]["url"]]
    cluster = {row["url"]: row["cluster"] for row in read_documents(opened.paths("documents/"))}

    def kin(unit: dict[str, str]) -> set[str]:
        return {unit["url"], cluster[unit["url"]] or unit["url"]}

    def trained(known: dict[bytes, int], most: int) -> set[str]:
        kept = apart(windows, only(windows, first), kin, known, most)
        return {windows.units[windows.unit[index]]["url"] for index in kept}

    every = {windows.units[unit]["url"] for unit in windows.unit}
    assert trained(known, 10) == every - {documents[0]["url"], same, image, alike}
    # one more bit is another image
    assert trained(known | {shown["stored_sha256"]: taken["phash"] ^ 0b11111}, 10) >= {alike}
    # an image on more pages than the recipe's maximum does not count
    assert trained(known, 1) == every - {documents[0]["url"], same, alike}


def test_folds_are_of_sites_if_there_are_enough(tmp_path: Path) -> None:
    opened = open_corpus(write_corpus(tmp_path / "many", 40, sites=10))
    windows = cut_windows(opened, opened.tokenizer, None, TILES)
    fold, by_site = folds_of(windows)
    of_site: dict[str, set[int]] = {}
    for unit, number in zip(windows.units, fold.tolist(), strict=True):
        of_site.setdefault(unit["site"], set()).add(number)
    assert by_site and set(fold.tolist()) == set(range(FOLDS)) and all(len(found) == 1 for found in of_site.values())
    opened = open_corpus(write_corpus(tmp_path / "few", 40, sites=3))
    fold, by_site = folds_of(cut_windows(opened, opened.tokenizer, None, TILES))
    assert not by_site and np.bincount(fold).min() >= 5


def test_a_gain_is_what_the_own_image_saves_over_others(tmp_path: Path) -> None:
    opened = open_corpus(write_corpus(tmp_path / "corpus", 6))
    windows = cut_windows(opened, opened.tokenizer, None, TILES)
    tokens = len(windows.tokens)
    own, other = np.full(tokens, 1.0), np.full(tokens, 3.0)
    seeds = [{"own": own + seed} | {str(number): other for number in range(OTHERS)} for seed in (0.0, 1.0)]
    gains = gains_of(windows, seeds)
    assert gains.bits == pytest.approx(1.5 * BITS * gains.tokens) and gains.tokens.min() > 0
    # the mean of likelihoods, not of their logs: one image that fits as well as the own one halves that of two
    seeds = [{"own": own} | {str(number): other if number % 2 else own for number in range(OTHERS)}]
    nats = np.log(2) - np.log1p(np.exp(-2.0 * gains.tokens))
    assert gains_of(windows, seeds).bits == pytest.approx(nats * BITS)


def test_what_cannot_be_scored_is_told(corpus_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="--score cannot be combined"):
        run_score(corpus_folder, tmp_path / "a", replace(FEW, vision="contrastive"), print)
    small = write_corpus(tmp_path / "small", 8)
    with pytest.raises(TrainError, match="windows to train on without a fold, the minimum is 16"):
        run_score(small, tmp_path / "b", FEW, print)
