"""RESULTS.md matches results/*.json."""

import importlib
import json
from pathlib import Path

import pytest

from tests.bench.__main__ import RUNS
from tests.bench.results import ROOT, TOPICS, Figure, load, record, rendered, save


def test_the_table_is_up_to_date():
    page = (ROOT / "RESULTS.md").read_text("utf8")
    assert page == rendered(page, load(ROOT / "results")), "run python -m tests.bench.results"


def test_each_topic_has_a_page():
    assert sorted(path.stem for path in (ROOT / "results").glob("*.json")) == sorted(TOPICS)
    for topic in TOPICS:
        assert (ROOT / "docs/results" / f"{topic}.md").exists()


def test_a_recorded_figure_takes_the_place_of_the_one_before(tmp_path: Path):
    for topic in TOPICS:
        save([Figure("first", 1.0, "s", "< 2"), Figure("second", 5.0)], tmp_path / f"{topic}.json")
    record("build", [Figure("first", 3.0, "s", "< 2"), Figure("third", 7.0)], "make x", "a page", tmp_path)
    found = load(tmp_path)["build"]
    assert [(figure.figure, figure.value) for figure in found] == [("first", 3.0), ("second", 5.0), ("third", 7.0)]
    assert found[0].command == "make x" and found[0].input == "a page" and "GiB" in found[0].machine
    assert found[0].commit != found[1].commit == "not recorded"
    assert json.loads((tmp_path / "build.json").read_text())[0]["date"].count("-") == 2


@pytest.mark.parametrize(
    ("value", "goal", "reached"),
    [(1.0, "", None), (2.0, "< 2", False), (2.0, "<= 2", True), (3.0, ">= 3", True), (3.0, "> 3", False)],
)
def test_goals(value: float, goal: str, reached: bool | None):
    assert Figure("it", value, goal=goal).reached() is reached


def test_make_bench_runs_what_there_is():
    for name, *_ in RUNS:
        module = importlib.import_module(f"tests.bench.{name}")
        assert callable(module.main) and module.record is record
