"""Export a corpus to other projects' formats: one module per format, listed in `EXPORTERS`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from shards.exports.pairs import write_pairs
from shards.writers import LoadImage


class Exporter(Protocol):
    """Writes a corpus in one format."""

    def __call__(self, documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
        """Write rows of documents/*.parquet into an empty `folder`; returns the number of samples.

        `load_image` returns the stored bytes of an image and raises ValueError if they are damaged."""


EXPORTERS: dict[str, Exporter] = {"pairs": write_pairs}
