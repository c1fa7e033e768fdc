"""Pairs beside windows, video as media items, and an encoder trained on the corpus itself."""

import dataclasses
import hashlib
import itertools
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import webdataset

from shards.clips import clip_of
from shards.exports.pairs import write_pairs
from shards.readers import read_documents
from tests.train_min.conftest import QUICK
from tests.train_min.synthetic import draw
from tests.train_min.test_data import windows_of
from tests.train_min.test_model import FEATURES, batch_of, tiny
from tests.train_min.test_vision import mean_encoder
from train_min import TrainError
from train_min.data.features import FeatureStore
from train_min.data.pairs import pair_windows
from train_min.data.windows import make_batch, open_corpus, pictures, read_picture, training_windows
from train_min.model.vision import TOWER_TOKENS, load_tower
from train_min.train import run
from train_min.training import prepare
from train_min.training.contrastive import neighbours, pretrain


def jpeg(grey: int) -> bytes:
    return cv2.imencode(".jpg", np.full((64, 64, 3), grey, np.uint8))[1].tobytes()


def exported(folder: Path, corpus_folder: Path, n: int = 40) -> Path:
    """The first pairs of the corpus, as `m3w export --to pairs` writes them."""
    corpus = open_corpus(corpus_folder)
    documents = itertools.islice(read_documents(corpus.paths("documents/")), n)
    write_pairs(documents, lambda image: read_picture(corpus, image.row()), folder)
    return folder


def test_pairs_are_windows_of_one_image(corpus_folder: Path, tmp_path: Path) -> None:
    tokenizer = open_corpus(corpus_folder).tokenizer
    folder = exported(tmp_path / "pairs", corpus_folder)
    pairs, places = pair_windows(folder, tokenizer, set())
    assert len(pairs) == len(places) > 40
    tokens, images = pairs.of(3)
    assert tokens[0] == tokenizer.image_id and tokens[-1] == tokenizer.eoc_id and images.tolist() == [3]
    digest = pairs.hashes[3].tobytes()
    assert tokenizer.decode(tokens[1:-1]) == places[digest]["alt"]
    fewer, _ = pair_windows(folder, tokenizer, {digest})
    assert len(fewer) == len(pairs) - 1
    with pytest.raises(TrainError, match="--to pairs"):
        pair_windows(tmp_path, tokenizer, set())


def test_pairs_as_img2dataset_writes_them_are_read(corpus_folder: Path, tmp_path: Path) -> None:
    """With webdataset's writer, whose times are fractions and so stand in headers of their own."""
    tokenizer = open_corpus(corpus_folder).tokenizer
    path = tmp_path / "00000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number, colour in enumerate(("red", "green", "blue")):
            sample = {"jpg": draw(colour, "circle", random.Random(0)), "txt": f"a {colour} circle"}
            told = {"sha256": hashlib.sha256(colour.encode()).hexdigest()}
            writer.write({"__key__": f"{number:09d}", **sample, "json": told})
    pairs, places = pair_windows(tmp_path, tokenizer, set())
    assert [place["alt"] for place in places.values()] == ["a red circle", "a green circle", "a blue circle"]
    assert read_picture(open_corpus(corpus_folder), places[pairs.hashes[2].tobytes()])[:2] == b"\xff\xd8"
    fewer, _ = pair_windows(tmp_path, tokenizer, {hashlib.sha256(b"green").digest()})
    assert len(fewer) == 2
    whole = path.read_bytes()
    second, end = whole.index(b"000000001.jpg"), len(whole.rstrip(b"\0"))
    blocks = -(-end // 512) * 512
    for damaged in (
        whole[:end],
        whole[:blocks],
        whole[:3000],
        whole[:second] + b"x" * 512 + whole[second + 512 :],
        b"x" * 1024,
    ):
        path.write_bytes(damaged)
        with pytest.raises(TrainError, match="is damaged"):
            pair_windows(tmp_path, tokenizer, set())


@pytest.mark.slow
def test_a_run_on_windows_and_pairs_logs_both_losses(corpus_folder: Path, tmp_path: Path) -> None:
    folder = exported(tmp_path / "pairs", corpus_folder)
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, pairs=str(folder))
    result = run(corpus_folder, tmp_path / "run", options, lambda line: None)
    assert set(result.data["curves"]["true-0"][1]["loss"]) == {"windows", "pairs"}


