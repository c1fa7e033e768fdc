"""How much is held out."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from dedup.leaks import COMMON, NEED, USE, WHOLE, _highest_others, banded, company, leaks
from pipeline.stages.held_out import BOOK_BYTES, CHUNK_BYTES, SiteCounts, Split, chunks_of, is_book
from pipeline.stages.site_counts import MINIMUM, PartCounts, SplitUnit, _counted, _enough, _part_counts
from tests.corpora import build_here
from tests.stages.test_folders import page, picture, write


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
    rows = np.concatenate([rows, banded(rows, [phash for phash, _, _ in uses], 2)])
    found = company(2, rows[np.lexsort([rows[name] for name in reversed(NEED.names)])])
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


def test_a_part_counts_its_documents_and_the_shares_at_which_they_are_of_use():
    """A chunk of a book counts by page, the book by site; the company of any chunk is company of its page."""
    units = [
        SplitUnit(0, WHOLE, "a", 5, 50, True, True, []),
        SplitUnit(1, WHOLE, "a", 5, 60, True, False, []),
        SplitUnit(2, WHOLE, "b", 9, 70, True, False, []),
        SplitUnit(2, 0, "b", 9, 20, False, True, []),
        SplitUnit(2, 1, "b", 9, 30, False, False, []),
        SplitUnit(3, WHOLE, "c", 1, 1, False, False, []),
    ]
    others = np.array(
        [(0, WHOLE, 7, 10), (0, WHOLE, 6, 99), (2, 0, 3, 40), (2, 1, 11, 1)],
        [(name, "<u8") for name in ("row", "chunk", "site", "page")],
    )
    sites = {"a": (2, 5), "b": (1, 9), "c": (1, 1)}
    assert _part_counts(4, (units, others)) == (0, PartCounts(sites, [(5, "a"), (7, "a"), (11, "b")], [40, 99]))
    alone = PartCounts(sites, [(5, "a"), (5, "a"), (9, "b")], [20, 50])
    assert _part_counts(4, (units, others[:0])) == (0, alone)
    many = [SplitUnit(row, WHOLE, "a", 5, 1000 - row, True, True, []) for row in range(MINIMUM + 9)]
    assert _part_counts(4, (many, others[:0]))[1] == PartCounts(
        {"a": (MINIMUM + 9, 5)}, [(5, "a")] * MINIMUM, sorted(1000 - row for row in range(9, MINIMUM + 9))
    )


def in_two_parts(documents: list[int], by_page: tuple[int, ...] = ()) -> list[PartCounts]:
    """Sites that are held out at equal steps of the share, each with a document of a first part, the others in a
    second."""
    ranks = [number * 2**64 // len(documents) for number in range(len(documents))]
    parts = []
    for counts in ([1] * len(documents), [count - 1 for count in documents]):
        sites = {f"{number}": (count, rank) for number, (count, rank) in enumerate(zip(counts, ranks, strict=True))}
        parts.append(
            PartCounts(sites, [(rank, name) for name, (count, rank) in sites.items() for _ in range(count)], [])
        )
    return [parts[0]._replace(by_page=list(by_page)), parts[1]]


def counted(validation: float, parts: list[PartCounts]) -> SiteCounts:
    found = _counted(Split(0, validation, True, 4, 0), parts)
    return SiteCounts(found.sites, found.documents, found.held_out, found.unit, round(found.share, 9))


def test_sites_are_held_out_where_there_are_forty_and_their_documents_are_no_large_share():
    assert counted(0.1, in_two_parts([10] * 40)) == SiteCounts(40, 400, 80, "site", 0.175), "8 sites"
    assert counted(0.19, in_two_parts([10] * 40)) == SiteCounts(40, 400, 80, "site", 0.19), "a fifth"
    assert counted(0.19, in_two_parts([11] + [10] * 39)) == SiteCounts(40, 401, 81, "page", 0.19)
    quarter = [12] * 8 + [9] * 32
    assert counted(0.1, in_two_parts(quarter)) == SiteCounts(40, 384, 96, "site", 0.175), "raised to the minimum"
    assert counted(0.18, in_two_parts(quarter)) == SiteCounts(40, 384, 96, "page", 0.18)
    assert counted(0.1, in_two_parts([16] * 8 + [8] * 32)) == SiteCounts(40, 384, 128, "site", 0.175), "a third"
    assert counted(0.1, in_two_parts([17] * 8 + [8] * 32)).unit == "page"
    assert counted(0.1, in_two_parts([10] * 39)).unit == "page"
    assert counted(0.0, in_two_parts([10] * 40)) == SiteCounts(40, 400, 0, "page", 0.0)


def test_pages_are_held_out_with_a_share_of_up_to_a_half():
    for steps, expected in ((100, (MINIMUM - 1) / 100), (60, 0.1)):
        pages = tuple(number * 2**64 // steps for number in range(MINIMUM + 9))
        found = counted(0.1, in_two_parts([10] * 39, pages))
        assert (found.unit, found.share) == ("page", expected)


@given(st.lists(st.none() | st.integers(0, CHUNK_BYTES + 9).map("ü".__mul__) | st.just("a" * CHUNK_BYTES), max_size=9))
@example(["a" * CHUNK_BYTES, "a" * (CHUNK_BYTES - 1), "b", None, "c"])
def test_chunks_of_a_book_follow_one_another_and_end_once_they_are_long_enough(texts):
    chunks = chunks_of(texts)
    assert [node for start, stop in chunks for node in range(start, stop)] == list(range(len(texts)))
    sizes = [[len((text or "").encode()) for text in texts[start:stop]] for start, stop in chunks]
    assert all(sum(size[:-1]) < CHUNK_BYTES for size in sizes)
    assert all(sum(size) >= CHUNK_BYTES for size in sizes[:-1])


def test_a_book_is_a_page_of_more_bytes_than_three_chunks():
    assert not is_book(["ü" * (BOOK_BYTES // 4), None, "a" * (BOOK_BYTES // 2)])
    assert is_book(["ü" * (BOOK_BYTES // 4), None, "a" * (BOOK_BYTES // 2 + 1)])


USES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 63), st.integers(0, 14)), max_size=30)


@given(USES)
@example([(0, row, row) for row in range(COMMON + 1)])
@example([(0, row, row) for row in range(COMMON)])
def test_a_paragraph_leaks_that_is_like_one_of_another_training_page_and_not_of_many(uses):
    """Sketches differ in at most 6 bits here, so all paragraphs of a key are alike."""
    uses = [(key, sketch, row % 3 == 0, row) for key, sketch, row in uses]
    rows = np.zeros(len(uses), USE)
    for index, (key, sketch, held, row) in enumerate(uses):
        rows[index] = (key, sketch, held, 2, 0, row, 7)
    rows = rows[np.lexsort([rows[name] for name in reversed(USE.names)])]
    expected = set()
    for key, _, held, row in uses:
        alike = [other for other in uses if other[0] == key]
        if held and len(alike) <= COMMON and any(not other[2] and other[3] != row for other in alike):
            expected.add(row)
    assert {int(leak["row"]) for leak in leaks(4, rows)} == expected


def test_a_held_out_page_with_nearly_a_paragraph_of_a_training_page_leaks(tmp_path: Path) -> None:
    """Each two pages have a long paragraph in common but for a word. The same licence on all pages is no leak, nor is a
    short paragraph."""
    words = ["w" + "".join(chr(97 + int(digit)) for digit in f"{number:03}") for number in range(900)]
    licence = " ".join(words[:40])
    files = {f"{number}.png": picture(number) for number in range(16)}
    for number in range(16):
        pair = number // 2
        common = words[100 + 80 * pair : 180 + 80 * pair]
        common[20] = "changed" if number % 2 else common[20]
        short = " ".join(words[700 + 10 * pair : 710 + 10 * pair])
        texts = "".join(f"<p>{text}</p>" for text in (" ".join(common) if pair < 4 else short, licence))
        body = page(number, f"{number}.png", f"{number}.png")
        files[f"{number}.html"] = body.replace(b"</article>", texts.encode() + b"</article>")
    settings = ["windows.validation=0.5", "image.repeated_alike=false", "image.max_documents=100"]
    root = build_here([write(tmp_path / "site", files)], tmp_path / "corpus", settings)
    found = {}
    for path in (root / "work/pages").glob("*.parquet"):
        urls = pq.read_table(path, columns=["url"])["url"].to_pylist()
        splits = pq.read_table(root / "work/split" / path.name)["split"].to_pylist()
        found |= {int(Path(url).stem): split for url, split in zip(urls, splits, strict=True)}
    sides = [{found[2 * pair], found[2 * pair + 1]} for pair in range(8)]
    assert all(side in ({"train"}, {"validation"}, {"train", "leak"}) for side in sides[:4]), sides
    assert (
        {"train", "leak"} in sides[:4] and {"train", "validation"} in sides[4:] and "leak" not in set.union(*sides[4:])
    )
