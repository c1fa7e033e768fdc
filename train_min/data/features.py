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

from train_min import TrainError
from train_min.model.vision import Encoder

BATCH = 16
STALE = 3600.0
"""Seconds without a write after which an unfinished part counts as left by a dead worker."""


class FeatureStore:
    """Image features (patches, width) in bfloat16 by content hash, memory-mapped.

    The folder holds parts that are written once and never changed: NAME.features, raw bfloat16 (n, patches, width), and
    NAME.hashes, n times 32 bytes, which appears last. Several runs may add parts at the same time."""

    def __init__(self, folder: Path, patches: int, width: int):
        self.folder, self.patches, self.width = folder, patches, width
        self.parts: list[np.ndarray] = []
        self.place: dict[bytes, tuple[int, int]] = {}
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
                self.place.setdefault(content[32 * row : 32 * row + 32], (len(self.parts) - 1, row))
            self.known.add(index.name)

    def missing(self, hashes: list[bytes]) -> list[bytes]:
        return sorted({digest for digest in hashes if digest not in self.place})

    def add(self, encoder: Encoder, pictures: Iterator[tuple[bytes, bytes]], report: Callable[[int], None]) -> None:
        """Encode (hash, content) pairs as one new part. Raises TrainError if an image cannot be decoded."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._delete_stale()
        hashes: list[bytes] = []
        temporary = self.folder / f".{os.getpid()}.features.tmp"
        with temporary.open("wb") as file:
            while batch := list(islice(pictures, BATCH)):
                prepared = []
                for digest, content in batch:
                    try:
                        prepared.append(encoder.prepare(content))
                    except Exception as error:
                        raise TrainError(f"image {digest.hex()} cannot be decoded ({error}): run m3w verify") from None
                    hashes.append(digest)
                features = encoder.encode(torch.stack(prepared))
                file.write(features.contiguous().view(torch.uint16).numpy().tobytes())
                report(len(batch))
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

    def table(self, hashes: np.ndarray) -> Callable[[np.ndarray], Tensor]:
        """Return a function from row indices of `hashes` (H, 32) to their features (n, patches, width)."""
        places = np.array([self.place[row.tobytes()] for row in hashes]).reshape(-1, 2)

        def lookup(rows: np.ndarray) -> Tensor:
            features = np.empty((len(rows), self.patches, self.width), np.uint16)
            for index, (part, row) in enumerate(places[rows].tolist()):
                features[index] = self.parts[part][row]
            return torch.from_numpy(features).view(torch.bfloat16)

        return lookup
