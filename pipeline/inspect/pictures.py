"""Pictures of a corpus for a page that must stay small: as data: URIs, scaled down, so many and no more."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.inspect.finished import Finished
from shards.tar import read_member

SIDE = 320
LARGEST = 60_000
"""Bytes of a picture that is shown as it is stored."""


@dataclass(frozen=True)
class Place:
    """Where a picture lies in the store."""

    tar: str
    offset: int
    length: int


@dataclass
class Pictures:
    """Gives pictures out until `left` are used up. A picture asked for again costs nothing but its bytes."""

    corpus: Finished
    left: int
    _known: dict[Place, str | None] = field(default_factory=dict)

    @property
    def shown(self) -> int:
        return sum(uri is not None for uri in self._known.values())

    def uri(self, place: Place | None) -> str | None:
        """The picture as a data: URI, or None where it cannot be shown."""
        if place is None:
            return None
        if place not in self._known:
            if self.left <= 0:
                return None
            self.left -= 1
            self._known[place] = self._read(place)
        return self._known[place]

    def _read(self, place: Place) -> str | None:
        data = small(stored_bytes(self.corpus, place))
        return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def stored_bytes(corpus: Finished, place: Place) -> bytes:
    """The bytes of a picture; none where its tar is not one of the corpus or ends early."""
    if f"images/{place.tar}" not in {entry.path for entry in corpus.files("images", ".tar")}:
        return b""
    try:
        return read_member(corpus.root / "images" / place.tar, place.offset, place.length)
    except (OSError, ValueError):
        return b""


def small(data: bytes) -> bytes | None:
    """A picture as a JPEG with sides up to SIDE; None where it is no picture."""
    try:
        image = decode(data, ImageOptions(max_side=SIDE, quality=80))
    except ImageDropped:
        return None
    fits = max(image.original_width, image.original_height) <= SIDE and len(data) <= LARGEST
    return data if fits and data.startswith(b"\xff\xd8") else image.data


def places(corpus: Finished, hashes: Iterable[bytes]) -> dict[bytes, Place]:
    """Where pictures lie, by the hash of their stored bytes."""
    wanted = pa.array(sorted(set(hashes)), pa.binary(32))
    found = {}
    for entry in corpus.files("images"):
        table = corpus.table(entry, ["stored_sha256", "tar", "offset", "length"])
        for row in table.filter(pc.is_in(table["stored_sha256"], wanted)).to_pylist():
            found[row["stored_sha256"]] = Place(row["tar"], row["offset"], row["length"])
    return found
