"""Joins: rows with equal keys meet, and their decisions return to the parts they came from."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine import joins
from pipeline.engine.runner import Runner
from pipeline.errors import BuildError

ROW = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4")])


def emit(part: int, keys: list[int]) -> joins.Block:
    rows = np.zeros(len(keys), ROW)
    rows["high"], rows["part"], rows["row"] = keys, part, np.arange(len(keys))
    return rows


def repeated(rows: joins.Block) -> joins.Block:
    """All rows of a key but the first."""
    again = np.zeros(len(rows), bool)
    again[1:] = rows["high"][1:] == rows["high"][:-1]
    return rows[again]


def expected(parts: list[list[int]]) -> list[tuple[int, list[int], list[int]]]:
    seen: set[int] = set()
    found = []
    for part, keys in enumerate(parts):
        rows = []
        for row, key in enumerate(keys):
            if key in seen:
                rows.append(row)
            seen.add(key)
        found.append((part, keys, rows))
    return found


def joined(runner: Runner, workers: int, parts: list[list[int]], folder: Path | None) -> None:
    def check(found: list[Any]) -> None:
        got = sorted(
            (part, state, sorted(block["row"].tolist()) if len(block) else []) for part, (state, block) in found
        )
        if got != expected(parts):
            raise AssertionError(f"{got} and not {expected(parts)}")

    with runner.pipeline(workers, "join") as pipeline:
        values = pipeline | beam.Create(list(enumerate(parts)))
        with joins.spilling(folder) if folder else nullcontext():
            assert_that(values | joins.Join(emit, repeated, 3), check)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("join") / "log"
    with Runner.from_options(["--direct_num_workers=2"], log, 2, "pipeline.stages.preload") as runner:
        yield runner


@settings(max_examples=10, deadline=None)
@given(parts=st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=5))
def test_in_memory_and_in_files(
    runner: Runner, tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]
) -> None:
    joined(runner, 0, parts, None)
    joined(runner, 0, parts, tmp_path_factory.mktemp("spill"))


def test_on_two_workers(runner: Runner, tmp_path: Path) -> None:
    parts = [[number % 7 for number in range(part, part + 20)] for part in range(6)]
    joined(runner, 2, parts, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 6 * 20 * ROW.itemsize


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    spill = joins._Spill(tmp_path)
    spill.file = Path("/dev/full").open("wb")  # noqa: SIM115
    with pytest.raises(BuildError, match="No space left on device"):
        list(spill.process((1, b"small")))
        spill.finish_bundle()
    spill.file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(BuildError, match="No space left on device"):
        list(spill.process((1, b"x" * 100_000)))
    spill.file.close()
    with pytest.raises(BuildError, match="Not a directory"):
        joins._Spill(Path("/dev/null")).start_bundle()
