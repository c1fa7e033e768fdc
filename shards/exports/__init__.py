"""A corpus in the formats of other projects: one module a format, listed in `EXPORTERS`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from shards.exports.pairs import write_pairs
from shards.writers import LoadImage


class Exporter(Protocol):
    """Writes a corpus in one format."""

    def __call__(self, documents: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path) -> int:
        """Writes rows of documents/*.parquet into an empty `folder`; returns the number of samples.

        `load_image` gives the stored bytes of a picture and raises ValueError if they are damaged."""


EXPORTERS: dict[str, Exporter] = {"pairs": write_pairs}
