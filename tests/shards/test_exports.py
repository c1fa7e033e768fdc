"""Exports of a corpus, read back by the packages they are for. Training on them is in test_export_trainers.py."""

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image as Picture

from shards.exports import EXPORTS, files
from shards.exports.chat import write_chat
from shards.exports.mimic_it import write_mimic_it
from shards.exports.mint1t import write_mint1t
from shards.exports.mmc4 import write_mmc4
from shards.exports.obelics import write_obelics
from shards.exports.omnicorpus import write_omnicorpus
from shards.exports.openflamingo import write_openflamingo
from shards.exports.samples import training_samples
from shards.exports.webdataset import write_webdataset
from shards.records import StoredImage, Text
from shards.tokenizer import Tokenizer
from shards.windows import Window, WindowOptions, document_windows
from shards.writers import window_columns
from tests.shards.test_writers import COLOURS, PICTURES, document, load, stored

LITERAL = "A page that writes <image> and <|endofchunk|> and _!_IMAGE1_!_ itself."


def whole(number: int) -> dict[str, Any]:
    """A document with a picture first, two in a row, one last, and text that looks like markers."""
    nodes = [stored("red"), Text(f"First of {number}.\n\n{LITERAL}"), stored("green"), stored("blue"), Text("Last.")]
    nodes.append(stored("yellow"))
    return document(number) | {
        "texts": [node.text if isinstance(node, Text) else None for node in nodes],
        "images": [None if isinstance(node, Text) else node.row() for node in nodes],
        "capture": {"file": "a.warc.gz", "offset": 12, "length": 345, "date": "2026-11-21T09:20:26Z"},
        "metadata": {"title": f"Page {number}"},
    }


HELD_OUT = whole(7) | {"split": "validation"}
MIXED = whole(8) | {"split": "mixed", "held_out": [{"start": 0, "stop": 3, "split": "validation"}]}
DOCUMENTS = [whole(0), HELD_OUT, MIXED]
COLOURS_OF = ["red", "green", "blue", "yellow"]
URLS = [f"https://example.org/{colour}.jpg" for colour in COLOURS_OF]


def training_windows(tokenizer: Tokenizer) -> list[Window]:
    cuts = document_windows(whole(0), tokenizer, WindowOptions(policy="tile"), seed=3)
    return [window for cut in cuts for window in cut.windows]


def rows_of(windows: list[Window]) -> list[dict[str, Any]]:
    return [window_columns(window) | {"images": [load(image) for image in window.images]} for window in windows]


def colour(picture: Picture.Image) -> str:
    pixel = np.array(picture.convert("RGB").getpixel((9, 9)), int)
    known = {name: Picture.new("RGB", (1, 1), name).getpixel((0, 0)) for name in COLOURS}
    return min(known, key=lambda name: np.abs(pixel - np.array(known[name])).sum())


def load_parquet(folder: Path) -> datasets.Dataset:
    files = str(folder / "*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))


def test_held_out_nodes_are_in_no_sample() -> None:
    first, second = training_samples(DOCUMENTS)
    assert first.key == f"{0:032x}" and len(first.nodes) == 6
    assert second.key == f"{8:032x}-3" and second.texts == [None, "Last.", None]


def test_obelics_is_read_by_datasets_and_keeps_order_and_text(tmp_path: Path) -> None:
    assert write_obelics(DOCUMENTS, load, tmp_path) == 2
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=tmp_path / "c"
    )
    assert list(rows.features) == ["images", "metadata", "general_metadata", "texts"]
    row = rows[0]
    assert row["images"] == [URLS[0], None, URLS[1], URLS[2], None, URLS[3]]
    assert row["texts"] == whole(0)["texts"]
    told = json.loads(row["metadata"])
    assert [other is None for other in told] == [url is None for url in row["images"]]
    assert told[2] == {
        **{"document_url": "https://example.org/0", "unformatted_src": URLS[1], "src": URLS[1], "format": "jpeg"},
        **{"original_width": 24, "original_height": 16, "alt_text": "a green square"},
    }
    assert json.loads(row["general_metadata"])["warc_record_offset"] == 12
    # the images beside, as img2dataset's loaders read them: each once
    samples = list(webdataset.WebDataset(str(tmp_path / "images" / "00000.tar"), shardshuffle=False).decode("pil"))
    assert {sample["json"]["url"]: colour(sample["jpg"]) for sample in samples} == dict(
        zip(URLS, COLOURS_OF, strict=True)
    )
    assert len(samples) == 4


