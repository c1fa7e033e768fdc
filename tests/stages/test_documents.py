"""Which nodes of a page become nodes of its document, and in which half of the split the document is."""

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from pipeline.extract import extract
from pipeline.recipe import Recipe
from pipeline.stages.held_out import BOOK_BYTES
from pipeline.stages.kept import kept_nodes
from pipeline.stages.pages import _content
from tests.corpora import build_here
from tests.stages.test_folders import page, write

LINES = "A lighthouse stands on the rock, and its keeper climbs the stairs twice a day to clean its lamp. " * 3


def kept(middle: str, *pictures: int) -> list[str | None]:
    """The texts of a document that keeps the images with these numbers."""
    page = f"<html><body><article><p>{LINES}</p>{middle}<p>{LINES}</p></article></body></html>"
    document = extract(page.encode(), "https://example.org/")
    assert document is not None
    row = _content(document, Recipe().values())
    nodes = [node for node, image in enumerate(row["images"]) if image is not None]
    return kept_nodes(row["texts"], row["images"], {nodes[number] for number in pictures})[0]


ICON = '<img src="{}.png" alt="">'
A, B = ICON.format("a"), ICON.format("b")


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (f"<p>Press the {A} button to go on.</p>", "Press the button to go on."),
        (f"<p>Press{A}, {B} or both.</p>", "Press, or both."),
        (f"<p>Press the<br>{A}{B}<br>button.</p>", "Press the\nbutton."),
        (f"<p>按下{A}按钮继续。</p>", "按下按钮继续。"),
        (f"<p>Press this.</p>{A}<p>Then wait.</p>", "Press this.\n\nThen wait."),
        (f"<p>Press this. {A}</p><p>{B} Then wait.</p>", "Press this.\n\nThen wait."),
    ],
)
def test_a_picture_that_is_left_out_leaves_its_line_whole(middle: str, expected: str) -> None:
    (text,) = kept(middle)
    assert text is not None and f"\n\n{expected}\n\n" in text


def test_a_picture_that_stays_divides_its_line() -> None:
    before, picture, after = kept(f"<p>Press {A} or {B} to go on.</p>", 1)
    assert before is not None and before.endswith("Press or")
    assert picture is None
    assert after is not None and after.startswith("to go on.")


def test_copies_that_are_kept_never_stand_on_both_sides(tmp_path: Path) -> None:
    """Fifteen texts, each on four pages with pictures of their own, with nothing that takes copies out."""
    site = tmp_path / "site"
    site.mkdir()
    random = np.random.default_rng(3)
    for number in range(60):
        pixels = random.integers(0, 256, (80, 80, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(site / f"{number}.png")
        words = " ".join(str(word) for word in np.random.default_rng(number % 15).integers(0, 9999, 60))
        body = f'<article><p>Page of numbers: {words}.</p><img src="{number}.png"></article>'
        (site / f"{number}.html").write_text(f"<!DOCTYPE html><html><body>{body}</body></html>")
    settings = ["dedup.text=false", "dedup.near_text=false", "text.min_mean_word_length=0"]
    root = build_here([site], tmp_path / "corpus", settings, "https://example.org/")
    sides: dict[str, set[str]] = {}
    for row in pq.read_table(root / "documents").to_pylist():
        sides.setdefault(row["texts"][0], set()).add(row["split"])
    assert len(sides) == 15
    assert {"train", "validation"} == set().union(*sides.values())
    assert all(len(side) == 1 for side in sides.values())


def test_parts_of_a_book_leak_where_training_documents_hold_a_copy(tmp_path: Path) -> None:
    """Two copies of one book that differ in their last words, another book that is held out against nothing and shows
    its first picture again at its end, and a page that is a book's length only with the joints of pictures that go."""
    site = tmp_path / "site"
    site.mkdir()
    pixels = np.random.default_rng(3)
    for name, last in {"a": "one", "b": "another", "other": "one"}.items():
        words = np.random.default_rng(int(name == "other"))
        body = ""
        for number in range(10):
            PIL.Image.fromarray(pixels.integers(0, 256, (80, 80, 3), np.uint8)).save(site / f"{name}{number}.png")
            body += (
                f"<p>Numbers: {' '.join(map(str, words.integers(0, 99_999, 4000)))}.</p><img src={name}{number}.png>"
            )
        body += f"<p>The {last} end.</p>" + "<img src=other0.png><p>Again.</p>" * (name == "other")
        (site / f"{name}.html").write_text(f"<html><body><article>{body}</article></body></html>")
    lines = [" ".join(map(str, words.integers(10_000, 99_999, 512))) + "." for _ in range(20)]
    body = "<img src=other1.png>" + "<img src=gone.png>".join(f"<p>{line}</p>" for line in lines)
    (site / "short.html").write_text(f"<html><body><article>{body}</article></body></html>")
    settings = ["dedup.near_text=false", "text.min_mean_word_length=0", "windows.validation=0.4"]
    root = build_here([site], tmp_path / "corpus", settings, "https://example.org/")
    found = {row["url"].rpartition("/")[2]: row for row in pq.read_table(root / "documents").to_pylist()}
    short = found.pop("short.html")
    assert short["held_out"] is None and short["split"] != "mixed"
    assert sum(map(len, lines)) == BOOK_BYTES < sum(len(text) for text in short["texts"] if text)
    assert {name: row["split"] for name, row in found.items()} == dict.fromkeys(
        ["a.html", "b.html", "other.html"], "mixed"
    )
    sides = {name: {part["split"] for part in row["held_out"]} for name, row in found.items()}
    assert sides == {"a.html": {"leak"}, "b.html": {"leak"}, "other.html": {"validation"}}
    shown = [image["sha256"] for image in found["other.html"]["images"] if image]
    assert len(shown) == len(set(shown)) == 10, "split relies on a page showing a content once"


def test_no_held_out_image_is_a_resized_copy_of_a_training_image(tmp_path: Path) -> None:
    site = tmp_path / "site"
    names = [f"{number}{version}" for number in range(8) for version in "ab"]
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        image = PIL.Image.fromarray(noise).resize((200, 200))
        site.mkdir(exist_ok=True)
        image.save(site / f"{number}a", "png")
        image.resize((140, 140)).save(site / f"{number}b", "jpeg", quality=70)
    write(site, {f"{name}.html": page(number, name) for number, name in enumerate(names)})

    def leaks(*settings: str) -> tuple[int, set[str]]:
        root = build_here([site], tmp_path / "_".join(["corpus", *settings]), ["windows.validation=0.4", *settings])
        splits = {row["url"][-7:-5]: row["split"] for row in pq.read_table(root / "documents").to_pylist()}
        assert len(splits) == 16
        apart = [{splits[f"{number}a"], splits[f"{number}b"]} == {"train", "validation"} for number in range(8)]
        return sum(apart), set(splits.values())

    assert leaks() == (0, {"train", "validation", "leak"})
    assert leaks("split.leak=false")[0] > 0
