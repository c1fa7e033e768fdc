"""A complete corpus passes; each kind of damage is found and reported with its file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.verify import verify


@pytest.fixture
def corpus(small_corpus: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("work"))
    return tmp_path / "corpus"


def manifest_of(corpus: Path) -> dict[str, Any]:
    return json.loads((corpus / "manifest.json").read_bytes())


def problems(corpus: Path) -> list[str]:
    return verify(corpus, manifest_of(corpus)).problems


def first(corpus: Path, pattern: str) -> Path:
    return next(path for path in sorted(corpus.glob(pattern)) if path.stat().st_size > 2048)


def sign(corpus: Path, path: Path) -> None:
    """Make the manifest list a changed file as it is: only its content is left to be checked."""
    manifest = manifest_of(corpus)
    for entry in manifest["files"]:
        if entry["path"] == path.relative_to(corpus).as_posix():
            data = path.read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            if path.suffix == ".parquet":
                entry["rows"] = pq.read_metadata(path).num_rows
    (corpus / "manifest.json").write_text(json.dumps(manifest))


def test_a_whole_corpus_has_no_problems(corpus: Path) -> None:
    report = verify(corpus, manifest_of(corpus))
    assert report.problems == []
    assert report.documents > 10 and report.pictures > 10 and report.windows > 10
    assert report.files == len(manifest_of(corpus)["files"])


@pytest.mark.parametrize(
    "pattern",
    ["documents/*.parquet", "images/*.parquet", "images/*.tar", "windows/*.parquet", "windows/*.tar", "tokenizer.json"],
)
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "empty"])
def test_a_damaged_file_is_named(corpus: Path, pattern: str, damage: str) -> None:
    path = first(corpus, pattern)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes({"flipped": data, "cut": data[: len(data) // 2]}.get(damage, b""))
    if damage == "missing":
        path.unlink()
    name = path.relative_to(corpus).as_posix()
    assert any(problem.startswith(f"{name}: ") for problem in problems(corpus))


def test_swapped_shards_are_both_named(corpus: Path) -> None:
    train, validation = first(corpus, "windows/train-*.parquet"), first(corpus, "windows/validation-*.parquet")
    one, other = train.read_bytes(), validation.read_bytes()
    train.write_bytes(other)
    validation.write_bytes(one)
    found = problems(corpus)
    assert {problem.partition(":")[0] for problem in found} == {f"windows/{path.name}" for path in (train, validation)}


def test_swapped_shards_are_found_though_the_manifest_agrees(corpus: Path) -> None:
    train, validation = first(corpus, "windows/train-*.parquet"), first(corpus, "windows/validation-*.parquet")
    one, other = train.read_bytes(), validation.read_bytes()
    train.write_bytes(other)
    validation.write_bytes(one)
    sign(corpus, train)
    sign(corpus, validation)
    assert any("it is in train, its document in validation" in problem for problem in problems(corpus))


@pytest.mark.parametrize("name", ["documents/99999.parquet", "images/x.tar", "windows/train-00099.parquet"])
def test_a_file_that_nobody_named_is_told(corpus: Path, name: str) -> None:
    (corpus / name).write_bytes(b"x")
    assert f"{name}: not in the manifest" in problems(corpus)


def changed(corpus: Path, path: Path, change: Callable[[list[dict[str, Any]]], None]) -> list[str]:
    table = pq.read_table(path, partitioning=None)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    sign(corpus, path)
    return [problem for problem in problems(corpus) if problem.startswith(path.relative_to(corpus).as_posix())]


def shift(rows: list[dict[str, Any]]) -> None:
    rows[0]["image_positions"][0] += 1


def other_picture(rows: list[dict[str, Any]]) -> None:
    image = rows[0]["images"][0]
    image["bytes"] = next(row["images"][0]["bytes"] for row in rows if row["images"][0]["bytes"] != image["bytes"])


def one_picture_less(rows: list[dict[str, Any]]) -> None:
    del rows[0]["images"][0]


def orphan(rows: list[dict[str, Any]]) -> None:
    rows[0]["doc_id"] = "0" * 32


def foreign_tokenizer(rows: list[dict[str, Any]]) -> None:
    rows[0]["tokenizer"] = "0" * 64


def twice(rows: list[dict[str, Any]]) -> None:
    rows[1] = rows[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (shift, "image_positions"),
        (other_picture, "do not match"),
        (one_picture_less, "images for"),
        (orphan, "no document"),
        (foreign_tokenizer, "different tokenizer"),
        (twice, "is in train-"),
    ],
)
def test_what_a_window_says_is_checked(corpus: Path, change: Callable[[Any], None], told: str) -> None:
    found = changed(corpus, first(corpus, "windows/train-*.parquet"), change)
    assert any(told in problem for problem in found), found


def wrong_place(rows: list[dict[str, Any]]) -> None:
    image = next(image for row in rows for image in row["images"] if image)
    image["offset"] += 512


def both_at_once(rows: list[dict[str, Any]]) -> None:
    row = rows[0]
    row["texts"] = ["x" for _ in row["texts"]]


def test_a_document_that_names_the_wrong_bytes_is_found(corpus: Path) -> None:
    changed(corpus, first(corpus, "documents/*.parquet"), wrong_place)
    assert any(problem.startswith("images/") and "do not match" in problem for problem in problems(corpus))


def test_a_node_that_is_text_and_image_is_found(corpus: Path) -> None:
    found = changed(corpus, first(corpus, "documents/*.parquet"), both_at_once)
    assert any("exactly one of text and image" in problem for problem in found)
