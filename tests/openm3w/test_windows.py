"""openm3w.Windows and openm3w.DrawnWindows: what samples hold, their order, ranks, workers, resuming."""

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import openm3w
import openm3w.drawn
from pipeline.recipe import load
from shards.readers import draw_windows, next_image, previous_image
from shards.windows import RECIPE_KEYS, WindowOptions
from tests.openm3w.spawned import tell_names

# three workers on a machine with two cores
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata calls it
]

EPOCHS = st.integers(0, 5)
SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def stored(small_corpus: Path) -> dict[str, dict]:
    """The training windows as the build wrote them, by window_id."""
    return {window["window_id"]: window for window in openm3w.open_corpus(small_corpus).windows("train")}


@pytest.fixture(scope="module")
def drawn(small_corpus: Path) -> openm3w.DrawnWindows:
    """Images are not decoded, for speed."""
    return openm3w.DrawnWindows(small_corpus, seed=3, decode=len)


def names(samples) -> list[str]:
    return [sample["window_id"] for sample in samples]


def test_samples_are_the_windows_of_the_build(small_corpus: Path, stored: dict[str, dict]):
    windows = openm3w.Windows(small_corpus, split="train")
    assert len(windows) == len(stored) > 50
    assert Counter(names(windows)) == Counter(list(stored))
    for sample in windows:
        window = stored[sample["window_id"]]
        for name in ("doc_id", "url", "site", "language", "token_start", "tokenizer"):
            assert sample[name] == window[name]
        assert np.array_equal(sample["input_ids"], window["input_ids"])
        assert np.array_equal(sample["image_positions"], window["image_positions"])
        for image, data in zip(sample["pixels"], window["images"], strict=True):
            assert np.array_equal(image, openm3w.pixels(data))


def test_tars_give_the_same_samples(small_corpus: Path):
    corpus = openm3w.open_corpus(small_corpus)
    files = [entry for entry in corpus.manifest["files"] if not entry["path"].startswith("windows/train-")]
    files += [entry for entry in corpus.manifest["files"] if entry["path"].endswith(".tar")]
    tars = openm3w.Corpus(corpus.root, corpus.manifest | {"files": files})
    assert {path.suffix for path in tars.shards("train")} == {".tar"}
    pairs = zip(openm3w.Windows(corpus, decode=bytes), openm3w.Windows(tars, decode=bytes), strict=True)
    for one, other in pairs:
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


