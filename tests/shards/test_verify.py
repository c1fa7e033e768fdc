"""A complete corpus passes; each kind of damage is found and reported with its file."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.tokenizer import Tokenizer, load_tokenizer
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


def test_problems_of_one_kind_are_listed_thrice_and_counted(corpus: Path) -> None:
    def foreign(number: int) -> Callable[[Any], None]:
        def change(rows: list[dict[str, Any]]) -> None:
            for row in rows[:number]:
                row["recipe"] = "0" * 64

        return change

    path = first(corpus, "windows/train-*.parquet")
    whole = path.read_bytes()
    found = changed(corpus, path, foreign(3))
    assert len(found) == 3 and all(problem.endswith("made with a different recipe") for problem in found)
    path.write_bytes(whole)
    name = path.relative_to(corpus).as_posix()
    assert changed(corpus, path, foreign(8))[3:] == [f"{name}: 5 more problems of this file"]


def test_every_problem_of_several_windows_is_told(corpus: Path) -> None:
    vocabulary = tokenizer_of(corpus).vocab_size

    def change(rows: list[dict[str, Any]]) -> None:
        for row, wrong in zip(rows, (vocabulary, -1), strict=False):
            ids = row["input_ids"]
            ids[next(place for place, token in enumerate(ids) if token < vocabulary - 2)] = wrong
        data = b"an image that no document has"
        rows[2]["images"][0]["bytes"] = data
        rows[2]["image_metadata"][0]["stored_sha256"] = hashlib.sha256(data).digest()

    path = first(corpus, "windows/validation-*.parquet")
    ids = [row["window_id"] for row in pq.read_table(path, columns=["window_id"]).to_pylist()[:3]]
    name = path.relative_to(corpus).as_posix()
    assert changed(corpus, path, change) == [
        f"{name}: window {ids[0]}: tokens beyond the tokenizer's vocabulary",
        f"{name}: window {ids[1]}: tokens beyond the tokenizer's vocabulary",
        f"{name}: window {ids[2]}: image 0 is not in images/",
    ]


def tokenizer_of(corpus: Path) -> Tokenizer:
    return load_tokenizer(str(corpus / "tokenizer.json"))


def test_what_the_manifest_counts_is_compared(corpus: Path, tmp_path: Path) -> None:
    """Rows of Parquet files, windows of tar files of windows, members of tar files of images."""
    manifest = manifest_of(corpus)
    (corpus / "documents/.left-by-a-killed-build.tmp").write_bytes(b"x")
    report = verify(corpus, manifest)
    rows = {entry["path"]: entry["rows"] for entry in manifest["files"]}
    assert report.problems == []
    assert report.bytes == sum(entry["bytes"] for entry in manifest["files"])
    assert report.documents == sum(count for path, count in rows.items() if path.startswith("documents/"))
    windows = [count for path, count in rows.items() if path.startswith("windows/") and path.endswith(".parquet")]
    assert report.windows == sum(windows), "of both formats once"
    assert report.pictures == sum(count for path, count in rows.items() if path.endswith(".tar") and "images" in path)
    for path in (corpus / "windows").glob("*.parquet"):
        path.rename(tmp_path / path.name)
    tars_alone = [entry for entry in manifest["files"] if not re.match(r"windows/.*\.parquet", entry["path"])]
    report = verify(corpus, manifest | {"files": tars_alone})
    assert report.problems == [] and report.windows == sum(windows)
    for path in tmp_path.glob("*.parquet"):
        path.rename(corpus / "windows" / path.name)
    changed_rows = ["documents/00001.parquet", "images/00000.tar", "windows/train-00000.tar"]
    for entry in manifest["files"]:
        entry["rows"] += entry["path"] in changed_rows
    assert verify(corpus, manifest).problems == [
        f"{path}: {rows[path]:,} rows, the manifest says {rows[path] + 1:,}" for path in changed_rows
    ]


def test_both_formats_hold_the_same_windows_and_a_damaged_file_hides_no_other(corpus: Path) -> None:
    """Where documents cannot be read, it is not known which are missing."""
    tar = corpus / "windows/train-00000.tar"
    shutil.copy(corpus / "windows/validation-00000.tar", tar)
    sign(corpus, tar)
    manifest = manifest_of(corpus)
    rows = {entry["path"]: entry["rows"] for entry in manifest["files"]}
    for entry in manifest["files"]:
        if entry["path"] == "windows/train-00000.tar":
            entry["rows"] = rows["windows/validation-00000.tar"]
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != "images/00002.tar"]
    damaged = corpus / "documents/00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert verify(corpus, manifest).problems == [
        f"documents/00002.parquet: {damaged.stat().st_size:,} bytes, the manifest says {damaged.stat().st_size + 1:,}",
        "images/00002.tar: not in the manifest",
        "images/00002.tar: referenced by documents or the index, but not in the manifest",
        "windows/train-00000.tar: not the windows of train-00000.parquet",
    ]


def test_documents_twice_or_without_a_column_and_a_file_that_is_no_tokenizer(corpus: Path) -> None:
    def twice(rows: list[dict[str, Any]]) -> None:
        rows[1]["doc_id"] = rows[0]["doc_id"]

    found = changed(corpus, corpus / "documents/00000.parquet", twice)
    assert [problem.rpartition(" ")[2] for problem in found] == ["twice"]
    path = corpus / "documents/00001.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["site", "images"]), path)
    sign(corpus, path)
    (corpus / "tokenizer.json").write_text("{}")
    sign(corpus, corpus / "tokenizer.json")
    found = problems(corpus)
    assert "documents/00001.parquet: columns are missing: ['images', 'site']" in found
    assert len(found) == 3 and found[-1].startswith("tokenizer.json: ")


def test_windows_without_a_column_and_images_of_other_bytes(corpus: Path) -> None:
    path = corpus / "windows/train-00000.parquet"
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["recipe"])[:1], path)
    sign(corpus, path)
    (corpus / "windows/train-00000.tar").unlink()
    tar = corpus / "images/00000.tar"
    data = bytearray(tar.read_bytes())
    index = pq.read_table(corpus / "images/00000.parquet", columns=["tar", "offset"], partitioning=None).to_pylist()
    offsets = sorted({row["offset"] for row in index if row["tar"] == tar.name})[:5]
    for offset in offsets:
        data[offset] ^= 1
    tar.write_bytes(data)
    sign(corpus, tar)
    manifest = manifest_of(corpus)
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != "windows/train-00000.tar"]
    found = verify(corpus, manifest).problems
    assert [problem.partition(": its bytes")[0] for problem in found[:3]] == [
        f"images/00000.tar: image at {offset}" for offset in offsets[:3]
    ]
    assert found[3] == "images/00000.tar: 2 more problems of this file"
    assert len(found) == 5 and found[4].endswith(": columns are missing: ['recipe']")
