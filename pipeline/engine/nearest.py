"""The join nearest in time: for each row, which of the supplies of its key is the one nearest to it."""

import numpy as np

from dedup.exact import first_of_each

NONE = -1


def nearest(keys: np.ndarray, times: np.ndarray, supplies: np.ndarray) -> np.ndarray:
    """For each row, the index of the supply of its key that is nearest in time, NONE where its key has no supply.

    `keys` are sorted, `times` are integers, `supplies` says which rows are supplies. Of two supplies as near the older
    counts, of several of one time the first."""
    if not supplies.any():
        return np.full(len(keys), NONE)
    moments, rank = np.unique(times, return_inverse=True)
    group = first_of_each(keys)
    place = group * len(moments) + rank  # one number in the order of key and time
    sorted_supplies = np.flatnonzero(supplies)
    sorted_supplies = sorted_supplies[np.argsort(place[sorted_supplies], kind="stable")]
    places = place[sorted_supplies]
    after = np.searchsorted(places, place)
    newer = sorted_supplies[np.minimum(after, len(places) - 1)]
    older = sorted_supplies[np.searchsorted(places, places[np.maximum(after, 1) - 1])]
    far = np.iinfo(np.int64).max
    to_newer, to_older = (
        np.where(group[other] == group, np.abs(times[other] - times), far) for other in (newer, older)
    )
    found = np.where(to_older <= to_newer, older, newer)
    return np.where(np.minimum(to_older, to_newer) < far, found, NONE)
