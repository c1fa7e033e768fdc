"""The windows of a split in memory, without the pixels of their images: what random access to them needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.readers import read_windows
from shards.records import STORED, WINDOWS
from shards.store import parquet_source

DESCRIPTION = ("window_id", "doc_id", "url", "site", "language", "token_start", "tokenizer")
_HASH = "image_metadata.list.element.stored_sha256"
_FLAT = pa.schema(
    [
        *(WINDOWS.field(name) for name in (*DESCRIPTION, "input_ids", "image_positions")),
        ("hashes", pa.list_(pa.binary(32))),
    ]
)


@dataclass(frozen=True, eq=False)
class Places:
    """Where H images are stored: in images/`tars`[`tar`], at `offset`, `length` bytes; (H,) each."""

    tars: list[str]
    tar: np.ndarray
    offset: np.ndarray
    length: np.ndarray


@dataclass(frozen=True, eq=False)
class FlatWindows:
    """W windows with T tokens and I images.

    `description` is a table of the columns `DESCRIPTION`, a row per window. `tokens` (T,) int32 and `starts` (W + 1,);
    `positions` (I,) int32, the index of each `<image>` in its window; `images` (I,) int32, rows of the image index, and
    `image_starts` (W + 1,)."""

    description: pa.Table
    tokens: np.ndarray
    starts: np.ndarray
    positions: np.ndarray
    images: np.ndarray
    image_starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1


def read_image_index(paths: Iterable[Path]) -> tuple[pa.Array, Places]:
    """The hashes (H,) of the images in images/*.parquet, each once, and where they are stored.

    Raises ValueError, naming the file, if one is damaged."""
    schema = pa.schema([(name, kind) for name, kind in STORED if name in ("stored_sha256", "tar", "offset", "length")])
    tables = [schema.empty_table()]
    for path in paths:
        try:
            with pq.ParquetFile(parquet_source(path)) as file:
                tables.append(file.read(schema.names).cast(schema))
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise ValueError(f"{path} is not an index of images ({error}): run m3w verify") from error
    stored = pa.concat_tables(tables).filter(pc.field("tar").is_valid())
    places = stored.group_by(schema.names).aggregate([]).combine_chunks()
    tar = places["tar"].combine_chunks().dictionary_encode()
    return places["stored_sha256"].combine_chunks(), Places(
        tar.dictionary.to_pylist(),
        tar.indices.to_numpy(),
        places["offset"].to_numpy(),
        places["length"].to_numpy(),
    )


def read_flat(paths: Iterable[Path], hashes: pa.Array) -> FlatWindows:
    """Read the windows of shards, .parquet or .tar, in order; `hashes` are those of the image index.

    Raises ValueError, naming the shard, if one is damaged or has an image that is not in the index."""
    tables = [_FLAT.empty_table()]
    for path in paths:
        table = _parquet(path) if path.suffix == ".parquet" else _tar(path)
        tables.append(table.cast(_FLAT))
        missing = pc.index_in(_flattened(table, "hashes")[0], hashes).null_count
        if missing:
            raise ValueError(f"{path}: {missing} images are not in images/: run m3w verify")
    windows = pa.concat_tables(tables).combine_chunks()
    tokens, starts = _flattened(windows, "input_ids")
    positions, image_starts = _flattened(windows, "image_positions")
    return FlatWindows(
        windows.select(DESCRIPTION),
        tokens.to_numpy(),
        starts,
        positions.to_numpy(),
        pc.index_in(_flattened(windows, "hashes")[0], hashes).to_numpy(),
        image_starts,
    )


def _parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(parquet_source(path)) as file:
            table = file.read([*DESCRIPTION, "input_ids", "image_positions", _HASH])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a complete shard of windows: {error}") from error
    images = table["image_metadata"].combine_chunks()
    hashes = pa.ListArray.from_arrays(images.offsets, images.values.field("stored_sha256"))
    return table.drop_columns("image_metadata").append_column("hashes", hashes)


def _tar(path: Path) -> pa.Table:
    names = [*DESCRIPTION, "input_ids", "image_positions", "image_metadata"]
    rows = list(read_windows([path], columns=names))
    for row in rows:
        row["hashes"] = [image["stored_sha256"] for image in row["image_metadata"]]
    return pa.Table.from_pylist(rows, _FLAT)


def _flattened(table: pa.Table, name: str) -> tuple[pa.Array, np.ndarray]:
    """The values of a column of lists, and where each list starts, (rows + 1,) int64."""
    column = table[name].combine_chunks()
    offsets = column.offsets.to_numpy().astype(np.int64)
    return column.values[offsets[0] : offsets[-1]], offsets - offsets[0]
