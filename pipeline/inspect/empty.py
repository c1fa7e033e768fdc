"""Explains why a finished corpus has no documents."""

from pathlib import Path
from typing import NamedTuple

from filters.rules import explained
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel


class Empty(NamedTuple):
    """`reason` names the rule that dropped most; `pages` counts those of the input."""

    reason: str
    pages: int


def why_empty(root: Path) -> Empty | None:
    """Why a corpus has no documents, None if it has some."""
    corpus = open_corpus(root)
    if any(entry.rows for entry in corpus.files("documents")):
        return None
    levels = {level["level"]: level for level in funnel(corpus)["levels"]}
    pages, records = levels["pages"], levels["records"]
    if pages["in"]:
        return Empty(f"of {pages['in']:,} page{'' if pages['in'] == 1 else 's'} {_most(pages['rules'])}", pages["in"])
    dropped = f", of which {_most(records['rules'])}" if records["rules"] else ""
    return Empty(f"no pages among {records['in']:,} records{dropped}", 0)


def _most(rows: list[dict[str, int | str]]) -> str:
    """The rule with the highest count, in words."""
    row = max(rows, key=lambda row: row["count"])
    what = explained("record", "page")[str(row["rule"])]
    return f"{row['count']:,} {'was' if row['count'] == 1 else 'were'} dropped under {row['rule']} ({what})"
