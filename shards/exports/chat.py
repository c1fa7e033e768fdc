"""Documents as chat messages, for the processors of Idefics2, Idefics3 and SmolVLM in transformers.

A document is one user turn; its content is a list of texts and images in reading order."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.exports.files import in_shards, write_parquet
from shards.exports.samples import Sample, training_samples, without_markers
from shards.records import Text
from shards.tokenizer import IMAGE_MARKER
from shards.writers import LoadImage, image_extension

SHARD_DOCUMENTS = 1_000
MARKERS = (IMAGE_MARKER, "<fake_token_around_image>", "<end_of_utterance>")
TEXT = {"dtype": "string", "_type": "Value"}
FEATURES = {
    "doc_id": TEXT,
    "url": TEXT,
    "messages": [{"role": TEXT, "content": [{"type": TEXT, "text": TEXT}]}],
    "images": [{"_type": "Image"}],
}
CONTENT = pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))
SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", CONTENT)]))),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}}, sort_keys=True)},
)


def write_chat(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the documents that have an image to train-00000.parquet, ... of 1,000 each; returns their number."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    with_images = (sample for sample in training_samples(documents) if sample.images)
    for number, samples in in_shards(with_images, SHARD_DOCUMENTS):
        rows = _rows(samples, load_image)
        count += write_parquet(folder / f"train-{number:05d}.parquet", SCHEMA, rows, _size)
    return count


def _size(row: dict[str, Any]) -> int:
    return sum(len(image["bytes"]) for image in row["images"])


def _rows(samples: Iterable[Sample], load_image: LoadImage) -> Iterator[dict[str, Any]]:
    for sample in samples:
        content = [
            {"type": "text", "text": without_markers(node.text, MARKERS)}
            if isinstance(node, Text)
            else {"type": "image"}
            for node in sample.nodes
        ]
        data = [load_image(image) for image in sample.images]
        yield {
            "doc_id": sample.row["doc_id"],
            "url": sample.row["url"],
            "messages": [{"role": "user", "content": content}],
            "images": [
                {"bytes": image, "path": f"{sample.key}.{index}.{image_extension(image)}"}
                for index, image in enumerate(data)
            ],
        }
