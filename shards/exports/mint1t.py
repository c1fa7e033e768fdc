"""MINT-1T's tar (arXiv 2406.11271; mlfoundations/MINT-1T-PDF-*): KEY.json, and KEY.tiff with one frame per image."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from shards.exports.files import dumps, in_shards, tar_shard
from shards.exports.samples import Sample, training_samples
from shards.records import StoredImage
from shards.writers import LoadImage

SHARD_DOCUMENTS = 1_000


def write_mint1t(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the documents that have an image to 00000.tar, ... of 1,000 each; returns their number.

    The frames hold the same pixels, compressed without loss: the files are several times as large as JPEG."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    with_images = (sample for sample in training_samples(documents) if sample.images)
    for number, samples in in_shards(with_images, SHARD_DOCUMENTS):
        with tar_shard(folder, number) as tar:
            for sample in samples:
                tar.add(f"{sample.key}.json", dumps(_columns(sample)))
                tar.add(f"{sample.key}.tiff", _tiff([load_image(image) for image in sample.images]))
                count += 1
    return count


def _columns(sample: Sample) -> dict[str, Any]:
    """MINT-1T's columns that a web page has; `xref` numbers the frames, and every page number is 0."""
    names = iter(range(len(sample.images)))
    return {
        "url": sample.row["url"],
        "texts": sample.texts,
        "images": [f"page_0_image_{next(names)}" if isinstance(node, StoredImage) else None for node in sample.nodes],
        "image_metadata": [
            {
                "height": image.height,
                "page": 0,
                "sha256": image.stored_sha256.hex(),
                "width": image.width,
                "xref": number,
            }
            for number, image in enumerate(sample.images)
        ],
    }


def _tiff(images: list[bytes]) -> bytes:
    frames = []
    for data in images:
        with Picture.open(io.BytesIO(data)) as picture:
            frames.append(picture.convert("RGB"))
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_adobe_deflate")
    return buffer.getvalue()
