"""Two corpora against each other."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import rewrite, write_corpus, write_recipe
from tests.train_min.test_data import windows_of
from tests.train_min.test_validate import by_site
from train_min import TrainError, against
from train_min.against import (
    begin,
    common_tokenizer,
    compare,
    held_out_of,
    joined,
    order_of,
    run_against,
    sentence,
    text_hashes,
    tokens_trained,
    without,
)
from train_min.data.windows import WindowArrays, cut_windows, open_corpus, seen_images
from train_min.fewshot import run_few_shot
from train_min.measuring.results import dose_response
from train_min.options import AGAINST, TrainOptions
from train_min.score import run_score
from train_min.train import run
from train_min.training.loop import LoopOptions
from train_min.training.prepare import TILES, lm_job, prepare
from train_min.training.variants import BLIND, Setting, Variant, rearranged, trained_model, variant_job, variants_of


def held_out(n: int = 50) -> Any:
    windows = windows_of([[(10, [2 * k, 2 * k + 1])] for k in range(n)], [f"s{k}" for k in range(n)])
    for number, unit in enumerate(windows.units):
        unit["url"] = f"http://x/{number}"
    return windows


def compared(held_out: dict[str, Any], a: list, b: list) -> dict[str, Any]:
    """As of corpora that were split by site."""
    return compare(held_out, {name: by_site(windows) for name, windows in held_out.items()}, a, b)


def losses(windows: Any, rng: np.random.Generator, better: float, of_weights: tuple[float, ...] = (0, 0, 0)) -> list:
    """Models whose losses differ by seed and by document, those of this side `better` nats below 2; `of_weights` is
    what both sides have in common."""
    of_document = np.repeat(rng.normal(0, 0.02, len(windows.units)), np.diff(windows.starts))
    return [
        {
            name: 2 - better + shared + rng.normal(0, 0.01) + of_document + rng.normal(0, 0.05, len(of_document))
            for name in "ab"
        }
        for shared in of_weights
    ]


def test_a_corpus_against_itself_raises_few_alarms() -> None:
    windows = held_out()
    alarms = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        seeds = (0,) * AGAINST["seeds"]
        found = compared({"a": windows, "b": windows}, *(losses(windows, rng, 0.0, seeds) for _ in "ab"))
        alarms += not found["low"] <= 0 <= found["high"]
    assert alarms <= 10


def test_the_better_corpus_is_found() -> None:
    windows = held_out()
    rng = np.random.default_rng(0)
    found = compared({"a": windows, "b": windows}, losses(windows, rng, 0.1), losses(windows, rng, 0.0))
    assert found["low"] > 0 and found["value"] == pytest.approx(0.1 / np.log(2), abs=0.03)
    assert found["documents"] == 50


def test_models_that_begin_with_the_same_weights_are_compared_with_each_other() -> None:
    windows, weights = held_out(), (0.0, 0.5, -0.5)
    rng = np.random.default_rng(0)
    found = compared({"a": windows, "b": windows}, *(losses(windows, rng, by, weights) for by in (0.1, 0.0)))
    assert found["low"] > 0 and found["value"] == pytest.approx(0.1 / np.log(2), abs=0.03)


def test_both_sides_begin_with_the_same_weights_and_have_orders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built, fitted = [], []
    monkeypatch.setattr("train_min.training.variants.build_model", lambda setting, seed: built.append(seed))
    monkeypatch.setattr(
        "train_min.training.variants.fit", lambda model, sets, loop, order, *others: fitted.append(order)
    )
    setting = Setting(tmp_path, tmp_path, 49, 320, 0, QUICK, LoopOptions.of(QUICK), "cpu")
    for seed in (0, 1):
        for side in "ab":
            trained_model(setting, side, seed, order_of(side, seed), [], lambda row: None)
    assert built == [0, 0, 1, 1] and len(set(fitted)) == 4


def test_a_page_without_a_token_that_sees_a_picture_counts_for_nothing() -> None:
    windows = windows_of([[(10, [k])] if k < 20 else [(10, [])] for k in range(40)])
    for number, unit in enumerate(windows.units):
        unit["url"] = f"http://x/{number}"
    rng = np.random.default_rng(0)
    variants = losses(windows, rng, 0.1), losses(windows, rng, 0.0)
    assert compared({"a": windows, "b": windows}, *variants)["documents"] == 20
    blind = windows_of([[(10, [])]])
    assert compared({"a": blind}, losses(blind, rng, 0.0), losses(blind, rng, 0.0))["value"] is None


def test_pieces_of_a_book_count_each_and_pages_of_a_site_together() -> None:
    book, rng = held_out(40), np.random.default_rng(0)
    variants = losses(book, rng, 0.1), losses(book, rng, 0.0)
    for unit in book.units:
        unit["url"] = "http://x/book"
    assert compared({"a": book, "b": book}, *variants)["documents"] == 40
    windows = held_out(100)
    widths = []
    for sites in (100, 20, 6):
        of_site = np.repeat((np.arange(100) % sites) % 2, np.diff(windows.starts))
        for number, unit in enumerate(windows.units):
            unit["site"] = f"h{number % sites}"
        found = compared({"a": windows}, [{"a": np.zeros(len(of_site))}] * 2, [{"a": of_site}] * 2)
        widths.append(found["high"] - found["low"])
        assert found["sites"] == sites and found["by_site"]
    assert widths[2] > 1.5 * widths[1] > 1.5 * 1.5 * widths[0]
    of_pages = {"a": by_site(windows).of_documents}
    assert not compare({"a": windows}, of_pages, [{"a": of_site}] * 2, [{"a": of_site}] * 2)["by_site"]


def test_the_sentence_says_over_what_or_that_it_is_too_little() -> None:
    row = {"value": 0.1, "low": 0.05, "high": 0.15, "documents": 90, "sites": 20, "by_site": True}
    assert sentence(row) == (
        "A teaches more than B: +0.100 bits per token in favour of A, 95 % interval 0.050 to 0.150 over 90 documents "
        "of 20 sites"
    )
    assert sentence(row | {"by_site": False}).endswith("of 20 sites, which were also trained on")
    assert sentence(row | {"sites": 7}).startswith("too few to say: 90 held-out documents")
    assert not sentence(row | {"sites": 7, "by_site": False}).startswith("too few")


def texts_of(windows: Any) -> dict[str, bytes]:
    return {unit["url"]: unit["url"].encode() for unit in windows.units}


def test_pages_held_out_elsewhere_are_left_out_of_training() -> None:
    windows = held_out(4)
    other = dataclasses.replace(held_out(4), units=[{**windows.units[k], "url": f"http://x/{2 * k}"} for k in range(4)])
    other = other.with_images(np.full(8, -1))  # of pages 0, 2, 4 and 6
    other = dataclasses.replace(other, hashes=other.hashes[:0], fetched=other.fetched[:0])
    unseen = held_out_of({"b": other}, {"b": held_out(0)}, {"b": texts_of(other)})
    left = without(windows, unseen, texts_of(windows), 10)
    assert len(left) == 2 and left.of(1)[0].tolist() == windows.of(3)[0].tolist()
    assert left.of(1)[1].tolist() == windows.of(3)[1].tolist()
    both = joined(left, windows)
    assert len(both) == 6 and both.of(3)[0].tolist() == windows.of(1)[0].tolist() and (both.images == -1).all()


def test_windows_that_show_a_held_out_picture_are_left_out_unless_many_documents_show_it() -> None:
    # picture 0 stands in more documents than count, picture 1 in two, each other one in one
    windows = windows_of([[(9, [0, 2 + k])] for k in range(11)] + [[(9, [1])], [(9, [1])], [(9, [30])]])
    other = windows_of([[(9, [0, 1, 3])]])
    for name, shown in (("a", windows), ("b", other)):
        shown.units[:] = [{**unit, "url": f"http://{name}/{number}"} for number, unit in enumerate(shown.units)]
    own = np.arange(31, dtype=np.uint8)[:, None].repeat(32, 1)
    fetched, shown_there = own + 100, [0, 1, 3]
    windows = dataclasses.replace(windows, hashes=own, fetched=fetched)
    # stored alike, or in another size and so under another hash
    for stored in (own[shown_there], own[shown_there] + 200):
        there = dataclasses.replace(other, hashes=stored, fetched=fetched[shown_there])
        unseen = held_out_of({"b": there}, {"b": held_out(0)}, {"b": texts_of(there)})
        left = without(windows, unseen, texts_of(windows), 10)
        kept = [windows.window_ids.index(name) for name in left.window_ids]
        assert kept == [0, *range(2, 11), 13]
        assert len(without(windows, unseen, texts_of(windows), 11)) == 1


def rewritten(corpus: Path, change: Any) -> Path:
    """The corpus with other rows of documents."""
    path = "documents/00000.parquet"
    table = pq.read_table(corpus / path)
    rewrite(corpus, path, pa.Table.from_pylist(change(table.to_pylist()), table.schema))
    return corpus


def prepared(a: Path, b: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both sides as `begin` leaves them, without language model and features."""
    monkeypatch.setattr(against, "run_jobs", lambda *arguments: None)
    options = dataclasses.replace(QUICK, steps=6, rows=2, lm_steps=1, seeds=2)
    return begin({"a": open_corpus(a), "b": open_corpus(b)}, out, options, lambda line: None)[:2]