def test_a_video_is_one_media_item_whatever_its_frames() -> None:
    """Two groups of different frame counts in one batch: an image and a clip."""
    model = tiny()
    batch = batch_of([[0, 0, 0, 1, 1, 1]], [(0, 0), (0, 1)])
    clip = torch.randn(1, 12, 9, FEATURES, generator=torch.Generator().manual_seed(1))
    batch.features = [batch.features[0][:1], clip]
    with torch.no_grad():
        logits = model.logits(batch)
        batch.features = [batch.features[0], clip.flip(1)]
        changed = (model.logits(batch) != logits).any(-1)[0].tolist()
    assert changed == [False] * 3 + [True] * 3


def test_features_of_a_clip_are_those_of_its_frames_in_order(tmp_path: Path) -> None:
    """Images and clips of 8 and 3 frames in one batch: each row of it sees its own."""
    encoder = mean_encoder([])
    greys = [[10], [20, 30, 40, 50, 60, 70, 80, 90], [100, 110, 120], [130]]
    media = [[jpeg(grey) for grey in item] for item in greys]
    contents = [item[0] if len(item) == 1 else clip_of(item) for item in media]
    store = FeatureStore(tmp_path, encoder.patches, encoder.width)
    told: list[int] = []
    store.add(encoder, iter([(bytes([n] * 32), content) for n, content in enumerate(contents)]), told.append)
    store.refresh()
    assert sum(told) == len(contents)
    table = store.table(np.array([[n] * 32 for n in range(4)], np.uint8))
    assert table.frames.tolist() == [1, 8, 3, 1]
    windows = windows_of([[(9, [2, 0]), (9, [1])], [(9, [3, 2])]])
    batch = make_batch(windows, [[0, 1], [2]], table)
    found: dict[tuple[int, int], list[float]] = {}
    places = iter(zip(batch.media_row.tolist(), batch.media_slot.tolist(), strict=True))
    for group in batch.features:
        for item in group.float():
            found[next(places)] = [round(float((frame.mean() + 0.5) * 255)) for frame in item]
    shown = {(0, 0): greys[2], (0, 1): greys[0], (0, 2): greys[1], (1, 0): greys[3], (1, 1): greys[2]}
    assert found.keys() == shown.keys()
    assert all(np.abs(np.array(found[place]) - shown[place]).max() <= 2 for place in shown)
    with pytest.raises(TrainError, match=r"cannot be decoded .*m3w verify"):
        store.add(encoder, iter([(b"x" * 32, contents[1][:-9])]), told.append)


def test_a_bridge_of_images_refuses_clips(corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, video = open_corpus(corpus_folder), {"format": "video"}
    monkeypatch.setattr(prepare, "pictures", lambda corpus, hashes: dict.fromkeys(hashes, video))
    prepare.prepare(corpus, tmp_path / "flamingo", QUICK, corpus.tokenizer)
    with pytest.raises(TrainError, match="--bridge linear takes images"):
        prepare.prepare(corpus, tmp_path / "linear", dataclasses.replace(QUICK, bridge="linear"), corpus.tokenizer)


def test_neighbours_are_pictures_and_the_text_behind_them() -> None:
    windows = windows_of([[(5, [0, 1]), (2, [3])], [(40, [2, -1])]])
    found, texts = neighbours(windows)
    assert found.tolist() == [0, 1, 2]
    assert texts.shape == (3, TOWER_TOKENS)
    assert texts[0, :7].tolist() == [0, 1, 2, 3, 4, windows.eoc_id, 0]
    assert texts[2].tolist() == [*range(TOWER_TOKENS - 1), windows.eoc_id]


@pytest.mark.slow
def test_a_tower_learns_which_text_belongs_to_a_picture(corpus_folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(corpus_folder)
    windows = training_windows(corpus, corpus.tokenizer, 0)
    places = pictures(corpus, {row.tobytes() for row in windows.hashes})
    rows: list[dict] = []
    path = tmp_path / "tower.pt"
    pretrain(windows, lambda digest: read_picture(corpus, places[digest]), 30, 0, path, rows.append)
    losses = [row["loss"]["contrastive"] for row in rows]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    encoder = load_tower(path, torch.device("cpu"))
    features = encoder.encode(torch.zeros(2, 3, encoder.side, encoder.side))
    assert features.shape == (2, encoder.patches, encoder.width)
    with pytest.raises(TrainError, match="cannot be read"):
        load_tower(tmp_path / "none.pt", torch.device("cpu"))


@pytest.mark.slow
def test_a_run_with_its_own_tower(corpus_folder: Path, tmp_path: Path) -> None:
    options = dataclasses.replace(QUICK, steps=2, lm_steps=2, vision="contrastive", vision_steps=5)
    result = run(corpus_folder, tmp_path / "run", options, lambda line: None)
    assert "tower-0" in result.data["curves"]
