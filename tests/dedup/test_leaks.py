"""What stands on both sides of the split, beside a comparison of all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import hamming
from dedup.leaks import COMMON, NEED, PARAGRAPH, SAME, USE, WHOLE, banded, company, groups, leaks, no_leaks
from dedup.near import SKETCH_BITS

# key (high, low), held out, page (part, row), chunk
USES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2), st.booleans(), st.integers(0, 1), st.integers(0, 2),
              st.sampled_from([0, 1, WHOLE])),
    max_size=24,
)  # fmt: skip


def sorted_rows(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort([rows[name] for name in reversed(rows.dtype.names)])]


def of_uses(uses: list[tuple[int, int, bool, int, int, int]]) -> np.ndarray:
    rows = np.zeros(len(uses), USE)
    for index, (high, low, held, part, row, chunk) in enumerate(uses):
        rows[index] = (high, low, held, SAME, part, row, chunk)
    return rows


@given(USES)
def test_a_held_out_use_leaks_if_another_page_s_training_text_has_its_key(uses) -> None:
    expected = {
        (part, row, chunk)
        for high, low, held, part, row, chunk in uses
        if held and any((high, low) == other[:2] and not other[2] and other[3:5] != (part, row) for other in uses)
    }
    rows = sorted_rows(of_uses(uses))
    found = leaks(4, rows).tolist()
    assert len(found) == len(expected) and set(found) == expected
    assert len(no_leaks(rows)) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 127) | st.integers(0, 1), st.booleans(), st.integers(0, 1), st.integers(0, 2)),
        max_size=24,
    ),
    st.integers(0, 3),
    st.integers(0, 57),
)
def test_a_held_out_image_leaks_if_another_page_s_training_text_has_one_like_it(uses, distance, shift) -> None:
    """Hashes that differ in more than one band."""
    spread = (1 << shift) * 0x0101010101010101 & (1 << 64) - 1
    hashes = [number * spread % (1 << 64) ^ number for number, *_ in uses]
    rows = of_uses([(number, 9, held, part, row, WHOLE) for number, (_, held, part, row) in enumerate(uses)])
    expected = {
        (part, row, WHOLE)
        for one, (_, held, part, row) in zip(hashes, uses, strict=True)
        for other, (_, other_held, *page) in zip(hashes, uses, strict=True)
        if held and not other_held and page != [part, row] and (one ^ other).bit_count() <= distance
    }
    found = leaks(distance, sorted_rows(banded(rows, hashes, distance))).tolist()
    assert len(found) == len(expected) and set(found) == expected


def test_bands_of_an_image_hold_its_hash_and_their_keys() -> None:
    rows = of_uses([(5, 6, True, 1, 2, 3), (7, 8, False, 4, 5, WHOLE)])
    found = banded(rows, [2**64 - 1, 12], 2)
    assert found["low"].tolist() == [2**64 - 1] * 3 + [12] * 3
    assert found["high"].tolist() == hamming.bands(np.array([2**64 - 1, 12], np.uint64), 2).reshape(-1).tolist()
    assert found[["held", "near", "part", "row", "chunk"]].tolist() == [(1, 1, 1, 2, 3)] * 3 + [(0, 1, 4, 5, WHOLE)] * 3


# key, page (part, row), ranks by site and by page
NEEDS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)),
    max_size=24,
)


@given(NEEDS)
def test_the_company_of_a_page_are_pages_of_any_part(needs) -> None:
    rows = np.zeros(len(needs), NEED)
    for index, (key, part, row, site, page) in enumerate(needs):
        rows[index] = (key, 0, SAME, part, row, 7, site, page)
    rows = sorted_rows(rows)
    found = company(4, rows)
    assert len(found) == len(rows)
    for one, unit in zip(found, rows, strict=True):
        others = [need for need in needs if need[0] == unit["high"] and need[1:3] != (unit["part"], unit["row"])]
        assert one["site"] == max((site for *_, site, _ in others), default=0)
        assert one["page"] == max((page for *_, page in others), default=0)


@pytest.mark.parametrize(("number", "alike"), [(COMMON, True), (COMMON + 1, False)])
def test_a_paragraph_of_many_pages_is_no_company(number: int, alike: bool) -> None:
    rows = np.zeros(number + 1, NEED)
    for row in range(number):
        rows[row] = (
            3,
            (1 << row % SKETCH_BITS) - 1 if row % 2 else 0,
            PARAGRAPH,
            row % 2,
            row,
            WHOLE,
            10 + row,
            20 + row,
        )
    rows[number] = (3, (1 << 64) - 1, PARAGRAPH, 0, 99, WHOLE, 77, 88)
    found = company(4, sorted_rows(rows))
    assert 99 not in found["row"]
    ranks = {int(one["row"]): (int(one["site"]), int(one["page"])) for one in found}
    last = number - 1
    expected = dict.fromkeys(range(last), (10 + last, 20 + last)) | {last: (9 + last, 19 + last)}
    assert ranks == (expected if alike else {})


def test_groups_of_no_rows() -> None:
    assert groups(np.zeros(0, USE), ("high",)).tolist() == [0]
    assert groups(sorted_rows(of_uses([(0, 1, True, 0, 0, 0), (0, 2, True, 0, 0, 0), (1, 2, True, 0, 0, 0)])),
                  ("high", "low")).tolist() == [0, 1, 2, 3]  # fmt: skip
