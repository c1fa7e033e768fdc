"""Documents as WebDataset samples: KEY.json, then KEY.0.jpg, KEY.1.jpg, ... in reading order."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.exports.files import dumps, in_shards, tar_shard
from shards.exports.samples import Sample, training_samples
from shards.records import StoredImage
from shards.writers import LoadImage, image_extension

SHARD_DOCUMENTS = 1_000


def write_webdataset(documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
    """Write documents to 00000.tar, ... of 1,000 each; returns their number."""
    count = 0
    folder.mkdir(parents=True, exist_ok=True)
    for number, samples in in_shards(training_samples(documents), SHARD_DOCUMENTS):
        with tar_shard(folder, number) as tar:
            for sample in samples:
                data = [load_image(image) for image in sample.images]
                names = [f"{index}.{image_extension(image)}" for index, image in enumerate(data)]
                tar.add(f"{sample.key}.json", dumps(_columns(sample, names)))
                for name, image in zip(names, data, strict=True):
                    tar.add(f"{sample.key}.{name}", image)
                count += 1
    return count


def _columns(sample: Sample, names: list[str]) -> dict[str, Any]:
    """Parallel lists as in documents/*.parquet; an image is the extension of its file in the sample."""
    rest = iter(names)
    row = sample.row
    return {
        **{name: row[name] for name in ("doc_id", "url", "site", "language", "metadata")},
        "texts": sample.texts,
        "images": [next(rest) if isinstance(node, StoredImage) else None for node in sample.nodes],
        "image_metadata": [
            {
                "url": image.fetched_url,
                **{name: getattr(image.image, name) for name in ("alt", "caption", "licence", "author")},
            }
            for image in sample.images
        ],
    }
