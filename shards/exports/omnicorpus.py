"""OmniCorpus-CC's Parquet (arXiv 2406.08418; OpenGVLab/OmniCorpus-CC): OBELICS' lists with typed metadata."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.exports.files import write_tables
from shards.exports.samples import Sample, image_url, training_samples
from shards.records import StoredImage
from shards.writers import LoadImage

DOCUMENT_SCORES = ("fluency_prob", "non_advertisement_prob", "politics_prob", "porn_prob", "toxic_prob")
IMAGE = pa.struct(
    [
        ("aesthetic_prob", pa.float64()),
        ("bytes", pa.int64()),
        ("d_hash", pa.string()),
        ("d_hash_dup_count", pa.int64()),
        ("height", pa.int64()),
        ("img_url_sha", pa.string()),
        ("p_hash", pa.string()),
        ("p_hash_dup_count", pa.int64()),
        ("unsafe_prob", pa.float64()),
        ("width", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        (
            "general_metadata",
            pa.struct(
                [
                    ("domain", pa.list_(pa.string())),
                    ("id", pa.string()),
                    ("url", pa.string()),
                    *((name, pa.float64()) for name in DOCUMENT_SCORES),
                ]
            ),
        ),
        ("images", pa.list_(pa.string())),
        ("texts", pa.list_(pa.string())),
        ("metadata", pa.list_(IMAGE)),
    ]
)
"""Scores, difference hashes, numbers of copies and domains, which a corpus does not hold, are null."""


def write_omnicorpus(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write 00000.parquet, ... with one row per document, and the images beside them."""
    return write_tables(training_samples(documents), SCHEMA, _rows, load_image, folder)


def _rows(samples: Iterable[Sample], add: Callable[[StoredImage], str]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        yield {
            "general_metadata": {"id": sample.key, "url": sample.row["url"]},
            "images": [add(node) if isinstance(node, StoredImage) else None for node in sample.nodes],
            "texts": sample.texts,
            "metadata": [_metadata(node) if isinstance(node, StoredImage) else None for node in sample.nodes],
        }


def _metadata(image: StoredImage) -> dict[str, Any]:
    return {
        "bytes": image.length,
        "height": image.height,
        "width": image.width,
        "img_url_sha": hashlib.sha256(image_url(image).encode("utf-8", "replace")).hexdigest(),
        "p_hash": f"{image.phash:016x}",
    }
