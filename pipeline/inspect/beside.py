"""Two corpora side by side: their funnels, figures, and windows of the same pages; one file like the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.inspect.figures import figures
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import funnel
from pipeline.inspect.pictures import Pictures, places
from pipeline.inspect.report import (
    TILES,
    TITLES,
    environment,
    headline,
    percent,
    shown_level,
    shown_window,
    style,
    tile,
)
from pipeline.inspect.samples import WINDOW_COLUMNS, SampleWindow, as_window, sample_windows
from shards.files import atomic

WINDOWS, PICTURES = 4, 25
"""Pages shown, and images of each corpus."""


def write_beside(one: Finished, other: Finished, path: Path) -> None:
    """Write the comparison; deterministic. Raises OSError if `path` cannot be written."""
    both = (one, other)
    funnels, measured = [funnel(corpus) for corpus in both], [figures(corpus) for corpus in both]
    names = [corpus.root.resolve().name for corpus in both]
    page = (
        environment()
        .get_template("beside.html")
        .render(
            names=names if names[0] != names[1] else [f"{corpus.root}" for corpus in both],
            style=style(),
            headlines=[headline(*told) for told in zip(funnels, measured, strict=True)],
            levels=list(merged_levels(*(told["levels"] for told in funnels))),
            work=[told["work"] for told in funnels],
            tiles=[[tile(title, told[name]) for told in measured] for name, title in TILES.items()],
            pages=shown_pages(one, other),
            recipes=list(changed_keys(one, other)),
        )
    )
    with atomic(path) as file:
        file.write(page.encode("utf-8", "replace"))


def merged_levels(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The levels that both funnels have, with the counts and shares of both; rules that only one has count 0."""
    others = {level["level"]: shown_level(level) for level in other}
    for level in one:
        if level["level"] not in others:
            continue
        both = (shown_level(level), others[level["level"]])
        counts = [{row["rule"]: row["count"] for row in shown["rows"]} for shown in both]
        rules = dict.fromkeys([*counts[0], *counts[1]])
        title, came_in, stayed = TITLES[level["level"]]
        sides = [shown["in"] for shown in both]
        rows = [(rule, [count.get(rule, 0) for count in counts]) for rule in rules]
        yield {
            "title": title,
            "rows": [
                (name, [(count, percent(count, whole)) for count, whole in zip(pair, sides, strict=True)])
                for name, pair in [(came_in, sides), *rows, (stayed, [shown["left"] for shown in both])]
            ],
        }


def changed_keys(one: Finished, other: Finished) -> Iterator[tuple[str, str, str]]:
    """The keys of the recipes that differ, with both values."""
    left, right = one.recipe.values(), other.recipe.values()
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            yield key, str(left.get(key)), str(right.get(key))


def shown_pages(one: Finished, other: Finished) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Pages of which the first corpus has a window, with a window of each; None if the other has none."""
    drawn = sample_windows(one, "train", WINDOWS) or sample_windows(one, "validation", WINDOWS)
    matches = windows_at(other, {window.url: window.token_start for window in drawn})
    shown = []
    for corpus, windows in ((one, {window.url: window for window in drawn}), (other, matches)):
        where = places(corpus, (image["stored_sha256"] for window in windows.values() for image in window.images))
        pictures = Pictures(corpus, PICTURES)
        shown.append({url: shown_window(window, where, pictures) for url, window in windows.items()})
    return [(window.url, [side.get(window.url) for side in shown]) for window in drawn]


def windows_at(corpus: Finished, wanted: dict[str, int]) -> dict[str, SampleWindow]:
    """For each URL the window of a corpus that starts nearest to a token."""
    best: dict[str, tuple[int, SampleWindow]] = {}
    for split in ("train", "validation"):
        for batch in corpus.window_batches(split, WINDOW_COLUMNS):
            urls, starts = batch["url"].to_pylist(), batch["token_start"].to_pylist()
            for index, (url, start) in enumerate(zip(urls, starts, strict=True)):
                if url in wanted and (url not in best or abs(start - wanted[url]) < best[url][0]):
                    row = batch.slice(index, 1).to_pylist()[0]
                    best[url] = (abs(start - wanted[url]), as_window(row, split))
    return {url: window for url, (_, window) in best.items()}
