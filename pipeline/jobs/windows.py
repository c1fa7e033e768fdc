"""Stages tokenizer, windows and shards: documents become windows, windows become shards."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BuildError
from pipeline.jobs import tables
from pipeline.jobs.corpus import Corpus
from pipeline.jobs.schemas import CUTS
from pipeline.jobs.stage import FileEntry, Task
from pipeline.recipe import Recipe
from shards.files import Output, atomic
from shards.records import StoredImage
from shards.tar import read_member
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer, tokenizer_file, train_corpus_tokenizer
from shards.windows import Window, WindowOptions, document_windows, pieces
from shards.writers import window_columns, write_parquet, write_tar

SAMPLE_BYTES = 50_000_000
"""Training text that the corpus tokenizer sees, at most about this much."""
RUN = 64
"""Consecutive documents of a part that go to the same shard, so that its pictures lie together in the store."""


def tokenizer_digest(source: str) -> str | None:
    """sha256 (hex) of the file that a recipe's `windows.tokenizer` names, None where it names none: "corpus", or a
    Hugging Face name. Raises BuildError where it cannot be read."""
    path = None if source == "corpus" else tokenizer_file(source)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BuildError(f"cannot read the tokenizer {path}: {error.strerror}") from None


@dataclass(frozen=True)
class MakeTokenizer:
    """The work of the one task of stage tokenizer: writes tokenizer.json."""

    corpus: Corpus
    recipe: Recipe
    parts: int

    def __call__(self, task: Task) -> list[FileEntry]:
        windows = self.recipe.windows
        try:
            if windows.tokenizer == "corpus":
                tokenizer = train_corpus_tokenizer(self._sample(), windows.vocabulary)
            else:
                tokenizer = load_tokenizer(windows.tokenizer)
        except TokenizerError as error:
            raise BuildError(str(error)) from None
        path = self.corpus.root / "tokenizer.json"
        with atomic(path) as output:
            output.write(tokenizer.json.encode())
        return [FileEntry(self.corpus.relative(path), 1, output.size, output.sha256)]

    def _sample(self) -> Iterator[str]:
        """Training texts, drawn by hash of (seed, doc_id) so that about SAMPLE_BYTES come together."""
        total = 0
        for row in self._documents(["texts", "split", "images", "held_out", "doc_id"]):
            total += sum(len(text) for text in _training_texts(row))
        share = SAMPLE_BYTES / max(total, 1)
        for row in self._documents(["texts", "split", "images", "held_out", "doc_id"]):
            digest = hashlib.sha256(f"{self.recipe.seed}\ntokenizer\n{row['doc_id']}".encode()).digest()
            if int.from_bytes(digest[:8]) < share * 2**64:
                yield from _training_texts(row)

    def _documents(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        for part in range(self.parts):
            for batch in pq.ParquetFile(self.corpus.part("documents", part)).iter_batches(256, columns=columns):
                yield from batch.to_pylist()


def _training_texts(row: dict[str, Any]) -> list[str]:
    if row["split"] == "mixed":
        return [
            node.text
            for piece in pieces(row)
            if piece.split == "train"
            for node in piece.nodes
            if not isinstance(node, StoredImage)
        ]
    return [text for text in row["texts"] if text is not None] if row["split"] == "train" else []


@dataclass(frozen=True)
class CutWindows:
    """The work of a part: writes work/windows."""

    corpus: Corpus
    recipe: Recipe

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(str(self.corpus.root / "tokenizer.json"))

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "recipe": self.recipe}

    def __call__(self, task: Task) -> list[FileEntry]:
        recipe = self.recipe
        options = WindowOptions(
            policy=recipe.windows.policy,
            tokens=recipe.windows.tokens,
            images=recipe.windows.images,
            draws=recipe.windows.draws,
        )
        recipe_hash = recipe.hash()
        rows = tables.Rows(CUTS)
        index = 0
        for batch in pq.ParquetFile(self.corpus.part("documents", task.number)).iter_batches(256):
            for document in batch.to_pylist():
                run = {"run": index // RUN}
                index += 1
                for cut in document_windows(document, self._tokenizer, options, seed=recipe.seed, recipe=recipe_hash):
                    for rule, count in sorted(cut.dropped.items()):
                        dropped = {"doc_id": document["doc_id"], "rule": rule, "count": count, "split": cut.split}
                        rows.add(run | dropped)
                    for window in cut.windows:
                        rows.add(run | {"split": cut.split, "count": 1} | _window_row(window))
        return [rows.write(self.corpus, self.corpus.part("windows", task.number))]


def _window_row(window: Window) -> dict[str, Any]:
    columns = window_columns(window)
    del columns["image_metadata"]
    images = [image.row() for image in window.images]
    return columns | {"images": images, "bytes": sum(image.length for image in window.images)}


@dataclass(frozen=True)
class Shard:
    """A shard to be written: its split, its number among the shards of that split, and the runs (part, run) it
    holds."""

    split: str
    number: int
    runs: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


def deal(corpus: Corpus, parts: int, seed: int, shard_bytes: int) -> list[Task]:
    """One task a shard: runs of documents dealt to shards by hash, so many shards that they have `shard_bytes` on
    average."""
    sizes: dict[str, dict[tuple[int, int], int]] = {"train": {}, "validation": {}}
    for part in range(parts):
        columns = tables.read(corpus.part("windows", part), ["run", "split", "rule", "bytes", "input_ids"])
        kept = columns.filter(columns["rule"].is_null())
        tokens = np.diff(kept["input_ids"].combine_chunks().offsets) if kept.num_rows else []
        for run, split, size, length in zip(
            kept["run"].to_pylist(), kept["split"].to_pylist(), kept["bytes"].to_pylist(), tokens, strict=True
        ):
            sizes[split][part, run] = sizes[split].get((part, run), 0) + size + 8 * int(length)
    tasks: list[Task] = []
    for split, runs in sizes.items():
        count = max(1, -(-sum(runs.values()) // shard_bytes)) if runs else 0
        dealt: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for run in sorted(runs):
            digest = hashlib.sha256(f"{seed}\nshard\n{run[0]}\n{run[1]}".encode()).digest()
            dealt[int.from_bytes(digest[:8]) % count].append(run)
        for number, of_shard in enumerate(dealt):
            weight = sum(runs[run] for run in of_shard)
            tasks.append(Task(len(tasks), weight, Shard(split, number, tuple(of_shard))))
    return tasks


@dataclass(frozen=True)
class WriteShard:
    """The work of a shard: writes windows/SPLIT-NNNNN.parquet and .tar."""

    corpus: Corpus
    formats: tuple[str, ...]

    def __call__(self, task: Task) -> list[FileEntry]:
        shard: Shard = task.payload
        entries = []
        for suffix, write in (("parquet", write_parquet), ("tar", write_tar)):
            if suffix in self.formats:
                path = self.corpus.root / "windows" / f"{shard.name}.{suffix}"
                counted = _Counted(self._windows(shard))
                output: Output = write(path, counted, self._load)
                entries.append(FileEntry(self.corpus.relative(path), counted.count, output.size, output.sha256))
        return entries

    def _windows(self, shard: Shard) -> Iterator[Window]:
        by_part: dict[int, list[int]] = {}
        for part, run in shard.runs:
            by_part.setdefault(part, []).append(run)
        for part, runs in sorted(by_part.items()):
            rows = tables.read(self.corpus.part("windows", part))
            wanted = pa.compute.is_in(rows["run"], value_set=pa.array(runs, pa.int32()))
            mine = pa.compute.and_(wanted, pa.compute.equal(rows["split"], shard.split))
            for batch in rows.filter(pa.compute.and_(mine, rows["rule"].is_null())).to_batches(256):
                for row in batch.to_pylist():
                    yield _window(row)

    def _load(self, image: StoredImage) -> bytes:
        return read_member(self.corpus.root / "images" / image.tar, image.offset, image.length)


@dataclass
class _Counted:
    windows: Iterator[Window]
    count: int = field(default=0)

    def __iter__(self) -> Iterator[Window]:
        for window in self.windows:
            self.count += 1
            yield window


WINDOW_FIELDS = ("doc_id", "url", "site", "language", "text", "token_start", "seed", "tokenizer", "recipe")


def _window(row: dict[str, Any]) -> Window:
    return Window(
        **{name: row[name] for name in WINDOW_FIELDS},
        input_ids=np.asarray(row["input_ids"], np.int32),
        image_positions=np.asarray(row["image_positions"], np.int32),
        images=tuple(StoredImage.from_row(image) for image in row["images"]),
    )
