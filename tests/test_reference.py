"""Recipes and rules explained: by the command, and in docs/recipes.md."""

import re
from pathlib import Path

import pytest
import typer

from filters import rules
from pipeline.cli import commands
from pipeline.errors import BuildError
from pipeline.recipe import load, settings
from pipeline.reference import SECTIONS, differences, explain, reference

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_is_up_to_date() -> None:
    assert (DOCS / "recipes.md").read_text() == reference(), "python -m pipeline.reference > docs/recipes.md"


def test_the_reference_holds_every_key_and_rule() -> None:
    told = reference()
    assert all(f"`{name}`" in told for name in (*settings(), *rules.EXPLAINED))
    assert {name.partition(".")[0] for name in settings()} == {"name", "seed", *SECTIONS}


@pytest.mark.parametrize("rule", rules.EXPLAINED)
def test_every_rule_is_explained(rule: str) -> None:
    assert explain(rule).count("\n  drops") == len(rules.levels(rule))


def test_a_key_explains_its_rule_and_a_typo_is_answered() -> None:
    assert explain("image.min_side") == explain("image.too_small")
    assert "key      image.min_side = 64 (whole number, at least 0)" in explain("image.too_small")
    assert "windows.tokens = 256" in explain("windows.tokens")
    with pytest.raises(BuildError, match=r"did you mean text\.too_few_words\?"):
        explain("text.to_few_words")


def test_differences_of_recipes() -> None:
    assert differences(load("web"), load("web")) == ""
    other = load("web", ["image.min_side=100", "image.formats=['png']"])
    assert differences(load("web"), other).splitlines() == [
        'image.formats   []  ["png"]',
        "image.min_side  64  100",
    ]


def test_the_commands_print_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.toml").write_text(load("web", ["text.min_words=50"]).toml())
    commands.app(["recipe", "diff", "web", str(tmp_path / "my.toml")], standalone_mode=False)
    commands.app(["recipe", "explain", "text.too_few_words"], standalone_mode=False)
    told = capsys.readouterr().out
    assert told.startswith("text.min_words  20  50\n") and "too few words" in told


def test_no_help_text_is_taken_for_markup() -> None:
    """Typer shows help with Rich, which leaves out [words in brackets] as markup."""
    top = typer.main.get_command(commands.app)
    assert isinstance(top, typer.core.TyperGroup)
    helps = [getattr(option, "help", "") or "" for command in top.commands.values() for option in command.params]
    assert len(helps) > 50 and not [text for text in helps if re.search(r"\[[a-z/#@]", text)]
