"""Indexes of benchmark images: what a build keeps of them, and what is no index."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.benchmarks import INDEX, BenchmarkError, digest, read_index


def index(path: Path, hashes: list[int]) -> str:
    names = [f"{number}.png" for number in range(len(hashes))]
    pq.write_table(pa.table([["coco"] * len(hashes), names, hashes], INDEX), path)
    return str(path)


def test_another_index_or_another_list_of_exceptions_is_told_apart(tmp_path: Path) -> None:
    one, other = index(tmp_path / "one", [1, 2]), index(tmp_path / "other", [1, 3])
    (tmp_path / "keep").write_text("# coco/0.png\n\n coco/1.png \nvqa/0.png\n", "utf-8")
    (tmp_path / "none").write_text("vqa/0.png\n", "utf-8")
    found = [digest(one, ""), digest(other, ""), digest(one, str(tmp_path / "keep")), digest("", "")]
    assert len(set(found)) == 4 and found[3] == ""
    assert digest(one, str(tmp_path / "none")) == found[0]
    assert read_index(one, str(tmp_path / "keep")).hashes.tolist() == [1]


def test_what_is_no_index_or_no_list_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"phash": [1]}), tmp_path / "table")
    with pytest.raises(BenchmarkError, match="table is not an index of images: make one with m3w decontaminate-index"):
        read_index(str(tmp_path / "table"))
    (tmp_path / "latin").write_bytes("käse".encode("latin-1"))
    with pytest.raises(BenchmarkError, match="latin: 'utf-8' codec"):
        read_index(index(tmp_path / "index", [1]), str(tmp_path / "latin"))
