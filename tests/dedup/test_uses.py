"""Images of too many pages, counted in parts and partitions."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedup import uses
from dedup.uses import BYTES, LOOK, NO_LIMIT, NONE, URL, Images, UseLimits

SHOWN = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 63)), max_size=24)


def images(shown: list[tuple[int, int, int]]) -> Images:
    """Images of (URL, bytes, perceptual hash)."""
    keys = [np.zeros(len(shown), uses.KEY) for _ in range(2)]
    for place, key in enumerate(keys):
        key["high"], key["low"] = [image[place] for image in shown], 7
    return Images(*keys, np.array([image[2] for image in shown], np.uint64))


def verdicts(parts: list[list[tuple[int, int, int]]], partitions: int, limits: UseLimits) -> list[list[int]]:
    rows = np.concatenate([uses.counted(images(part), number, limits) for number, part in enumerate(parts)])
    found = [
        uses.exceeding(np.sort(rows[rows["high"] % np.uint64(partitions) == number]), limits)
        for number in range(partitions)
    ]
    told = np.concatenate(found)
    return [
        uses.too_common(images(part), told[told["part"] == number], limits).tolist()
        for number, part in enumerate(parts)
    ]


@given(SHOWN, st.lists(st.integers(0, 24), max_size=3), st.integers(1, 5), st.data())
def test_the_uses_of_all_parts_count_in_any_order(shown, cuts, partitions, data) -> None:
    most = [data.draw(st.integers(1, 6) | st.just(NO_LIMIT)) for _ in range(3)]
    limits = UseLimits(*most, bits=data.draw(st.integers(0, 3)))
    bounds = sorted([0, *(min(cut, len(shown)) for cut in cuts), len(shown)])
    parts = [shown[start:stop] for start, stop in itertools.pairwise(bounds)]
    expected = []
    for url, content, look in shown:
        counts = (
            sum(other[URL] == url for other in shown),
            sum(other[BYTES] == content for other in shown),
            sum((other[LOOK] ^ look).bit_count() <= limits.bits for other in shown),
        )
        expected.append(next((kind for kind, count in enumerate(counts) if count > most[kind]), NONE))
    assert [kind for part in verdicts(parts, partitions, limits) for kind in part] == expected


def test_looks_that_meet_once_in_each_of_two_bands_add_up() -> None:
    limits = UseLimits(NO_LIMIT, NO_LIMIT, 1, bits=1)
    assert verdicts([[(0, 0, 0), (1, 1, 1)]], 1, limits) == [[LOOK, LOOK]]
    assert verdicts([[(0, 0, 0)], [(1, 1, 7)]], 3, limits) == [[NONE], [NONE]]


def test_an_image_of_a_million_pages_costs_a_row_for_each_part() -> None:
    shown = Images(np.ones(100_000, uses.KEY), np.ones(100_000, uses.KEY), np.zeros(100_000, np.uint64))
    limits = UseLimits(10, 10, 10, 4)
    rows = np.concatenate([uses.counted(shown, part, limits) for part in range(10)])
    assert len(rows) == 10 * (1 + 1 + 5)
    found = uses.exceeding(np.sort(rows), limits)
    assert set(found["count"].tolist()) == {1_000_000}
    assert (uses.too_common(shown, found[found["part"] == 3], limits) == URL).all()
