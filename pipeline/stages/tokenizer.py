"""Stage tokenizer: train it on training text, or load it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.errors import BuildError
from pipeline.recipe import Recipe
from shards.draws import hash64
from shards.files import atomic
from shards.store import parquet_source
from shards.tokenizer import TokenizerError, load_tokenizer, tokenizer_file, train_corpus_tokenizer
from shards.windows import training_texts

SAMPLE_BYTES = 50_000_000
"""Approximate maximum of training text for the corpus tokenizer."""


def tokenizer_digest(source: str) -> str | None:
    """sha256 (hex) of the file given by a recipe's `windows.tokenizer`; None if it is not a file: "corpus", or a
    Hugging Face name. Raises BuildError if it cannot be read."""
    path = None if source == "corpus" else tokenizer_file(source)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BuildError(f"cannot read the tokenizer {path}: {error.strerror}") from None


@dataclass(eq=False)
class MakeTokenizer(EachTask):
    """Input: tasks, one per task. Output: (task number, files): tokenizer.json."""

    corpus: CorpusDirectory
    recipe: Recipe
    parts: int

    def work(self, task: Task) -> list[FileEntry]:
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
        """Training texts, drawn by hash of (seed, doc_id), about SAMPLE_BYTES in total."""
        total = 0
        for row in self._documents(["texts", "split", "images", "held_out", "doc_id"]):
            total += sum(len(text) for text in training_texts(row))
        share = SAMPLE_BYTES / max(total, 1)
        for row in self._documents(["texts", "split", "images", "held_out", "doc_id"]):
            if hash64(f"{self.recipe.seed}\ntokenizer\n{row['doc_id']}") < share * 2**64:
                yield from training_texts(row)

    def _documents(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        for part in range(self.parts):
            for batch in pq.ParquetFile(parquet_source(self.corpus.part("documents", part))).iter_batches(
                256, columns=columns
            ):
                yield from batch.to_pylist()