def test_omnicorpus_has_the_columns_of_the_published_set(tmp_path: Path) -> None:
    assert write_omnicorpus(DOCUMENTS, load, tmp_path) == 2
    rows = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=tmp_path / "c"
    )
    assert list(rows.features) == ["general_metadata", "images", "texts", "metadata"]
    row = rows[0]
    assert row["general_metadata"]["id"] == f"{0:032x}" and row["general_metadata"]["url"] == "https://example.org/0"
    assert row["images"] == [URLS[0], None, URLS[1], URLS[2], None, URLS[3]] and row["texts"] == whole(0)["texts"]
    assert row["metadata"][1] is None
    assert {name: value for name, value in row["metadata"][2].items() if value is not None}.keys() == {
        *("bytes", "height", "width", "img_url_sha", "p_hash"),
    }


def test_mmc4_pairs_each_picture_with_the_paragraph_that_follows_it(tmp_path: Path) -> None:
    assert write_mmc4([*DOCUMENTS, document(9) | {"texts": ["No picture."], "images": [None]}], load, tmp_path) == 2
    sample = next(iter(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode()))["json"]
    assert len(sample["text_list"]) == 4 and sample["text_list"][0] == "First of 0."
    assert "<image>" not in sample["text_list"][1] and "<|endofchunk|>" not in sample["text_list"][1]
    assert [np.argmax(row) for row in sample["similarity_matrix"]] == [0, 2, 2, 3]
    assert [sum(row) for row in sample["similarity_matrix"]] == [1, 1, 1, 1]
    told = sample["image_info"]
    assert [info["matched_text_index"] for info in told] == [0, 2, 2, 3] and [info["raw_url"] for info in told] == URLS
    pictures = [Picture.open(io.BytesIO(base64.b64decode(info["image_base64"]))) for info in told]
    assert [colour(picture) for picture in pictures] == COLOURS_OF


def test_openflamingo_numbers_pictures_by_their_place(tmp_path: Path, tokenizer: Tokenizer) -> None:
    windows = training_windows(tokenizer)
    assert write_openflamingo(rows_of(windows), load, tmp_path) == len(windows) == 1
    sample = next(iter(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode()))["json"]
    assert sample["is_gpt"] and "<image>" not in sample["example"]
    assert sample["example"].count("_!_IMAGE") == 4 == len(sample["image_map"])
    assert sample["example"].startswith("_!_IMAGE1_!_First of 0.") and sample["example"].endswith("Last._!_IMAGE4_!_")
    maps = [sample["image_map"][f"_!_IMAGE{number}_!_"]["base64_image"] for number in range(1, 5)]
    assert [colour(Picture.open(io.BytesIO(base64.b64decode(data)))) for data in maps] == COLOURS_OF


def test_webdataset_names_pictures_in_reading_order(tmp_path: Path) -> None:
    assert write_webdataset(DOCUMENTS, load, tmp_path) == 2
    samples = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"{0:032x}", f"{8:032x}-3"]
    told = samples[0]["json"]
    assert told["images"] == ["0.jpg", None, "1.jpg", "2.jpg", None, "3.jpg"] and told["texts"] == whole(0)["texts"]
    assert [colour(samples[0][name]) for name in told["images"] if name] == COLOURS_OF
    assert told["metadata"]["title"] == "Page 0"


