"""MMC4's JSON (arXiv 2304.06939) as open_flamingo's loader reads it: a tar of KEY.json with images in base64.

open_flamingo puts an image's tag before the sentence to which it is most similar, and pairs the k-th tag with the k-th
image of `image_info`. Here images come in reading order, and each has a similarity of 1 with the paragraph that follows
it and of 0 with all others, so both orders are that of the page. An image at the end gets an empty sentence of its own.
"""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.exports.files import dumps, in_shards, tar_shard
from shards.exports.samples import Sample, image_url, training_samples, without_markers
from shards.records import StoredImage
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER
from shards.writers import LoadImage, image_extension

SHARD_DOCUMENTS = 1_000
MARKERS = (IMAGE_MARKER, EOC_MARKER)


def write_mmc4(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the documents that have an image to 00000.tar, ... of 1,000 each; returns their number."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    with_images = (sample for sample in training_samples(documents) if sample.images)
    for number, samples in in_shards(with_images, SHARD_DOCUMENTS):
        with tar_shard(folder, number) as tar:
            for sample in samples:
                tar.add(f"{sample.key}.json", dumps(_columns(sample, load_image)))
                count += 1
    return count


def _columns(sample: Sample, load_image: LoadImage) -> dict[str, Any]:
    sentences: list[str] = []
    images: list[tuple[StoredImage, int]] = []
    for node in sample.nodes:
        if isinstance(node, StoredImage):
            images.append((node, len(sentences)))
        else:
            sentences += [part for part in without_markers(node.text, MARKERS).split("\n\n") if part.strip()]
    if images and images[-1][1] == len(sentences):
        sentences.append("")
    return {
        "url": sample.row["url"],
        "text_list": sentences,
        "image_info": [_image(image, index, load_image(image)) for image, index in images],
        "similarity_matrix": [[int(other == index) for other in range(len(sentences))] for _, index in images],
    }


def _image(image: StoredImage, index: int, data: bytes) -> dict[str, Any]:
    return {
        "image_name": f"{image.stored_sha256.hex()}.{image_extension(data)}",
        "raw_url": image_url(image),
        "matched_text_index": index,
        "matched_sim": 1.0,
        "face_detections": None,
        "image_base64": base64.b64encode(data).decode(),
    }
