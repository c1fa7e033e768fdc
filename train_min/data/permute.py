"""Windows with other pictures: reference, control and dose responses are trained on them, penalties scored."""

import hashlib

import numpy as np

from train_min.data.windows import Windows


def permute(windows: Windows, scope: str, seed: int, fraction: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Other pictures for the windows: `images` (I,) and where they differ from the true ones, (I,) bool.

    Within a document a picture that occurs again (windows overlap) is replaced by the same one. Across `documents` the
    pictures are dealt out anew, each as often as before, so that the set of pictures says nothing; within the `host`
    they come from other documents of the same site, within the `document` from the same one. A picture is never
    replaced by an equal one; where none can be had it stays. With `fraction` < 1 only that share of the units, drawn
    by hash, is touched.
    """
    rng = np.random.default_rng(_seed(f"{scope}-{seed}"))
    present = windows.images >= 0
    shown = np.stack([windows.image_units()[present], windows.images[present]], 1)
    pairs, inverse = np.unique(shown, axis=0, return_inverse=True)
    unit, image = pairs.T
    apart = owners(windows, unit)
    group = {"documents": np.zeros_like(apart), "host": _numbers(windows, "site"), "document": np.arange(len(apart))}
    ids = [f"{seed}\n{entry['doc_id']}\n{number}" for number, entry in enumerate(windows.units)]
    chosen = np.array([_seed(name) / 2**64 < fraction for name in ids], bool)
    result = image.copy()
    for inside in groups(np.flatnonzero(chosen[unit]), group[scope][unit]):
        result[inside] = derange(image[inside], apart[unit[inside]] if scope != "document" else None, rng)
    images = windows.images.copy()
    images[present] = result[inverse.reshape(-1)]
    return images, images != windows.images


def owners(windows: Windows, unit: np.ndarray) -> np.ndarray:
    """Of each unit (U,) the document that its pictures do not come back to; `unit` are those of all distinct pictures.

    A page in several pieces is one document, unless the corpus has hardly any others or it has most of the pictures:
    these cannot all go to others, and a reference that keeps true pictures is none."""
    documents = _numbers(windows, "doc_id")
    largest = np.bincount(documents[unit]).max(initial=0)
    whole = len(set(documents.tolist())) >= 10 and 2 * largest <= len(unit)
    return documents if whole else np.arange(len(documents))


def groups(members: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """`members`, indices into `group`, split by it."""
    if not len(members):
        return []
    order = members[np.argsort(group[members], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _numbers(windows: Windows, key: str) -> np.ndarray:
    """Units (U,) numbered by what they have in common."""
    return np.unique([entry[key] for entry in windows.units], return_inverse=True)[1].reshape(-1)


def derange(image: np.ndarray, owner: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """A permutation of `image` (n,) that gives nobody an equal picture, nor one of the same `owner`; those for whom
    none is found after many exchanges keep their own."""
    order = rng.permutation(len(image))

    def wrong(places: np.ndarray, sources: np.ndarray) -> np.ndarray:
        same = image[places] == image[sources]
        return same if owner is None else same | (owner[places] == owner[sources])

    places = np.arange(len(image))
    # what more than half of all have cannot be dealt to the others: a host of one document keeps all its pictures
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


def displace(windows: Windows, seed: int, fraction: float = 1.0) -> np.ndarray:
    """Images (I,) where, in a share of the units, every image takes the place of the next one, the last of a window
    that of the first: the pairing error of an interleaved loader that sorts pictures and markers differently."""
    images = windows.images.copy()
    for index in range(len(windows)):
        entry = windows.units[windows.unit[index]]
        if _seed(f"place\n{seed}\n{entry['doc_id']}") / 2**64 < fraction:
            span = slice(windows.image_starts[index], windows.image_starts[index + 1])
            images[span] = np.roll(images[span], 1)
    return images


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
