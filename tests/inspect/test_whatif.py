"""Judging by stored metrics gives the same result as a build."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.build import build
from pipeline.engine.progress import Progress
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.viewer.queries import Library
from pipeline.inspect.whatif import NOT_JUDGED, what_if
from pipeline.recipe import load


def level(told: dict[str, Any], name: str) -> dict[str, Any]:
    return next(level for level in told["levels"] if level["level"] == name)


def then(told: dict[str, Any], name: str) -> tuple[int, int, dict[str, int]]:
    one = level(told, name)
    return one["in"][1], one["out"][1], {row["rule"]: row["then"] for row in one["rules"] if row["then"]}


def counted(corpus: Path, name: str) -> tuple[int, int, dict[str, int]]:
    one = level(funnel(corpus), name)
    return one["in"], sum(one["out"].values()), {row["rule"]: row["count"] for row in one["rules"]}


def test_the_same_thresholds_change_nothing(small_corpus: Path) -> None:
    told = what_if(open_corpus(small_corpus), ["image.min_side=64"])
    assert told["settings"] == []
    for one in told["levels"]:
        assert one["in"][0] == one["in"][1] and one["out"][0] == one["out"][1]
        assert all(row["now"] == row["then"] for row in one["rules"])
        assert then(told, one["level"]) == counted(small_corpus, one["level"])


def test_other_image_rules_give_what_a_build_with_them_gives(small_corpus: Path, tmp_path: Path) -> None:
    settings = ["image.min_side=170", "image.max_aspect=1.4", "image.max_documents=1", "page.max_images=1"]
    told = what_if(open_corpus(small_corpus), settings)
    recipe = load(str(small_corpus / "recipe.toml"), settings)
    with (tmp_path / "progress.txt").open("w") as stream:
        warc = str(small_corpus.parent / "miniweb.warc.gz")
        build([warc], tmp_path / "corpus", recipe, "file:///", ["--direct_num_workers=1"], Progress(stream))
    for name in ("pages", "images"):
        assert then(told, name) == counted(tmp_path / "corpus", name)
        assert then(told, name) != counted(small_corpus, name)
    assert then(told, "pages")[2]["page.too_many_images"] > 0
    again = what_if(open_corpus(tmp_path / "corpus"), ["page.max_images=1000000", "image.max_documents=1000000"])
    assert "page.too_many_images" not in then(again, "pages")[2]
    listed = Library(open_corpus(tmp_path / "corpus")).left_out("image.page_dropped", 0, 10_000).rows
    assert sum(row["count"] for row in listed) == then(told, "images")[2]["image.page_dropped"]


def test_stricter_text_rules_drop_pages_and_their_images(small_corpus: Path) -> None:
    told = what_if(open_corpus(small_corpus), ["text.min_words=120"])
    pages, images = level(told, "pages"), level(told, "images")
    assert pages["out"][1] < pages["out"][0] and images["in"][1] == images["in"][0]
    carried = next(row for row in images["rules"] if row["rule"] == "image.page_dropped")
    assert carried["then"] > carried["now"]
    for one in (pages, images):
        for side, column in enumerate(("now", "then")):
            assert one["in"][side] == one["out"][side] + sum(row[column] for row in one["rules"])


def test_looser_text_rules_say_what_they_cannot_know(small_corpus: Path) -> None:
    told = what_if(open_corpus(small_corpus), ["text.min_words=0", "text.placeholder=false"])
    by_rule = {row["rule"]: row for row in level(told, "pages")["rules"]}
    dropped = sum(row["now"] - row["then"] for rule, row in by_rule.items() if rule.startswith("text."))
    assert by_rule[NOT_JUDGED]["then"] == dropped > 0
    images = level(told, "images")
    by_rule = {row["rule"]: row for row in images["rules"]}
    assert by_rule[NOT_JUDGED]["then"] == -(
        by_rule["image.page_dropped"]["then"] - by_rule["image.page_dropped"]["now"]
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "windows.tokens=30",
            r"covers keys of \[dedup\], \[image\], \[image_text\], \[page\], \[paragraph\], \[text\]$",
        ),
        ("dedup.text=false", r"covers dedup\.image_set$"),
        ("image.max_pixels=1", r"covers image\.alike_bits, .*, image\.min_side"),
        ("seed=4", "covers keys of"),
        ("paragraph.min_words=9", "this corpus was built without rules on paragraphs"),
    ],
)
def test_what_only_a_build_can_tell(small_corpus: Path, setting: str, message: str) -> None:
    with pytest.raises(BuildError, match=f"needs a build.*{message}"):
        what_if(open_corpus(small_corpus), [setting])


def test_without_work(small_corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(small_corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("work"))
    with pytest.raises(BuildError, match="was deleted"):
        what_if(open_corpus(tmp_path / "corpus"), ["image.min_side=100"])
