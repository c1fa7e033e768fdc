"""The next frontier of a partition, against a straightforward computation."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.crawl import frontier
from pipeline.crawl.frontier import IMAGE, PAGE, SITEMAP, Entry
from shards.draws import hash64

NONE = np.zeros(0, np.uint64)


def test_an_image_that_several_pages_offer_has_the_candidates_of_all() -> None:
    first = Entry("http://h/a.png", IMAGE, 1, via="http://h/1", others=("http://h/c.png", "http://h/b.png"))
    second = first._replace(depth=2, via="http://h/2", others=("http://h/b.png", "http://h/d.png"))
    assert frontier.Entry.of_line(first.line()) == first
    for both in ([first, second], [second, first]):
        (merged,), _, _ = frontier.merge(both, NONE, NONE, {}, 9)
        assert merged == first._replace(others=("http://h/c.png", "http://h/b.png", "http://h/d.png"))


def test_an_image_that_could_not_be_used_has_the_candidates_that_later_pages_offer() -> None:
    entry = Entry("http://h/a.png", IMAGE, 1, via="http://h/1", others=("http://g/b.png", "http://h/c.png"))
    seen = np.array([hash64(entry.url)], np.uint64)
    next_one = entry._replace(url="http://g/b.png", others=("http://h/c.png",))
    assert frontier.merge([entry], seen, seen, {}, 9)[::2] == ([], [next_one])
    assert frontier.merge([entry], seen, NONE, {}, 9)[::2] == ([], [])


ENTRIES = st.builds(
    Entry,
    st.builds("http://h{}.example/{}".format, st.integers(0, 5), st.integers(0, 8)),
    st.sampled_from([PAGE, IMAGE, SITEMAP]),
    st.integers(0, 3),
    hops=st.just(0),
    via=st.just(""),
    left=st.just(""),
    known=st.booleans(),
)


@settings(max_examples=40)
@given(st.lists(ENTRIES, max_size=60), st.sets(st.integers(0, 8)), st.integers(1, 4))
def test_a_round_holds_what_is_new_once_and_nearest_to_a_seed(
    tmp_path_factory, found: list[Entry], before: set[int], most: int
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    seen = np.unique(np.array([hash64(f"http://h1.example/{number}") for number in before], np.uint64))
    blocks = [frontier.pack(found[start : start + 7]) for start in range(0, len(found), 7)]
    pages: dict[str, int] = {}
    shares = [frontier.merge(share, seen, NONE, pages, most)[0] for share in frontier.by_hosts(blocks, folder)]
    counts = frontier.write(folder / "frontier", shares)
    slices = frontier.slices(folder / "frontier")
    hosts = [part.host for part in slices]
    assert len(hosts) == len(set(hosts)) == counts.hosts
    entries = [entry for part in slices for entry in frontier.read(folder / "frontier", part, batch=3)]
    assert len(entries) == counts.total and sum(part.pages for part in slices) == counts.pages
    fresh = [entry for entry in found if entry.known or hash64(entry.url) not in seen.tolist()]
    assert sorted(entry.url for entry in entries) == sorted({entry.url for entry in fresh})
    for entry in entries:
        same = [other for other in fresh if other.url == entry.url]
        nearest = min(same, key=lambda other: (not other.known, other.depth))
        assert (entry.known, entry.depth) == (nearest.known, nearest.depth)
    for host in hosts:
        new = [entry for entry in entries if entry.host == host and entry.kind == PAGE and not entry.known]
        assert sum(not entry.left for entry in new) == min(most, len(new)) == pages.get(host, 0)
