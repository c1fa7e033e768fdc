"""How many pages use an image: by its URL, by its bytes, and by its look (perceptual hashes within a few bits).

Each part counts its own uses first, so an image on a million pages costs a row for each part, not for each page.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedup import hamming
from dedup.exact import first_of_each

URL, BYTES, LOOK = 0, 1, 2
NONE = 3
"""No count of an image is too high."""
NO_LIMIT = 1_000_000_000
"""A limit that no image reaches; nothing is counted for it."""
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
USES = np.dtype([("high", "<u8"), ("low", "<u8"), ("kind", "u1"), ("band", "u1"), ("part", "<u4"), ("count", "<u8")])
"""How often a part uses an image: the 16-byte hash of its URL or bytes or, for LOOK, the key of a band (number `band`)
of its perceptual hash, and that hash."""


class UseLimits(NamedTuple):
    """The most pages that may use an image by URL, bytes and look, and the bits by which hashes of one look differ."""

    url: int
    bytes: int
    look: int
    bits: int

    def any(self) -> bool:
        return min(self.url, self.bytes, self.look) < NO_LIMIT


class Images(NamedTuple):
    """Images of the pages of a part (n rows): their URLs and bytes (KEY), and perceptual hashes."""

    urls: np.ndarray
    bytes: np.ndarray
    looks: NDArray[np.uint64]


def counted(images: Images, part: int, limits: UseLimits) -> np.ndarray:
    """The uses (USES) of images in a part, of the kinds that have a limit."""
    blocks = [np.zeros(0, USES)]
    for kind, keys, most in ((URL, images.urls, limits.url), (BYTES, images.bytes, limits.bytes)):
        if most < NO_LIMIT:
            rows = np.zeros(len(keys), USES)
            rows["high"], rows["low"], rows["kind"] = keys["high"], keys["low"], kind
            rows["part"], rows["count"] = part, 1
            blocks.append(_summed(rows))
    if limits.look < NO_LIMIT:
        looks, uses = np.unique(images.looks, return_counts=True)
        bands = np.zeros((len(looks), limits.bits + 1), USES)
        bands["high"], bands["low"] = hamming.bands(looks, limits.bits), looks[:, None]
        bands["kind"], bands["band"] = LOOK, np.arange(limits.bits + 1)
        bands["part"], bands["count"] = part, uses[:, None]
        blocks.append(bands.reshape(-1))
    return np.concatenate(blocks)


def _summed(rows: np.ndarray) -> np.ndarray:
    """One row for each key of rows of one kind and part, with the sum of their counts."""
    rows = rows[np.lexsort([rows["low"], rows["high"]])]
    first, totals = _totals(rows)
    rows["count"] = totals
    return rows[np.unique(first)]


def exceeding(rows: np.ndarray, limits: UseLimits) -> np.ndarray:
    """What the parts have to know of `rows` (USES; sorted by all fields, complete for each key): URLs and bytes with
    more uses than allowed, and for each look its uses, as far as they meet in its band. All with the sum as `count`."""
    look = rows["kind"] == LOOK
    exact, banded = rows[~look], rows[look]
    found = exact.copy()
    found["count"] = _totals(exact)[1]
    allowed = np.array([limits.url, limits.bytes], np.uint64)[exact["kind"]]
    return np.concatenate([found[found["count"] > allowed], _alike(banded, limits.bits)])


def _totals(rows: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """For each of some sorted rows the first with its key, and the sum of the counts of this key."""
    first = first_of_each(rows[["high", "low", "kind"]])
    return first, np.bincount(first, rows["count"], len(rows)).astype(np.uint64)[first]


def _alike(rows: np.ndarray, bits: int) -> np.ndarray:
    """For each row of a look, the uses of all looks within `bits` bits that share its band and none before it."""
    first, totals = _totals(rows)
    looks, place = np.unique(first, return_inverse=True)
    hashes, bands = rows["low"][looks], rows["band"][looks]
    sums = np.zeros(len(looks), np.uint64)
    for one, other in hamming.pairs(rows["high"][looks], rows["high"][looks]):
        close = np.bitwise_count(hashes[one] ^ hashes[other]) <= bits
        one, other = one[close], other[close]
        shared = hamming.bands(hashes[one], bits) == hamming.bands(hashes[other], bits)
        new = shared.argmax(axis=1) == bands[one]  # a pair that shares several bands counts once
        np.add.at(sums, one[new], totals[looks[other[new]]])
    found = rows.copy()
    found["count"] = sums[place]
    return found[found["count"] > 0]


def too_common(images: Images, found: np.ndarray, limits: UseLimits) -> NDArray[np.uint8]:
    """By which count each image of a part (n) is on too many pages, the first of URL, BYTES and LOOK, or NONE. `found`
    is what `exceeding` says to this part."""
    kinds = np.full(len(images.looks), NONE, np.uint8)
    looks = found[found["kind"] == LOOK]
    hashes, place = np.unique(looks["low"], return_inverse=True)
    uses = np.bincount(place, looks["count"], len(hashes))
    kinds[np.isin(images.looks, hashes[uses > limits.look])] = LOOK
    for kind, keys in ((BYTES, images.bytes), (URL, images.urls)):
        many = found[found["kind"] == kind]
        if len(many):
            order = np.argsort(many["high"])
            near = order[np.minimum(np.searchsorted(many["high"], keys["high"], sorter=order), len(many) - 1)]
            kinds[(many["high"][near] == keys["high"]) & (many["low"][near] == keys["low"])] = kind
    return kinds
