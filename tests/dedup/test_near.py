"""MinHash, bands, clusters."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import near
from dedup.exact import first_of_each

WORDS = [f"word{number}" for number in range(400)]


def signature(words: list[str]) -> np.ndarray:
    return np.frombuffer(near.signature(" ".join(words)), "<u4")[None]


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + near.SHINGLE]) for start in range(len(words) - near.SHINGLE + 1)}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60))
def test_the_estimate_is_near_the_true_similarity(seed: int, edits: int) -> None:
    draw = random.Random(seed)
    first = [draw.choice(WORDS) for _ in range(300)]
    second = list(first)
    for _ in range(edits):
        second[draw.randrange(300)] = draw.choice(WORDS)
    a, b = shingles(first), shingles(second)
    true = len(a & b) / len(a | b)
    # five standard errors of 112 permutations
    assert abs(near.similarity(signature(first), signature(second))[0] - true) < 5 * 0.5 / near.PERMUTATIONS**0.5


def test_pages_that_are_alike_share_a_band_and_others_do_not() -> None:
    draw = random.Random(1)
    pages = [[draw.choice(WORDS) for _ in range(300)] for _ in range(60)]
    copies = [[*page[:-3], "some", "new", "end"] for page in pages]
    bands = near.bands(np.concatenate([signature(page) for page in pages + copies]))
    shared = np.array([[np.isin(bands[i], bands[j]).any() for j in range(60, 120)] for i in range(60)])
    assert shared.diagonal().all()
    assert shared.sum() == 60


@given(st.integers(0, 2**32 - 1), st.integers(0, near.PERMUTATIONS - 1))
def test_a_band_has_a_hash_of_its_own_and_of_all_its_rows(value: int, changed: int) -> None:
    signatures = np.full((3, near.PERMUTATIONS), value, np.uint32)
    signatures[2, changed] ^= 1
    first, same, other = near.bands(signatures)
    assert len(set(first)) == near.BANDS, "two bands of equal rows are different bands"
    assert first.tolist() == same.tolist()
    assert np.flatnonzero(first != other).tolist() == [changed // near.ROWS]


def test_unspaced_scripts_are_compared_too() -> None:
    page = "写真にはりんごが三つあります。机の上に置かれています。" * 3
    assert near.similarity(signature([page]), signature([page + "終"]))[0] > 0.8
    assert near.similarity(signature([page]), signature(["今日は天気がいいので散歩に行きましょう。" * 3]))[0] < 0.2


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=80))
def test_components_are_those_of_a_search(nodes: int, pairs: list[tuple[int, int]]) -> None:
    edges = [(a % nodes, b % nodes) for a, b in pairs]
    labels = near.components(nodes, np.array(edges, np.int64).reshape(-1, 2))
    expected = list(range(nodes))
    for _ in range(nodes):
        for a, b in edges:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert labels.tolist() == expected


@given(st.lists(st.integers(0, 5)))
def test_first_of_each(values: list[int]) -> None:
    values.sort()
    assert first_of_each(np.array(values)).tolist() == [values.index(value) for value in values]
