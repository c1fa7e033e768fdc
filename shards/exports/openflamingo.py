"""open_flamingo's own interleaved form, made for its ChatGPT-written sequences: text with the places of its images.

Each training window is a sample, because open_flamingo reads the first 256 tokens of a sample only."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.exports.files import dumps, in_shards, tar_shard
from shards.exports.samples import without_markers
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER
from shards.writers import LoadImage

SHARD_WINDOWS = 1_000
PLACE = "_!_IMAGE{}_!_"


def write_openflamingo(windows: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write training windows as KEY.json to 00000.tar, ... of 1,000 each; returns their number."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    for number, shard in in_shards(windows, SHARD_WINDOWS):
        with tar_shard(folder, number) as tar:
            for window in shard:
                tar.add(f"{window['window_id']}.json", dumps(_columns(window)))
                count += 1
    return count


def _columns(window: dict[str, Any]) -> dict[str, Any]:
    # the reader puts an end of chunk before every image but the first
    text = without_markers(window["text"].replace(EOC_MARKER, ""), ("_!_IMAGE",))
    first, *rest = text.split(IMAGE_MARKER)
    example = first + "".join(f"{PLACE.format(number)}{part}" for number, part in enumerate(rest, 1))
    return {
        "is_gpt": 1,
        "url": window["url"],
        "example": example,
        "image_map": {
            PLACE.format(number): {"base64_image": base64.b64encode(data).decode()}
            for number, data in enumerate(window["images"], 1)
        },
    }