def test_pixels_keep_the_aspect_ratio_on_the_mean_colour():
    import cv2

    wide = np.full((100, 300, 3), (10, 20, 200), np.uint8)  # BGR
    image = openm3w.pixels(cv2.imencode(".png", wide)[1].tobytes(), 64)
    assert image.shape == (3, 64, 64)
    assert image[:, 32, 32].tolist() == [200, 20, 10]
    assert image[:, 0, 0].tolist() == image[:, 63, 63].tolist() == [124, 116, 104]
    assert (image == np.array([200, 20, 10])[:, None, None]).all(0).sum() == 64 * 21
    # a JPEG file, which is scaled while it is decoded, turned, and read as a grey one
    ramp = np.repeat(np.arange(0, 250, dtype=np.uint8)[:, None], 500, 1).repeat(2, 0)
    for picture in (ramp, cv2.merge([ramp // 2, ramp // 3, ramp])):
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        found = openm3w.pixels(data, 100)[:, :, 50].astype(int)
        expected = np.broadcast_to(picture.reshape(500, 500, -1)[2::5, 0, ::-1].T.astype(int), (3, 100))
        assert np.abs(found - expected).max() <= 4
    small = openm3w.pixels(cv2.imencode(".png", wide[:, :100])[1].tobytes(), 224)
    assert (small == np.array([200, 20, 10])[:, None, None]).all()
    with pytest.raises(ValueError, match=r"image\.not_an_image"):
        openm3w.pixels(b"no image")


def test_collate(small_corpus: Path):
    windows = openm3w.Windows(small_corpus, image_size=32)
    sizes = {(len(sample["input_ids"]), len(sample["pixels"])): sample for sample in windows}
    samples = [sizes[size] for size in (min(sizes), max(sizes), max(sizes, key=lambda size: size[1]))]
    batch = windows.collate(samples)
    assert all(
        isinstance(value, torch.Tensor) for name, value in batch.items() if name not in ("window_id", "doc_id", "url")
    )
    assert batch["window_id"] == names(samples)
    lengths = [len(sample["input_ids"]) for sample in samples]
    counts = [len(sample["pixels"]) for sample in samples]
    assert len(set(lengths)) > 1 and len(set(counts)) > 1, (lengths, counts)
    assert batch["pixels"].shape == (len(samples), max(counts), 3, 32, 32)
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert batch["image_mask"].sum(1).tolist() == counts
    for row, sample in enumerate(samples):
        length, count = lengths[row], counts[row]
        assert batch["input_ids"][row, :length].tolist() == sample["input_ids"].tolist()
        assert batch["positions"][row, :length].tolist() == list(range(length))
        assert batch["image_index"][row].tolist() == sample["image_index"].tolist() + [-1] * (max(lengths) - length)
        assert batch["image_positions"][row, :count].tolist() == sample["image_positions"].tolist()
        assert all(np.array_equal(batch["pixels"][row, slot], sample["pixels"][slot]) for slot in range(count))
        assert not batch["pixels"][row, count:].any() and not batch["input_ids"][row, length:].any()


def test_which_image_a_token_sees(small_corpus: Path):
    def followed(windows: openm3w.Windows) -> dict[str, bool]:
        found = {}
        for sample in windows:
            both = [see(sample["image_positions"], len(sample["input_ids"])) for see in (previous_image, next_image)]
            (found[sample["window_id"]],) = (np.array_equal(sample["image_index"], index) for index in both[1:])
            assert found[sample["window_id"]] or np.array_equal(sample["image_index"], both[0])
        return found

    assert not any(followed(openm3w.Windows(small_corpus, decode=len)).values())
    assert all(followed(openm3w.Windows(small_corpus, decode=len, p_next=1.0)).values())
    half = openm3w.Windows(small_corpus, decode=len, p_next=0.5)
    first = followed(half)
    assert 0.3 < sum(first.values()) / len(first) < 0.7
    assert first == followed(openm3w.Windows(small_corpus, decode=len, p_next=0.5, shuffle=False))
    half.set_epoch(1)
    assert first != followed(half)


@settings(max_examples=6)
@given(data=st.data(), seed=SEEDS, epoch=EPOCHS, world_size=st.integers(1, 9), shuffle=st.booleans())
def test_ranks_share_an_epoch_without_loss_or_duplicates(
    small_corpus: Path,
    stored: dict[str, dict],
    data: st.DataObject,
    seed: int,
    epoch: int,
    world_size: int,
    shuffle: bool,
):
    corpus = openm3w.open_corpus(small_corpus)
    found = []
    for rank in range(world_size):
        part = openm3w.Windows(corpus, seed=seed, rank=rank, world_size=world_size, decode=len, shuffle=shuffle)
        part.set_epoch(epoch)
        found.append(names(part))
        assert len(part) == len(found[-1])
        assert part[len(part) - 1]["window_id"] == part[-1]["window_id"] == found[-1][-1]
    whole = openm3w.Windows(corpus, seed=seed, decode=len, shuffle=shuffle)
    whole.set_epoch(epoch)
    assert [found[place % world_size][place // world_size] for place in range(len(stored))] == names(whole)
    assert Counter(names(whole)) == Counter(list(stored))
    assert shuffle == (names(whole) != list(stored))
    # any other seed or epoch has another order
    other = openm3w.Windows(corpus, seed=seed + data.draw(st.integers(0, 1)), decode=len)
    other.set_epoch(epoch if other.seed != seed else epoch + 1)
    assert names(other) != names(whole)


@settings(max_examples=6)
@given(data=st.data(), seed=SEEDS, epoch=EPOCHS, kind=st.sampled_from([openm3w.Windows, openm3w.DrawnWindows]))
def test_resuming_at_any_sample(small_corpus: Path, data: st.DataObject, seed: int, epoch: int, kind: type):
    def made():
        return kind(small_corpus, seed=seed, decode=len, rank=1, world_size=2, p_next=0.5)

    windows = made()
    windows.set_epoch(epoch)
    whole = list(windows)
    stop = data.draw(st.integers(0, len(whole)))
    began = iter(windows)
    first = list(islice(began, stop))
    state = json.loads(json.dumps(windows.state_dict()))
    resumed = made()
    resumed.load_state_dict(state)
    assert resumed.epoch == epoch
    rest = list(resumed)
    assert (names(first + rest) == names(whole)) is True
    assert all(
        np.array_equal(one["image_index"], other["image_index"]) for one, other in zip(first + rest, whole, strict=True)
    )
    assert names(resumed) == names(whole)  # the next iteration is a whole one
    resumed.load_state_dict(state)
    resumed.set_epoch(epoch + 1)
    windows.set_epoch(epoch + 1)
    assert names(resumed) == names(windows)  # a new epoch is a whole one, too
    other = kind(small_corpus, seed=seed + 1, decode=len, rank=1, world_size=2)
    with pytest.raises(ValueError, match="another corpus"):
        other.load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_of_a_data_loader(small_corpus: Path, workers: int):
    windows = openm3w.Windows(small_corpus, image_size=16)
    loader = DataLoader(
        windows, batch_size=7, num_workers=workers, collate_fn=windows.collate, persistent_workers=workers > 0
    )
    for epoch in (0, 1):
        windows.set_epoch(epoch)
        found = [name for batch in loader for name in batch["window_id"]]
        assert found == names(windows)  # whatever the number of workers


def test_a_data_loader_deals_drawn_windows_to_its_workers(drawn: openm3w.DrawnWindows):
    drawn.set_epoch(1)
    expected = Counter(names(drawn))
    for workers in (1, 3):
        loader = DataLoader(drawn, batch_size=5, num_workers=workers, collate_fn=drawn.collate)
        assert Counter(name for batch in loader for name in batch["window_id"]) == expected
    drawn.set_epoch(0)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("kind", [openm3w.Windows, openm3w.DrawnWindows])
def test_a_stateful_data_loader_resumes(small_corpus: Path, kind: type, workers: int):
    def loader() -> StatefulDataLoader:
        windows = kind(small_corpus, seed=1, decode=len)
        return StatefulDataLoader(windows, batch_size=4, num_workers=workers, collate_fn=windows.collate)

    whole = loader()
    whole.dataset.set_epoch(2)
    expected = [batch["window_id"] for batch in whole]
    begun = loader()
    begun.dataset.set_epoch(2)
    first = [batch["window_id"] for batch in islice(begun, 5)]
    resumed = loader()
    resumed.load_state_dict(begun.state_dict())
    assert first + [batch["window_id"] for batch in resumed] == expected


@settings(max_examples=6)
@given(
    epoch=EPOCHS,
    world_size=st.integers(1, 4),
    workers=st.integers(1, 4),
    pool=st.integers(1, 9),
    block=st.integers(1, 50),
    shuffle=st.booleans(),
)
@example(epoch=0, world_size=3, workers=1, pool=4, block=1, shuffle=True)
def test_drawn_windows_are_dealt_without_loss_or_duplicates(
    small_corpus: Path, epoch: int, world_size: int, workers: int, pool: int, block: int, shuffle: bool
):
    corpus = openm3w.open_corpus(small_corpus)
    found: Counter[str] = Counter()
    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openm3w.drawn, "POOL", pool)
        patch.setattr(openm3w.drawn, "BLOCK", block)
        for rank in range(world_size):
            part = openm3w.DrawnWindows(corpus, seed=9, decode=len, rank=rank, world_size=world_size, shuffle=shuffle)
            # as if the documents were in many small row groups, and so in several blocks
            part._groups = [group._replace(rows=group.rows[n::7]) for group in part._groups for n in range(7)]
            part.set_epoch(epoch)
            for worker in range(workers):
                patch.setattr(openm3w.drawn, "_worker", lambda worker=worker: (worker, workers))
                found.update(names(part))
            counts.append(sum(1 for _, table in part._pools(0) for _ in range(table.num_rows)) if workers == 1 else 0)
    recipe = part.options
    rows = corpus.documents()
    expected = draw_windows(rows, part._tokenizer, recipe, seed=9, epoch=epoch)
    assert (found == Counter(window.window_id for window in expected)) is True  # no long diff
    assert workers > 1 or max(counts) - min(counts) <= 1


def test_drawn_windows_are_new_in_every_epoch_and_those_of_a_build_in_the_first(small_corpus: Path):
    windows = openm3w.DrawnWindows(small_corpus, split="validation", decode=len)
    recipe = load("web").windows
    options = WindowOptions(**{name: getattr(recipe, name) for name in RECIPE_KEYS})
    assert windows.options == replace(options, policy="random", tokens=64)
    first = names(windows)
    assert first == names(windows)
    windows.set_epoch(1)
    second = names(windows)
    assert set(first) != set(second)
    assert {name.partition("-")[0] for name in first} & {name.partition("-")[0] for name in second}
    (sample, *_) = windows
    assert all(sample["input_ids"][sample["image_positions"]] == windows._tokenizer.image_id)


def test_a_copy_and_a_spawned_process_have_the_epoch(small_corpus: Path):
    windows = openm3w.Windows(small_corpus, decode=len)
    windows.set_epoch(4)
    copy = pickle.loads(pickle.dumps(windows))
    assert copy.epoch == 4 and names(copy) == names(windows)
    copy.set_epoch(5)
    assert windows.epoch == 4
    # persistent workers see the epochs that begin after their start
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=tell_names, args=(windows, there))
    process.start()
    windows.set_epoch(7)
    here.send("begin")
    assert here.recv() == names(windows)
    process.join()


def test_without_torch(small_corpus: Path):
    program = """
import sys
sys.modules["torch"] = None  # its import fails
import openm3w
for kind in (openm3w.Windows, openm3w.DrawnWindows):
    windows = kind(sys.argv[1], image_size=32)
    samples = [sample for sample, _ in zip(windows, range(3))]
    batch = windows.collate(samples)
    print(kind.__name__, type(batch["pixels"]).__name__, batch["pixels"].shape[0], batch["pixels"].shape[2:])
"""
    command = [sys.executable, "-c", program, str(small_corpus)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "".join(f"{kind} ndarray 3 (3, 32, 32)\n" for kind in ("Windows", "DrawnWindows"))


def test_what_is_refused(small_corpus: Path, tmp_path: Path):
    for wrong, message in (
        ({"split": "test"}, "split is"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0"),
        ({"p_next": 2}, "p_next must be from 0 to 1"),
    ):
        for kind in (openm3w.Windows, openm3w.DrawnWindows):
            with pytest.raises(ValueError, match=message):
                kind(small_corpus, **wrong)
    with pytest.raises(openm3w.BuildError, match="directory not found"):
        openm3w.Windows(tmp_path / "no")
    copy = shutil.copytree(small_corpus, tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    (tar, *_) = (copy / "images").glob("*.tar")
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"window .* cannot be read .*: run m3w verify"):
        list(openm3w.Windows(copy, decode=len))
    (index, *_) = (copy / "images").glob("*.parquet")
    index.write_bytes((copy / "documents" / index.name).read_bytes())
    with pytest.raises(ValueError, match="m3w verify"):
        openm3w.Windows(copy)
    shutil.copy(small_corpus / "images" / index.name, index)
    shard = openm3w.open_corpus(copy).shards("train")[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{shard.name} is not a complete shard"):
        openm3w.Windows(copy)
