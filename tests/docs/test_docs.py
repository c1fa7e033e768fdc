"""Docs: short lines, links that lead somewhere, generated pages that are up to date."""

import re
from pathlib import Path

import pytest

from tests.bench.columns import page

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_have_at_most_120_characters(path: Path):
    """Rows of tables cannot be split."""
    lines = path.read_text("utf8").splitlines()
    long = [number for number, line in enumerate(lines, 1) if len(line) > 120 and not line.startswith("|")]
    assert long == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_columns_are_up_to_date():
    expected = (ROOT / "docs/columns.md").read_text("utf8")
    assert expected == page(), "python -m tests.bench.columns > docs/columns.md"


def test_the_docs_name_every_module():
    docs = "".join(path.read_text("utf8") for path in (ROOT / "docs").glob("*.md"))
    named = set(re.findall(r"\w+\.py\b", docs))
    folders = ("dedup", "filters", "openm3w", "pipeline", "shards", "train_min")
    modules = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert {name for name in modules - named if not name.startswith("__")} == set()
