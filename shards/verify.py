"""Verify a corpus: every file, hash, count and reference in its manifest, documents and windows.

The data may be damaged in any way. Checking continues after a problem; each is reported with its file."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.errors import first_line
from shards.readers import read_windows
from shards.records import DOCUMENTS, WINDOWS, stored_nodes
from shards.store import RemotePath, parquet_source
from shards.tar import members, read_members
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer

FOLDERS = ("documents", "images", "windows")
TOLD = 3
"""Problems of one kind listed per file; the rest are counted."""
AT_ONCE = 256
"""Images of a corpus in a store that are read together."""
SPLITS = {"train": ("train", "mixed"), "validation": ("validation", "mixed")}
"""Splits of documents that the windows of a split may come from."""

PLACE = pa.schema(
    [("tar", pa.string()), ("offset", pa.int64()), ("length", pa.int32()), ("stored_sha256", pa.binary(32))]
)


@dataclass
class Report:
    """What was checked, and the `problems` found: lines that start with a file name."""

    problems: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    documents: int = 0
    pictures: int = 0
    windows: int = 0


def verify(corpus: Path, manifest: dict[str, Any]) -> Report:
    """Check a corpus against its manifest. Damage of any kind is reported, never raised."""
    report = Report()
    entries = {entry["path"]: entry for entry in manifest["files"]}
    whole = set()
    for path, entry in sorted(entries.items()):
        problem = file_problem(corpus, entry) or _rows_problem(corpus / path, entry)
        report.files += 1
        report.bytes += entry["bytes"]
        if problem is None:
            whole.add(path)
        else:
            report.problems.append(f"{path}: {problem}")
    report.problems += [f"{path}: not in the manifest" for path in _extra(corpus, entries)]
    documents, places = _documents(corpus, entries, whole, report)
    stored = _pictures(corpus, entries, whole, places, report)
    _windows(corpus, manifest, entries, whole, documents, stored, report)
    return report


def file_problem(corpus: Path, entry: dict[str, Any]) -> str | None:
    """What is wrong with the bytes of a file in the manifest, or None."""
    try:
        with (corpus / entry["path"]).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size != entry["bytes"]:
        return f"{size:,} bytes, the manifest says {entry['bytes']:,}"
    return None if digest == entry["sha256"] else "the sha256 differs from the manifest"


def _rows_problem(path: Path, entry: dict[str, Any]) -> str | None:
    try:
        if path.suffix == ".parquet":
            rows = pq.read_metadata(parquet_source(path)).num_rows
        elif path.suffix == ".tar":
            with path.open("rb") as file:
                is_windows = entry["path"].startswith("windows/")
                rows = sum(member.name.endswith(".json") or not is_windows for member in members(file))
        else:
            return None
    except (OSError, ValueError, pa.ArrowException) as error:
        return f"cannot be read: {first_line(error)}"
    return None if rows == entry["rows"] else f"{rows:,} rows, the manifest says {entry['rows']:,}"


def _extra(corpus: Path, entries: dict[str, Any]) -> list[str]:
    """Files not in the manifest; hidden files left by a killed build do not count."""
    found = (path for folder in FOLDERS for path in (corpus / folder).rglob("*") if not path.is_dir())
    names = (path.relative_to(corpus).as_posix() for path in found if not path.name.startswith("."))
    return sorted(name for name in names if name not in entries)


def _documents(
    corpus: Path, entries: dict[str, Any], whole: set[str], report: Report
) -> tuple[dict[str, str] | None, pa.Table]:
    """The split of every document by doc_id (None if a file is damaged), and where their images are stored."""
    splits: dict[str, str] = {}
    places = [PLACE.empty_table()]
    complete = True
    for path in sorted(entries):
        if not path.startswith("documents/"):
            continue
        if path not in whole:
            complete = False
            continue
        told = _Told(report, path)
        for batch in pq.ParquetFile(parquet_source(corpus / path)).iter_batches(512):
            if not set(DOCUMENTS.names) <= set(batch.schema.names):
                told(f"columns are missing: {sorted(set(DOCUMENTS.names) - set(batch.schema.names))}")
                break
            images = batch["images"].flatten().drop_null()
            places.append(pa.table({name: images.field(name) for name in PLACE.names}, schema=PLACE))
            for doc_id, split in zip(batch["doc_id"].to_pylist(), batch["split"].to_pylist(), strict=True):
                if doc_id in splits:
                    told(f"document {doc_id} occurs twice")
                splits[doc_id] = split
            for row in batch.select(["doc_id", "texts", "images"]).to_pylist():
                try:
                    stored_nodes(row["texts"], row["images"])
                except ValueError as error:
                    told(f"document {row['doc_id']}: {error}")
        told.end()
    report.documents = len(splits)
    return (splits if complete else None), _distinct(places)


def _distinct(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).group_by(PLACE.names).aggregate([]).select(PLACE.names)


def _pictures(
    corpus: Path, entries: dict[str, Any], whole: set[str], places: pa.Table, report: Report
) -> pa.Array | None:
    """Read each image referenced by documents or the index once; returns the hashes of the images in the store."""
    tables = [places]
    for path in sorted(whole):
        if path.startswith("images/") and path.endswith(".parquet"):
            index = pq.read_table(parquet_source(corpus / path), columns=PLACE.names, partitioning=None)
            tables.append(index.filter(index["tar"].is_valid()).cast(PLACE))
    everything = _distinct(tables).sort_by([("tar", "ascending"), ("offset", "ascending")])
    report.pictures = everything.num_rows
    for name in everything["tar"].unique().to_pylist():
        path = f"images/{name}"
        told = _Told(report, path)
        if path not in entries:
            told("referenced by documents or the index, but not in the manifest")
            continue
        rows = everything.filter(pc.equal(everything["tar"], name)).to_pylist()
        at_once = AT_ONCE if isinstance(corpus, RemotePath) else 1
        for start in range(0, len(rows), at_once):
            _images(corpus / path, rows[start : start + at_once], told)
        told.end()
    return everything["stored_sha256"].unique()


def _images(tar: Path, rows: list[dict[str, Any]], told: "_Told") -> None:
    try:
        found = read_members(tar, [(row["offset"], row["length"]) for row in rows])
    except (OSError, ValueError) as error:
        told(f"image at {rows[0]['offset']}: {first_line(error)}")
        return
    for row, data in zip(rows, found, strict=True):
        if hashlib.sha256(data).digest() != row["stored_sha256"]:
            told(f"image at {row['offset']}: its bytes do not match the hash {row['stored_sha256'].hex()[:12]}…")


def _windows(
    corpus: Path,
    manifest: dict[str, Any],
    entries: dict[str, Any],
    whole: set[str],
    documents: dict[str, str] | None,
    stored: pa.Array,
    report: Report,
) -> None:
    if "tokenizer.json" not in whole:
        return
    known = set(stored.to_pylist())
    try:
        tokenizer = load_tokenizer(str(corpus / "tokenizer.json"))
    except (TokenizerError, OSError) as error:
        report.problems.append(f"tokenizer.json: {first_line(error)}")
        return
    ids: dict[str, list[str]] = {}
    for path in sorted(path for path in entries if path.startswith("windows/") and path in whole):
        told = _Told(report, path)
        shard, _, kind = path.removeprefix("windows/").partition(".")
        split = shard.partition("-")[0]
        here = ids.setdefault(f"{shard}.{kind}", [])
        try:
            for row in read_windows([corpus / path]):
                here.append(row["window_id"])
                for problem in _window_problems(row, split, manifest, tokenizer, documents, known):
                    told(f"window {row['window_id']}: {problem}")
        except ValueError as error:
            told(first_line(error))
        told.end()
    for name, found in ids.items():
        other = ids.get(name.replace(".tar", ".parquet"))
        if name.endswith(".tar") and other is not None and other != found:
            report.problems.append(f"windows/{name}: not the windows of {name.replace('.tar', '.parquet')}")
    of_one_format: dict[str, str] = {}
    for name, found in ids.items():
        if name.endswith(".tar") and name.replace(".tar", ".parquet") in ids:
            continue
        report.windows += len(found)
        for window_id in found:
            if window_id in of_one_format:
                report.problems.append(f"windows/{name}: window {window_id} is in {of_one_format[window_id]} too")
            of_one_format[window_id] = name


def _window_problems(
    row: dict[str, Any],
    split: str,
    manifest: dict[str, Any],
    tokenizer: Tokenizer,
    documents: dict[str, str] | None,
    stored: set[bytes],
) -> Iterator[str]:
    missing = set(WINDOWS.names) - set(row)
    if missing:
        yield f"columns are missing: {sorted(missing)}"
        return
    if documents is not None and row["doc_id"] not in documents:
        yield f"no document {row['doc_id']}"
    elif documents is not None and documents[row["doc_id"]] not in SPLITS.get(split, ()):
        yield f"it is in {split}, its document in {documents[row['doc_id']]}"
    marks = np.flatnonzero(row["input_ids"] == tokenizer.image_id)
    if not np.array_equal(marks, row["image_positions"]):
        yield "image_positions are not the places of its <image> tokens"
    if len(row["input_ids"]) and not 0 <= row["input_ids"].min() <= row["input_ids"].max() < tokenizer.vocab_size:
        yield "tokens beyond the tokenizer's vocabulary"
    if not len(row["images"]) == len(row["image_metadata"]) == len(row["image_positions"]):
        yield f"{len(row['images'])} images for {len(row['image_positions'])} <image> tokens"
    for number, (data, image) in enumerate(zip(row["images"], row["image_metadata"], strict=False)):
        if hashlib.sha256(data).digest() != image["stored_sha256"]:
            yield f"image {number}: its bytes do not match its hash"
        if image["stored_sha256"] not in stored:
            yield f"image {number} is not in images/"
    for name in ("tokenizer", "recipe"):
        if row[name] != manifest[name]:
            yield f"made with a different {name}"


@dataclass
class _Told:
    """Reports the first few problems of a file and counts the others."""

    report: Report
    path: str
    count: int = 0

    def __call__(self, problem: str) -> None:
        self.count += 1
        if self.count <= TOLD:
            self.report.problems.append(f"{self.path}: {problem}")

    def end(self) -> None:
        if self.count > TOLD:
            self.report.problems.append(f"{self.path}: {self.count - TOLD:,} more problems of this file")
