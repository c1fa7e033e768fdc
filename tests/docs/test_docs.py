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
