"""Export a corpus to other projects' formats: one module per format, listed in `EXPORTS`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from shards.exports.chat import write_chat
from shards.exports.energon import write_energon
from shards.exports.mimic_it import write_mimic_it
from shards.exports.mint1t import write_mint1t
from shards.exports.mmc4 import write_mmc4
from shards.exports.obelics import write_obelics
from shards.exports.omnicorpus import write_omnicorpus
from shards.exports.openflamingo import write_openflamingo
from shards.exports.pairs import write_pairs
from shards.exports.webdataset import write_webdataset
from shards.writers import LoadImage


class Exporter(Protocol):
    """Writes a corpus in one format."""

    def __call__(self, rows: Iterable[dict[str, Any]], load_image: LoadImage, folder: Path, /) -> int:
        """Write `rows` into an empty `folder`; returns the number of samples.

        `load_image` returns the stored bytes of an image and raises ValueError if they are damaged."""


class Export(NamedTuple):
    """A format. Its rows are those of documents/*.parquet, or the training windows as `read_windows` returns them."""

    write: Exporter
    rows: Literal["documents", "windows"] = "documents"


EXPORTS = {
    "chat": Export(write_chat),
    "energon": Export(write_energon),
    "mimic-it": Export(write_mimic_it),
    "mint1t": Export(write_mint1t),
    "mmc4": Export(write_mmc4),
    "obelics": Export(write_obelics),
    "omnicorpus": Export(write_omnicorpus),
    "openflamingo": Export(write_openflamingo, rows="windows"),
    "pairs": Export(write_pairs),
    "webdataset": Export(write_webdataset),
}
