"""OBELICS' Parquet (arXiv 2306.16527; HuggingFaceM4/OBELICS): parallel lists of texts and of URLs of images."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.exports.files import dumps, write_tables
from shards.exports.samples import Sample, image_url, training_samples
from shards.records import StoredImage
from shards.writers import LoadImage

SCHEMA = pa.schema(
    [
        ("images", pa.list_(pa.string())),
        ("metadata", pa.string()),
        ("general_metadata", pa.string()),
        ("texts", pa.list_(pa.string())),
    ]
)


def write_obelics(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write 00000.parquet, ... with one row per document, and the images beside them."""
    return write_tables(training_samples(documents), SCHEMA, _rows, load_image, folder)


def _rows(samples: Iterable[Sample], add: Callable[[StoredImage], str]) -> Iterator[dict[str, Any]]:
    for sample in samples:
        url, capture = sample.row["url"], sample.row["capture"]
        yield {
            "images": [add(node) if isinstance(node, StoredImage) else None for node in sample.nodes],
            "metadata": dumps(
                [_metadata(url, node) if isinstance(node, StoredImage) else None for node in sample.nodes]
            ).decode(),
            "general_metadata": dumps(
                {
                    "url": url,
                    "warc_filename": capture["file"],
                    "warc_record_offset": capture["offset"],
                    "warc_record_length": capture["length"],
                }
            ).decode(),
            "texts": sample.texts,
        }


def _metadata(url: str, node: StoredImage) -> dict[str, Any]:
    """What OBELICS tells of an image; optional keys are left out where the page does not say."""
    image = node.image
    optional = {"alt_text": image.alt, "rendered_width": image.width, "rendered_height": image.height}
    return {
        "document_url": url,
        "unformatted_src": image.url,
        "src": image_url(node),
        "original_width": node.original_width,
        "original_height": node.original_height,
        "format": node.format.lower(),
        **{name: value for name, value in optional.items() if value},
    }
