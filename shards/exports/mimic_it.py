"""MIMIC-IT's instruction form (arXiv 2306.05425), read by Otter: each captioned image with one question.

The only answers a corpus holds are the captions of its images, so the instruction is always the same: a weak substitute
for instructions that were written for their images."""

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shards.exports.samples import Sample, training_samples
from shards.files import Output, atomic
from shards.records import StoredImage
from shards.writers import LoadImage

TASK = "M3W"
INSTRUCTION = "What does the image show?"
INDEX = {"name": "id", "field_name": "id", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
IMAGES = pa.schema(
    [("id", pa.string()), ("base64", pa.string())],
    metadata={
        "pandas": json.dumps(
            {
                "index_columns": ["id"],
                "column_indexes": [],
                "columns": [{**INDEX, "name": "base64", "field_name": "base64"}, INDEX],
                "pandas_version": "2.0.0",
            }
        )
    },
)
"""Otter looks images up by the index of the data frame that pandas reads from this file."""


def write_mimic_it(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write M3W_instructions.json, M3W_train.json and M3W.parquet (images in base64); returns the number of
    instructions. Memory: 32 bytes, plus Python's overhead, for each distinct image."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    stored: set[bytes] = set()
    with ExitStack() as stack:
        told, train, images = (stack.enter_context(atomic(folder / name)) for name in _names())
        table = stack.enter_context(pq.ParquetWriter(images, IMAGES, compression="zstd"))
        told.write(b'{"meta": {"version": "0.0.1", "time": "", "author": "openm3w"}, "data": {')
        train.write(b"{")
        for sample in training_samples(documents):
            captioned = [(image, caption) for image in sample.images if (caption := _caption(image))]
            names = [f"{TASK}_INS_{count + index:08d}" for index in range(len(captioned))]
            for name, (image, caption) in zip(names, captioned, strict=True):
                others = [other for other in names if other != name]
                _add(told, count, name, _instruction(image, caption, others))
                _add(train, count, name, others)
                count += 1
            new = list(_new(sample, captioned, stored))
            rows = [{"id": _id(image), "base64": base64.b64encode(load_image(image)).decode()} for image in new]
            if rows:
                table.write_table(pa.Table.from_pylist(rows, IMAGES))
        told.write(b"}}")
        train.write(b"}")
    if not count:
        for name in _names():
            (folder / name).unlink()
    return count


def _names() -> tuple[str, str, str]:
    return f"{TASK}_instructions.json", f"{TASK}_train.json", f"{TASK}.parquet"


def _caption(image: StoredImage) -> str:
    return " ".join((image.image.caption or "").split())


def _id(image: StoredImage) -> str:
    return f"{TASK}_IMG_{image.stored_sha256.hex()[:32]}"


def _new(sample: Sample, captioned: list[tuple[StoredImage, str]], stored: set[bytes]) -> Iterator[StoredImage]:
    for image, _ in captioned:
        if image.stored_sha256 not in stored:
            stored.add(image.stored_sha256)
            yield image


def _instruction(image: StoredImage, caption: str, others: list[str]) -> dict[str, Any]:
    return {"instruction": INSTRUCTION, "answer": caption, "image_ids": [_id(image)], "rel_ins_ids": others}


def _add(output: Output, count: int, name: str, value: Any) -> None:
    comma = ", " if count else ""
    output.write(f"{comma}{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}".encode("utf-8", "replace"))
