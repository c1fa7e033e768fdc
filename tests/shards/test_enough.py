"""How much is held out, from documents as a build writes them."""

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shards.enough import too_few, too_few_held_out
from shards.records import DOCUMENTS
from tests.corpora import start_build

IMAGE = {"url": "http://a/1.png"}


def document(site: str, split: str, nodes: str = "it", held_out: list[tuple[int, int, str]] | None = None) -> dict:
    """`nodes`: an image for each i, text for each t."""
    return {
        "site": site,
        "split": split,
        "texts": [None if node == "i" else "text" for node in nodes],
        "images": [IMAGE if node == "i" else None for node in nodes],
        "held_out": held_out and [{"start": start, "stop": stop, "split": of} for start, stop, of in held_out],
    }


def written(folder: Path, rows: list[dict]) -> list[Path]:
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), folder / "00000.parquet")
    return [folder / "00000.parquet"]


def test_thirty_documents_are_enough_and_eight_sites_where_sites_are_held_out() -> None:
    assert too_few(30, 8) == "" and too_few(30, None) == ""
    assert "29 held-out documents" in too_few(29, None) and "sites" not in too_few(29, None)
    assert "100 held-out documents (or pieces of books) of 7 sites" in too_few(100, 7)
    assert "of 1 site with" in too_few(100, 1)
    assert "1 held-out document (or" in too_few(1, None)


@pytest.mark.parametrize(("sites", "documents", "enough"), [(8, 30, True), (7, 60, False), (8, 29, False)])
def test_held_out_documents_and_sites_are_counted(tmp_path: Path, sites: int, documents: int, enough: bool) -> None:
    held_out = [document(f"s{number % sites}", "validation") for number in range(documents)]
    # of other sites: nothing to see, no text behind the image, not held out
    others = [document("a", "validation", "tt"), document("b", "validation", "ti"), document("c", "leak")]
    reason = too_few_held_out(written(tmp_path, [*others, *held_out, document("d", "train")]))
    assert (reason == "") == enough
    assert enough or f"{documents} held-out documents (or pieces of books) of {sites} sites" in reason


def test_sites_do_not_count_where_one_stands_on_both_sides(tmp_path: Path) -> None:
    held_out = [document(f"s{number % 3}", "validation") for number in range(30)]
    assert "of 3 sites" in too_few_held_out(written(tmp_path, held_out))
    assert too_few_held_out(written(tmp_path, [*held_out, document("s0", "train")])) == ""


def test_held_out_pieces_of_a_book_count_each(tmp_path: Path) -> None:
    pieces = [(3 * number, 3 * number + 2, "leak" if number % 10 == 0 else "validation") for number in range(34)]
    assert too_few_held_out(written(tmp_path, [document("s", "mixed", "itt" * 34, pieces)])) == ""
    assert "27 held-out" in too_few_held_out(written(tmp_path, [document("s", "mixed", "itt" * 34, pieces[:30])]))
    # the image stands before the piece
    pieces = [(3 * number + 1, 3 * number + 3, "validation") for number in range(34)]
    assert "0 held-out" in too_few_held_out(written(tmp_path, [document("s", "mixed", "itt" * 34, pieces)]))


def test_the_end_of_a_build_says_so(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(pages / "a.png")
    words = "The lamp of the old lighthouse burnt all night, and nobody on the island slept before it was out. " * 3
    (pages / "index.html").write_text(f"<article><p>{words}</p><img src=a.png><p>{words[::-1]}</p></article>")
    build = start_build([pages], tmp_path / "corpus")
    output, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert output.splitlines()[-1].startswith("not enough held out for m3w train: 0 held-out documents")
