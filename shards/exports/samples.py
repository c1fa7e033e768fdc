"""What exports read: the training part of each document, in reading order."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from shards.records import EMBEDDED, StoredImage, Text
from shards.windows import pieces

BREAK = "\u200b"


class Sample(NamedTuple):
    """A document, or a run of its nodes between held-out ones. `key` is unique in a corpus and has no dot."""

    key: str
    row: dict[str, Any]
    nodes: list[Text | StoredImage]

    @property
    def images(self) -> list[StoredImage]:
        return [node for node in self.nodes if isinstance(node, StoredImage)]

    @property
    def texts(self) -> list[str | None]:
        """Node by node: the text, None for an image."""
        return [node.text if isinstance(node, Text) else None for node in self.nodes]


def training_samples(documents: Iterable[dict[str, Any]]) -> Iterator[Sample]:
    """The training samples of rows of documents/*.parquet. Nodes held out for validation are left out."""
    for row in documents:
        for piece in pieces(row):
            if piece.split == "train":
                key = row["doc_id"] if row["split"] == "train" else f"{row['doc_id']}-{piece.first_node}"
                yield Sample(key, row, piece.nodes)


def image_url(image: StoredImage) -> str:
    """The URL that delivered an image, or `urn:sha256:` and a hash for one that its page holds itself."""
    url = image.fetched_url or image.image.url
    return f"urn:sha256:{url.removeprefix(EMBEDDED)}" if url.startswith(EMBEDDED) else url


def without_markers(text: str, markers: Sequence[str]) -> str:
    """`text` with U+200B after the first character of everything in it that a reader would take for a marker."""
    for marker in markers:
        text = text.replace(marker, marker[0] + BREAK + marker[1:])
    return text
