"""Image-text pairs of a corpus in img2dataset's webdataset layout: KEY.jpg, KEY.txt, KEY.json in 00000.tar, ..."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from shards.exports.files import img2dataset_columns, in_shards, tar_shard
from shards.exports.samples import training_samples
from shards.records import StoredImage
from shards.writers import LoadImage, image_extension

SHARD_PAIRS = 10_000  # img2dataset's number_sample_per_shard


def pairs(documents: Iterable[dict[str, Any]]) -> Iterator[tuple[StoredImage, str, str]]:
    """Image, text and page URL for each image of the training documents that has an alt text or else a caption (ALIGN,
    arXiv 2102.05918, uses alt texts unfiltered). The same image with the same text is returned once."""
    seen: set[bytes] = set()
    for sample in training_samples(documents):
        for node in sample.images:
            text = " ".join((node.image.alt or "").split()) or " ".join((node.image.caption or "").split())
            stamp = hashlib.sha256(node.stored_sha256 + text.encode("utf-8", "replace")).digest()[:8]
            if text and stamp not in seen:
                seen.add(stamp)
                yield node, text, sample.row["url"]


def write_pairs(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the `pairs` of rows of documents/*.parquet as shards of 10,000; returns their number.

    Memory grows only with `seen` of `pairs`: 8 bytes per pair plus Python's overhead."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for shard, found in in_shards(pairs(documents), SHARD_PAIRS):
        with tar_shard(folder, shard) as tar:
            for index, (image, text, url) in enumerate(found):
                data, key = load_image(image), f"{shard:05d}{index:04d}"
                tar.add(f"{key}.{image_extension(data)}", data)
                tar.add(f"{key}.txt", text.encode("utf-8", "replace"))
                columns = img2dataset_columns(key, image) | {"caption": text, "page_url": url}
                tar.add(f"{key}.json", json.dumps(columns, sort_keys=True).encode())
                count += 1
    return count
