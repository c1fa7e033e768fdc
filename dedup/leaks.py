"""What is on both sides of the split: a key that documents share, images that look alike, and paragraphs that are
nearly the same."""

from collections.abc import Iterator

import numpy as np

from dedup import hamming
from dedup.near import SKETCH_BITS

COMMON = 10
"""A paragraph on more pages is boilerplate, such as a licence, and leaks nothing."""
SAME, IMAGE, PARAGRAPH = 0, 1, 2
"""What a row of the joins compares: a key, an image by its hash, or a paragraph."""
WHOLE = np.iinfo(np.uint32).max
NEVER = np.iinfo(np.uint64).max
COMPARED_AT_ONCE = 1 << 22
NEED = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("near", "u1"),
        ("part", "<u4"),
        ("row", "<u4"),
        ("chunk", "<u4"),
        ("site", "<u8"),
        ("page", "<u8"),
    ]
)
"""A unit with this key, and its ranks; or (`near`: IMAGE or PARAGRAPH) with an image of the perceptual hash or a
paragraph of the sketch `low`, `high` being one of their keys."""
USE = np.dtype(
    [
        *(("high", "<u8"), ("low", "<u8"), ("held", "u1"), ("near", "u1")),
        *(("part", "<u4"), ("row", "<u4"), ("chunk", "<u4")),
    ]
)
"""Chunk `chunk` (WHOLE: all) of page `row` of `part`, held out or not, uses this image or belongs to this cluster; or,
if `near`, it uses an image with the perceptual hash `low`, and `high` is the key of one of the bands of that hash."""


def groups(rows: np.ndarray, fields: tuple[str, ...]) -> np.ndarray:
    """The start of each group of rows with equal `fields` in an array sorted by them, followed by its length."""
    if len(rows) == 0:
        return np.zeros(1, np.int64)
    changed = np.zeros(len(rows) - 1, bool)
    for name in fields:
        changed |= rows[name][1:] != rows[name][:-1]
    return np.concatenate([[0], np.flatnonzero(changed) + 1, [len(rows)]])


def banded(rows: np.ndarray, phashes: list[int], distance: int) -> np.ndarray:
    """Each row of an image as often as its hash has bands, by band."""
    hashes = np.array(phashes, np.uint64)
    near = np.repeat(rows, distance + 1)
    near["high"], near["low"] = hamming.bands(hashes, distance).reshape(-1), np.repeat(hashes, distance + 1)
    near["near"] = IMAGE
    return near


def company(distance: int, rows: np.ndarray) -> np.ndarray:
    """For each unit the highest ranks of other pages with a key of it, or with an image or paragraph like one of
    it."""
    return np.concatenate(
        [
            _highest_others(rows[rows["near"] == SAME]),
            *_highest_alike(distance, NEVER, rows[rows["near"] == IMAGE]),
            *_highest_alike(SKETCH_BITS, COMMON, rows[rows["near"] == PARAGRAPH]),
        ]
    )


def _highest_alike(distance: int, most: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    """For each row of each band, the highest ranks of other pages with a hash near its own, if it is like at most
    `most` rows."""
    bounds = groups(rows, ("high",))
    owner = _owner(rows)
    starts = np.flatnonzero(np.diff(bounds) > 1)
    for start, stop in zip(bounds[starts].tolist(), bounds[starts + 1].tolist(), strict=True):
        band, pages = rows[start:stop], owner[start:stop]
        for index in np.array_split(np.arange(len(band)), 1 + len(band) ** 2 // COMPARED_AT_ONCE):
            some = band[index]
            alike = hamming.alike(some["low"], band["low"], distance)
            alike &= (alike.sum(axis=1) <= most)[:, None] & (pages[index][:, None] != pages[None])
            found = some[["part", "row", "chunk", "site", "page"]].copy()
            for name in ("site", "page"):
                found[name] = np.where(alike, band[name][None], np.uint64(0)).max(axis=1)
            yield found[alike.any(axis=1)]


def _highest_others(rows: np.ndarray) -> np.ndarray:
    """For each unit and key the highest ranks of other pages with this key, 0 if there are none."""
    found = rows[["part", "row", "chunk", "site", "page"]].copy()
    bounds = groups(rows, ("high", "low"))
    lengths = np.diff(bounds)
    group = np.repeat(np.arange(len(lengths)), lengths)
    owner = _owner(rows)
    for name in ("site", "page"):
        ranks = rows[name]
        last = np.lexsort([ranks, group])[bounds[1:] - 1]  # of each group, the row with the highest rank
        first_owner = owner[last][group]
        others = np.maximum.reduceat(np.where(owner == first_owner, np.uint64(0), ranks), bounds[:-1])
        found[name] = np.where(owner == first_owner, others[group], ranks[last][group])
    return found


def _owner(rows: np.ndarray) -> np.ndarray:
    """The page of each row, as one number."""
    return rows["part"].astype(np.uint64) << np.uint64(32) | rows["row"].astype(np.uint64)


def leaks(distance: int, rows: np.ndarray) -> np.ndarray:
    """Held-out uses that also occur in another page's training text, or use an image or paragraph that is like one
    there: their perceptual hashes differ in at most `distance` bits. A book may resemble itself."""
    images, paragraphs = (rows[rows["near"] == kind] for kind in (IMAGE, PARAGRAPH))
    alike = (*_alike(distance, NEVER, images), *_alike(SKETCH_BITS, COMMON, paragraphs))
    return np.unique(np.concatenate([_same(rows[rows["near"] == SAME]), *alike]))


def _alike(distance: int, most: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    """For the rows of each band, the held-out ones whose hash is near that of another page's training text, if it is
    near those of at most `most` rows."""
    bounds = groups(rows, ("high",))
    held_in = np.add.reduceat(rows["held"].astype(np.int64), bounds[:-1])
    both = np.flatnonzero((held_in > 0) & (held_in < np.diff(bounds)))
    for start, stop in zip(bounds[both].tolist(), bounds[both + 1].tolist(), strict=True):
        band = rows[start:stop]
        training, held = (band[band["held"] == side] for side in (0, 1))
        hashes, of_hash, uses = np.unique(training["low"], return_index=True, return_counts=True)
        every, counts = np.unique(band["low"], return_counts=True)
        pages = training[["part", "row"]]
        last = pages[of_hash + uses - 1]
        for some in np.array_split(held, 1 + len(held) * len(every) // COMPARED_AT_ONCE):
            # a hash with several training pages has one beside the held-out page's own
            page = some[["part", "row"]][:, None]
            another = (page != pages[of_hash][None]) | (page != last[None])
            found = (hamming.alike(some["low"], hashes, distance) & another).any(axis=1)
            if most != NEVER:
                found &= hamming.alike(some["low"], every, distance) @ counts <= most
            yield some[found][["part", "row", "chunk"]]


def _same(rows: np.ndarray) -> np.ndarray:
    """Held-out uses whose key another page's training text has. Training sorts before held out within a key."""
    bounds = groups(rows, ("high", "low"))
    training = np.add.reduceat((rows["held"] == 0).astype(np.int64), bounds[:-1])
    pages = rows[["part", "row"]]
    lengths = np.diff(bounds)
    first, last = (np.repeat(index, lengths) for index in (bounds[:-1], np.maximum(bounds[:-1] + training, 1) - 1))
    another = (pages[first] != pages) | (pages[last] != pages)
    return rows[np.repeat(training > 0, lengths) & another & (rows["held"] == 1)][["part", "row", "chunk"]]


def no_leaks(rows: np.ndarray) -> np.ndarray:
    return rows[:0]
