"""Read a finished corpus. File names come from its manifest, not from directory listings."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.inspect import finished
from shards.readers import read_documents, read_windows
from shards.store import located


@dataclass(frozen=True)
class Corpus:
    """A finished corpus at `root`. `manifest` is the content of its manifest.json."""

    root: Path
    manifest: dict[str, Any]

    def documents(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every kept page as a dict of the columns of documents/*.parquet, or only of `columns`."""
        return read_documents(self._files("documents/", ".parquet"), columns=_list(columns))

    def windows(self, split: str = "train", columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The windows of a split, "train" or "validation": dicts of the columns of windows/*, or only of `columns`.

        `input_ids` and `image_positions` are int32 arrays, `images` the encoded images. Raises ValueError, naming the
        file, for a damaged shard."""
        return read_windows(self.shards(split), columns=_list(columns))

    def shards(self, split: str) -> list[Path]:
        """The files of the windows of a split, "train" or "validation": Parquet if the corpus has it, else tar."""
        if split not in ("train", "validation"):
            raise ValueError(f'split is "train" or "validation", not {split!r}')
        prefix = f"windows/{split}-"
        return self._files(prefix, ".parquet") or self._files(prefix, ".tar")

    def files(self, folder: str) -> list[Path]:
        """The Parquet files of "documents", "images" (the index, a row for each URL) or "windows", for readers such as
        `pyarrow.dataset.dataset` and `datasets.load_dataset("parquet", data_files=...)`: tar files lie beside them."""
        return self._files(f"{folder}/", ".parquet")

    def _files(self, prefix: str, suffix: str) -> list[Path]:
        paths = [entry["path"] for entry in self.manifest["files"]]
        return [self.root / path for path in paths if path.startswith(prefix) and path.endswith(suffix)]


def open_corpus(path: str | os.PathLike[str]) -> Corpus:
    """Open a corpus built by `m3w build`, in a directory or in a store (s3://BUCKET/PREFIX, gs://BUCKET/PREFIX).

    Raises BuildError if the directory is not a corpus, is not finished, or has another version's format."""
    opened = finished.open_corpus(located(path))
    return Corpus(opened.root, opened.manifest)


def _list(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
