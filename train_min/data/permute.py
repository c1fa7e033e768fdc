"""Shuffle the images of windows, for the reference, control and dose-response variants and for penalties."""

import numpy as np

from shards.draws import hash64
from train_min.data.windows import WindowArrays


def permute(windows: WindowArrays, scope: str, seed: int, fraction: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the images of the windows. Returns `images` (I,) and where they differ from the true ones, (I,) bool.

    An image that occurs several times in a document (windows overlap) is always replaced by the same one. With scope
    `documents` images move between documents, each as often used as before, so the set of images tells nothing; with
    `host` between documents of the same site, with `document` within one document. An image is never replaced by an
    equal one; if no other exists it stays. `fraction` < 1 touches only that share of the units, chosen by hash.
    """
    rng = np.random.default_rng(hash64(f"{scope}-{seed}"))
    present = windows.images >= 0
    shown = np.stack([windows.image_units()[present], windows.images[present]], 1)
    pairs, inverse = np.unique(shown, axis=0, return_inverse=True)
    unit, image = pairs.T
    apart = owners(windows, unit)
    group = {"documents": np.zeros_like(apart), "host": _numbers(windows, "site"), "document": np.arange(len(apart))}
    ids = [f"{seed}\n{entry['doc_id']}\n{number}" for number, entry in enumerate(windows.units)]
    chosen = np.array([hash64(name) / 2**64 < fraction for name in ids], bool)
    result = image.copy()
    for inside in groups(np.flatnonzero(chosen[unit]), group[scope][unit]):
        result[inside] = derange(image[inside], apart[unit[inside]] if scope != "document" else None, rng)
    images = windows.images.copy()
    images[present] = result[inverse.reshape(-1)]
    return images, images != windows.images


def owners(windows: WindowArrays, unit: np.ndarray) -> np.ndarray:
    """For each unit (U,) the document that must not get its images back; `unit` holds the units of all distinct images.

    The pieces of a long page count as one document, unless the corpus has fewer than ten documents or the page holds
    most of the images: those cannot all move to other documents, and a reference must not keep true images."""
    documents = _numbers(windows, "doc_id")
    largest = np.bincount(documents[unit]).max(initial=0)
    whole = len(set(documents.tolist())) >= 10 and 2 * largest <= len(unit)
    return documents if whole else np.arange(len(documents))


def groups(members: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """Split `members`, indices into `group`, by group."""
    if not len(members):
        return []
    order = members[np.argsort(group[members], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _numbers(windows: WindowArrays, key: str) -> np.ndarray:
    """Number the units (U,) by their value of `key`."""
    return np.unique([entry[key] for entry in windows.units], return_inverse=True)[1].reshape(-1)


def derange(image: np.ndarray, owner: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A permutation of `image` (n,) in which no place gets an equal image or one of the same `owner`; a place for which
    none is found after many swaps keeps its own."""
    order = rng.permutation(len(image))

    def wrong(places: np.ndarray, sources: np.ndarray) -> np.ndarray:
        same = image[places] == image[sources]
        return same if owner is None else same | (owner[places] == owner[sources])

    places = np.arange(len(image))
    # whatever more than half of the places share cannot all move: a host with one document keeps all its images
    most = max(int(np.unique(same, return_counts=True)[1].max()) for same in (image, owner) if same is not None)
    for _ in range(200):
        bad = np.flatnonzero(wrong(places, order))
        if len(bad) <= max(0, 2 * most - len(image)):
            break
        for place in bad.tolist():
            other = int(rng.integers(len(image)))
            swapped = np.array([order[other], order[place]])
            pair = np.array([place, other])
            if wrong(pair, swapped).sum() < wrong(pair, order[pair]).sum():
                order[pair] = swapped
    bad = wrong(places, order)
    return np.where(bad, image, image[order])


def displace(windows: WindowArrays, seed: int, fraction: float = 1.0) -> np.ndarray:
    """Images (I,) in which, for a share of the units, every image moves to the next place and the last one to the
    first: the pairing error of an interleaved loader that sorts images and markers differently."""
    images = windows.images.copy()
    for index in range(len(windows)):
        entry = windows.units[windows.unit[index]]
        if hash64(f"place\n{seed}\n{entry['doc_id']}") / 2**64 < fraction:
            span = slice(windows.image_starts[index], windows.image_starts[index + 1])
            images[span] = np.roll(images[span], 1)
    return images
