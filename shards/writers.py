"""Write shards of windows: Parquet that `datasets` opens with decoded images, and tar files for WebDataset.

Both take the windows in their final order and a function that returns an image's bytes; the same windows give the same
bytes."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from shards.files import COMPRESSION, COMPRESSION_LEVEL, Output, atomic
from shards.records import WINDOWS, StoredImage
from shards.tar import TarWriter
from shards.windows import Window

LoadImage = Callable[[StoredImage], bytes]

IMAGE_BYTES = "images.list.element.bytes"
ROW_GROUP_ROWS = 256
ROW_GROUP_BYTES = 64 << 20
"""A row group ends at 256 windows, or before its images exceed 64 MiB: readers hold one row group at a time."""

_NESTED_DTYPES = {pa.binary(32): "binary"}


class WindowWriter(Protocol):
    """Writes the windows of one shard in one format; `images` are the encoded images of a window in its order."""

    def add(self, window: Window, images: Sequence[bytes]) -> None: ...

    def close(self) -> None: ...


class ParquetWindows:
    """windows/*.parquet (`shards.records.WINDOWS`)."""

    def __init__(self, output: Output) -> None:
        self._schema = window_schema()
        # JPEG does not compress, and a dictionary does not help images
        leaves = [column.path for column in _leaves(self._schema)]
        others = [leaf for leaf in leaves if leaf != IMAGE_BYTES]
        self._writer = pq.ParquetWriter(
            output,
            self._schema,
            compression={leaf: "NONE" if leaf == IMAGE_BYTES else COMPRESSION for leaf in leaves},
            compression_level=dict.fromkeys(others, COMPRESSION_LEVEL),
            use_dictionary=others,
            write_statistics=others,
        )
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def add(self, window: Window, images: Sequence[bytes]) -> None:
        length = sum(map(len, images))
        if len(self._rows) == ROW_GROUP_ROWS or self._size + length > ROW_GROUP_BYTES:
            self._flush()
        files = [{"bytes": data, "path": _image_name(window, index, data)} for index, data in enumerate(images)]
        self._rows.append({**window_columns(window), "images": files})
        self._size += length

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema), row_group_size=len(self._rows))
        self._rows, self._size = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


class TarWindows:
    """A WebDataset shard: for each window KEY.json, then KEY.0.jpg, KEY.1.jpg, ... in the order of its markers. KEY is
    the window's id; the JSON holds the other columns of the Parquet form, hashes in hex."""

    def __init__(self, output: Output) -> None:
        self._tar = TarWriter(output)  # type: ignore[arg-type]

    def add(self, window: Window, images: Sequence[bytes]) -> None:
        line = json.dumps(window_columns(window), ensure_ascii=False, sort_keys=True, default=bytes.hex)
        self._tar.add(f"{window.window_id}.json", line.encode("utf-8", "replace"))
        for index, data in enumerate(images):
            self._tar.add(_image_name(window, index, data), data)

    def close(self) -> None:
        self._tar.close()


FORMATS: dict[str, Callable[[Output], WindowWriter]] = {"parquet": ParquetWindows, "tar": TarWindows}


def write_windows(
    path: Path, formats: Iterable[str], windows: Iterable[Window], load_image: LoadImage
) -> tuple[int, dict[str, Output]]:
    """Write a shard in some `FORMATS` in one pass: files `path` with the format as suffix, atomically.

    Returns the number of windows, and the files by format."""
    count = 0
    with ExitStack() as stack:
        outputs = {name: stack.enter_context(atomic(path.with_suffix(f".{name}"))) for name in formats}
        writers = [FORMATS[name](output) for name, output in outputs.items()]
        for writer in writers:
            stack.callback(writer.close)
        for window in windows:
            images = [load_image(image) for image in window.images]
            for writer in writers:
                writer.add(window, images)
            count += 1
    return count, outputs


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
                "licence": image.image.licence,
                "author": image.image.author,
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
    """`shards.records.WINDOWS` with the `huggingface` key; without it `datasets` returns images as undecoded dicts."""
    features = {name: _feature(WINDOWS.field(name).type) for name in WINDOWS.names}
    features["images"] = [{"_type": "Image"}]
    return WINDOWS.with_metadata({"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)})


def _feature(kind: pa.DataType) -> Any:
    """An Arrow type in the JSON form of `datasets.Features`; a list is a list of one, which all versions read."""
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {kind.field(index).name: _feature(kind.field(index).type) for index in range(kind.num_fields)}
    return {"_type": "Value", "dtype": _NESTED_DTYPES.get(kind, str(kind))}


def _image_name(window: Window, index: int, data: bytes) -> str:
    return f"{window.window_id}.{index}.{image_extension(data)}"


def image_extension(data: bytes) -> str:
    """The file extension by which readers choose a decoder. Stored images are JPEG; originals may be anything Pillow
    reads."""
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
