"""The funnel adds up, matches the generated web's truth, and is computed from finished files alone."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from filters import rules
from filters.rule import Level
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel, in_order
from shards.records import FORMAT_VERSION

LEVELS: dict[str, tuple[Level, ...]] = {
    "records": ("record",),
    "pages": ("page",),
    "paragraphs": ("paragraph",),
    "words": ("paragraph", "page"),
    "pictures": ("image",),
    "images": ("reference", "image"),
    "tokens": ("document",),
    "document_images": ("document",),
    "windows": ("window",),
}


def test_in_is_out_plus_what_the_rules_dropped(small_corpus: Path) -> None:
    told = funnel(small_corpus)
    assert [level["level"] for level in told["levels"]] == [name for name in LEVELS if name != "paragraphs"]
    for level in told["levels"]:
        assert level["in"] == sum(level["out"].values()) + sum(row["count"] for row in level["rules"])
    by_name = {level["level"]: level for level in told["levels"]}
    assert by_name["records"]["out"]["page"] == by_name["pages"]["in"]
    assert by_name["pages"]["out"] == told["kept"]["documents"]
    assert sum(by_name["images"]["out"].values()) == told["kept"]["images"]
    assert by_name["windows"]["out"] == told["kept"]["windows"]
    assert by_name["document_images"]["in"] == told["kept"]["images"]
    assert by_name["tokens"]["out"]["in windows"] > 0 and by_name["tokens"]["rules"]
    assert told["not_applied"] == ["image.nsfw_model"]


def test_every_rule_that_dropped_something_is_in_the_table_and_in_its_order(small_corpus: Path) -> None:
    for level in funnel(small_corpus)["levels"]:
        named = [row["rule"] for row in level["rules"]]
        known = list(rules.explained(*LEVELS[level["level"]]))
        assert set(named) <= set(known), "declare it in filters/rules.py"
        assert named == sorted(named, key=known.index)


def test_pages_carry_away_their_words_and_pictures(small_corpus: Path) -> None:
    corpus = open_corpus(small_corpus)
    by_name = {level["level"]: level for level in funnel(corpus)["levels"]}
    words, lost, pictures, carried, left_out = 0, Counter[str](), 0, 0, Counter[str]()
    for pages, split, text in zip(corpus.work("pages"), corpus.work("split"), corpus.work("dedup"), strict=True):
        final, before = (corpus.table(entry)["rule"].to_pylist() for entry in (split, text))
        for row, rule, rule_before in zip(corpus.table(pages).to_pylist(), final, before, strict=True):
            words += row["words"] or 0
            lost[rule] += row["words"] or 0
            nodes = sum(node is not None for node in row["images"] or ())
            pictures += nodes
            left_out.update(dict(row["left_out"] or ()))
            carried += nodes if rule_before is not None else 0
    kept = lost.pop(None)
    assert by_name["words"]["in"] == words and sum(by_name["words"]["out"].values()) == kept > 0
    assert {row["rule"]: row["count"] for row in by_name["words"]["rules"]} == {k: v for k, v in lost.items() if v}
    assert by_name["images"]["in"] == pictures + left_out.total() and lost["dedup.near_text"] > 0
    images = {row["rule"]: row["count"] for row in by_name["images"]["rules"]}
    assert images["image.page_dropped"] == carried > 0
    assert left_out and left_out == {rule: images[rule] for rule in left_out}


def test_unknown_rules_come_last() -> None:
    told = in_order({"page.new": 2, "page.no_image": 1, "page.a": 3}, "page")
    assert [row["rule"] for row in told] == ["page.no_image", "page.a", "page.new"]


def test_the_same_corpus_gives_the_same_funnel(small_corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(small_corpus, tmp_path / "copy")
    assert json.dumps(funnel(small_corpus)) == json.dumps(funnel(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("stage", "rule", "what"),
    [
        ("split", "dedup.text", "pages in"),
        ("decisions", "image.too_small", "images kept"),
        ("windows", "window.cut", "windows by decision"),
    ],
)
def test_a_lost_verdict_does_not_go_unnoticed(
    small_corpus: Path, tmp_path: Path, stage: str, rule: str, what: str
) -> None:
    corpus = tmp_path / "copy"
    shutil.copytree(small_corpus, corpus)
    path = corpus / open_corpus(corpus).work(stage)[0].path
    table = pq.read_table(path, partitioning=None)
    changed = table["rule"].to_pylist()
    changed[changed.index(None)] = rule
    pq.write_table(table.set_column(table.schema.get_field_index("rule"), "rule", [changed]), path)
    with pytest.raises(BuildError, match=f"does not add up: {what}"):
        funnel(corpus)


def test_without_work_what_was_kept_can_still_be_told(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "copy"
    shutil.copytree(small_corpus, corpus, ignore=shutil.ignore_patterns("work"))
    told = funnel(corpus)
    assert told["levels"] == [] and told["work"] is False
    assert told["kept"] == funnel(small_corpus)["kept"]


def test_what_is_no_corpus_gets_one_line(tmp_path: Path, small_corpus: Path) -> None:
    with pytest.raises(BuildError, match="directory not found"):
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
        f'{{"format": {FORMAT_VERSION}, "files": [{{"path": "../x", "rows": 1, "bytes": 1, "sha256": ""}}]}}'
    )
    with pytest.raises(BuildError, match="outside of the corpus"):
        funnel(tmp_path)
