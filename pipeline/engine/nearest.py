"""The join nearest in time: for each row, the supply of its key that is nearest in time."""

import numpy as np

from dedup.exact import first_of_each

NONE = -1


def nearest(keys: np.ndarray, times: np.ndarray, supplies: np.ndarray) -> np.ndarray:
    """For each row, the index of the supply of its key that is nearest in time, NONE if its key has no supply.

    `keys` are sorted, `times` are integers, `supplies` marks the rows that are supplies. Ties go to the older supply,
    then to the first."""
    if not supplies.any():
        return np.full(len(keys), NONE)
    moments, rank = np.unique(times, return_inverse=True)
    group = first_of_each(keys)
    place = group * len(moments) + rank  # one number that sorts by key and time
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
