"""How much is held out."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.split import MINIMUM, NEED, _banded, _company, _enough, _highest_others


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1), st.integers(0, 9)), max_size=30))
def test_the_company_of_a_unit_are_the_other_pages_with_its_image(uses):
    rows = np.zeros(len(uses), NEED)
    for index, (key, row, chunk, rank) in enumerate(uses):
        rows[index] = (key, 0, 0, 7, row, chunk, rank, 9 - rank)
    rows = rows[np.lexsort([rows[name] for name in reversed(NEED.names)])]
    found = _highest_others(rows)
    assert len(found) == len(rows)
    for one, unit in zip(found, rows, strict=True):
        others = [row for row in rows if row["high"] == unit["high"] and row["row"] != unit["row"]]
        assert (one["part"], one["row"], one["chunk"]) == (unit["part"], unit["row"], unit["chunk"])
        assert one["site"] == max([int(other["site"]) for other in others], default=0)
        assert one["page"] == max([int(other["page"]) for other in others], default=0)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 5), st.integers(0, 9)), max_size=30))
def test_pages_with_images_that_look_alike_are_company(uses):
    rows = np.zeros(len(uses), NEED)
    for index, (_, row, rank) in enumerate(uses):
        rows[index] = (index, 0, 0, 7, row, 1, rank, 9 - rank)
    rows = np.concatenate([rows, _banded(rows, [phash for phash, _, _ in uses], 2)])
    found = _company(2, rows[np.lexsort([rows[name] for name in reversed(NEED.names)])])
    for row in {row for _, row, _ in uses}:
        mine = [phash for phash, other, _ in uses if other == row]
        ranks = [rank for phash, other, rank in uses if other != row for one in mine if (phash ^ one).bit_count() <= 2]
        assert found[found["row"] == row]["site"].max() == max(ranks, default=0)
        assert found[found["row"] == row]["page"].max() == max([9 - rank for rank in ranks], default=0)


def test_the_share_is_raised_to_the_minimum_of_documents_and_sites():
    tenth = 2**64 // 100
    needs = [(number * tenth, f"site {number // 10}") for number in range(90)]
    share = _enough(0.05, needs, 0)
    assert sum(need < share * 2**64 for need, _ in needs) == MINIMUM
    share = _enough(0.05, needs, 8)
    assert sum(need < share * 2**64 for need, _ in needs) == 71
    assert _enough(0.9, needs, 8) == 0.9 and _enough(0.0, needs, 8) == 0.0
    few = list(itertools.islice(needs, MINIMUM - 1))
    assert _enough(0.05, few, 0) == 0.05 and _enough(0.05, needs, 10) == 0.05
