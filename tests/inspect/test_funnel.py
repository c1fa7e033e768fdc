"""The funnel adds up, says what the generated web's truth says, and is told from finished files alone."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import BuildError
from pipeline.inspect import rules
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel


def test_in_is_out_plus_what_the_rules_dropped(small_corpus: Path) -> None:
    told = funnel(small_corpus)
    assert [level["level"] for level in told["levels"]] == ["records", "pages", "pictures", "images", "windows"]
    for level in told["levels"]:
        assert level["in"] == sum(level["out"].values()) + sum(row["count"] for row in level["rules"])
    records, pages, _, images, windows = told["levels"]
    assert records["out"]["page"] == pages["in"]
    assert pages["out"] == told["kept"]["documents"]
    assert images["out"] == {"kept": told["kept"]["images"]}
    assert windows["out"] == told["kept"]["windows"]
    assert told["not_applied"] == []


def test_every_rule_that_dropped_something_is_explained_and_in_order(small_corpus: Path) -> None:
    for level in funnel(small_corpus)["levels"]:
        named = [row["rule"] for row in level["rules"]]
        assert set(named) <= set(rules.EXPLAINED), "name it in pipeline/inspect/rules.py"
        known = list(
            {"records": rules.RECORDS, "pages": rules.PAGES, "pictures": rules.PICTURES}.get(level["level"], {})
        )
        if known:
            assert named == sorted(named, key=known.index)


def test_unknown_rules_come_last() -> None:
    told = rules.in_order({"page.new": 2, "page.no_image": 1, "page.a": 3}, rules.PAGES)
    assert [row["rule"] for row in told] == ["page.no_image", "page.a", "page.new"]


def test_the_same_corpus_gives_the_same_funnel(small_corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(small_corpus, tmp_path / "copy")
    assert json.dumps(funnel(small_corpus)) == json.dumps(funnel(tmp_path / "copy"))


def test_a_lost_verdict_does_not_go_unnoticed(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "copy"
    shutil.copytree(small_corpus, corpus)
    path = corpus / open_corpus(corpus).work("split")[0].path
    table = pq.read_table(path, partitioning=None)
    kept = table["rule"].to_pylist().index(None)
    changed = table["rule"].to_pylist()
    changed[kept] = "dedup.text"
    pq.write_table(table.set_column(0, "rule", [changed]), path)
    with pytest.raises(BuildError, match="does not add up"):
        funnel(corpus)


def test_without_work_what_was_kept_can_still_be_told(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "copy"
    shutil.copytree(small_corpus, corpus, ignore=shutil.ignore_patterns("work"))
    told = funnel(corpus)
    assert told["levels"] == [] and told["work"] is False
    assert told["kept"] == funnel(small_corpus)["kept"]


def test_what_is_no_corpus_gets_one_line(tmp_path: Path, small_corpus: Path) -> None:
    with pytest.raises(BuildError, match="no such directory"):
        funnel(tmp_path / "nothing")
    with pytest.raises(BuildError, match=r"no manifest\.json"):
        funnel(tmp_path)
    shutil.copy(small_corpus / "recipe.toml", tmp_path)
    with pytest.raises(BuildError, match="has not finished"):
        funnel(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BuildError, match="cannot be read"):
        funnel(tmp_path)
    (tmp_path / "manifest.json").write_text(
        '{"format": 1, "files": [{"path": "../x", "rows": 1, "bytes": 1, "sha256": ""}]}'
    )
    with pytest.raises(BuildError, match="outside of the corpus"):
        funnel(tmp_path)