def test_copies_of_held_out_pages_under_other_addresses_are_left_out(corpus_folder: Path, tmp_path: Path) -> None:
    def copied(rows: list[dict]) -> list[dict]:
        held_out = [row for row in rows if row["split"] == "validation"]
        moved = [
            {**row, "split": "train", "url": row["url"] + "?print=1", "doc_id": row["doc_id"][::-1]} for row in held_out
        ]
        for row in moved:  # other pictures
            row["images"] = [image and {**image, "stored_sha256": bytes(32)} for image in row["images"]]
        return [*rows, *moved]

    a = rewritten(write_corpus(tmp_path / "a", 100, held_out=3), copied)
    a_training, a_held_out = open_corpus(a), open_corpus(corpus_folder)
    training = cut_windows(a_training, a_training.tokenizer, "train", TILES)
    held = cut_windows(a_held_out, a_training.tokenizer, "validation", TILES)
    unseen = held_out_of({"b": held}, {"b": training}, {"b": text_hashes(a_held_out)})
    left = without(training, unseen, text_hashes(a_training), 10)
    texts = {held.of(index)[0].tobytes() for index in range(len(held))}
    assert sum(training.of(index)[0].tobytes() in texts for index in range(len(training))) >= 5
    assert not any(left.of(index)[0].tobytes() in texts for index in range(len(left)))
    assert len(left) >= 50


