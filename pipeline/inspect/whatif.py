"""What another threshold would change: pages and images are judged again by the metrics that the build stored.

Exact where image rules change, or text rules become stricter for pages that no other page was dropped in favour of.
Where text rules let more pages through, their duplicates and images were never looked at: they are counted as not
judged."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters import image, text
from pipeline.errors import BuildError
from pipeline.inspect import rules
from pipeline.inspect.finished import Entry, Finished
from pipeline.jobs.schemas import CONTENTS
from pipeline.recipe import ImageRules, Recipe, TextRules, load

NOT_JUDGED = "not judged"
IMAGE_KEYS = ("min_side", "max_aspect", "min_spread", "formats", "url_words", "max_documents")
JUDGED_KEYS = {f"text.{field.name}" for field in dataclasses.fields(TextRules)} | {f"image.{key}" for key in IMAGE_KEYS}
REPEATED, TOO_COMMON, NO_IMAGE_LEFT = "image.repeated", "image.too_common", "page.no_image_left"
AGAIN = {None, image.URL_WORDS, image.FORMAT, image.TOO_SMALL, image.ASPECT, image.SINGLE_COLOUR, REPEATED, TOO_COMMON}
"""Image verdicts that follow from stored metrics: all that come after decoding."""
METRICS = tuple(text.TextMetrics.__dataclass_fields__)
PICTURE = ("content", "format", "original_width", "original_height", "spread")


def what_if(corpus: Finished, settings: Sequence[str]) -> dict[str, Any]:
    """{settings, levels: [{level, in: [now, then], out: [now, then], rules: [{rule, now, then}]}]}, pages and images.

    Raises BuildError for a setting that only a build can tell, and where work/ was deleted."""
    if not corpus.has_work:
        raise BuildError(
            f"{corpus.root}: work/ was deleted and the metrics with it; build again to try other thresholds"
        )
    recipe = load(str(corpus.root / "recipe.toml"), settings)
    changed = _changed(corpus.recipe, recipe)
    parts = [_Part(corpus, index, recipe) for index in range(len(corpus.work("split")))]
    _drop_common(parts, recipe.image.max_documents)
    pages_now, pages_then, images_now, images_then = (Counter[str | None]() for _ in range(4))
    for part in parts:
        pages_now.update(part.page_rules)
        pages_then.update(part.pages_then())
        images_now.update(reference.now for reference in part.references)
        images_then.update(reference.then for reference in part.references if reference.there)
    levels = [
        _level("pages", pages_now, pages_then, rules.PAGES),
        _level("images", images_now, images_then, rules.IMAGES),
    ]
    return {"settings": changed, "levels": levels}


def _changed(before: Recipe, after: Recipe) -> list[str]:
    """`section.key: old -> new` of what was set."""
    told = []
    old, new = before.table(), after.table()
    for section, content in new.items():
        for key, value in content.items() if isinstance(content, dict) else [("", content)]:
            was = old[section][key] if key else old[section]
            if value == was:
                continue
            name = f"{section}.{key}" if key else section
            if name not in JUDGED_KEYS:
                known = ", ".join(sorted(JUDGED_KEYS))
                raise BuildError(f"--what-if {name}: only a build can tell; from what is stored can be told {known}")
            told.append(f"{name}: {was} -> {value}")
    return told


@dataclass
class _Reference:
    """A reference to an image: page row, content, verdict, what it would be; `there`: its page would still be."""

    row: int
    content: bytes | None
    now: str | None
    then: str | None
    there: bool


class _Part:
    """Pages and references of one part, judged by another recipe."""

    def __init__(self, corpus: Finished, index: int, recipe: Recipe):
        entries = {name: corpus.work(name)[index] for name in ("pages", "split", "verdicts", "references")}
        self.page_rules: list[str | None] = corpus.table(entries["split"], ["rule"])["rule"].to_pylist()
        self.text_rules = _text_rules(corpus.table(entries["pages"], METRICS), self.page_rules, recipe.text)
        self.references = self._judge(corpus, entries["verdicts"], entries["references"], recipe.image)

    def _judge(self, corpus: Finished, verdicts: Entry, owners: Entry, limits: ImageRules) -> list[_Reference]:
        table = corpus.table(verdicts, ["row", "rule", "content", "url"])
        pictures = _pictures(corpus, corpus.table(owners, ["owner"])["owner"], table["content"])
        one = image.ImageRules(limits.min_side, limits.max_aspect, limits.min_spread, limits.formats, limits.url_words)
        shown: set[tuple[int, bytes]] = set()
        references = []
        for verdict, picture in zip(table.to_pylist(), pictures, strict=True):
            row, content, then = verdict["row"], verdict["content"], verdict["rule"]
            there = self.text_rules[row] is None
            if then in AGAIN and picture is not None:
                width, height = picture["original_width"], picture["original_height"]
                then = image.first_failure(
                    one,
                    url=verdict["url"],
                    format=picture["format"],
                    width=width,
                    height=height,
                    spread=picture["spread"],
                )
                if then is None and (row, content) in shown:
                    then = REPEATED
                if then is None:
                    shown.add((row, content))
            references.append(_Reference(row, content, verdict["rule"], then, there))
        return references

    def pages_then(self) -> list[str | None]:
        """The rule of each page."""
        kept = {reference.row for reference in self.references if reference.there and reference.then is None}
        then: list[str | None] = []
        for row, (now, failed) in enumerate(zip(self.page_rules, self.text_rules, strict=True)):
            if now is None or now == NO_IMAGE_LEFT:
                then.append(failed or (None if row in kept else NO_IMAGE_LEFT))
            elif now.startswith("text."):
                then.append(failed or NOT_JUDGED)
            else:
                then.append(failed if now.startswith("dedup.") and failed else now)
        return then


def _text_rules(metrics: pa.Table, now: list[str | None], limits: TextRules) -> list[str | None]:
    """The text rule that each page would fail; a page without metrics is left alone."""
    found: list[str | None] = []
    for rule, row in zip(now, metrics.to_pylist(), strict=True):
        measured = row["words"] is not None and (rule is None or rule.startswith(("text.", "dedup.", NO_IMAGE_LEFT)))
        found.append(text.first_failure(text.TextMetrics(**row), limits) if measured else None)
    return found


def _pictures(corpus: Finished, owners: pa.ChunkedArray, contents: pa.ChunkedArray) -> list[dict[str, Any] | None]:
    """What is stored of the picture behind each reference."""
    files = corpus.work("contents")
    tables = [corpus.table(files[owner], PICTURE) for owner in sorted(owners.unique().drop_null().to_pylist())]
    known = pa.concat_tables(tables or [CONTENTS.empty_table().select(PICTURE)])
    rows = known.take(pc.index_in(contents, known["content"])).to_pylist()
    return [row if row["spread"] is not None else None for row in rows]


def _drop_common(parts: list[_Part], most: int) -> None:
    """Pictures that more than `most` pages show go everywhere, as in the build."""
    pages = Counter(
        reference.content
        for part in parts
        for reference in part.references
        if reference.there and reference.then is None
    )
    for part in parts:
        for reference in part.references:
            if reference.there and reference.then is None and pages[reference.content] > most:
                reference.then = TOO_COMMON


def _level(name: str, now: Counter[str | None], then: Counter[str | None], known: dict[str, str]) -> dict[str, Any]:
    both = {rule: now[rule] + then[rule] for rule in {*now, *then} if rule is not None}
    order = [str(row["rule"]) for row in rules.in_order(both, known)]
    return {
        "level": name,
        "in": [now.total(), then.total()],
        "out": [now[None], then[None]],
        "rules": [{"rule": rule, "now": now[rule], "then": then[rule]} for rule in order],
    }
