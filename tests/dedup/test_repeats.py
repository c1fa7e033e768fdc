"""Counts of what repeats: whatever the order of pages and the number of partitions."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dedup import repeats
from dedup.repeats import SHOWN, TOTAL
from dedup.shingles import mixed

PAGES = st.lists(st.tuples(*[st.integers(0, 3)] * 4), max_size=40)
"""Text, site, hash of the URL, hash of the text of the page."""


def counted(pages: list[tuple[int, ...]], partitions: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.zeros((2, len(pages)), SHOWN)
    for place, (text, site, url, whole) in enumerate(pages):
        rows["high"][:, place], rows["site"][:, place] = text, site
        rows["page"][:, place] = url, whole
    rows["by_text"][1] = 1
    rows = rows.reshape(-1)
    target = mixed(rows["high"] ^ mixed(rows["page"])) % np.uint64(partitions)
    counts = np.concatenate([repeats.page_counts(rows[target == number]) for number in range(partitions)])
    pages_of = repeats.site_pages(counts)
    return pages_of, repeats.summed(np.concatenate([repeats.sites(pages_of[::2]), repeats.sites(pages_of[1::2])]))


@given(PAGES, st.integers(1, 7), st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_order_and_partitions(pages, partitions, random) -> None:  # type: ignore[no-untyped-def]
    found = counted(pages, 1)
    shuffled = random.sample(pages, len(pages))
    for one, other in zip(found, counted(shuffled, partitions), strict=True):
        assert one.tolist() == other.tolist()
    urls, texts, sites = defaultdict(set), defaultdict(set), defaultdict(set)
    for text, site, url, whole in pages:
        urls[text, site].add(url)
        texts[text, site].add(whole)
        sites[text].add(site)
    assert {(row["high"], row["site"]): row["count"] for row in found[0]} == {
        key: min(len(urls[key]), len(texts[key])) for key in urls
    }
    assert {row["high"]: row["count"] for row in found[1]} == {text: len(of) for text, of in sites.items()}


@given(PAGES, PAGES)
def test_counts_are_looked_up(pages: list[tuple[int, ...]], asked: list[tuple[int, ...]]) -> None:
    totals = counted(pages, 1)[0]
    rows = np.zeros(len(asked), TOTAL)
    for place, (text, site, *_) in enumerate(asked):
        rows["high"][place], rows["site"][place] = text, site
    known = {(row["high"], row["site"]): row["count"] for row in totals}
    assert repeats.counts_of(rows, totals).tolist() == [known.get((text, site), 1) for text, site, *_ in asked]


def test_likeness_to_an_earlier_paragraph() -> None:
    words = [f"word{number}" for number in range(100)]
    first, near = " ".join(words), " ".join([*words[:95], "other", *words[96:]])
    found = repeats.likeness(["Ship.", first, "", near, first.upper(), "Boat.", "ship."])
    shared = len({*range(96)} - {*range(91, 96)})
    assert found.round(4).tolist() == [0, 0, 0, round(shared / (2 * 96 - shared), 4), 1, 0, 1]


def test_a_paragraph_is_compared_with_the_last_that_has_its_words_too() -> None:
    common, one, other = (" ".join(f"{name}{number}" for number in range(50)) for name in "abc")
    short = " ".join(other.split()[:15])
    assert repeats.likeness([f"{common} {one}", f"{common} {short}", f"{common} {short}"])[2] == 1


def test_a_text_of_a_million_pages_becomes_a_row_per_partition() -> None:
    rows = np.zeros(1_000_000, SHOWN)
    rows["high"], rows["page"] = 1, np.arange(len(rows))
    target = mixed(rows["high"] ^ mixed(rows["page"])) % np.uint64(64)
    counts = [repeats.page_counts(rows[target == number]) for number in range(64)]
    assert all(len(block) == 1 for block in counts)
    assert repeats.site_pages(np.concatenate(counts))["count"].tolist() == [1_000_000]
