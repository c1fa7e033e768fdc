import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.nearest import NONE, nearest

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=40)


@given(ROWS)
def test_the_supply_nearest_in_time_is_found(rows: list[tuple[int, int, bool]]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    keys, times, supplies = (np.array([row[column] for row in rows], dtype) for column, dtype in enumerate("iq?"))
    expected = [
        min(
            (
                (abs(time - of), time, index)
                for index, (other, time, supply) in enumerate(rows)
                if supply and other == key
            ),
            default=(0, 0, NONE),
        )[2]
        for key, of, _ in rows
    ]
    assert nearest(keys, times, supplies).tolist() == expected
