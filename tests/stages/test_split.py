"""How much is held out."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from dedup.leaks import COMMON, NEED, USE, _highest_others, banded, company, leaks
from pipeline.stages.site_counts import MINIMUM, _enough
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
