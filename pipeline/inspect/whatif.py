"""What other thresholds would change: pages and images are judged again by their stored metrics.

Exact for changed image rules, and for stricter page rules on pages that are not the kept one of duplicates. With looser
page rules, the newly kept pages' duplicates and images were never checked: they are counted as not judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import uses
from dedup.exact import copies
from filters import image, paragraph, rules
from filters.rule import Level
from filters.scorers import named
from filters.takedown import FILE
from pipeline.counts import CARRIED, summed_maps
from pipeline.errors import BuildError
from pipeline.image_copies import image_sets, images_used, limits, without_common
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import in_order
from pipeline.judged import COLUMNS, MEASURED, METRICS, PARAGRAPH_COLUMNS, verdicts
from pipeline.recipe import Recipe, load
from pipeline.stages.schemas import DISTINCT_IMAGES, REFERENCES, SCORES

NOT_JUDGED = "not judged"
NO_IMAGE_LEFT = "page.no_image_left"
FINAL = [NO_IMAGE_LEFT, image.TOO_MANY_IMAGES, image.IMAGE_SET]
"""The rules on pages that follow from the decisions on their images."""
AGAIN = [None, *(rule.id for rule in image.RULES), image.PAGE_DROPPED]
"""Image decisions that follow from stored metrics: all rules after decoding."""
PAGES_AGAIN = {rule.id for rule in rules.PAGES_JUDGED}
SETS = "dedup.image_set"
JUDGED_KEYS = {image.MOST_IMAGES.name, SETS} | {
    key.name
    for rule in (*rules.PAGES_JUDGED, *paragraph.RULES, *image.RULES)
    for key in rule.keys
    if key not in (FILE, rules.KEPT_PASSAGES)
}
REFERRED = pa.schema([REFERENCES.field(name) for name in ("owner", "declared")])
COPY_KEYS = {key.name for rule in paragraph.COPIES for key in rule.keys}
PICTURE = pa.schema([DISTINCT_IMAGES.field(name) for name in ("content", *image.STORED)])


def what_if(corpus: Finished, settings: Sequence[str]) -> dict[str, Any]:
    """Return {settings, levels: [{level, in: [now, then], out: [now, then], rules: [{rule, now, then}]}]} for pages and
    images.

    Raises BuildError for a setting that requires a build, or if work/ was deleted."""
    if not corpus.has_work:
        raise BuildError(f"{corpus.root}: work/ was deleted, and the metrics with it; rebuild to try other thresholds")
    recipe = load(str(corpus.root / "recipe.toml"), settings)
    changed = _changed(corpus.recipe, recipe)
    values = recipe.values()
    parts = [_judged(corpus, index, values) for index in range(len(corpus.work("split")))]
    _drop_common(parts, limits(values))
    if values[SETS]:
        _drop_sets(parts)
    pages_now, pages_then, images_now, images_then = (Counter[str | None]() for _ in range(4))
    for part in parts:
        pages_now.update(part.pages_now)
        pages_then.update(part.pages_then())
        images_now.update(part.now)
        images_then.update(part.then)
        for counted, carried in ((images_now, part.carried_now), (images_then, part.carried_then)):
            counted.update(carried)
    levels = [
        _level("pages", pages_now, pages_then, "page"),
        _level("images", images_now, images_then, "reference", "image"),
    ]
    return {"settings": changed, "levels": levels}


def _changed(before: Recipe, after: Recipe) -> list[str]:
    """`section.key: old -> new` for each changed setting."""
    told = []
    old = before.values()
    for name, value in after.values().items():
        if value != old[name]:
            if name not in JUDGED_KEYS:
                raise BuildError(f"--what-if {name}: needs a build; what-if covers {_covered(name)}")
            if name in COPY_KEYS and not paragraph.active(old, paragraph.COPIES):
                raise BuildError(f"--what-if {name}: needs a build: this corpus was built without rules on repetition")
            if name.startswith("paragraph.") and name not in COPY_KEYS and not paragraph.active(old):
                raise BuildError(f"--what-if {name}: needs a build: this corpus was built without rules on paragraphs")
            shown = [list(side) if isinstance(side, tuple) else side for side in (old[name], value)]
            told.append(f"{name}: {shown[0]} -> {shown[1]}")
    return told


def _covered(name: str) -> str:
    """The keys that are covered in the section of a key, or the sections that have some."""
    section = name.partition(".")[0]
    same = sorted(key for key in JUDGED_KEYS if key.startswith(f"{section}."))
    sections = sorted({f"[{key.partition('.')[0]}]" for key in JUDGED_KEYS})
    return ", ".join(same) or f"keys of {', '.join(sections)}"


@dataclass
class _Part:
    """A part judged by another recipe. Pages (n, objects): the rule now, and then, apart from their images. References:
    page row, URL and content, perceptual hashes, and the rule now and then. `same`: rows of pages with the images of
    another page. `carried`: images of dropped pages and those left out by extraction, by rule."""

    pages_now: np.ndarray
    pages_failed: np.ndarray
    pages: pa.Table
    references: pa.Table
    phashes: np.ndarray
    now: np.ndarray
    then: np.ndarray
    carried_now: dict[str | None, int]
    carried_then: dict[str | None, int]
    same: np.ndarray

    @property
    def row(self) -> np.ndarray:
        return np.asarray(self.references["row"])

    def pages_then(self) -> np.ndarray:
        """The rule of each page."""
        then = self.pages_failed.copy()
        left = np.zeros(len(then), bool)
        left[self.row[_passed(self.then)]] = True
        full = np.zeros(len(then), bool)
        full[self.row[self.then == CARRIED]] = True
        then[_passed(then) & ~left] = NO_IMAGE_LEFT
        then[(then == NO_IMAGE_LEFT) & full] = image.TOO_MANY_IMAGES
        then[self.same] = image.IMAGE_SET
        return then


def _passed(rules: np.ndarray) -> np.ndarray:
    passed: np.ndarray = rules == None  # noqa: E711
    return passed


def _judged(corpus: Finished, index: int, values: dict[str, Any]) -> _Part:
    entries = {name: corpus.work(name)[index] for name in ("pages", "split", "decisions", "references")}
    pages_now = _objects(corpus.table(entries["split"], ["rule"])["rule"])
    before = corpus.recipe.values()
    more = PARAGRAPH_COLUMNS if paragraph.active(before, paragraph.RULES) else ()
    metrics = corpus.table(entries["pages"], [*COLUMNS, *METRICS, "left_out", "doc_id", "capture", *more])
    for stage, (key, metric) in MEASURED.items():
        if before[key]:
            metrics = metrics.append_column(metric, corpus.table(corpus.work(stage)[index])[metric])
    if paragraph.active(before, paragraph.COPIES):
        metrics = metrics.append_column("repeats", corpus.table(corpus.work("repeats")[index])["repeats"])
    failed = _pages_again(pages_now, metrics, values)
    verdicts = corpus.table(entries["decisions"], ["row", "node", "rule", "content", "url"])
    references = corpus.known(entries["references"], REFERRED)
    row, now = np.asarray(verdicts["row"]), _objects(verdicts["rule"])
    pictures = _pictures(corpus, references["owner"], verdicts["content"])
    again = np.isin(now.astype(str), [str(rule) for rule in AGAIN]) & np.asarray(pictures["spread"].is_valid())
    decided = now.copy()
    decided[again] = None
    shown = verdicts.select(["row", "node", "content", "url"]).append_column("declared", references["declared"])
    shown = shown.append_column("page_url", metrics["url"].take(verdicts["row"]))
    for name in pictures.column_names[1:]:
        shown = shown.append_column(name, pictures[name])
    if corpus.recipe.image.clip_model:
        similarities = corpus.table(corpus.work("similarities")[index], ["similarity"])
        shown = image.with_similarity(shown, similarities["similarity"])
    then = image.judge_references(shown, values, decided)
    then[~_passed(failed)[row]] = CARRIED

    before_pictures = ~(_passed(pages_now) | np.isin(pages_now.astype(str), FINAL))
    count = np.asarray(pc.fill_null(metrics["pictures"], 0))
    unknown = before_pictures & (failed == NOT_JUDGED)
    carried_now: dict[str | None, int] = {CARRIED: int(count[before_pictures].sum())}
    carried_then: dict[str | None, int] = {
        CARRIED: int(count[before_pictures & ~unknown].sum()),
        NOT_JUDGED: int(count[unknown].sum()),
    }
    lost: dict[str | None, int] = dict(summed_maps(metrics["left_out"]).items())
    return _Part(
        pages_now,
        failed,
        metrics.select(["doc_id", "capture"]),
        verdicts.select(["row", "url", "content"]),
        np.asarray(pc.fill_null(pictures["phash"], 0)),
        now,
        then,
        carried_now | lost,
        carried_then | lost,
        np.zeros(0, np.int64),
    )


def _pages_again(now: np.ndarray, metrics: pa.Table, values: dict[str, Any]) -> np.ndarray:
    """The rule of each page apart from its images (n, objects); a page without metrics keeps its rule."""
    failed = _objects(verdicts(metrics, values)["rule"])
    passed = _passed(failed)
    failed[passed & np.isin(now.astype(str), list(PAGES_AGAIN))] = NOT_JUDGED
    stands = passed & ~np.isin(now.astype(str), ["None", *FINAL, *PAGES_AGAIN])
    failed[stands] = now[stands]
    return failed


def _objects(column: pa.ChunkedArray) -> np.ndarray:
    return np.array([*column.to_pylist(), None], object)[:-1]


def _pictures(corpus: Finished, owners: pa.ChunkedArray, contents: pa.ChunkedArray) -> pa.Table:
    """Stored data of the image behind each reference, null if missing."""
    files = corpus.work("distinct_images")
    stored = sorted(owners.unique().drop_null().to_pylist())
    found = image.rows_of(contents, (corpus.known(files[owner], PICTURE) for owner in stored), PICTURE)
    if named(corpus.recipe.values()):
        scored = corpus.work("scores")
        scores = image.rows_of(contents, (corpus.known(scored[owner], SCORES) for owner in stored), SCORES)
        found = image.with_scores(found, scores)
    return found


def _drop_common(parts: list[_Part], most: uses.UseLimits) -> None:
    """Images of too many pages are dropped everywhere, as in the build."""
    shown = [images_used(part.references, part.phashes, part.then, most) for part in parts]
    counts = np.concatenate([uses.counted(images, number, most) for number, images in enumerate(shown)])
    found = uses.exceeding(np.sort(counts), most)
    for number, (part, images) in enumerate(zip(parts, shown, strict=True)):
        part.then = without_common(part.then, images, found[found["part"] == number], most)


def _drop_sets(parts: list[_Part]) -> None:
    """Of pages with the same images only the newest is kept, as in the build."""
    rows = [image_sets(part.references, part.then, number, part.pages) for number, part in enumerate(parts)]
    dropped = copies(np.sort(np.concatenate(rows)), refused_only=False)
    for number, part in enumerate(parts):
        part.same = dropped["row"][dropped["part"] == number]
        part.then[_passed(part.then) & np.isin(part.row, part.same)] = CARRIED


def _level(name: str, now: Counter[str | None], then: Counter[str | None], *levels: Level) -> dict[str, Any]:
    both = {rule: now[rule] + then[rule] for rule in {*now, *then} if rule is not None and now[rule] + then[rule]}
    order = [str(row["rule"]) for row in in_order(both, *levels)]
    return {
        "level": name,
        "in": [now.total(), then.total()],
        "out": [now[None], then[None]],
        "rules": [{"rule": rule, "now": now[rule], "then": then[rule]} for rule in order],
    }
