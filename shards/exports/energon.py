"""A WebDataset of documents for NVIDIA's megatron-energon, with the files that tell it how to read a sample.

`energon prepare DIR --non-interactive --split-ratio 1,0,0` then writes its index."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.exports.webdataset import write_webdataset
from shards.files import atomic
from shards.writers import LoadImage

DATASET = """\
sample_type:
  __module__: megatron.energon
  __class__: InterleavedSample
part_filter: sample_loader.py:part_filter
sample_loader: sample_loader.py:sample_loader
"""
SAMPLE_LOADER = '''\
def sample_loader(sample: dict) -> dict:
    """Texts and images in reading order."""
    document = sample["json"]
    nodes = zip(document["texts"], document["images"])
    return {"sequence": [text if image is None else sample[image] for text, image in nodes]}


def part_filter(part: str) -> bool:
    return True
'''


def write_energon(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write the shards of `write_webdataset`, and .nv-meta/ with dataset.yaml and sample_loader.py."""
    count = write_webdataset(documents, load_image, folder)
    if count:
        meta = folder / ".nv-meta"
        meta.mkdir()
        for name, text in (("dataset.yaml", DATASET), ("sample_loader.py", SAMPLE_LOADER)):
            with atomic(meta / name) as file:
                file.write(text.encode())
    return count