def test_windows_with_an_image_that_looks_like_a_held_out_one_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike: list[str] = []

    def changed(rows: list[dict]) -> list[dict]:
        held = next(image for row in rows if row["split"] == "validation" for image in row["images"] if image)
        for row, bits in zip((row for row in rows if row["split"] == "train"), (0b1111, 0b11111), strict=False):
            next(image for image in row["images"] if image)["phash"] = held["phash"] ^ bits
            alike.append(row["url"])
        return rows

    a, b = write_corpus(tmp_path / "a", 24), rewritten(write_corpus(tmp_path / "b", 24), changed)
    prepared(a, b, tmp_path / "run", monkeypatch)
    kept = WindowArrays.load(tmp_path / "run/data/train-b.npz")
    urls = {kept.units[unit]["url"] for unit in kept.unit}
    assert alike[0] not in urls and alike[1] in urls


def as_books(rows: list[dict], held: int) -> list[dict]:
    """The pages as books of 50 pages of other words, of whose ten parts the `held`-th is held out."""
    rng = np.random.default_rng(0)
    words = [f"{first}{second}" for first in ("ka", "lo", "mi", "tu", "re") for second in ("na", "ro", "si", "pel")]
    books = []
    for start in range(0, len(rows), 50):
        pages = rows[start : start + 50]
        texts = [text and " ".join(rng.choice(words, 12)) for page in pages for text in page["texts"]]
        images = [image for page in pages for image in page["images"]]
        tenth = len(texts) // 10
        ranges = [{"start": held * tenth, "stop": (held + 1) * tenth, "split": "validation"}]
        books.append({**pages[0], "texts": texts, "images": images, "split": "mixed", "held_out": ranges})
    return books


