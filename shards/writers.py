"""Shards of windows: Parquet that `datasets` opens with decoded images, and tar files for WebDataset.

Both take the windows in the order in which they are to stand, and a function that gives an image's bytes; the same
windows give the same bytes."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.files import COMPRESSION, COMPRESSION_LEVEL, Output, atomic
from shards.records import WINDOWS, StoredImage
from shards.tar import TarWriter
from shards.windows import Window

LoadImage = Callable[[StoredImage], bytes]

ROW_GROUP_ROWS = 256
ROW_GROUP_BYTES = 64 << 20
"""A row group ends at 256 windows, or before the pictures in it pass 64 MiB: readers hold a row group at a time."""

_NESTED_DTYPES = {pa.binary(32): "binary"}


def write_parquet(path: str | os.PathLike[str], windows: Iterable[Window], load_image: LoadImage) -> Output:
    """Write `windows` as a shard of windows/*.parquet (`shards.records.WINDOWS`)."""
    schema = window_schema()
    # JPEG does not compress, and a dictionary of pictures is of no use.
    leaves = [column.path for column in _leaves(schema)]
    pictures = "images.list.element.bytes"
    others = [leaf for leaf in leaves if leaf != pictures]
    with (
        atomic(path) as output,
        pq.ParquetWriter(
            output,
            schema,
            compression={leaf: "NONE" if leaf == pictures else COMPRESSION for leaf in leaves},
            compression_level=dict.fromkeys(others, COMPRESSION_LEVEL),
            use_dictionary=others,
            write_statistics=others,
        ) as writer,
    ):
        for rows in _row_groups(windows, load_image):
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))
    return output


def write_tar(path: str | os.PathLike[str], windows: Iterable[Window], load_image: LoadImage) -> Output:
    """Write `windows` as a WebDataset shard: for each KEY.json, then KEY.0.jpg, KEY.1.jpg, ... in the order of its
    markers. KEY is the window's id; the JSON holds the other columns of the Parquet form, hashes in hex."""
    with atomic(path) as output:
        tar = TarWriter(output)  # type: ignore[arg-type]
        for window in windows:
            row = window_columns(window)
            line = json.dumps(row, ensure_ascii=False, sort_keys=True, default=bytes.hex)
            tar.add(f"{window.window_id}.json", line.encode("utf-8", "replace"))
            for index, image in enumerate(window.images):
                data = load_image(image)
                tar.add(_image_name(window, index, data), data)
        tar.close()
    return output


def window_columns(window: Window) -> dict[str, Any]:
    """The columns of `shards.records.WINDOWS`, all but `images`."""
    return {
        "window_id": window.window_id,
        "doc_id": window.doc_id,
        "url": window.url,
        "site": window.site,
        "language": window.language,
        "text": window.text,
        "input_ids": window.input_ids.tolist(),
        "image_positions": window.image_positions.tolist(),
        "image_metadata": [
            {
                "url": image.image.url,
                "alt": image.image.alt,
                "caption": image.image.caption,
                "sha256": image.sha256,
                "stored_sha256": image.stored_sha256,
                "width": image.width,
                "height": image.height,
            }
            for image in window.images
        ],
        "token_start": window.token_start,
        "seed": window.seed,
        "tokenizer": window.tokenizer,
        "recipe": window.recipe,
    }


def window_schema() -> pa.Schema:
    """`shards.records.WINDOWS` with the `huggingface` key, without which `datasets` returns pictures as undecoded
    dicts."""
    features = {name: _feature(WINDOWS.field(name).type) for name in WINDOWS.names}
    features["images"] = [{"_type": "Image"}]
    return WINDOWS.with_metadata({"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)})


def _feature(kind: pa.DataType) -> Any:
    """An Arrow type in the JSON form of `datasets.Features`; a list is a list of one, which all its versions read."""
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {kind.field(index).name: _feature(kind.field(index).type) for index in range(kind.num_fields)}
    return {"_type": "Value", "dtype": _NESTED_DTYPES.get(kind, str(kind))}


def _row_groups(windows: Iterable[Window], load_image: LoadImage) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for window in windows:
        data = [load_image(image) for image in window.images]
        length = sum(map(len, data))
        if rows and (len(rows) == ROW_GROUP_ROWS or size + length > ROW_GROUP_BYTES):
            yield rows
            rows, size = [], 0
        images = [{"bytes": item, "path": _image_name(window, index, item)} for index, item in enumerate(data)]
        rows.append({**window_columns(window), "images": images})
        size += length
    if rows:
        yield rows


def _image_name(window: Window, index: int, data: bytes) -> str:
    return f"{window.window_id}.{index}.{image_extension(data)}"


def image_extension(data: bytes) -> str:
    """The ending that readers choose a decoder by. Stored images are JPEG; originals may be anything Pillow reads."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"GIF8":
        return "gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "jpg"


def _leaves(schema: pa.Schema) -> list[pq.ColumnSchema]:
    with pa.BufferOutputStream() as buffer:
        pq.write_table(schema.empty_table(), buffer)
        parquet = pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema
    return [parquet.column(index) for index in range(len(parquet.names))]
