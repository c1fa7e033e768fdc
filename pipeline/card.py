"""README.md of a corpus: its dataset card, with the front matter by which `datasets` finds its tables."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, StrictUndefined

from filters import consent, rules
from pipeline.counts import Read, RuleCounts
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import levels
from pipeline.inspect.samples import visible
from pipeline.urls import host_of

NAME = "README.md"
TITLE = "Interleaved image-text corpus from the web"
TEMPLATE = Path(__file__).with_name("card.md")
ROWS = 20
"""Rows of a table; the rest is summed up in one row."""
LONGEST = 100
"""Characters of a cell: pages write what they like in their metadata."""
UNSPECIFIED = "none found"
STATED = {name: f"images.list.element.{name}" for name in ("author", "licence")}
"""Columns of documents: what a page states for single images."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SIZES_BEYOND = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (10**9, "100M<n<1B"))
WHAT = {"windows": "training windows, images decoded", "documents": "pages", "images": "the index of images"}
LEVELS = {"records": "records", "pages": "pages", "images": "images"}


Names = dict[tuple[str, str], tuple[int, int]]
"""By (kind, name): documents and images (references to them)."""
KEPT = {"host": ROWS, "language": 1_000, "licence": ROWS}
"""By kind, how many names are kept of each part: the front matter lists languages that the table does not show."""


class Most(NamedTuple):
    """Names of a kind: how many there are, their documents and images, and `rows` (name, documents, images) of those
    with the most documents, at most KEPT."""

    distinct: int = 0
    documents: int = 0
    images: int = 0
    rows: tuple[tuple[str, int, int], ...] = ()


@dataclass
class Told:
    """What the card tells of the documents of some parts, no name in two of them: their counts, images and documents
    whose page states an author or a licence, and the names with the most documents, by kind."""

    counts: RuleCounts
    stated: Counter[str]
    most: dict[str, Most]

    def value(self) -> dict[str, Any]:
        return {"counts": self.counts.value(), "stated": dict(self.stated), "most": self.most}

    @classmethod
    def sum(cls, values: Iterable[dict[str, Any]]) -> "Told":
        """The sum of `value` of several parts."""
        total = cls(RuleCounts(), Counter(), dict.fromkeys(KEPT, Most()))
        for value in values:
            total.counts.add(value["counts"])
            total.stated.update(value["stated"])
            for kind, most in total.most.items():
                total.most[kind] = _merged(kind, most, Most(*value["most"][kind]))
        return total


def most_of(names: Names) -> dict[str, Most]:
    """The names with the most documents, by kind."""
    found = {}
    for kind in KEPT:
        rows = [(name, *counts) for (of, name), counts in names.items() if of == kind]
        documents, images = sum(row[1] for row in rows), sum(row[2] for row in rows)
        found[kind] = Most(len(rows), documents, images, _first(kind, rows))
    return found


def _merged(kind: str, one: Most, other: Most) -> Most:
    rows = _first(kind, [*one.rows, *((name, documents, images) for name, documents, images in other.rows)])
    return Most(one.distinct + other.distinct, one.documents + other.documents, one.images + other.images, rows)


