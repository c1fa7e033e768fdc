"""Images of benchmarks do not get into a corpus."""

from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.benchmarks import read_index
from pipeline.benchmarks import index_for, make_index
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.review import write_review
from pipeline.inspect.whatif import what_if
from tests.corpora import build_here, start_build
from tests.stages.test_folders import page, picture, write


def drawn(seed: int) -> PIL.Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    return PIL.Image.fromarray(noise).resize((320, 320), PIL.Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, Path]:
    """A site of 8 pages with 2 pictures each, every fifth a changed copy of a benchmark picture; and the index."""
    root = tmp_path_factory.mktemp("benchmarks")
    benchmark, site = root / "coco", root / "site"
    benchmark.mkdir()
    for number in range(4):
        drawn(number).save(benchmark / f"{number}.png")
    (benchmark / "labels.txt").write_text("no image")
    changed = {
        "0": lambda image, file: image.resize((150, 150)).save(file, "png"),
        "5": lambda image, file: image.save(file, "jpeg", quality=30),
        "10": lambda image, file: image.resize((500, 500)).save(file, "webp", quality=60),
        "15": lambda image, file: image.save(file, "gif"),
    }
    write(site, {f"{number}.html": page(number, str(2 * number), str(2 * number + 1)) for number in range(8)})
    write(site, {str(number): picture(100 + number) for number in range(16)})
    for number, (name, change) in enumerate(changed.items()):
        change(drawn(number), site / name)
    index = root / "index.parquet"
    said: list[str] = []
    make_index([benchmark], "", index, said.append)
    assert said == [f"4 images in {index}; 1 files are no images"]
    return site, index


def dropped(root: Path) -> int:
    (level,) = (level for level in funnel(open_corpus(root))["levels"] if level["level"] == "images")
    return sum(row["count"] for row in level["rules"] if row["rule"] == "image.benchmark")


def test_no_changed_copy_of_a_benchmark_image_is_in_the_corpus(planted: tuple[Path, Path], tmp_path: Path) -> None:
    site, index = planted
    keep = tmp_path / "keep.txt"
    keep.write_text("# harmless\ncoco/1.png\n")
    root = build_here([site], tmp_path / "corpus", [f"image.benchmarks={index}"])
    assert dropped(root) == 4
    stored = pq.read_table(root / "documents", columns=["images"])["images"].to_pylist()
    names = {image["url"].rpartition("/")[2] for row in stored for image in row if image}
    assert len(names) == 12 and names.isdisjoint({"0", "5", "10", "15"})

    review = tmp_path / "review.html"
    assert write_review(open_corpus(root), [index.parent / "coco"], [], review) == (4, None)
    page = review.read_text()
    assert [f"coco/{number}.png" in page for number in range(5)] == [True] * 4 + [False]
    assert page.count('alt="image of the corpus"') == page.count('alt="image of the benchmark"') == 4
    write_review(open_corpus(root), [], [], review)
    assert "give the benchmark's with --images" in review.read_text().replace("&#39;", "'")

    read_index.cache_clear()
    before = index.read_bytes()
    make_index([site / "1"], "coco", index, print)
    with pytest.raises(BuildError, match="has changed since"):
        write_review(open_corpus(root), [], [], review)
    index.write_bytes(before)
    read_index.cache_clear()

    told = what_if(open_corpus(root), [f"image.benchmarks_keep={keep}"])
    (level,) = (level for level in told["levels"] if level["level"] == "images")
    assert {row["rule"]: row["then"] for row in level["rules"]}["image.benchmark"] == 3
    overruled = build_here([site], tmp_path / "kept", [f"image.benchmarks={index}", f"image.benchmarks_keep={keep}"])
    assert dropped(overruled) == 3


def test_an_index_of_parquet_files_names_their_rows(planted: tuple[Path, Path], tmp_path: Path) -> None:
    data = (planted[0] / "0").read_bytes()
    rows = [{"image": {"bytes": data, "path": None}, "images": [{"bytes": data, "path": "a"}], "plain": data}]
    pq.write_table(pa.Table.from_pylist(rows * 2), tmp_path / "set.parquet")
    make_index([tmp_path / "set.parquet"], "vqa", tmp_path / "index", print)
    images = read_index(str(tmp_path / "index")).images
    assert set(images["benchmark"].to_pylist()) == {"vqa"}
    assert images["image"].to_pylist()[:4] == ["0/image", "0/images/0", "0/plain", "1/image"]
    assert len(set(images["phash"].to_pylist())) == 1


def test_errors_are_one_line(planted: tuple[Path, Path], tmp_path: Path) -> None:
    site, index = planted
    wrong = {
        f"image.benchmarks={site}": "make an index of it first: m3w decontaminate-index",
        "image.benchmarks=missing.parquet": "missing.parquet: file not found",
        f"image.benchmarks={site / '0'}": f"{site / '0'}: ",
    }
    for setting, message in wrong.items():
        with pytest.raises(BuildError) as error:
            build_here([site], tmp_path / "corpus", [setting])
        assert message in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(BuildError, match="none: file not found"):
        build_here(
            [site], tmp_path / "corpus", [f"image.benchmarks={index}", f"image.benchmarks_keep={tmp_path / 'none'}"]
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="no image in"):
        make_index([tmp_path / "empty"], "", tmp_path / "index", print)
    with pytest.raises(BuildError, match="none"):
        make_index([tmp_path / "none"], "", tmp_path / "index", print)


def test_the_command_takes_a_folder_of_images_or_an_index(planted: tuple[Path, Path], tmp_path: Path) -> None:
    site, index = planted
    root, said = tmp_path / "corpus", []
    assert index_for(index, root, said.append) == ("image.benchmarks", index) and not said
    process = start_build([site], root, "--decontaminate", str(index.parent / "coco"))
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    made = tmp_path / "corpus.benchmarks.parquet"
    assert f"4 images in {made}; 1 files are no images" in errors
    assert open_corpus(root).recipe.image.benchmarks == str(made) and dropped(root) == 4