def test_of_books_the_pieces_that_train_on_both_sides_stay_and_both_train_on_as_many_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        rewritten(write_corpus(tmp_path / name, 150), lambda rows, held=held: as_books(rows, held))
        for name, held in (("a", 3), ("b", 6))
    ]
    setting, held_out = prepared(*folders, tmp_path / "run", monkeypatch)
    runs = {
        tuple(windows.of(index)[0][start : start + 40].tolist())
        for windows in held_out.values()
        for index in range(len(windows))
        for start in range(0, len(windows.of(index)[0]) - 40)
    }
    for side in "ab":
        windows = setting.windows(f"train-{side}")
        assert len(windows) >= 16
        for index in range(len(windows)):
            ids = windows.of(index)[0].tolist()
            assert not any(tuple(ids[start : start + 40]) in runs for start in range(len(ids) - 40))
    tokens = [*tokens_trained(setting, "a"), *tokens_trained(setting, "b")]
    assert len(tokens) == 4 and all(0 <= given - 6 * 2 * 256 < 256 for given in tokens)


def test_each_side_is_cut_as_its_recipe_says(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_corpus(tmp_path / "other", 120, seed=1)
    write_recipe(other, policy="tile", tokens=32)
    setting, held_out = prepared(corpus_folder, other, tmp_path / "run", monkeypatch)
    longest = {side: np.diff(setting.windows(f"train-{side}").starts).max() for side in "ab"}
    assert longest["b"] <= 32 < longest["a"]
    of_text = np.diff(setting.windows("text").starts)
    assert (of_text <= 32).sum() >= len(setting.windows("train-b")) and of_text.max() > 32
    assert min(np.diff(windows.starts).max() for windows in held_out.values()) > 32


def test_too_little_held_out_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {side: write_corpus(tmp_path / side, 60, seed=seed) for seed, side in enumerate("ab")}
    monkeypatch.setattr(against, "run_jobs", lambda *arguments: None)
    lines: list[str] = []
    corpora = {side: open_corpus(folder) for side, folder in folders.items()}
    begin(corpora, tmp_path / "run", dataclasses.replace(QUICK, seeds=2), lines.append)
    assert lines[0].startswith("too few to say: 6 held-out documents") and "of 5 sites" in lines[0]


def test_the_common_tokenizer_is_as_large_as_the_recipes_say(corpus_folder: Path, tmp_path: Path) -> None:
    folders = {"a": shutil.copytree(corpus_folder, tmp_path / "a"), "b": write_corpus(tmp_path / "b", 30, seed=1)}
    write_recipe(folders["a"], vocabulary=300)
    write_recipe(folders["b"], vocabulary=320)
    corpora = {side: open_corpus(folder) for side, folder in folders.items()}
    assert corpora["a"].tokenizer.id != corpora["b"].tokenizer.id
    (tmp_path / "run").mkdir()
    assert 310 < common_tokenizer(corpora, tmp_path / "run", QUICK).vocab_size <= 322


@pytest.mark.slow
def test_two_corpora_are_compared_from_their_folders(corpus_folder: Path, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", 120, seed=1)
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, seeds=2)
    result = run_against(corpus_folder, other, tmp_path / "run", options, lambda line: None)
    assert set(result.data["nll"]) == {"a", "b"} and set(result.data["nll"]["a"]) == {"a", "b"}
    assert result.data["difference"]["documents"] >= 30
    assert all(0 <= tokens - 2 * 2 * 256 < 256 for side in "ab" for tokens in result.data["tokens"][side])
    with pytest.raises(TrainError, match="at least --seeds 2"):
        run_against(corpus_folder, other, tmp_path / "run2", QUICK, lambda line: None)


def test_torchrun_is_refused(corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    options = dataclasses.replace(QUICK, seeds=2)
    with pytest.raises(TrainError, match=r"^--against .* without torchrun$"):
        run_against(corpus_folder, corpus_folder, tmp_path / "run", options, print)
    for option, begun in (("score", run_score), ("few-shot", run_few_shot)):
        with pytest.raises(TrainError, match=rf"^--{option} .* without torchrun$"):
            begun(corpus_folder, tmp_path / "run", options, print)
    assert not (tmp_path / "run").exists()


def test_a_dose_response_has_a_variant_for_every_dose() -> None:
    with pytest.raises(TrainError, match="unknown dose response"):
        variants_of(TrainOptions(dose_response="yardstick"))
    names = [variant.name for variant in variants_of(TrainOptions(dose_response="placement", seeds=1))]
    assert names == ["reference", "true", "dose-0.1", "dose-0.25", "dose-0.5", "dose-1", "blind", "control"]
    names = [variant.name for variant in variants_of(TrainOptions(dose_response="permutation", seeds=1))]
    assert names == ["reference", "true", "dose-0.1", "dose-0.25", "dose-0.5", "blind", "control"]


@pytest.mark.slow
def test_a_dose_response_trains_every_dose_and_reports_them(corpus_folder: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, dose_response="placement")
    result = run(corpus_folder, tmp_path / "run", options, lambda line: None)
    points = result.data["dose_response"]["points"]
    assert [point["dose"] for point in points] == [0.0, 0.1, 0.25, 0.5, 1.0]
    assert all("gain" in point and "within_document" in point for point in points)
    assert "lost" not in points[0] and "lost" in points[1]
    assert result.data["dose_response"]["blind"]["value"] != result.data["gain"]["value"]


def test_the_blind_arm_sees_no_picture_and_is_compared_with_the_reference(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = held_out(4)
    shown, changed = rearranged(windows, (BLIND, 0, 1.0))
    assert (shown.images == -1).all() and changed.all() and (windows.images >= 0).all()
    zeros = {"own": np.zeros(len(windows.tokens)), "document": np.zeros(len(windows.tokens))}
    ones = {"own": np.ones(len(windows.tokens)) * np.log(2), "document": np.ones(len(windows.tokens))}
    losses = {"true": [ones], "control": [ones], "reference": [ones], BLIND: [zeros]}
    found = dose_response(windows, by_site(windows), losses, TrainOptions(dose_response="permutation", seeds=1))
    assert found["blind"]["value"] == pytest.approx(1)  # the reference is a bit worse


def test_a_model_is_trained_without_pictures(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[np.ndarray] = []
    monkeypatch.setattr(Setting, "lookup", lambda setting, windows: looked.append)
    corpus = open_corpus(corpus_folder)
    options = dataclasses.replace(QUICK, steps=3, lm_steps=1)
    prepare(corpus, tmp_path, options, corpus.tokenizer)
    setting = Setting(tmp_path, tmp_path, 49, 320, corpus.tokenizer.image_id, options, LoopOptions.of(options), "cpu")
    lm_job(setting, lambda row: None)
    rows: list[dict] = []
    variant_job(setting, Variant(BLIND, 0, (BLIND, 0, 1.0)), rows.append)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert not looked and rows[0]["gates"]["attention"] == rows[-1]["gates"]["attention"]
    seeing = seen_images(setting.windows("validation")).image >= 0
    assert np.isfinite(setting.losses("blind-0")["own"][seeing]).all()
