"""Paragraphs and lines that repeat: on how many pages of a site, on how many sites, and within a page.

Pages are counted, not captures: a paragraph counts once for pages of one URL, and once for pages of the same whole
text. Counting is in two steps, so that a paragraph of a million pages never gathers in one place: rows are spread by
all their fields and made distinct, then only counts, one per partition, meet.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dedup.exact import first_of_each
from dedup.shingles import shingles

SHOWN = np.dtype([("high", "<u8"), ("low", "<u8"), ("site", "<u8"), ("by_text", "u1"), ("page", "<u8")])
"""A text (16-byte hash) on a page of a site; `page` is the hash of the page's URL or, if `by_text`, of its text."""
COUNT = np.dtype([("high", "<u8"), ("low", "<u8"), ("site", "<u8"), ("by_text", "u1"), ("count", "<u8")])
"""How many distinct pages of a site show a text."""
TOTAL = np.dtype([("high", "<u8"), ("low", "<u8"), ("site", "<u8"), ("count", "<u8")])
"""A text: the number of its pages on a site, or of its sites (`site` is 0)."""


def distinct(rows: np.ndarray) -> np.ndarray:
    """The distinct rows of a structured array, sorted by all fields."""
    rows = rows[np.lexsort([rows[name] for name in reversed(rows.dtype.names or ())])]
    return rows[np.unique(first_of_each(rows))]


def page_counts(shown: np.ndarray) -> np.ndarray:
    """The number of distinct pages (COUNT) of each text, site and way to tell pages apart, from rows of SHOWN."""
    rows = distinct(shown)
    first, counts = np.unique(first_of_each(rows[["high", "low", "site", "by_text"]]), return_counts=True)
    found = np.zeros(len(first), COUNT)
    for name in ("high", "low", "site", "by_text"):
        found[name] = rows[name][first]
    found["count"] = counts
    return found


def summed(counts: np.ndarray) -> np.ndarray:
    """The sum of `count` of rows that are equal in all other fields. Associative: sums may be summed."""
    keys = [name for name in counts.dtype.names or () if name != "count"]
    rows = counts[np.lexsort([counts[name] for name in reversed(keys)])]
    first, group = np.unique(first_of_each(rows[keys]), return_inverse=True)
    found = rows[first]
    found["count"] = 0
    np.add.at(found["count"], group, rows["count"])
    return found


def site_pages(counts: np.ndarray) -> np.ndarray:
    """The number of pages (TOTAL) of each text on each site, from COUNT: the smaller of its numbers by URL and by text
    of the page, so that neither captures of one URL nor copies under other URLs count as repetition."""
    rows = summed(counts)
    rows = rows[np.lexsort([rows[name] for name in ("count", "site", "low", "high")])]
    rows = rows[np.unique(first_of_each(rows[["high", "low", "site"]]))]
    found = np.zeros(len(rows), TOTAL)
    for name in TOTAL.names or ():
        found[name] = rows[name]
    return found


def sites(pages: np.ndarray) -> np.ndarray:
    """The number of sites (TOTAL) of each text, from its numbers of pages, one row for each site."""
    found = pages.copy()
    found["site"], found["count"] = 0, 1
    return summed(found)


def counts_of(rows: np.ndarray, totals: np.ndarray) -> NDArray[np.uint64]:
    """The count of each of `rows` (n; fields `high`, `low`, `site`) in `totals` (TOTAL, distinct), 1 if it has none."""
    keys = [np.concatenate([totals[name], rows[name]]) for name in ("site", "low", "high")]
    counts = np.concatenate([totals["count"], np.ones(len(rows), np.uint64)])
    order = np.lexsort([np.arange(len(counts)) >= len(totals), *keys])
    same = np.ones(len(order), bool)
    for key in keys:
        same[1:] &= key[order][1:] == key[order][:-1]
    first = np.maximum.accumulate(np.where(same & (np.arange(len(order)) > 0), 0, np.arange(len(order))))
    found = np.ones(len(counts), np.uint64)
    found[order] = counts[order[first]]
    return found[len(totals) :]


def likeness(texts: Sequence[str]) -> NDArray[np.float64]:
    """For each paragraph of a page (n), its Jaccard similarity to an earlier one, by shingles of five tokens: 1 for a
    copy, 0 if nothing is like it. Case and space do not matter.

    It is compared with two paragraphs, those that were the first and the last to have most of its shingles, so the work
    is linear in the length of the page."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    sets: list[NDArray[np.uint64]] = []
    found = np.zeros(len(texts))
    for place, text in enumerate(texts):
        mine = shingles(" ".join(text.lower().split()))
        known = mine.tolist()
        for owner in (first, last):
            places = [owner[shingle] for shingle in known if shingle in owner]
            if places:
                other = sets[int(np.bincount(places).argmax())]
                common = len(np.intersect1d(mine, other, assume_unique=True))
                found[place] = max(found[place], common / (len(mine) + len(other) - common))
        for shingle in known:
            first.setdefault(shingle, place)
            last[shingle] = place
        sets.append(mine)
    return found
