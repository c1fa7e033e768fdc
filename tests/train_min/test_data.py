"""Windows as arrays, permuted images, packed batches."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.readers import read_documents
from shards.records import FORMAT_VERSION
from shards.tokenizer import train_corpus_tokenizer
from shards.windows import WindowOptions
from tests.train_min.synthetic import write_recipe
from train_min import TrainError
from train_min.data.permute import displace, permute
from train_min.data.windows import (
    WindowArrays,
    check_files,
    cut_windows,
    make_batch,
    media_places,
    open_corpus,
    pictures,
    read_picture,
    rows_of,
    training_windows,
)

IMAGE, EOC = 100, 101


def windows_of(spec: list[list[tuple[int, list[int]]]], sites: list[str] | None = None) -> WindowArrays:
    """Units of windows, each (text tokens after each image, image indexes)."""
    tokens, starts, images, image_starts, unit, names = [], [0], [], [0], [], []
    for number, document in enumerate(spec):
        for length, shown in document:
            ids = [token for _ in shown for token in [IMAGE, *range(length)]] or list(range(length))
            tokens += ids
            starts.append(len(tokens))
            images += shown
            image_starts.append(len(images))
            unit.append(number)
            names.append(f"{number}-{starts[-2]}")
    count = max(images, default=0) + 1
    return WindowArrays(
        tokens=np.array(tokens, np.int32), starts=np.array(starts), images=np.array(images, np.int32),
        image_starts=np.array(image_starts), unit=np.array(unit, np.int32),
        hashes=np.arange(32 * count, dtype=np.uint32).astype(np.uint8).reshape(count, 32),
        fetched=255 - np.arange(32 * count, dtype=np.uint32).astype(np.uint8).reshape(count, 32),
        units=[
            {"doc_id": f"d{n}", "url": "", "site": sites[n] if sites else f"s{n % 3}", "language": "en"}
            for n in range(len(spec))
        ],
        window_ids=names, image_id=IMAGE, eoc_id=EOC,
    )  # fmt: skip


specs = st.lists(
    st.lists(
        st.tuples(st.integers(1, 6), st.lists(st.integers(0, 12), min_size=0, max_size=4)), min_size=1, max_size=3
    ),
    min_size=2,
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(specs, st.integers(0, 5), st.sampled_from(["documents", "host", "document"]))
def test_a_permuted_picture_is_never_the_true_one_and_comes_from_its_scope(spec: list, seed: int, scope: str) -> None:
    windows = windows_of(spec)
    images, replaced = permute(windows, scope, seed)
    assert np.array_equal(replaced, images != windows.images)
    units = windows.image_units()
    shown = {unit: set(windows.images[units == unit].tolist()) for unit in set(units.tolist())}
    hosts = [entry["site"] for entry in windows.units]
    for before, after, unit in zip(windows.images.tolist(), images.tolist(), units.tolist(), strict=True):
        if before == after:
            continue
        if scope == "document":
            assert after in shown[unit]
        elif scope == "host":
            assert any(after in shown[other] for other in shown if other != unit and hosts[other] == hosts[unit])
        else:
            assert any(after in shown[other] for other in shown if other != unit)
    # the same picture of the same document is replaced by the same one wherever it stands
    mapping: dict[tuple[int, int], int] = {}
    for before, after, unit in zip(windows.images.tolist(), images.tolist(), units.tolist(), strict=True):
        assert mapping.setdefault((unit, before), after) == after


def test_permuting_documents_replaces_all_and_keeps_how_often_each_picture_stands() -> None:
    windows = windows_of([[(3, [2 * n, 2 * n + 1])] for n in range(40)])
    images, replaced = permute(windows, "documents", 0)
    assert replaced.all()
    assert sorted(images.tolist()) == sorted(windows.images.tolist())
    assert not np.array_equal(images, permute(windows, "documents", 1)[0])
    assert np.array_equal(images, permute(windows, "documents", 0)[0])


def test_a_fraction_touches_about_that_share_of_documents_and_a_larger_one_the_same_and_more() -> None:
    windows = windows_of([[(3, [2 * n, 2 * n + 1])] for n in range(400)])
    touched = {}
    for fraction in (0.0, 0.25, 0.5, 1.0):
        _, replaced = permute(windows, "documents", 0, fraction)
        touched[fraction] = set(windows.image_units()[replaced].tolist())
        assert abs(len(touched[fraction]) / 400 - fraction) < 0.08
    assert touched[0.0] <= touched[0.25] <= touched[0.5] <= touched[1.0]


def test_displaced_pictures_take_the_place_of_the_next() -> None:
    windows = windows_of([[(3, [0, 1, 2])], [(3, [5])]])
    assert displace(windows, 0).tolist() == [2, 0, 1, 5]
    assert displace(windows, 0, 0.0).tolist() == [0, 1, 2, 5]


def test_each_token_sees_the_last_image_or_the_next() -> None:
    tokens = np.array([1, IMAGE, 2, 3, IMAGE, 4, EOC])
    images = np.array([7, 5])
    assert media_places(tokens, IMAGE, images, False).tolist() == [-1, 0, 0, 0, 1, 1, 1]
    assert media_places(tokens, IMAGE, images, True).tolist() == [0, 1, 1, 1, -1, -1, -1]


def test_a_marker_without_a_picture_shows_nothing() -> None:
    """Not the picture before it, and not all of them."""
    tokens = np.array([IMAGE, 2, IMAGE, 3, IMAGE, 4])
    assert media_places(tokens, IMAGE, np.array([7, -1, 5]), False).tolist() == [0, 0, -1, -1, 2, 2]


@settings(max_examples=100, deadline=None)
@given(specs, st.integers(8, 64), st.booleans())
def test_a_batch_holds_every_window_once_with_its_own_pictures(spec: list, context: int, follow: bool) -> None:
    windows = windows_of(spec)
    rows = list(rows_of(windows, range(len(windows)), context))
    assert sorted(index for row in rows for index in row) == list(range(len(windows)))
    follows = np.full(len(windows), follow)
    batch = make_batch(windows, rows, lambda index: torch.from_numpy(index)[:, None, None].float(), follow=follows)
    shown = {}
    if len(batch.media_row):
        pairs = zip(batch.media_row.tolist(), batch.media_slot.tolist(), strict=True)
        shown = dict(zip(pairs, batch.features[0].flatten().tolist(), strict=True))
    for number, row in enumerate(rows):
        start = 0
        for segment, index in enumerate(row):
            ids, images = windows.of(index)
            span = slice(start, start + len(ids))
            assert batch.tokens[number, span].tolist() == ids.tolist()
            assert set(batch.segments[number, span].tolist()) == {segment}
            assert batch.positions[number, span].tolist() == list(range(len(ids)))
            places = media_places(ids, IMAGE, images, follow).tolist()
            expected = [images[place] if place >= 0 else None for place in places]
            slots = batch.media_index[number, span].tolist()
            assert [shown[number, slot] if slot >= 0 else None for slot in slots] == expected
            targets = batch.targets[number, span].tolist()
            assert targets == [-1 if token == IMAGE else token for token in ids[1:].tolist()] + [-1]
            start += len(ids)
        assert (batch.segments[number, start:] == -1).all() and (batch.targets[number, start:] == -1).all()


def test_saved_windows_load_as_they_were(tmp_path: Path) -> None:
    windows = windows_of([[(3, [0, 1])], [(2, [])]])
    windows.save(tmp_path / "w.npz")
    loaded = WindowArrays.load(tmp_path / "w.npz")
    for name, value in vars(windows).items():
        assert (
            np.array_equal(value, getattr(loaded, name))
            if isinstance(value, np.ndarray)
            else value == getattr(loaded, name)
        )


def test_tiles_of_documents_hold_what_the_windows_hold(corpus_folder: Path) -> None:
    """In the synthetic corpus a document is one window, so that both readings must agree."""
    corpus = open_corpus(corpus_folder)
    read = training_windows(corpus, corpus.tokenizer, 0)
    cut = cut_windows(corpus, corpus.tokenizer, "train", WindowOptions(policy="tile"))
    in_read = {unit["doc_id"]: read.of(index)[0].tolist() for index, unit in enumerate(read.units)}
    assert len(cut) > 0.8 * len(read)
    for index in range(len(cut)):
        assert cut.of(index)[0].tolist() == in_read[cut.units[cut.unit[index]]["doc_id"]]


def test_another_tokenizer_cuts_as_the_recipe_says(corpus_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_folder, tmp_path / "corpus")
    other = train_corpus_tokenizer(["quite another text than that of the corpus"])

    def cut(policy: str, tokens: int) -> WindowArrays:
        write_recipe(tmp_path / "corpus", policy=policy, tokens=tokens, images=2)
        return training_windows(open_corpus(tmp_path / "corpus"), other, 0)

    tiles, short, drawn = cut("tile", 256), cut("tile", 64), cut("random", 256)
    documents = sum(row["split"] == "train" for row in read_documents(open_corpus(corpus_folder).paths("documents/")))
    assert len({unit["doc_id"] for unit in tiles.units}) == documents
    assert np.diff(short.starts).max() <= 64 < np.diff(tiles.starts).max()
    assert np.diff(tiles.image_starts).max() == 2
    assert len(drawn.tokens) < len(tiles.tokens)


def test_without_stored_windows_they_are_cut_from_the_documents(corpus_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(corpus_folder, folder)
    shutil.rmtree(folder / "windows")
    corpus = open_corpus(folder)
    check_files(corpus)
    trained = training_windows(corpus, corpus.tokenizer, 0)
    cut = cut_windows(corpus, corpus.tokenizer, "train", corpus.cut, 0)
    assert len(trained) > 10 and trained.window_ids == cut.window_ids
    assert np.array_equal(trained.tokens, cut.tokens) and np.array_equal(trained.images, cut.images)


def test_every_picture_is_found_in_the_store(corpus_folder: Path) -> None:
    corpus = open_corpus(corpus_folder)
    windows = training_windows(corpus, corpus.tokenizer, 0)
    places = pictures(corpus, {row.tobytes() for row in windows.hashes})
    assert len(places) == len(windows.hashes)
    assert read_picture(corpus, next(iter(places.values())))[:2] == b"\xff\xd8"
    with pytest.raises(TrainError, match="m3w verify"):
        pictures(corpus, {bytes(32)})


def test_a_folder_that_is_no_corpus_is_named(tmp_path: Path, corpus_folder: Path) -> None:
    with pytest.raises(TrainError, match="m3w build"):
        open_corpus(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(TrainError, match="cannot be read"):
        open_corpus(tmp_path)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"format": FORMAT_VERSION, "files": [{"path": "documents/00000.parquet"}]})
    )
    with pytest.raises(TrainError, match="lacks documents/00000"):
        open_corpus(tmp_path)
    shutil.copytree(corpus_folder, tmp_path / "corpus")
    (tmp_path / "corpus" / "recipe.toml").write_text("[windows]\npolicy = 'tile'\n")
    with pytest.raises(TrainError, match=r"recipe\.toml cannot be read"):
        open_corpus(tmp_path / "corpus")
    (tmp_path / "corpus" / "recipe.toml").unlink()
    with pytest.raises(TrainError, match=r"no recipe\.toml"):
        open_corpus(tmp_path / "corpus")


def test_a_tokenizer_of_another_corpus_is_refused(corpus_folder: Path) -> None:
    from shards.tokenizer import train_corpus_tokenizer

    corpus = open_corpus(corpus_folder)
    stranger = train_corpus_tokenizer(["something else entirely"])
    with pytest.raises(TrainError, match="another tokenizer"):
        training_windows(dataclasses.replace(corpus, tokenizer=stranger), stranger, 0)


def test_a_book_with_most_of_the_pictures_is_dealt_out_among_its_own_pieces() -> None:
    pages = [[(4, [number])] for number in range(20)]
    pieces = [[(4, [20 + 8 * piece + k for k in range(8)])] for piece in range(10)]
    windows = windows_of(pages + pieces)
    for unit in windows.units[20:]:
        unit["doc_id"] = "book"
    images, replaced = permute(windows, "documents", 1000)
    assert replaced.all()
    own = np.repeat(windows.unit, np.diff(windows.image_starts))
    of_image = dict(zip(windows.images.tolist(), own.tolist(), strict=True))
    assert all(of_image[image] != unit for image, unit in zip(images.tolist(), own.tolist(), strict=True))


def test_what_cannot_be_dealt_out_is_not_tried_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 hosts with a page each, one with a page of nine pictures and one of one, and pages that show one picture
    over and over."""
    spec = [[(2, [2 * k, 2 * k + 1])] for k in range(30)]
    windows = windows_of([*spec, [(2, list(range(60, 69)))], [(2, [70])]], [f"h{min(k, 30)}" for k in range(32)])
    rounds = []
    exchange = np.flatnonzero

    def counted(array: np.ndarray) -> np.ndarray:
        rounds.append(1)
        return exchange(array)

    monkeypatch.setattr(np, "flatnonzero", counted)
    images, replaced = permute(windows, "host", 0)
    assert len(rounds) < 200
    assert replaced.sum() == 2 and images[:60].tolist() == windows.images[:60].tolist()
