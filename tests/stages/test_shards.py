"""How windows are dealt to shards."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.engine.corpus import CorpusDirectory
from pipeline.stages.shards import assign_shards


@pytest.mark.parametrize(("shard_bytes", "min_shards"), [(10**9, 1), (10**9, 4), (10**6, 1), (200_000, 2), (1, 1)])
def test_shards_have_the_same_number_of_windows_and_none_is_empty(
    undisturbed: Path, shard_bytes: int, min_shards: int
) -> None:
    corpus = CorpusDirectory(undisturbed)
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    rows = {
        split: sum(entry["rows"] for entry in manifest["files"] if entry["path"].startswith(f"windows/{split}"))
        // 2  # in two formats
        for split in ("train", "validation")
    }
    tasks = assign_shards(corpus, manifest["parts"], 0, shard_bytes, min_shards)
    assert tasks == assign_shards(corpus, manifest["parts"], 0, shard_bytes, min_shards)
    assert [task.number for task in tasks] == list(range(len(tasks)))
    for split, count in rows.items():
        shards = [task.payload for task in tasks if task.payload.split == split]
        assert [shard.number for shard in shards] == list(range(len(shards)))
        assert min(min_shards, count) <= len(shards) <= count
        sizes = [sum(run.stop - run.start for run in shard.runs) for shard in shards]
        assert sum(sizes) == count > 0 and min(sizes) > 0
        assert max(sizes) - min(sizes) <= max(1, 0.1 * max(sizes))
        held = Counter((run.part, row) for shard in shards for run in shard.runs for row in range(run.start, run.stop))
        assert set(held.values()) == {1}
        assert shard_bytes > 1 or len(shards) == count
