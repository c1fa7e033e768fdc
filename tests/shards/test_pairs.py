"""Image-text pairs of a corpus, read back by webdataset and by the trainer."""

import json
from pathlib import Path

import pytest
import webdataset

from shards.exports import pairs as module
from shards.exports.pairs import write_pairs
from shards.records import StoredImage
from tests.shards.test_writers import document, encoded, load, stored


def with_texts(image: StoredImage, alt: str, caption: str) -> StoredImage:
    row = image.row() | {"alt": alt, "caption": caption}
    return StoredImage.from_row(row)


def test_pairs_are_read_by_webdataset(tmp_path: Path) -> None:
    assert write_pairs([document(0), document(1)], load, tmp_path) == 7
    samples = list(webdataset.WebDataset(str(tmp_path / "00000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == [f"00000{number:04d}" for number in range(7)]
    first = samples[0]
    assert first["txt"] == "a red square" and first["jpg"].size == (24, 16)
    assert first["json"]["caption"] == first["txt"] and first["json"]["url"] == "https://example.org/red.jpg"
    assert first["json"]["page_url"] == "https://example.org/0"
    assert {"key", "status", "width", "height", "original_width", "sha256"} <= set(first["json"])


def test_alt_comes_before_caption_and_pictures_without_either_are_left_out(tmp_path: Path) -> None:
    row = document(0)
    nodes = [stored("red"), stored("green"), stored("blue")]
    nodes = [
        with_texts(*parts) for parts in zip(nodes, ("", " a\n b ", ""), ("A caption", "Not this", " "), strict=True)
    ]
    row |= {"texts": [None] * 3, "images": [node.row() for node in nodes]}
    assert [text for _, text, _ in module.pairs([row])] == ["A caption", "a b"]


def test_held_out_pieces_give_no_pairs() -> None:
    held_out, mixed = document(0) | {"split": "validation"}, document(1) | {"split": "mixed"}
    mixed["held_out"] = [{"start": 0, "stop": 12, "split": "validation"}]
    assert list(module.pairs([held_out])) == []
    assert [text for _, text, _ in module.pairs([held_out, mixed])] == ["a purple square"]


def test_a_shard_ends_at_its_number_of_pairs_and_names_pictures_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_PAIRS", 3)
    assert write_pairs([document(0)], lambda image: encoded("red", "PNG"), tmp_path) == 7
    shards = sorted(path.name for path in tmp_path.iterdir())
    assert shards == ["00000.tar", "00001.tar", "00002.tar"]
    samples = list(webdataset.WebDataset(str(tmp_path / "00002.tar"), shardshuffle=False))
    assert len(samples) == 1 and samples[0]["__key__"] == "000020000"
    assert samples[0]["png"][:4] == b"\x89PNG" and json.loads(samples[0]["json"])["key"] == "000020000"


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pairs([document(0)], load, tmp_path / name)
    assert (tmp_path / "a" / "00000.tar").read_bytes() == (tmp_path / "b" / "00000.tar").read_bytes()
