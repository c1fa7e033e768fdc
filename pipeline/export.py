"""`m3w export`: convert a corpus to other projects' formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import BuildError
from pipeline.inspect.finished import damaged, open_corpus
from shards.exports import EXPORTERS
from shards.readers import read_documents
from shards.records import StoredImage
from shards.tar import read_member


def export(corpus: Path, to: str, output: Path, report: Callable[[str], Any]) -> None:
    """Write `corpus` in the format `to` into the folder `output`. Raises BuildError if that is not possible."""
    if to not in EXPORTERS:
        raise BuildError(f"unknown format {to!r}: use {', '.join(EXPORTERS)}")
    opened = open_corpus(corpus)
    if output.exists() and any(output.iterdir()):
        raise BuildError(f"{output} is not empty: choose another -o")

    def load(image: StoredImage) -> bytes:
        return read_member(opened.root / "images" / image.tar, image.offset, image.length)

    try:
        count = EXPORTERS[to](read_documents(map(opened.path, opened.files("documents"))), load, output)
    except ValueError as error:
        raise damaged("documents/ or images/", error) from None
    if not count:
        output.rmdir()
        raise BuildError(f"{corpus}: no training document has anything to export as {to}")
    report(f"{count:,} samples in {output}")