def test_mint1t_has_a_frame_per_picture(tmp_path: Path) -> None:
    assert write_mint1t(DOCUMENTS, load, tmp_path) == 2
    with tarfile.open(tmp_path / "00000.tar") as tar:
        told = json.loads(tar.extractfile(f"{0:032x}.json").read())
        tiff = Picture.open(io.BytesIO(tar.extractfile(f"{0:032x}.tiff").read()))
    assert told["images"] == ["page_0_image_0", None, "page_0_image_1", "page_0_image_2", None, "page_0_image_3"]
    assert told["texts"] == whole(0)["texts"] and len(told["image_metadata"]) == tiff.n_frames == 4
    for number, name in enumerate(COLOURS_OF):
        tiff.seek(number)
        pixels = Picture.open(io.BytesIO(PICTURES[URLS[number]])).convert("RGB").tobytes()
        assert colour(tiff) == name and tiff.convert("RGB").tobytes() == pixels


def test_chat_is_read_by_datasets_with_decoded_pictures(tmp_path: Path) -> None:
    assert write_chat(DOCUMENTS, load, tmp_path) == 2
    row = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))[0]
    content = row["messages"][0]["content"]
    assert row["messages"][0]["role"] == "user"
    assert [part["type"] for part in content] == ["image", "text", "image", "image", "text", "image"]
    assert content[1]["text"].startswith("First of 0.\n\n") and "<image>" not in content[1]["text"]
    assert [colour(picture) for picture in row["images"]] == COLOURS_OF


def test_mimic_it_is_read_as_otter_reads_it(tmp_path: Path) -> None:
    assert write_mimic_it(DOCUMENTS, load, tmp_path) == 6
    told = json.loads((tmp_path / "M3W_instructions.json").read_bytes())["data"]
    train = json.loads((tmp_path / "M3W_train.json").read_bytes())
    images = pd.read_parquet(tmp_path / "M3W.parquet", columns=None)
    assert told.keys() == train.keys() and len(images) == 4
    for name, answer in zip(list(told)[:4], COLOURS_OF, strict=True):
        assert told[name]["answer"] == f"Caption in {answer}" and train[name] == told[name]["rel_ins_ids"]
        assert len(train[name]) == 3 and name not in train[name]
        data = images.loc[told[name]["image_ids"][0]]["base64"]
        assert colour(Picture.open(io.BytesIO(base64.urlsafe_b64decode(data)))) == answer


@pytest.mark.parametrize("name", EXPORTS)
def test_the_same_corpus_gives_the_same_bytes(name: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = rows_of(training_windows(tokenizer)) if EXPORTS[name].rows == "windows" else DOCUMENTS
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert EXPORTS[name].write(rows, load, folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        found.append([(str(path.relative_to(folder)), path.read_bytes()) for path in paths])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", EXPORTS)
def test_nothing_to_export_leaves_no_file(name: str, tmp_path: Path) -> None:
    rows = [] if EXPORTS[name].rows == "windows" else [HELD_OUT]
    assert EXPORTS[name].write(rows, load, tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_images_beside_a_table_are_cut_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SHARD_IMAGES", 3)
    write_obelics(DOCUMENTS, load, tmp_path)
    names = []
    for shard in sorted((tmp_path / "images").iterdir()):
        with tarfile.open(shard) as tar:
            names.append([name for name in tar.getnames() if name.endswith(".jpg")])
    assert names == [["000000000.jpg", "000000001.jpg", "000000002.jpg"], ["000010000.jpg"]]


def test_damage_leaves_no_unfinished_file(tmp_path: Path) -> None:
    def damaged(image: StoredImage) -> bytes:
        if image.image.url == URLS[2]:
            raise ValueError("damaged")
        return load(image)

    for name in set(EXPORTS) - {"openflamingo"}:
        with pytest.raises(ValueError, match="damaged"):
            EXPORTS[name].write(DOCUMENTS, damaged, tmp_path / name)
        assert [path for path in (tmp_path / name).rglob("*") if path.is_file()] == []


def test_row_groups_end_before_their_pictures_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROW_GROUP_BYTES", 1)
    write_chat(DOCUMENTS, load, tmp_path)
    assert pq.ParquetFile(tmp_path / "train-00000.parquet").num_row_groups == 2
