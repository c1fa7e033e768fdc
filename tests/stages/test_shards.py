"""How windows are dealt to shards."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.stages.runs import LONGEST_RUN, deal, in_split, joined, read_plan, runs_of
from pipeline.stages.schemas import CUTS
from pipeline.stages.shards import _Rows, assign_shards


def cut(sizes: list[int]) -> pa.Table:
    """Training windows with images of so many bytes, among dropped ones and those of the other split."""
    rows: list[tuple[object, ...]] = []
    for number, size in enumerate(sizes):
        rows += [("validation", None, 1, [0]), ("train", "window.no_image", 0, None)][: number % 3]
        rows.append(("train", None, size, [number]))
    names = ("split", "rule", "bytes", "input_ids")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return pa.table({name: pa.array(column, CUTS.field(name).type) for name, column in columns.items()})


@given(
    st.lists(st.integers(0, 400), max_size=4),
    st.sampled_from([1, 300, 10_000, 10**9]),
    st.sampled_from([1, 2, 4, 30]),
    st.integers(0, 9),
)
def test_shards_have_the_same_number_of_windows_and_none_is_empty(
    parts: list[int], shard_bytes: int, min_shards: int, seed: int
) -> None:
    found = [runs_of(cut([10 + seed] * windows), "train", shard_bytes, min_shards) for windows in parts]
    assert [part.windows for part in found] == parts
    runs, count = joined(found, shard_bytes, min_shards)
    shards = deal(runs, count, seed)
    windows = sum(parts)
    size = windows * (10 + seed + 8)
    assert len(shards) == count == min(windows, max(min_shards, -(-size // shard_bytes)))
    assert sum(int(run["bytes"]) for shard in shards for run in shard) == size
    held = [(run["part"], row) for shard in shards for run in shard for row in range(run["start"], run["stop"])]
    assert len(held) == len(set(held)) == windows
    sizes = [int((shard["stop"] - shard["start"]).sum()) for shard in shards]
    if sizes:
        assert min(sizes) > 0 and max(sizes) - min(sizes) <= max(1, 0.1 * max(sizes))
    assert all(run["stop"] - run["start"] <= LONGEST_RUN for run in runs)
    again = deal(runs, count, seed)
    assert all(np.array_equal(one, other) for one, other in zip(shards, again, strict=True))


def test_many_small_parts_keep_their_windows_together() -> None:
    """A part that could be one shard by itself is cut finely; among many it is not."""
    parts = [runs_of(cut([10] * 100), "train", 10**9, 1) for _ in range(500)]
    runs, count = joined(parts, 10**9, 1)
    assert count == 1 and len(runs) == 500 and set(runs["stop"]) == {100}


@given(st.integers(0, 600), st.data())
def test_the_windows_of_a_run_are_read_from_their_row_groups(windows: int, data: st.DataObject) -> None:
    table = cut([0] * windows)
    start = data.draw(st.integers(0, max(0, windows - 1)))
    stop = data.draw(st.integers(start, windows))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table, row_group_size=data.draw(st.sampled_from([1, 7, 256, 5_000])))
    if start < stop:
        rows = _Rows(pq.ParquetFile(pa.BufferReader(sink.getvalue())), "train").read(start, stop)
        assert [ids for (ids,) in rows["input_ids"].to_pylist()] == list(range(start, stop))
        assert set(rows["split"].to_pylist()) == {"train"} and rows["rule"].null_count == len(rows)


def test_the_windows_of_a_build_are_in_its_shards(undisturbed: Path) -> None:
    corpus = CorpusDirectory(undisturbed)
    parts = json.loads((undisturbed / "manifest.json").read_text())["parts"]
    recipe = corpus.root / "windows"
    for split in ("train", "validation"):
        written = [tables.read(path, ["doc_id", "token_start"]) for path in recipe.glob(f"{split}-*.parquet")]
        cuts = [tables.read(corpus.part("windows", part)) for part in range(parts)]
        wanted = [table.filter(in_split(table, split)).select(["doc_id", "token_start"]) for table in cuts]
        both = [
            pa.concat_tables(some).sort_by([("doc_id", "ascending"), ("token_start", "ascending")])
            for some in (written, wanted)
        ]
        assert both[0].num_rows and both[0].equals(both[1].cast(both[0].schema))


@pytest.mark.parametrize("min_shards", [1, 3])
def test_the_plan_of_a_finished_build_is_the_same_again(undisturbed: Path, min_shards: int) -> None:
    corpus = CorpusDirectory(undisturbed)
    parts = json.loads((undisturbed / "manifest.json").read_text())["parts"]
    tasks = assign_shards(corpus, parts, 0, 10**9, min_shards)
    plan = corpus.work("runs/plan").read_bytes()
    assert tasks == assign_shards(corpus, parts, 0, 10**9, min_shards)
    assert plan == corpus.work("runs/plan").read_bytes()
    assert [task.number for task in tasks] == list(range(len(tasks)))
    for task in tasks:
        assert int(read_plan(corpus, task.payload.first, task.payload.runs)["bytes"].sum()) == task.weight
