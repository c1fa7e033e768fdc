"""MinHash, bands, clusters."""

import hashlib
import random
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import near
from dedup.shingles import LENGTH

WORDS = [f"word{number}" for number in range(400)]
GOLDEN = ["b43e212f13b4a412", "19c1bc027fb52ba4", "9f56cda75fefeab9", "a3dc1f26dfc59acb", "bc9075ca89b1776d"]
GOLDEN_BANDS = "e8db617571d57cf5"


def signature(words: list[str]) -> np.ndarray:
    return np.frombuffer(near.signature(" ".join(words)), "<u4")[None]


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + LENGTH]) for start in range(len(words) - LENGTH + 1)}


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
    # five standard errors of 128 values
    assert abs(near.similarity(signature(first), signature(second))[0] - true) < 5 * 0.5 / near.VALUES**0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 100))
def test_the_estimate_has_no_bias_and_the_error_of_permutations(seed: int, words: int, new: int) -> None:
    """Also for texts of few shingles, which fill the bins in many rounds: the mean of 32 pairs of one similarity."""
    draw = random.Random(seed)
    true, errors = 0.0, []
    for _ in range(32):
        first, ends = ([f"{draw.random()}" for _ in range(count)] for count in (words + LENGTH - 1, new))
        second = [*first, *ends]
        true = words / (words + new)
        errors.append(near.similarity(signature(first), signature(second))[0] - true)
    error = (true * (1 - true) / near.VALUES) ** 0.5
    assert abs(np.mean(errors)) <= 5 * error / 32**0.5
    assert np.std(errors) <= 1.6 * error


@given(st.text("abc ", max_size=80))
def test_a_signature_does_not_depend_on_how_many_shingles_are_hashed_at_once(text: str) -> None:
    whole = near.signature(text)
    with mock.patch.object(near, "AT_ONCE", 1):
        assert near.signature(text) == whole
    with mock.patch.object(near, "AT_ONCE", 1 << 20):
        assert near.signature(text) == whole


def test_pages_that_are_alike_share_a_band_and_others_do_not() -> None:
    draw = random.Random(1)
    pages = [[draw.choice(WORDS) for _ in range(300)] for _ in range(60)]
    copies = [[*page[:-3], "some", "new", "end"] for page in pages]
    bands = near.bands(np.concatenate([signature(page) for page in pages + copies]))
    shared = np.array([[np.isin(bands[i], bands[j]).any() for j in range(60, 120)] for i in range(60)])
    assert shared.diagonal().all()
    assert shared.sum() == 60


@given(st.integers(0, 2**32 - 1), st.integers(0, near.VALUES - 1))
def test_a_band_has_a_hash_of_its_own_and_of_all_its_rows(value: int, changed: int) -> None:
    signatures = np.full((3, near.VALUES), value, np.uint32)
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
    """Signatures (N, 128) that are equal, alike in 2 of 3 values, or differ, as numbers have digits in common."""
    digits = [[(number // 9) % 3, (number // 3) % 3, number % 3] for number in numbers]
    found = np.repeat(np.array(digits, np.uint32).reshape(-1, 3), 43, axis=1)[:, : near.VALUES]
    return found + np.arange(near.VALUES, dtype=np.uint32) * 3


def clusters(signatures: np.ndarray, ids: list[int], pages: list[int], threshold: float, partitions: int = 1) -> dict:
    """Id -> lowest id of its cluster, for pages stored at some places, their bands met in some number of partitions,
    and their forests contracted in that many groups."""
    places = np.array(pages, np.uint64)
    index = {page: number for number, page in enumerate(pages)}
    rows = near.band_rows(signatures, places, np.array(ids, np.uint64))
    found = []
    for number in range(partitions):
        edges = near.candidates(np.sort(rows[rows["high"] % np.uint64(partitions) == number]))
        one, other = ([index[page] for page in edges[name].tolist()] for name in ("one", "other"))
        same = near.similarity(signatures[one], signatures[other]) >= threshold
        tree = np.zeros(int(same.sum()), near.TREE)
        tree["page"], tree["root"] = edges["one"][same], edges["other"][same]
        for name, side in (("", one), ("root_", other)):
            tree[f"{name}rank"] = tree["root_low" if name else "id_low"] = np.array(ids, np.uint64)[side][same]
        found.append(near.contracted([tree]))
    forest = near.contracted(found)
    assert [index[page] for page in forest["page"].tolist()] == [ids.index(id) for id in forest["id_low"].tolist()]
    return {id: id for id in ids} | dict(zip(forest["id_low"].tolist(), forest["root_low"].tolist(), strict=True))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 26), max_size=20), st.sampled_from([0.8, 0.5]), st.integers(1, 64), st.randoms())
