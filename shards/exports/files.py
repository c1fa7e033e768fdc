"""Files of exports: shards of a fixed number of samples, Parquet with bounded memory, and images beside a table."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from shards.exports.samples import image_url
from shards.files import COMPRESSION, COMPRESSION_LEVEL, atomic
from shards.records import StoredImage
from shards.tar import TarWriter
from shards.writers import LoadImage, image_extension

ROW_GROUP_ROWS = 1_000
ROW_GROUP_BYTES = 64 << 20
"""A row group ends at 1,000 rows, or when its images exceed 64 MiB."""
SHARD_ROWS = 100_000
SHARD_IMAGES = 10_000  # img2dataset's number_sample_per_shard

Item = TypeVar("Item")


def in_shards(items: Iterable[Item], size: int) -> Iterator[tuple[int, Iterator[Item]]]:
    """(number, items) of shards of `size` items. Each shard must be read to its end before the next."""
    rest = iter(items)
    for number in count():
        first = next(rest, None)
        if first is None:
            return
        yield number, chain([first], islice(rest, size - 1))


@contextmanager
def tar_shard(folder: Path, number: int) -> Iterator[TarWriter]:
    """The tar file of a shard, written atomically."""
    with atomic(folder / f"{number:05d}.tar") as output:
        tar = TarWriter(output)  # type: ignore[arg-type]
        yield tar
        tar.close()


def write_parquet(
    path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]], size: Callable[[dict[str, Any]], int] = lambda row: 0
) -> int:
    """Write rows as Parquet and return their number; `size` is the number of bytes of a row's images."""
    written = held = 0
    group: list[dict[str, Any]] = []
    with (
        atomic(path) as output,
        pq.ParquetWriter(output, schema, compression=COMPRESSION, compression_level=COMPRESSION_LEVEL) as writer,
    ):

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(group, schema), row_group_size=len(group))

        for row in rows:
            group.append(row)
            held += size(row)
            if len(group) == ROW_GROUP_ROWS or held > ROW_GROUP_BYTES:
                flush()
                written, held, group = written + len(group), 0, []
        if group:
            flush()
    return written + len(group)


def write_tables(
    samples: Iterable[Item],
    schema: pa.Schema,
    rows: Callable[[Iterable[Item], Callable[[StoredImage], str]], Iterable[dict[str, Any]]],
    load_image: LoadImage,
    folder: Path,
) -> int:
    """Write 00000.parquet, ... of up to 100,000 rows each, and the images beside them (`images_beside`); the number of
    rows. `rows` takes samples and the function that names an image."""
    written = 0
    folder.mkdir(parents=True, exist_ok=True)
    with images_beside(folder / "images", load_image) as add:
        for number, some in in_shards(samples, SHARD_ROWS):
            written += write_parquet(folder / f"{number:05d}.parquet", schema, rows(some, add))
    return written


def dumps(value: Any) -> bytes:
    """JSON with sorted keys, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")


@contextmanager
def images_beside(folder: Path, load_image: LoadImage) -> Iterator[Callable[[StoredImage], str]]:
    """A function that returns the URL by which a table names an image, and writes each distinct image once beside it as
    img2dataset does: 00000.tar, ... in `folder`, with KEY.jpg and KEY.json, whose `url` is the name in the table.

    Memory: 8 bytes for each distinct URL, plus Python's overhead."""
    seen: set[bytes] = set()
    tars: list[TarWriter] = []
    with ExitStack() as stack:

        def add(image: StoredImage) -> str:
            url = image_url(image)
            stamp = hashlib.sha256(url.encode("utf-8", "replace")).digest()[:8]
            if stamp in seen:
                return url
            shard, index = divmod(len(seen), SHARD_IMAGES)
            if index == 0:
                stack.close()
                folder.mkdir(exist_ok=True)
                tars[:] = [stack.enter_context(tar_shard(folder, shard))]
            seen.add(stamp)
            data, key = load_image(image), f"{shard:05d}{index:04d}"
            tars[0].add(f"{key}.{image_extension(data)}", data)
            tars[0].add(f"{key}.json", dumps(img2dataset_columns(key, image)))
            return url

        yield add


def img2dataset_columns(key: str, image: StoredImage) -> dict[str, Any]:
    """img2dataset's columns of an image, all but its caption; and the licence and author that its page states."""
    return {
        "key": key,
        "url": image_url(image),
        "status": "success",
        "error_message": None,
        "width": image.width,
        "height": image.height,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "sha256": image.sha256.hex(),
        "licence": image.image.licence,
        "author": image.image.author,
    }
