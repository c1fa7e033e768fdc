"""Images for a page that must stay small: scaled down, as data: URIs, up to a maximum number."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.inspect.finished import Finished
from shards.clips import frames_of, is_clip
from shards.tar import read_member

SIDE, FRAME_SIDE = 320, 160
LARGEST = 60_000
"""Maximum bytes of an image embedded as it is stored."""


@dataclass(frozen=True)
class StoredPlace:
    """Where an image is stored."""

    tar: str
    offset: int
    length: int


@dataclass
class Pictures:
    """Returns images until `left` are used up. An image requested again does not count."""

    corpus: Finished
    left: int
    _known: dict[StoredPlace, str | None] = field(default_factory=dict)

    @property
    def shown(self) -> int:
        return sum(uri is not None for uri in self._known.values())

    def uri(self, place: StoredPlace | None) -> str | None:
        """The image as a data: URI, or None if it cannot be shown."""
        if place is None:
            return None
        if place not in self._known:
            if self.left <= 0:
                return None
            self.left -= 1
            self._known[place] = self._read(place)
        return self._known[place]

    def _read(self, place: StoredPlace) -> str | None:
        data = small(stored_bytes(self.corpus, place))
        return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def stored_bytes(corpus: Finished, place: StoredPlace) -> bytes:
    """Read the bytes of an image; empty if its tar is not part of the corpus or too short."""
    if f"images/{place.tar}" not in {entry.path for entry in corpus.files("images", ".tar")}:
        return b""
    try:
        return read_member(corpus.root / "images" / place.tar, place.offset, place.length)
    except (OSError, ValueError):
        return b""


def small(data: bytes) -> bytes | None:
    """Scale an image to a JPEG with sides up to SIDE; None if it is not an image. A clip becomes its frames in a
    row."""
    try:
        if is_clip(data):
            return in_a_row(data)
        image = decode(data, ImageOptions(max_side=SIDE, quality=80))
    except (ImageDropped, ValueError):
        return None
    fits = max(image.original_width, image.original_height) <= SIDE and len(data) <= LARGEST
    return data if fits and data.startswith(b"\xff\xd8") else image.data


def in_a_row(clip: bytes) -> bytes:
    """The frames of a clip side by side, as one JPEG. Raises ValueError if one is damaged."""
    options = ImageOptions(max_side=FRAME_SIDE)
    shown = [decode(frame, options).data for frame in frames_of(clip)]
    row = np.concatenate([cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR) for frame in shown], axis=1)
    return cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def places(corpus: Finished, hashes: Iterable[bytes]) -> dict[bytes, StoredPlace]:
    """Where images are stored, by the hash of their stored bytes."""
    wanted = pa.array(sorted(set(hashes)), pa.binary(32))
    found = {}
    for entry in corpus.files("images"):
        table = corpus.table(entry, ["stored_sha256", "tar", "offset", "length"])
        for row in table.filter(pc.is_in(table["stored_sha256"], wanted)).to_pylist():
            found[row["stored_sha256"]] = StoredPlace(row["tar"], row["offset"], row["length"])
    return found
