"""How missing images are grouped into lists."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.stages import fetch
from pipeline.stages.schemas import MISSING
from pipeline.urls import host_of


@pytest.mark.parametrize("open_lists", [7, 20, 512])
def test_every_image_is_in_the_list_of_its_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_lists: int
) -> None:
    """More lists than files that are open at once: with all, and with as many as there are."""
    monkeypatch.setattr(fetch, "LIST_URLS", 3)
    monkeypatch.setattr(fetch, "OPEN_LISTS", open_lists)
    corpus = CorpusDirectory(tmp_path)
    offered = [[f"https://h{number % 11}.example/{number}", f"https://other.example/{number}"] for number in range(60)]
    (tmp_path / "work/wanted").mkdir(parents=True)
    entries = [
        tables.write(corpus, corpus.part("wanted", part), pa.table({"urls": offered[part::2]}, MISSING))
        for part in (0, 1)
    ]
    tasks = fetch.write_lists(corpus, entries)
    assert [task.number for task in tasks] == list(range(20))
    hosts: list[str] = []
    found = []
    for task in tasks:
        lines = (tmp_path / f"work/fetched/{task.number:05}.urls").read_text().splitlines()
        assert len(lines) == task.weight
        found += [line.split("\t") for line in lines]
        hosts += {host_of(line.split("\t")[0]) for line in lines}
    assert sorted(found) == sorted(offered)
    assert len(hosts) == len(set(hosts)) == 11
