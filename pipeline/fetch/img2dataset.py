"""The only place that uses img2dataset's internals: its downloader of a shard, with our own fetch.

tests/fetch/test_img2dataset.py lists what is relied on.
"""

import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.images.header import ImageDropped, read_header

THREADS = 64
KEY_DIGITS = 6
FETCH = "download_image_with_retry"
"""The function that img2dataset's `Downloader.download_shard` calls for each row."""


def downloader() -> types.ModuleType:
    """img2dataset's downloader, without the other imports of the package's __init__ (700 MB if torch is installed)."""
    name = "_img2dataset_parts"
    if name not in sys.modules:
        spec = importlib.util.find_spec("img2dataset")
        assert spec is not None
        package = types.ModuleType(name)
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[name] = package
    return importlib.import_module(f"{name}.downloader")


def download_shard(
    fetch: Callable[..., tuple[int, io.BytesIO | None, str | None]],
    writer: Callable[..., Any],
    folder: Path,
    shard: int,
    listing: Path,
) -> None:
    """Run img2dataset's `Downloader.download_shard` on a list of URLs (an Arrow file with a column `url`).

    `fetch((key, url), **options)` returns (key, bytes or None, error or None). `writer` follows img2dataset's writer
    protocol."""
    module = downloader()
    work = module.Downloader(
        writer,
        resizer=HeaderOnly(),
        thread_count=THREADS,
        save_caption=False,
        extract_exif=False,
        output_folder=str(folder),
        column_list=["url"],
        timeout=None,
        number_sample_per_shard=10**KEY_DIGITS,
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=None,
    )
    # the unchanged method, with our function under the name it calls: img2dataset is not patched
    run = types.FunctionType(type(work).download_shard.__code__, vars(module) | {FETCH: fetch})
    run(work, (shard, str(listing)))


class HeaderOnly:
    """img2dataset's resizer protocol: checks that the bytes are an image, reads its size, and leaves the bytes
    unchanged."""

    def __call__(self, stream: io.BytesIO, boxes: Any = None) -> tuple[bytes | None, Any, Any, Any, Any, str | None]:
        data = stream.getvalue()
        try:
            header = read_header(data)
        except ImageDropped as dropped:
            if dropped.rule_id == "image.not_an_image":
                return None, None, None, None, None, dropped.rule_id
            return data, None, None, None, None, None  # still an image: the image rules judge it
        return data, header.width, header.height, header.width, header.height, None
