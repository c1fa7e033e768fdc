"""Which of several equal things stays. Rows are structured arrays, sorted by key and then by what decides among
them."""

import numpy as np


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """For each row of a sorted key column, the index of the first row with the same key."""
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    starts = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.flatnonzero(starts)[np.cumsum(starts) - 1]
