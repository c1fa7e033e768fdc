"""The definition of a rule, and the one function that applies rules."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

Level = Literal["record", "page", "paragraph", "span", "reference", "image", "document", "window"]
Value = int | float | bool | str | tuple[str, ...]
Columns = Mapping[str, Any]
"""Metrics by name: numpy arrays of n values; Arrow arrays for strings."""


@dataclass(frozen=True)
class Key:
    """A key of the recipe: `section.name`, its default, its meaning, and the range of a number (inclusive) or the
    choices of a text or list."""

    name: str
    default: Value
    what: str
    low: float = 0
    high: float = math.inf
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """A stored column that rules read. `edges` are the bins of its histogram, empty if it has none."""

    name: str
    type: pa.DataType
    what: str
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule, declared once.

    level: what it drops. An image is judged once for all references to it. what: why something was dropped, as shown to
    users. fails: takes arrays of `metrics` (n values each) and the values of `keys`, in this order, and returns a bool
    array (n), true for rows to drop. None if a parser or a join decides instead of stored metrics. model: the key that
    names the model or the list of words behind the metrics; while it is "" the rule is not applied. source: where rule
    and threshold come from."""

    id: str
    level: Level
    what: str
    metrics: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    fails: Callable[..., Any] | None = None
    model: Key | None = None
    source: str = ""

    def applied(self, values: Mapping[str, Any]) -> bool:
        return self.model is None or values[self.model.name] != ""


def judge(rules: Sequence[Rule], columns: Columns, values: Mapping[str, Any], before: np.ndarray) -> np.ndarray:
    """The id of the first of `rules` that each row fails (n, objects), or None.

    `before` (n, objects) holds earlier failures, which are kept. `values` are the recipe's, by key. Rules without
    `fails` are skipped. A rule sees the rows that pass all rules before it."""
    found = before.copy()
    passing = np.flatnonzero(before == None)  # noqa: E711
    for rule in rules:
        if rule.fails is None or not rule.applied(values):
            continue
        metrics = (_rows(columns[name], passing) for name in rule.metrics)
        failed = np.asarray(rule.fails(*metrics, *(values[key.name] for key in rule.keys)), bool)
        found[passing[failed]] = rule.id
        passing = passing[~failed]
    return found


def _rows(column: Any, rows: np.ndarray) -> Any:
    return column[rows] if isinstance(column, np.ndarray) else column.take(pa.array(rows))


def first_failure(rules: Sequence[Rule], row: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """`judge` for one row."""
    names = dict.fromkeys(name for rule in rules for name in rule.metrics)
    columns = {name: _one(row[name]) for name in names if name in row}
    verdict: str | None = judge(rules, columns, values, np.full(1, None))[0]
    return verdict


def _one(value: Any) -> Any:
    return pa.array([value]) if isinstance(value, str) else np.array([value])
