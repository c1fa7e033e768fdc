"""README.md of a corpus: its dataset card, with the front matter by which `datasets` finds its tables."""

import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, StrictUndefined

from filters import consent, rules
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import funnel
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
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
SIZES_BEYOND = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (10**9, "100M<n<1B"))
WHAT = {"windows": "training windows, images decoded", "documents": "pages", "images": "the index of images"}
LEVELS = {"records": "records", "pages": "pages", "images": "images"}


def card(corpus: Finished) -> bytes:
    """The card of a corpus whose files are complete; the same corpus gives the same bytes.

    Raises BuildError if the funnel does not add up."""
    counted = _Counted(corpus)
    levels = funnel(corpus)["levels"]
    configs = _configs(corpus)
    text = (
        Environment(undefined=StrictUndefined, autoescape=False)
        .from_string(TEMPLATE.read_text("utf8"))
        .render(
            title=TITLE,
            manifest=corpus.manifest,
            recipe=corpus.recipe.name,
            languages=sorted(code for code in counted.languages if re.fullmatch("[a-z]{2,3}", code)),
            size=_size(counted.documents),
            configs=configs,
            parquet=configs[0]["name"] == "windows",
            tar=bool(corpus.files("windows", ".tar")),
            most_images=corpus.recipe.windows.images,
            counts=counted.told(),
            sources=[cell(source["name"]) for source in corpus.manifest["input"]],
            hosts=_table(counted.hosts),
            language_count=f"{len(counted.languages):,}",
            language_rows=_table(counted.languages)["rows"],
            licences=_table(counted.licences),
            opt_outs=_opt_outs(levels),
            levels=[_level(level) for level in levels],
            not_applied=", ".join(f"`{rule}`" for rule in corpus.manifest["not_applied"]),
        )
    )
    return text.encode("utf-8", "replace") + b"\n"


class _Counted:
    """Documents and images (references to them) by host, language and licence; images by their own licence if their
    page states one."""

    def __init__(self, corpus: Finished) -> None:
        self.documents = self.images = self.authors = self.attributed = self.licensed = 0
        self.hosts: dict[str, Counter[str]] = {}
        self.languages: dict[str, Counter[str]] = {}
        self.licences: dict[str, Counter[str]] = {}
        for entry in corpus.files("documents"):
            for batch in corpus.batches(entry, ["url", "language", "metadata", "images"]):
                self._add(batch)
        self.windows = sum(entry.rows for split in ("train", "validation") for entry in corpus.windows(split))

    def _add(self, batch: pa.RecordBatch) -> None:
        shown = _images(batch["images"])
        self.documents += batch.num_rows
        self.images += sum(shown)
        metadata = batch["metadata"]
        self.authors += sum(bool(author) for author in metadata.field("author").to_pylist())
        columns = (
            (self.hosts, map(host_of, batch["url"].to_pylist())),
            (self.languages, batch["language"].to_pylist()),
        )
        for table, names in columns:
            for name, count in zip(names, shown, strict=True):
                _counter(table, name).update(documents=1, images=count)
        own = _stated(batch["images"], "licence")
        for page, licence in enumerate(metadata.field("licence").to_pylist()):
            _counter(self.licences, licence).update(documents=1, images=shown[page] - len(own.get(page, ())))
            for stated in own.get(page, ()):
                _counter(self.licences, stated).update(images=1)
        self.licensed += sum(map(len, own.values()))
        self.attributed += sum(map(len, _stated(batch["images"], "author").values()))

    def told(self) -> dict[str, str]:
        names = ("documents", "images", "authors", "windows", "attributed", "licensed")
        return {name: f"{getattr(self, name):,}" for name in names}


def _counter(table: dict[str, Counter[str]], name: str | None) -> Counter[str]:
    return table.setdefault(cell(name or "") or UNSPECIFIED, Counter())


def _stated(column: pa.ListArray, field: str) -> dict[int, list[str]]:
    """What pages state for single images: values of a field of the structs by row, without empty ones."""
    images = pc.list_flatten(column)
    if images.type.get_field_index(field) < 0:  # a corpus of an older version
        return {}
    found: dict[int, list[str]] = {}
    values = pc.struct_field(images, field)
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


def _table(counts: dict[str, Counter[str]]) -> dict[str, Any]:
    """Return {distinct, rows: [{name, documents, images}]}, most documents first; the rest is one row."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1]["documents"], item[0]))
    shown, rest = ordered[:ROWS], ordered[ROWS:]
    if rest:
        others = Counter[str]()
        for _, more in rest:
            others.update(more)
        shown.append((f"{len(rest):,} others", others))
    rows = [
        {"name": name, "documents": f"{found['documents']:,}", "images": f"{found['images']:,}"}
        for name, found in shown
    ]
    return {"distinct": f"{len(ordered):,}", "rows": rows}


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
