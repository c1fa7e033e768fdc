"""`m3w export`: convert a corpus to other projects' formats."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished, damaged, open_corpus
from shards.clips import FORMAT
from shards.exports import EXPORTS
from shards.readers import read_documents, read_windows
from shards.records import StoredImage
from shards.store import RemotePath, positional
from shards.tar import read_member, whole


def export(corpus: Path, to: str, output: Path, report: Callable[[str], Any]) -> None:
    """Write `corpus` in the format `to` into the folder `output`. Raises BuildError if that is not possible."""
    if to not in EXPORTS:
        raise BuildError(f"unknown format {to!r}: use {', '.join(EXPORTS)}")
    opened = open_corpus(corpus)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BuildError(f"{output} is not empty: choose another -o")

    load = _loader(opened.root / "images")

    form = EXPORTS[to]
    try:
        count = form.write(_rows(opened, form.rows), load, output)
    except (ValueError, pa.ArrowException) as error:
        raise damaged(f"{form.rows}/ or images/", error) from None
    if not count:
        output.rmdir()
        raise BuildError(f"{corpus}: no training document has anything to export as {to}")
    report(f"{count:,} samples in {output}")
    if clips := _clips(opened):
        report(f"{to} has images only: its readers see the first frame of each clip ({clips:,} in this corpus)")


def _clips(corpus: Finished) -> int:
    """Number of distinct clips."""
    tables = (corpus.table(entry, ["format", "sha256", "tar"]) for entry in corpus.files("images"))
    found = (
        table.filter(pc.and_(pc.equal(table["format"], FORMAT), table["tar"].is_valid()))["sha256"].to_pylist()
        for table in tables
    )
    return len({digest for some in found for digest in some})


def _loader(folder: Path) -> Callable[[StoredImage], bytes]:
    """Reads images, of a corpus in a store by blocks: they lie in the order of the documents."""

    @lru_cache(maxsize=4)
    def blocks(tar: str) -> Callable[[int, int], bytes]:
        return positional(folder / tar)

    def load(image: StoredImage) -> bytes:
        if isinstance(folder, RemotePath):
            return whole(folder / image.tar, image.offset, image.length, blocks(image.tar)(image.length, image.offset))
        return read_member(folder / image.tar, image.offset, image.length)

    return load


def _rows(corpus: Finished, rows: str) -> Iterable[dict[str, Any]]:
    if rows == "windows":
        return read_windows(map(corpus.path, corpus.windows("train")))
    return read_documents(map(corpus.path, corpus.files("documents")))
