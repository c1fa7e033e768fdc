"""Exact duplicates: pages with the same key (a capture, a URL, the hash of a text), and which of them is kept.

A key may have opted out, or be that of a page in an earlier corpus: then every page with it is dropped, whatever its
capture."""

import numpy as np

NO_REFUSAL = 255
"""The `refusal` of a page that did not opt out. It sorts last."""
KNOWN = 254
"""The `refusal` of a page in an earlier corpus. It sorts after those of pages that opted out."""
PAGE = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("refusal", "u1"),
        ("age", "<u8"),
        ("id_high", "<u8"),
        ("id_low", "<u8"),
        ("part", "<u4"),
        ("row", "<u4"),
    ]
)
"""A page under a 16-byte key (`high`, `low`): the number of the rule by which it opted out, or KNOWN, the order
among equals (lowest `age`, then lowest doc_id, so that it does not depend on the order of the input), and its place.
`age` is the `rank` of its URL where no date decides."""
COPY = np.dtype([("part", "<u4"), ("row", "<u4"), ("refusal", "u1"), ("id_high", "<u8"), ("id_low", "<u8")])
"""A dropped page, the refusal of its key (NO_REFUSAL: it is a copy), and the doc_id of the page kept instead."""


def rank(url: str, url_hash: bytes) -> int:
    """The order of pages that are copies of each other, as 64 bits: the page with the shortest URL comes first, since
    print views and session ids lengthen it, then that with the lowest hash of its URL."""
    return min(len(url), 0xFFFF) << 48 | int.from_bytes(url_hash[:6])


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """For each row of a sorted key column, the index of the first row with the same key."""
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    starts = np.concatenate([[True], keys[1:] != keys[:-1]])
    return np.flatnonzero(starts)[np.cumsum(starts) - 1]


def copies(pages: np.ndarray, *, refused_only: bool) -> np.ndarray:
    """The dropped pages (COPY) among `pages` (PAGE), which are sorted by all fields and complete for each key.

    The first page of each key is kept. If it opted out, none is kept; pages that opted out themselves are not in the
    result. With `refused_only` pages are dropped for that reason alone."""
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
