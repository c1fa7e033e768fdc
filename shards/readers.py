"""Read windows and documents of a corpus, and compute what trainers need from them.

File names come from the corpus' manifest, not from directory listings."""

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.store import located, parquet_source
from shards.tar import members
from shards.tokenizer import Tokenizer
from shards.windows import Window, WindowOptions, document_windows


def previous_image(positions: np.ndarray, length: int) -> np.ndarray:
    """For each of `length` tokens the index of the last image at or before it, -1 if none: (length,) int32. `positions`
    (k,) are the ascending indices of the `<image>` tokens. This is Flamingo's phi, with -1 instead of 0."""
    return (np.searchsorted(positions, np.arange(length), side="right") - 1).astype(np.int32)


def next_image(positions: np.ndarray, length: int) -> np.ndarray:
    """For each of `length` tokens the index of the first image at or after it, -1 if none: (length,) int32."""
    index = np.searchsorted(positions, np.arange(length), side="left").astype(np.int32)
    return np.where(index < len(positions), index, np.int32(-1))


def read_windows(paths: Iterable[str | Path], *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Read the windows of shards, .parquet or .tar, file by file and row by row.

    Each is a dict of the columns of `shards.records.WINDOWS`, or only of `columns`; `input_ids` and `image_positions`
    are int32 arrays, `images` a list of encoded images. Raises ValueError, naming the file, if one is damaged."""
    for path in map(located, paths):
        try:
            yield from (_parquet_rows if path.suffix == ".parquet" else _tar_rows)(path, columns)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(f"{path} is not a complete shard of windows: {error}") from error


def _parquet_rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(parquet_source(path)) as file:
        for batch in file.iter_batches(batch_size=64, columns=columns):
            # three times as fast as rows of Python numbers
            lists = [name for name in ("input_ids", "image_positions", "images") if name in batch.schema.names]
            apart = [_lists(batch[name]) for name in lists]
            others = batch.select([name for name in batch.schema.names if name not in lists]).to_pylist()
            for row, *values in zip(others or [{}] * batch.num_rows, *apart, strict=True):
                yield row | dict(zip(lists, values, strict=True))


def _lists(column: pa.ListArray) -> Iterator[Any]:
    """The lists of a column: int32 arrays, or lists of the bytes of images. Raises ValueError for a null."""
    values = column.values
    if column.null_count or values.null_count:
        raise ValueError("a value is null")
    whole: Any = (
        values.field("bytes").to_pylist() if pa.types.is_struct(values.type) else values.to_numpy().astype(np.int32)
    )
    for start, stop in pairwise(column.offsets.to_pylist()):
        yield whole[start:stop]


def _tar_rows(path: Path, columns: list[str] | None) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {}
    with path.open("rb") as file:
        for member in members(file):
            key, _, ending = member.name.partition(".")
            file.seek(member.offset)
            data = file.read(member.length)
            if ending == "json":
                if row:
                    yield _finished(row, columns)
                row = json.loads(data)
                for image in row["image_metadata"]:
                    image["sha256"] = bytes.fromhex(image["sha256"])
                    image["stored_sha256"] = bytes.fromhex(image["stored_sha256"])
                row["images"] = []
            elif key != row.get("window_id") or int(ending.partition(".")[0]) != len(row["images"]):
                raise ValueError(f"{member.name} is out of order")
            else:
                row["images"].append(data)
    if row:
        yield _finished(row, columns)


def _finished(row: dict[str, Any], columns: list[str] | None) -> dict[str, Any]:
    if len(row["images"]) != len(row["image_positions"]):
        raise ValueError(f"window {row['window_id']}: {len(row['images'])} of {len(row['image_positions'])} images")
    return _with_arrays(row if columns is None else {name: row[name] for name in columns})


def _with_arrays(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("input_ids", "image_positions"):
        if name in row:
            row[name] = np.array(row[name], np.int32)
    return row


def read_documents(paths: Iterable[str | Path], *, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Read the rows of documents/*.parquet, file by file."""
    for path in map(located, paths):
        with pq.ParquetFile(parquet_source(path)) as file:
            for batch in file.iter_batches(batch_size=64, columns=columns):
                yield from batch.to_pylist()


def draw_windows(
    documents: Iterable[dict[str, Any]],
    tokenizer: Tokenizer,
    options: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    *,
    seed: int,
    epoch: int = 0,
    split: str = "train",
) -> Iterator[Window]:
    """Draw windows from documents during training: in epoch 0 what the windows stage would write with this seed, and
    new draws in each further epoch."""
    for row in documents:
        for cut in document_windows(row, tokenizer, options, seed=seed, epoch=epoch):
            if cut.split == split:
                yield from cut.windows
