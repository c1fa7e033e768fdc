"""The table of rules is all there is: metrics, keys, explanations and order come from it, and nothing is dropped under
an id that it lacks."""

import ast
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from filters import consent, image, rules, text
from filters.rule import Key, Rule, first_failure, judge
from pipeline.recipe import Recipe, load, presets, settings
from pipeline.stages.schemas import PAGES
from shards import windows

ROOT = Path(__file__).parents[2]
JUDGED = [rule for rule in rules.RULES if rule.fails is not None]
TEXTS = (pa.string(), pa.binary(16))
ID = re.compile(r"(?:record|page|paragraph|text|dedup|consent|robots|image|split|video|window|personal)\.[a-z0-9_]+")


def test_an_id_stands_once_at_a_level() -> None:
    places = [(rule.id, rule.level) for rule in rules.RULES]
    assert len(places) == len(set(places))
    assert all(rule.what and ID.fullmatch(rule.id) for rule in rules.RULES)


def test_every_metric_is_measured_and_stored_and_has_a_histogram_or_is_no_number() -> None:
    assert list(text.measure("a b")) == [metric.name for metric in text.METRICS]
    for metric in rules.PAGE_METRICS:
        assert PAGES.field(metric.name).type == metric.type
    known = rules.metrics()
    for rule in JUDGED:
        for name in rule.metrics:
            number = pa.types.is_integer(known[name].type) or pa.types.is_floating(known[name].type)
            assert bool(known[name].edges) == (number and name not in ("row", "run", "phash")), f"{name} needs edges"


def test_every_rule_judges_by_its_metrics_and_keys() -> None:
    """Arrays in, an array of as many verdicts out, for values of the stored types."""
    values = Recipe().values()
    known = rules.metrics()
    for rule in JUDGED:
        columns = {name: pa.array(["x" * 16, "y" * 16]).cast(known[name].type) if known[name].type in TEXTS else
                   np.zeros(2, known[name].type.to_pandas_dtype()) for name in rule.metrics}  # fmt: skip
        found = judge([rule], columns, values, np.full(2, None))
        assert len(found) == 2 and set(found) <= {None, rule.id}


def test_every_key_of_a_rule_is_a_key_of_the_recipe_and_of_every_preset() -> None:
    known = settings()
    for name, key in rules.keys().items():
        assert (known[name].default, known[name].what) == (key.default, key.what)
        assert (known[name].choices) == key.choices
    for preset in presets():
        assert rules.keys().keys() <= load(preset).values().keys()


def test_every_limit_of_the_recipe_belongs_to_a_rule() -> None:
    """What drops something is declared in the table, keys and ranges with it; the rest of [image] is how images are
    stored."""
    limits = {name for name in settings() if name.startswith(("limits.", "text.", "image.max_", "image.min_"))}
    assert limits - {"image.max_side"} <= rules.keys().keys()
    refused = {key.name: {rule.id for rule in rules.RULES if key in rule.keys} for key in rules.keys().values()}
    assert refused["limits.page_bytes"] == {"record.too_large", "page.too_large"}
    assert refused["image.max_bytes"] == {"record.too_large", "image.too_large"}


def test_a_rule_sees_only_what_passes_the_rules_before_it() -> None:
    seen = []
    first = Rule("page.a", "page", "a", metrics=("x",), fails=lambda x: x == 1)
    second = Rule("page.b", "page", "b", metrics=("x",), fails=lambda x: (seen.append(x.tolist()), x == 2)[1])
    before = np.array([None, "page.z", None, None], object)
    assert judge([first, second], {"x": np.array([1, 2, 2, 3])}, {}, before).tolist() == [
        "page.a", "page.z", "page.b", None,
    ]  # fmt: skip
    assert seen == [[2, 3]]


def test_every_id_that_the_code_drops_under_is_in_the_table() -> None:
    """Strings that look like ids, in all modules of the product; keys of the recipe and file names look like them."""
    known = {rule.id for rule in rules.RULES}
    found = set()
    for folder in ("pipeline", "filters", "shards", "dedup"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and ID.fullmatch(node.value):
                    found.add(node.value)
    assert found - known - settings().keys() - NO_RULES == set()
    assert {*consent.RULES, *windows.RULES, windows.LEAK} <= known


NO_RULES = {"robots.txt", "page.document", "page.row", "image.html", "window.html"}
"""Files, and columns in queries."""


def test_a_new_text_rule_is_judged_by_its_declaration_alone() -> None:
    rule = Rule(
        "text.shouting",
        "page",
        "too many capitals",
        metrics=("capitals",),
        keys=(Key("text.max_capitals", 0.5, "Maximum share of capitals", high=1),),
        fails=lambda share, most: share > most,
    )
    values = {**Recipe().values(), "text.max_capitals": 0.5}
    row = text.measure("word " * 30) | {"capitals": 0.6}
    assert first_failure((*text.RULES, rule), row, values) == "text.shouting"
    assert first_failure((*text.RULES, rule), row | {"words": 3}, values) == "text.too_few_words"
    assert first_failure((*text.RULES, rule), row | {"capitals": 0.5}, values) is None


def test_a_rule_whose_model_is_not_named_is_not_applied() -> None:
    model = Key("image.model", "", "A model")
    rule = Rule("image.ugly", "image", "ugly", metrics=("score",), fails=lambda score: score > 0, model=model)
    columns = {"score": np.ones(1)}
    assert judge([rule], columns, {"image.model": ""}, np.full(1, None)).tolist() == [None]
    assert judge([rule], columns, {"image.model": "named"}, np.full(1, None)).tolist() == ["image.ugly"]


@pytest.mark.parametrize("rule", image.RULES, ids=lambda rule: rule.id)
def test_image_rules_say_where_they_come_from(rule: Rule) -> None:
    assert rule.source or rule.fails is None
