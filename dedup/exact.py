"""Exact copies: pages under one key (a capture, a URL, the hash of a text), and which of them stays.

A key may have opted out: then every page under it goes, whatever its capture."""

import numpy as np

NO_REFUSAL = 255
"""The `refusal` of a page that did not opt out. It sorts behind every other."""
PAGE = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("refusal", "u1"),
        ("age", "<u8"),
        ("part", "<u4"),
        ("row", "<u4"),
        ("id_high", "<u8"),
        ("id_low", "<u8"),
    ]
)
"""A page under a 16-byte key (`high`, `low`): the number of the rule by which it opted out, what decides among equals
(the least `age`, then the first part and row), and its doc_id."""
COPY = np.dtype([("part", "<u4"), ("row", "<u4"), ("refusal", "u1"), ("id_high", "<u8"), ("id_low", "<u8")])
"""A page that goes, the refusal of its key (NO_REFUSAL: it is a copy), and the doc_id of the page in whose place it
goes."""


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """For each row of a sorted key column, the index of the first row with the same key."""
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    starts = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.flatnonzero(starts)[np.cumsum(starts) - 1]


def copies(pages: np.ndarray, *, refused_only: bool) -> np.ndarray:
    """The pages that go (COPY), of `pages` (PAGE) sorted by all their fields and with all pages of each key.

    Of each key the first page stays. Where it opted out, no page stays; those that opted out themselves are not in the
    result. With `refused_only` pages go for that reason alone."""
    first = first_of_each(pages[["high", "low"]])
    refusal = pages["refusal"][first]
    goes = refusal != NO_REFUSAL
    if not refused_only:
        goes |= first != np.arange(len(pages))
    lost = np.flatnonzero(goes & (pages["refusal"] == NO_REFUSAL))
    found = np.zeros(len(lost), COPY)
    found["part"], found["row"], found["refusal"] = pages["part"][lost], pages["row"][lost], refusal[lost]
    for name in ("id_high", "id_low"):
        found[name] = pages[name][first[lost]]
    return found
