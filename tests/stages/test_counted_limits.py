"""Limits that joins count, on both sides: pages that use an image, and images of a page."""

from pathlib import Path

from pipeline.recipe import load
from tests.corpora import build_here
from tests.stages.test_folders import digest, page, picture, shown, write


def test_both_sides_of_obelics_limits_on_copies_and_on_images_of_a_page(tmp_path: Path) -> None:
    values = load("obelics").values()
    most_pages, most_images = values["image.max_url_documents"], values["page.max_images"]
    pictures = {f"{number}.png": picture(number) for number in range(2 * most_images + 3)}
    names = list(pictures)
    full, fuller = names[:most_images], names[most_images : 2 * most_images + 1]
    kept, common = names[-2:]
    pages = {"full.html": page(900, *full), "fuller.html": page(901, *fuller)}
    for number in range(most_pages + 1):
        pages[f"{number}.html"] = page(number, *((kept, common) if number < most_pages else (common,)))
    settings = [f"image.max_url_documents={most_pages}", f"page.max_images={most_images}"]
    root = build_here([write(tmp_path / "site", {**pages, **pictures})], tmp_path / "corpus", settings)
    found = {url.rpartition("/")[2]: images for url, images in shown(root).items()}
    assert found == {"full.html": [digest(pictures[name]) for name in full]} | {
        f"{number}.html": [digest(pictures[kept])] for number in range(most_pages)
    }
