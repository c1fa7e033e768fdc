"""Image features stored on disk: each distinct image is encoded once."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shards.clips import frames_of
from train_min import TrainError
from train_min.model.vision import Encoder

BATCH = 16
STALE = 3600.0
"""Seconds without a write after which an unfinished part counts as left by a dead worker."""


class FeatureTable:
    """Features of H media by row. Called with rows, it returns those of their first frames, (n, patches, width)."""

    def __init__(self, parts: list[np.ndarray], places: np.ndarray):
        self._parts, self._places = parts, places
        self.frames = places[:, 2]
        """Number of frames of each item, (H,): 1 for an image."""

    def __call__(self, rows: np.ndarray) -> Tensor:
        return self.clips(rows, 1)[:, 0]

    def clips(self, rows: np.ndarray, frames: int) -> Tensor:
        """The first `frames` frames of items that have as many, (n, frames, patches, width)."""
        shape = self._parts[0].shape[1:] if self._parts else (0, 0)
        features = np.empty((len(rows), frames, *shape), np.uint16)
        for index, (part, row, _) in enumerate(self._places[rows].tolist()):
            features[index] = self._parts[part][row : row + frames]
        return torch.from_numpy(features).view(torch.bfloat16)


class FeatureStore:
    """Image features (patches, width) in bfloat16 by content hash, memory-mapped; those of a clip by frame.

    The folder holds parts that are written once and never changed: NAME.features, raw bfloat16 (n, patches, width), and
    NAME.hashes, n times 32 bytes, which appears last; the hash of a clip stands there once for each frame, in a row.
    Several runs may add parts at the same time."""

    def __init__(self, folder: Path, patches: int, width: int):
        self.folder, self.patches, self.width = folder, patches, width
        self.parts: list[np.ndarray] = []
        self.place: dict[bytes, tuple[int, int, int]] = {}
        self.known: set[str] = set()

    def refresh(self) -> None:
        """Map the parts added since the last call."""
        for index in sorted(self.folder.glob("*.hashes")):
            if index.name in self.known:
                continue
            content = index.read_bytes()
            shape = (len(content) // 32, self.patches, self.width)
            try:
                self.parts.append(np.memmap(index.with_suffix(".features"), np.uint16, "r", shape=shape))
            except (OSError, ValueError) as error:
                raise TrainError(f"the feature store {self.folder} is damaged ({error}): delete it") from None
            for row in range(shape[0]):
                digest, part = content[32 * row : 32 * row + 32], len(self.parts) - 1
                of, first, frames = self.place.setdefault(digest, (part, row, 0))
                if (of, first + frames) == (part, row):
                    self.place[digest] = part, first, frames + 1
            self.known.add(index.name)

    def missing(self, hashes: list[bytes]) -> list[bytes]:
        return sorted({digest for digest in hashes if digest not in self.place})

    def add(self, encoder: Encoder, pictures: Iterator[tuple[bytes, bytes]], report: Callable[[int], None]) -> None:
        """Encode (hash, content) pairs as one new part. Raises TrainError if an image cannot be decoded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._delete_stale()
        hashes: list[bytes] = []
        frames = _prepared(encoder, pictures)
        temporary = self.folder / f".{os.getpid()}.features.tmp"
        with temporary.open("wb") as file:
            while batch := list(islice(frames, BATCH)):
                hashes += [digest for digest, _, _ in batch]
                features = encoder.encode(torch.stack([prepared for _, _, prepared in batch]))
                file.write(features.contiguous().view(torch.uint16).numpy().tobytes())
                report(sum(number == 0 for _, number, _ in batch))
        name = hashlib.sha256(b"".join(hashes)).hexdigest()[:16]
        temporary.replace(self.folder / f"{name}.features")
        index = self.folder / f".{name}.hashes.tmp"
        index.write_bytes(b"".join(hashes))
        index.replace(self.folder / f"{name}.hashes")

    def _delete_stale(self) -> None:
        for left in self.folder.glob(".*.features.tmp"):
            with contextlib.suppress(FileNotFoundError):  # another worker deleted it first
                if time.time() - left.stat().st_mtime > STALE:
                    left.unlink()

    def table(self, hashes: np.ndarray) -> FeatureTable:
        """The features of `hashes` (H, 32)."""
        return FeatureTable(self.parts, np.array([self.place[row.tobytes()] for row in hashes]).reshape(-1, 3))


def _prepared(encoder: Encoder, pictures: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, int, Tensor]]:
    """(hash, number, prepared image) of each frame. Raises TrainError if one cannot be decoded."""
    for digest, content in pictures:
        try:
            for number, frame in enumerate(frames_of(content)):
                yield digest, number, encoder.prepare(frame)
        except Exception as error:
            raise TrainError(f"image {digest.hex()} cannot be decoded ({error}): run m3w verify") from None
