"""Which of several pages with one key is kept."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedup.exact import NO_REFUSAL, PAGE, copies, first_of_each, rank

PAGES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1, NO_REFUSAL, NO_REFUSAL, NO_REFUSAL]), st.integers(0, 2)),
    max_size=24,
)


def block(pages: list[tuple[int, int, int]]) -> np.ndarray:
    """Pages of (key, refusal, age), in parts of five. The last has the lowest doc_id: its place does not
    count."""
    rows = np.zeros(len(pages), PAGE)
    for number, (key, refusal, age) in enumerate(pages):
        rows[number] = (7, key, refusal, age, 0, 999 - number, number // 5, number % 5)
    return rows


def gone(rows: np.ndarray, partitions: int = 1, refused_only: bool = False) -> dict[int, tuple[int, int]]:
    """Number of each dropped page -> its refusal and the number of the page kept instead."""
    found = {}
    for number in range(partitions):
        for part, row, refusal, _, original in copies(
            np.sort(rows[rows["low"] % np.uint64(partitions) == number]), refused_only=refused_only
        ).tolist():
            assert 5 * part + row not in found
            found[5 * part + row] = (refusal, 999 - original)
    return found


@given(PAGES, st.integers(1, 7), st.randoms(use_true_random=False))
def test_one_page_of_a_key_stays_and_none_where_it_opted_out(pages, partitions, random) -> None:
    rows = block(pages)
    found = gone(rows)
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    assert gone(rows[shuffled], partitions) == found
    for key in {key for key, _, _ in pages}:
        of_key = [number for number, page in enumerate(pages) if page[0] == key]
        asked = [number for number in of_key if pages[number][1] == NO_REFUSAL]
        stay = [number for number in asked if number not in found]
        if len(asked) < len(of_key):
            refusal = min(pages[number][1] for number in of_key)
            assert stay == [] and all(found[number][0] == refusal for number in asked)
            assert all(pages[found[number][1]][1] == refusal for number in asked)
        else:
            youngest = min(asked, key=lambda number: (pages[number][2], -number))
            assert stay == [youngest]
            assert {found[number] for number in asked if number != youngest} <= {(NO_REFUSAL, youngest)}
    refused = {number: what for number, what in found.items() if what[0] != NO_REFUSAL}
    assert gone(rows, refused_only=True) == refused
    assert all(pages[number][1] == NO_REFUSAL for number in found), "what opted out went before"


def test_both_halves_of_a_key_count() -> None:
    rows = block([(1, NO_REFUSAL, 0)] * 3)
    rows["high"][1], rows["low"][2] = 8, 2
    assert gone(rows) == {}


@given(st.lists(st.integers(0, 5)))
def test_first_of_each(values: list[int]) -> None:
    values.sort()
    assert first_of_each(np.array(values)).tolist() == [values.index(value) for value in values]


def test_the_page_with_the_shortest_url_comes_first() -> None:
    print_view = rank("https://a.example/001_print.html", b"\0" * 16)
    assert rank("https://a.example/001.html", b"\xff" * 16) < print_view
    assert rank("a" * 40, b"\1" * 16) < rank("a" * 40, b"\2" * 16) < rank("a" * 100_000, b"\0" * 16) < 2**64
