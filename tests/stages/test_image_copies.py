"""Images of too many pages, and pages with the same images, in builds."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dedup.exact import copies, first_of_each
from pipeline.image_copies import image_sets, same_sets, survivors_of
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.samples import dropped_tables
from pipeline.inspect.viewer.queries import Library
from pipeline.inspect.whatif import what_if
from tests.corpora import build_here
from tests.records import record
from tests.stages.test_folders import page, picture, shown, write

SITE = "http://e.org/"
SETTINGS = ["image.max_documents=100", "windows.validation=0", "dedup.image_set=true"]


def test_of_pages_with_the_same_images_the_newest_stays(tmp_path: Path) -> None:
    """The order on a page does not matter, and a page with one image more has another set."""
    pages = {
        ("a", 2021): page(1, "/1.png", "/2.png"),
        ("b", 2023): page(2, "/2.png", "/1.png"),
        ("c", 2022): page(3, "/1.png", "/2.png", "/1.png"),
        ("d", 2020): page(4, "/1.png", "/2.png", "/3.png"),
        ("e", 2020): page(5, "/4.png"),
    }
    files = []
    for number, ((name, year), body) in enumerate(pages.items()):  # a part for each file
        captures = [record(SITE + name, body, date=f"{year}-01-01T00:00:00Z")]
        captures += [record(f"{SITE}{seed}.png", picture(seed), "image/png") for seed in range(5) if not number]
        path = tmp_path / f"{number}.warc.gz"
        path.write_bytes(b"".join(captures))
        files.append(path)
    root = build_here(files, tmp_path / "corpus", SETTINGS)
    assert {*shown(root)} == {SITE + name for name in "bde"}
    corpus = open_corpus(root)
    (level,) = (level for level in funnel(corpus)["levels"] if level["level"] == "pages")
    assert level["rules"] == [{"rule": "dedup.image_set", "count": 2}]
    told = [row for table in dropped_tables(corpus, "dedup.image_set") for row in table.to_pylist() if row["rule"]]
    assert {(row["url"], row["detail"]) for row in told} == {(SITE + name, f"kept: {SITE}b") for name in "ac"}
    view = Library(corpus)
    view.pages()
    kept = view.value(f"SELECT doc_id FROM page WHERE url = '{SITE}b'")
    assert [row["survivor"] for row in view.rows("SELECT survivor FROM page WHERE rule = 'dedup.image_set'")] == [
        kept
    ] * 2
    pages, images = what_if(corpus, ["image.min_spread=1"])["levels"]
    assert pages["out"] == [3, 3] and images["out"] == [6, 6]
    (back, images) = what_if(corpus, ["dedup.image_set=false"])["levels"]
    assert back["out"] == [3, 5] and images["out"] == [6, 10]


def smaller(seed: int, side: int) -> bytes:
    """The picture in another size."""
    image = cv2.imdecode(np.frombuffer(picture(seed), np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))[1].tobytes()


def test_images_of_too_many_pages_by_url_bytes_and_look(tmp_path: Path) -> None:
    """Three pages may use an image, and four do: at one URL, in the same bytes, or in other sizes."""
    files = {
        "url": picture(0),
        **{f"bytes{number}": picture(1) for number in range(4)},
        **{f"look{number}": smaller(2, 150 - number) for number in range(4)},
        **{f"own{number}": picture(3 + number) for number in range(5)},
        "smaller": smaller(7, 120),
    }
    for number in range(4):
        names = ["url", f"bytes{number}", f"look{number}", "own0" if number < 3 else "own1"]  # own0 is on 3 pages
        files[f"{number}.html"] = page(number, *names)
    files["4.html"] = page(4, "own4", "smaller")
    limits = [f"image.max_{name}documents=3" for name in ("url_", "", "alike_")]
    site = write(tmp_path / "site", files)
    root = build_here([site], tmp_path / "corpus", [*limits, "image.repeated_alike=true", "windows.validation=0"])
    corpus = open_corpus(root)
    (level,) = (level for level in funnel(corpus)["levels"] if level["level"] == "images")
    found = {row["rule"]: row["count"] for row in level["rules"]}
    counts = {"image.common_url": 4, "image.too_common": 4, "image.common_alike": 4, "image.repeated_alike": 1}
    assert found == counts
    told = what_if(corpus, ["image.max_url_documents=4", "image.max_documents=4", "image.repeated_alike=false"])
    again = {row["rule"]: row["then"] for row in told["levels"][1]["rules"] if row["then"]}
    assert again == {"image.common_alike": 12}  # what is the same by URL or bytes looks the same


PAGES = st.lists(st.tuples(st.sets(st.sampled_from("uvw")), st.integers(2000, 2002)), max_size=12)


def dropped(parts: list[list[tuple[str, set[str], int]]], partitions: int) -> dict[str, str]:
    """The doc_id of the page that is kept instead, by that of each dropped page (doc_id, URLs, year)."""
    blocks = []
    for part, pages in enumerate(parts):
        shown = [{"row": row, "url": url} for row, (_, urls, _) in enumerate(pages) for url in sorted(urls)]
        references = pa.Table.from_pylist(shown, pa.schema([("row", pa.int32()), ("url", pa.string())]))
        told = [{"doc_id": id, "capture": {"date": f"{year}-01-01T00:00:00Z"}} for id, _, year in pages]
        schema = pa.schema([("doc_id", pa.string()), ("capture", pa.struct([("date", pa.string())]))])
        blocks.append(image_sets(references, np.full(len(shown), None), part, pa.Table.from_pylist(told, schema)))
    firsts = np.concatenate([rows[np.unique(first_of_each(rows[["high", "low"]]))] for rows in blocks])
    found = np.concatenate(
        [
            copies(np.sort(firsts[firsts["high"] % np.uint64(partitions) == number]), refused_only=False)
            for number in range(partitions)
        ]
    )
    gone = [survivors_of(same_sets(rows, found[found["part"] == part])) for part, rows in enumerate(blocks)]
    return {parts[part][row][0]: kept for part, rows in enumerate(gone) for row, kept in rows.items()}


@given(PAGES, st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_same_page_stays_in_any_order_parts_and_partitions(pages, number, partitions, random) -> None:
    named = [(f"{place:032x}", *page) for place, page in enumerate(pages)]
    expected = {}
    for id, urls, _ in named:
        newest = min((page for page in named if page[1] == urls), key=lambda page: (-page[2], page[0]))[0]
        if urls and newest != id:
            expected[id] = newest
    random.shuffle(named)
    parts = [named[start::number] for start in range(number)]
    assert dropped(parts, partitions) == expected
