"""The cut of large inputs: on the workers, in parts that grow with the input."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.source import part_bytes
from tests.corpora import build_here, digests
from tests.records import record
from tests.stages.test_folders import page, picture


def test_the_files_of_a_large_input_are_cut_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warcs = [tmp_path / f"{number}.warc.gz" for number in range(3)]
    for number, warc in enumerate(warcs):
        site = f"http://s{number}.example/"
        image = record(f"{site}i.png", picture(number), "image/png")
        warc.write_bytes(record(f"{site}p.html", page(number, "i.png")) + image)
    plain = build_here(warcs, tmp_path / "plain")
    assert not (plain / "work/index").exists()
    monkeypatch.setattr("pipeline.stages.index.LARGE", 1)
    root = build_here(warcs, tmp_path / "corpus", workers=2)
    assert digests(root) == digests(plain)
    cuts = sorted((root / "work/index").glob("0000?.json"))
    assert len(cuts) == 3
    for name in ("parts.json", "index/manifest.json", "index/00001.done.json"):  # as if it had been interrupted
        (root / "work" / name).unlink()
    before = [cut.stat().st_mtime_ns for cut in cuts]
    build_here(warcs, tmp_path / "corpus")
    assert [cut.stat().st_mtime_ns == old for cut, old in zip(cuts, before, strict=True)] == [True, False, True]
    assert digests(root) == digests(plain)


@given(st.integers(0, 1 << 50))
def test_parts_grow_with_the_input(total: int) -> None:
    size = part_bytes(total)
    assert 1 << 20 <= size <= 1 << 30
    assert size <= part_bytes(total + (1 << 30))
    assert total / size <= max(1025, 2 * total / (1 << 30)), "a few thousand parts below 1 TB, then one a gigabyte"
    if 16 << 20 <= total <= 64 << 30:
        assert total / size >= 15
