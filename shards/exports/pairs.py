"""Image-text pairs of a corpus in img2dataset's webdataset layout: KEY.jpg, KEY.txt, KEY.json in 00000.tar, ..."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from shards.files import atomic
from shards.records import StoredImage
from shards.tar import TarWriter
from shards.windows import pieces
from shards.writers import LoadImage, image_extension

SHARD_PAIRS = 10_000  # img2dataset's number_sample_per_shard


def pairs(documents: Iterable[dict[str, Any]]) -> Iterator[tuple[StoredImage, str, str]]:
    """Image, text and page URL for each image of the training documents that has an alt text or else a caption (ALIGN,
    arXiv 2102.05918, uses alt texts unfiltered). The same image with the same text is returned once."""
    seen: set[bytes] = set()
    for row in documents:
        for piece in pieces(row):
            for node in piece.nodes if piece.split == "train" else ():
                if not isinstance(node, StoredImage):
                    continue
                text = " ".join((node.image.alt or "").split()) or " ".join((node.image.caption or "").split())
                stamp = hashlib.sha256(node.stored_sha256 + text.encode("utf-8", "replace")).digest()[:8]
                if text and stamp not in seen:
                    seen.add(stamp)
                    yield node, text, row["url"]


def write_pairs(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the `pairs` of rows of documents/*.parquet as shards of 10,000; returns their number.

    Memory grows only with `seen` of `pairs`: 8 bytes per pair plus Python's overhead."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pairs(documents)
    count, shard = 0, 0
    pair = next(found, None)
    while pair is not None:
        with atomic(folder / f"{shard:05d}.tar") as output:
            tar = TarWriter(output)  # type: ignore[arg-type]
            for index in range(SHARD_PAIRS):
                if pair is None:
                    break
                image, text, url = pair
                data, key = load_image(image), f"{shard:05d}{index:04d}"
                tar.add(f"{key}.{image_extension(data)}", data)
                tar.add(f"{key}.txt", text.encode("utf-8", "replace"))
                tar.add(f"{key}.json", json.dumps(columns(key, image, text, url), sort_keys=True).encode())
                count += 1
                pair = next(found, None)
            tar.close()
        shard += 1
    return count


def columns(key: str, image: StoredImage, text: str, url: str) -> dict[str, Any]:
    """img2dataset's columns, and the URL of the page that shows the image."""
    return {
        "key": key,
        "url": image.fetched_url,
        "caption": text,
        "page_url": url,
        "status": "success",
        "error_message": None,
        "width": image.width,
        "height": image.height,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "sha256": image.sha256.hex(),
    }
