"""Rules on what images tell about their text: a build drops what scores below the recipe's thresholds."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters import gain, rules
from filters.word_lists import WordListError
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import what_if
from pipeline.recipe import load
from shards.readers import read_documents
from tests.corpora import build_here

SCHEMA = pa.schema([("url", pa.string()), ("sha256", pa.binary(32)), ("gain", pa.float64())])


def write_scores(path: Path, rows: list[tuple[str, bytes | None, float]]) -> Path:
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(SCHEMA.names, map(list, columns), strict=True)), SCHEMA), path)
    return path


def documents(root: Path) -> list[dict[str, Any]]:
    return list(read_documents(sorted((root / "documents").glob("*.parquet"))))


def test_a_build_drops_what_scores_below(undisturbed: Path, tmp_path: Path) -> None:
    before = documents(undisturbed)
    several = [row for row in before if sum(image is not None for image in row["images"]) > 1]
    low_page, low_image, kept = several[:3]
    wrong = next(image for image in low_image["images"] if image)
    scores = write_scores(
        tmp_path / "scores.parquet",
        [
            (low_page["url"], None, -2.0),
            (low_image["url"], wrong["sha256"], 0.9),
            (low_image["url"], None, 9.0),
            # the same image tells more on another page, which keeps it
            (kept["url"], wrong["sha256"], 1.0),
            (kept["url"], None, -1.0),
        ],
    )
    settings = [f"image_text.scores={scores}", "image_text.min_gain=1.0", "image_text.min_page_gain=-1.0"]
    root = build_here([undisturbed], tmp_path / "corpus", settings)
    after = {row["url"]: row for row in documents(root)}
    assert low_page["url"] not in after and kept["url"] in after
    shown = [image["sha256"] for image in after[low_image["url"]]["images"] if image]
    assert wrong["sha256"] not in shown and len(shown) >= 1
    told = {level["level"]: {row["rule"]: row["count"] for row in level["rules"]} for level in funnel(root)["levels"]}
    assert told["pages"]["page.gain"] == told["images"]["image.gain"] == 1
    assert funnel(root)["not_applied"] == ["image.nsfw_model"]

    (pages, images) = what_if(open_corpus(root), ["image_text.min_page_gain=0.0", "image_text.min_gain=0.0"])["levels"]
    assert {"rule": "page.gain", "now": 1, "then": 2} in pages["rules"]
    assert {"rule": "image.gain", "now": 1, "then": 0} in images["rules"]


def test_without_scores_a_threshold_is_told_as_not_applied() -> None:
    assert "image_text.scores" not in rules.not_applied(load("web").values())
    assert "image_text.scores" in rules.not_applied(load("web", ["image_text.min_gain=0.0"]).values())


def test_a_file_without_scores_is_an_error(undisturbed: Path, tmp_path: Path) -> None:
    for name, content in (("missing", None), ("text", b"no Parquet")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(BuildError, match=name):
            build_here([undisturbed], tmp_path / "corpus", [f"image_text.scores={tmp_path / name}"])
    pq.write_table(pa.table({"url": ["a"]}), tmp_path / "columns")
    with pytest.raises(WordListError, match="does not hold the scores"):
        gain.read(str(tmp_path / "columns"))


def test_what_has_no_score_is_kept(tmp_path: Path) -> None:
    content = hashlib.sha256(b"image").digest()
    path = str(write_scores(tmp_path / "scores.parquet", [("a", content, 1.0), ("a", None, 1.0)]))
    pages, contents = pa.array(["a", "b", "a"]), pa.array([content[:16], content[:16], None], pa.binary(16))
    assert gain.references_below(pages, contents, path, 2.0).tolist() == [True, False, False]
    assert gain.pages_below(pages, path, 2.0).tolist() == [True, False, True]
    assert not np.any(gain.pages_below(pages, path, 1.0))