def test_clusters_do_not_depend_on_places_partitions_or_order(
    numbers: list[int], threshold: float, partitions: int, random: random.Random
) -> None:
    ids = list(range(len(numbers)))
    found = clusters(few_words(numbers), ids, ids, threshold)
    order = random.sample(ids, len(ids))
    places = random.sample(range(1 << 40), len(ids))
    assert clusters(few_words([numbers[id] for id in order]), order, places, threshold, partitions) == found
    for id, first in found.items():
        assert first <= id and found[first] == first
        if threshold == 0.8:  # only equal signatures are that much alike
            assert first == min(other for other in ids if numbers[other] == numbers[id])


def test_pages_are_alike_from_the_threshold_on() -> None:
    signatures = np.zeros((3, near.VALUES), np.uint32)
    signatures[1, 32:] = signatures[2, :31] = 1
    pairs = np.array([[1, 2], [0, 0]])
    same = near.similarity(signatures[pairs[0]], signatures[pairs[1]])
    assert same.tolist() == [32 / 128, 97 / 128]


def test_a_chain_of_similar_pages_is_one_cluster() -> None:
    """A is like B and B like C, while A and C are not alike: the first of all stays."""
    first = np.random.default_rng(1).integers(0, 2**32, near.VALUES, np.uint32)
    second, third = first.copy(), first.copy()
    second[:20] ^= 1
    third[:40] ^= 1
    chain = np.stack([first, second, third])
    assert (near.similarity(chain[:1], chain[2:]) < 0.8).all()
    assert clusters(chain, [5, 3, 4], [0, 1, 2], 0.8) == {5: 3, 3: 3, 4: 3}
    assert clusters(chain[[0, 2]], [5, 4], [0, 2], 0.8) == {5: 5, 4: 4}


def test_a_page_is_compared_with_the_one_before_it_in_a_band() -> None:
    """Three pages share their first band alone; the last two are alike otherwise, the first is not."""
    first, second = np.random.default_rng(1).integers(0, 2**32, (2, near.VALUES), np.uint32)
    first[: near.ROWS] = second[: near.ROWS]
    third = second.copy()
    third[near.ROWS :: near.ROWS] ^= 1
    assert clusters(np.stack([first, second, third]), [0, 1, 2], [9, 8, 7], 0.8) == {0: 0, 1: 1, 2: 1}


def test_numbers_of_pages_hold_part_and_row() -> None:
    pages = near.page(3_000_000_000, np.array([0, 7]))
    assert near.part_of(pages).tolist() == [3_000_000_000] * 2
    assert near.row_of(pages).tolist() == [0, 7]


def test_the_last_word_and_short_texts_count() -> None:
    words = WORDS[:6]
    assert 0.3 < near.similarity(signature(words[:5]), signature(words))[0] < 0.7, "one of two shingles"
    assert near.similarity(signature(["a", "b"]), signature(["a", "c"]))[0] < 0.2


def test_pages_of_a_band_are_compared_with_the_first_and_the_one_before() -> None:
    rows = np.zeros(6, near.BAND)
    rows["high"], rows["page"] = [1, 1, 1, 1, 2, 2], [10, 20, 30, 40, 50, 60]
    found = [(int(one), int(other)) for one, other in near.candidates(rows)[["one", "other"]]]
    assert found == [(20, 10), (30, 10), (30, 20), (40, 10), (40, 30), (60, 50)]


def test_pairs_grow_with_pages_not_with_their_square() -> None:
    pages = np.arange(50, dtype=np.uint64)
    rows = np.sort(near.band_rows(few_words([5] * 50), pages, pages))
    assert len(near.candidates(rows)) == 2 * 49 - 1


def test_signatures_and_bands_are_those_of_corpora_already_built() -> None:
    """Stored signatures are compared across builds: shingles, values, seed and hash of a band stay."""
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


def test_nearly_the_same_paragraphs_share_a_key_and_most_of_their_sketch() -> None:
    draw = random.Random(0)
    found = {0: 0, 3: 0, 60: 0}  # words of 60 changed: J of about 1, 0.6 and 0
    for changed in found:
        for _ in range(100):
            first = [draw.choice(WORDS) for _ in range(60)]
            second = list(first)
            for place in range(0, changed * 2, 2):
                second[place % 60] = draw.choice(WORDS)
            if changed == 60:
                second = [draw.choice(WORDS) for _ in range(60)]
            keys, sketch = near.sketches([" ".join(first), " ".join(second)])
            close = int(sketch[0] ^ sketch[1]).bit_count() <= near.SKETCH_BITS
            found[changed] += bool((keys[0] == keys[1]).any()) and close
            assert len({*keys.reshape(-1).tolist()}) == 2 * near.KEYS - (keys[0] == keys[1]).sum()
    assert found[0] == 100 and found[3] > 80 and found[60] == 0
