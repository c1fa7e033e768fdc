"""Images that look alike, by the distance of their hashes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedup import hamming

HASHES = st.integers(0, 2**64 - 1)


@given(HASHES, st.integers(0, 8), st.data())
def test_hashes_within_the_distance_share_a_band(value: int, distance: int, data: st.DataObject) -> None:
    flipped = data.draw(st.sets(st.integers(0, 63), max_size=12))
    other = value
    for bit in flipped:
        other ^= 1 << bit
    both = np.array([value, other], np.uint64)
    assert hamming.alike(both[:1], both, distance)[0].tolist() == [True, len(flipped) <= distance]
    first, second = hamming.bands(both, distance)
    assert len(first) == distance + 1
    if len(flipped) <= distance:
        assert (first == second).any()
    assert len({*first.tolist(), *second.tolist()}) == 2 * len(first) - (first == second).sum(), "bands have own keys"


def test_every_bit_belongs_to_one_band() -> None:
    values = np.array([0, *(1 << bit for bit in range(64))], np.uint64)
    for distance in (0, 1, 4, 8):
        keys = hamming.bands(values, distance)
        assert ((keys[1:] != keys[0]).sum(axis=1) == 1).all()


@given(st.lists(HASHES, max_size=12), st.lists(HASHES, max_size=12), st.integers(0, 8), st.data())
def test_the_nearest_is_that_of_all_pairs(
    hashes: list[int], others: list[int], distance: int, data: st.DataObject
) -> None:
    flips = st.sets(st.integers(0, 63), max_size=9).map(lambda bits: sum(1 << bit for bit in bits))
    for other in others[:4]:  # several of the others share a band, too
        hashes = [*hashes, other ^ data.draw(flips)]
        others = [*others, other ^ data.draw(flips), other ^ data.draw(flips)]
    found = hamming.nearest(np.array(hashes, np.uint64), np.array(others, np.uint64), distance)
    for value, index in zip(hashes, found.tolist(), strict=True):
        ranks = [((value ^ other).bit_count(), number) for number, other in enumerate(others)]
        best = min(ranks, default=(99, -1))
        assert index == (best[1] if best[0] <= distance else -1)


def test_pairs_are_compared_in_pieces(monkeypatch) -> None:
    random = np.random.default_rng(1)
    others = random.integers(0, 2**64, 200, np.uint64)
    hashes = others[random.permutation(200)] ^ np.uint64(5)
    whole = hamming.nearest(hashes, others, 4)
    monkeypatch.setattr(hamming, "PAIRS_AT_ONCE", 7)
    assert hamming.nearest(hashes, others, 4).tolist() == whole.tolist()
    assert np.array_equal(others[whole] ^ np.uint64(5), hashes)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 63)), max_size=12), st.integers(0, 3))
def test_an_image_shown_before_looks_like_one_that_stays(shown: list[tuple[int, int]], distance: int) -> None:
    shown.sort(key=lambda image: image[0])
    groups = np.array([group for group, _ in shown], np.int64)
    hashes = np.array([value for _, value in shown], np.uint64)
    stay: list[tuple[int, int]] = []
    expected = []
    for group, value in shown:
        expected.append(any(group == other and (value ^ kept).bit_count() <= distance for other, kept in stay))
        if not expected[-1]:
            stay.append((group, value))
    assert hamming.shown_before(groups, hashes, distance).tolist() == expected
