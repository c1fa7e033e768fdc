"""MinHash, bands, clusters."""

import hashlib
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import near

WORDS = [f"word{number}" for number in range(400)]
GOLDEN = ["9d68e46910f65136", "0d5aaf258e93849e", "c316be94fa916f3d", "5e28a0b37b364874", "f91c801b73e63fc6"]
GOLDEN_BANDS = "07ab895f46df4073"


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


def few_words(numbers: list[int]) -> np.ndarray:
    """Signatures (N, 112) that are equal, alike in 2 of 3 values, or differ, as numbers have digits in common."""
    digits = [[(number // 9) % 3, (number // 3) % 3, number % 3] for number in numbers]
    found = np.repeat(np.array(digits, np.uint32).reshape(-1, 3), 38, axis=1)[:, : near.PERMUTATIONS]
    return found + np.arange(near.PERMUTATIONS, dtype=np.uint32) * 3


def first_pages(numbers: list[int], parts: list[int], threshold: float, partitions: int, seed: int) -> dict:
    """Page -> first page of its cluster, where bands arrive in some order at so many partitions."""
    random = np.random.default_rng(seed)
    places = [(part, sum(other == part for other in parts[:index])) for index, part in enumerate(parts)]
    by_place = dict(zip(places, few_words(numbers), strict=True))
    bands = [near.band_rows(signature[None], part, np.array([row])) for (part, row), signature in by_place.items()]
    rows = np.concatenate([np.zeros(0, near.BAND), *bands])
    rows = random.permutation(rows)
    edges = [
        near.candidates(np.sort(rows[rows["high"] % np.uint64(partitions) == number])) for number in range(partitions)
    ]
    pages, pairs = near.ends(random.permutation(np.concatenate(edges)))
    signatures = np.array([by_place[part, row] for part, row in pages.tolist()], np.uint32)
    first = near.clusters(signatures.reshape(-1, near.PERMUTATIONS), pairs, threshold)
    found = {place: place for place in places}
    return found | {tuple(page): tuple(pages[at].tolist()) for page, at in zip(pages.tolist(), first, strict=True)}


PAGES = st.lists(st.tuples(st.integers(0, 26), st.integers(0, 3)), max_size=20)


@settings(max_examples=60)
@given(PAGES, st.sampled_from([0.8, 0.5]), st.integers(1, 64), st.integers(0, 9))
def test_clusters_do_not_depend_on_partitions_or_order(
    pages: list[tuple[int, int]], threshold: float, partitions: int, seed: int
) -> None:
    numbers, parts = [number for number, _ in pages], [part for _, part in pages]
    found = first_pages(numbers, parts, threshold, partitions, seed)
    assert found == first_pages(numbers, parts, threshold, 1, 0)
    texts: dict[tuple[int, int], int] = {}
    for number, part in pages:
        texts[part, sum(other == part for other, _ in texts)] = number
    assert set(found) == set(texts)
    for place, first in found.items():
        assert first <= place and found[first] == first
        if threshold == 0.8:  # only equal signatures are that much alike
            assert first == min(other for other in texts if texts[other] == texts[place])


def test_pages_are_alike_from_the_threshold_on() -> None:
    signatures = np.zeros((3, near.PERMUTATIONS), np.uint32)
    signatures[1, 28:] = signatures[2, :27] = 1
    pairs = np.array([[1, 2], [0, 0]])
    same = near.similarity(signatures[pairs[0]], signatures[pairs[1]])
    assert same.tolist() == [28 / 112, 85 / 112]
    assert near.clusters(signatures, pairs, 0.25).tolist() == [0, 0, 0]
    assert near.clusters(signatures, pairs, 0.26).tolist() == [0, 1, 0]
    assert near.clusters(signatures, pairs, 0.9).tolist() == [0, 1, 2]


def test_a_page_is_compared_with_the_one_before_it_in_a_band() -> None:
    """Three pages share their first band alone; the last two are alike otherwise, the first is not."""
    first, second = np.random.default_rng(1).integers(0, 2**32, (2, near.PERMUTATIONS), np.uint32)
    first[: near.ROWS] = second[: near.ROWS]
    third = second.copy()
    third[near.ROWS :: near.ROWS] ^= 1
    signatures = np.stack([first, second, third])
    pages, pairs = near.ends(near.candidates(np.sort(near.band_rows(signatures, 4, np.arange(3)))))
    assert pages.tolist() == [[4, 0], [4, 1], [4, 2]]
    assert near.clusters(signatures, pairs, 0.8).tolist() == [0, 1, 1]


def test_the_last_word_and_short_texts_count() -> None:
    words = WORDS[:6]
    assert 0.3 < near.similarity(signature(words[:5]), signature(words))[0] < 0.7, "one of two shingles"
    assert near.similarity(signature(["a", "b"]), signature(["a", "c"]))[0] < 0.2


def test_pairs_grow_with_pages_not_with_their_square() -> None:
    rows = np.sort(near.band_rows(few_words([5] * 50), 0, np.arange(50)))
    assert len(np.unique(near.candidates(rows))) == 2 * 49 - 1


def test_signatures_and_bands_are_those_of_corpora_already_built() -> None:
    """Stored signatures are compared across builds: shingles, permutations, seed and hash of a band stay."""
    texts = [
        " ".join(WORDS[:30]),
        "two words",
        "",
        "東京の写真です。港に船が並んでいます。静かな朝の海は青く光り、",
        "word " * 10,
    ]
    signatures = [near.signature(text) for text in texts]
    assert [hashlib.sha256(signed).hexdigest()[:16] for signed in signatures] == GOLDEN
    hashes = near.bands(np.stack([np.frombuffer(signed, "<u4") for signed in signatures]))
    assert hashlib.sha256(hashes.astype("<u8").tobytes()).hexdigest()[:16] == GOLDEN_BANDS


def test_over_twenty_characters_a_word_the_shingles_are_of_characters() -> None:
    def alike(text: str) -> float:
        return float(near.similarity(*(np.frombuffer(near.signature(t), "<u4")[None] for t in (text, text + "c")))[0])

    assert alike("a" * 19 + " " + "b" * 20) == 0, "40 characters, two words"
    assert alike("a" * 20 + " " + "b" * 20) > 0.5