def _first(kind: str, rows: Iterable[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    return tuple(sorted(rows, key=lambda row: (-row[1], row[0]))[: KEPT[kind]])


def named(read: Read) -> tuple[Names, Counter[str]]:
    """The names in a part's documents, as the card writes them: images by their own licence if their page states one.
    And how many documents name an author, and images an author or a licence."""
    documents = read("documents", ["url", "language", "metadata.author", "metadata.licence", *STATED.values()])
    metadata, images = documents["metadata"].combine_chunks(), documents["images"].combine_chunks()
    shown = _images(images)
    names: dict[tuple[str, str], list[int]] = {}

    def add(kind: str, name: str | None, documents: int, images: int) -> None:
        counts = names.setdefault((kind, cell(name or "") or UNSPECIFIED), [0, 0])
        counts[0] += documents
        counts[1] += images

    for url, language, count in zip(
        documents["url"].to_pylist(), documents["language"].to_pylist(), shown, strict=True
    ):
        add("host", host_of(url), 1, count)
        add("language", language, 1, count)
    own = _stated(images, "licence")
    for page, licence in enumerate(metadata.field("licence").to_pylist()):
        add("licence", licence, 1, shown[page] - len(own.get(page, ())))
        for name in own.get(page, ()):
            add("licence", name, 0, 1)
    stated = Counter(
        authors=sum(map(bool, metadata.field("author").to_pylist())),
        licensed=sum(map(len, own.values())),
        attributed=sum(map(len, _stated(images, "author").values())),
    )
    return {key: (counts[0], counts[1]) for key, counts in names.items()}, stated


def card(corpus: Finished, told: Told) -> bytes:
    """The card of a corpus whose files are complete; the same corpus gives the same bytes.

    Raises BuildError if the funnel does not add up."""
    found = levels(corpus, told.counts) if corpus.has_work else []
    configs = _configs(corpus)
    documents = told.counts.documents.total()
    windows = sum(entry.rows for split in ("train", "validation") for entry in corpus.windows(split))
    counts = {"documents": documents, "images": told.counts.totals["images"], "windows": windows}
    counts |= {name: told.stated[name] for name in ("authors", "attributed", "licensed")}
    languages = told.most["language"]
    text = (
        Environment(undefined=StrictUndefined, autoescape=False)
        .from_string(TEMPLATE.read_text("utf8"))
        .render(
            title=TITLE,
            manifest=corpus.manifest,
            recipe=corpus.recipe.name,
            languages=sorted(name for name, _, _ in languages.rows if re.fullmatch("[a-z]{2,3}", name)),
            size=_size(documents),
            configs=configs,
            parquet=configs[0]["name"] == "windows",
            tar=bool(corpus.files("windows", ".tar")),
            most_images=corpus.recipe.windows.images,
            counts={name: f"{count:,}" for name, count in counts.items()},
            sources=[cell(source["name"]) for source in corpus.manifest["input"]],
            hosts=_table(told.most["host"]),
            language_count=f"{languages.distinct:,}",
            language_rows=_table(languages)["rows"],
            licences=_table(told.most["licence"]),
            opt_outs=_opt_outs(found),
            levels=[_level(level) for level in found],
            not_applied=", ".join(f"`{rule}`" for rule in corpus.manifest["not_applied"]),
        )
    )
    return text.encode("utf-8", "replace") + b"\n"


def _stated(column: pa.ListArray, field: str) -> dict[int, list[str]]:
    """What pages state for single images: values of a field of the structs by row, without empty ones."""
    found: dict[int, list[str]] = {}
    values = pc.struct_field(pc.list_flatten(column), field)
    wanted = pc.fill_null(pc.not_equal(values, ""), False)
    parents = pc.list_parent_indices(column).filter(wanted).to_pylist()
    for row, value in zip(parents, values.filter(wanted).to_pylist(), strict=True):
        found.setdefault(row, []).append(value)
    return found


def _images(column: pa.ListArray) -> list[int]:
    """Number of images of each document: nodes of `images` that are not null."""
    parents = pc.list_parent_indices(column).filter(pc.list_flatten(column).is_valid())
    return np.bincount(parents.to_numpy(), minlength=len(column)).tolist()


def cell(text: str) -> str:
    """Text that a stranger wrote, as one cell of a table: no markup, no line break, at most `LONGEST` characters."""
    short = " ".join(visible(text).split())
    short = short if len(short) <= LONGEST else short[: LONGEST - 1] + "…"
    return re.sub(r"([\\`*_\[\]|~#!:@])", lambda match: f"&#{ord(match[0])};", escape(short, quote=False))


def _table(most: Most) -> dict[str, Any]:
    """Return {distinct, rows: [{name, documents, images}]}, most documents first; the rest is one row."""
    rows = list(most.rows[:ROWS])
    if most.distinct > len(rows):
        rest = (most.documents - sum(row[1] for row in rows), most.images - sum(row[2] for row in rows))
        rows.append((f"{most.distinct - len(rows):,} others", *rest))
    shown = [{"name": name, "documents": f"{documents:,}", "images": f"{images:,}"} for name, documents, images in rows]
    return {"distinct": f"{most.distinct:,}", "rows": shown}


def _configs(corpus: Finished) -> list[dict[str, Any]]:
    """The tables that `datasets` can load. Those without splits of their own are one split named `full`."""
    splits = [
        {"name": split, "path": f"windows/{split}-*.parquet"}
        for split in ("train", "validation")
        if any(entry.path.endswith(".parquet") and entry.rows for entry in corpus.windows(split))
    ]
    whole = [
        {"name": name, "splits": [{"name": "full", "path": f"{name}/*.parquet"}]} for name in ("documents", "images")
    ]
    found = ([{"name": "windows", "splits": splits}] if splits else []) + whole
    return [config | {"what": WHAT[str(config["name"])]} for config in found]


def _opt_outs(levels: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A row for each opt-out rule that dropped something: how much, by level."""
    found: dict[str, Counter[str]] = {}
    for level in levels:
        for row in level["rules"] if level["level"] in LEVELS else ():
            if row["rule"] in consent.RULES:
                found.setdefault(row["rule"], Counter())[level["level"]] += row["count"]
    said = {rule.id: rule.what for rule in rules.RULES}
    return [
        {"rule": rule, "what": said[rule], **{level: f"{found[rule][level]:,}" for level in LEVELS}}
        for rule in consent.RULES
        if rule in found
    ]


def _level(level: dict[str, Any]) -> dict[str, str]:
    kept = ", ".join(f"{count:,} {name}" for name, count in level["out"].items())
    dropped = ", ".join(f"{row['count']:,} `{row['rule']}`" for row in level["rules"])
    name = level["level"].replace("_", " ")
    return {"name": name, "came_in": f"{level['in']:,}", "kept": kept, "dropped": dropped}


def _size(documents: int) -> str:
    return next((name for limit, name in (*SIZES, *SIZES_BEYOND) if documents < limit), "1B<n<10B")
