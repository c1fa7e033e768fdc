"""The answer to each address of the viewer, and its lists. Documents, windows and images are addressed by id."""

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from filters import rules
from pipeline.errors import BuildError
from pipeline.inspect import plots
from pipeline.inspect.figures import COUNTS, short
from pipeline.inspect.report import TITLES, shown_level
from pipeline.inspect.samples import harmless
from pipeline.inspect.viewer.database import PAGE_METRICS, Found
from pipeline.inspect.viewer.items import Items
from pipeline.inspect.viewer.layout import DOCUMENTS, DROPPED, HERE, IMAGES, WINDOWS, Answer, given, link_to, number
from pipeline.inspect.viewer.queries import Filter

THUMBS, GLIMPSE = 6, 12
START = 300
LEVELS = ("pages", "paragraphs", "images", "tokens", "document_images", "windows", "records")
"""Levels of the funnel whose dropped items are listed."""
UNITS = {"pages": "page", "paragraphs": "paragraph", "images": "image", "tokens": "token", "document_images": "image",
         "windows": "window", "records": "record"}  # fmt: skip
STATIC = {"view.css": "text/css; charset=utf-8", "view.js": "text/javascript; charset=utf-8",
          "icon.svg": "image/svg+xml"}  # fmt: skip
FILES = {"view.css": ("../style.css", "view.css")}
COUNTED_ALONE = {rule.id for rule in rules.EXTRACTION}


class Pages(Items):
    """Raises LookupError or ValueError for an address that does not exist, BuildError for a damaged corpus."""

    def prepare(self) -> None:
        """Make ready what lists and figures need; for a thread beside the first answers."""
        self.library.prepare()
        try:
            self._figures({})
        except BuildError:
            pass  # a damaged corpus shows where it is asked for

    def answer(self, target: str) -> Answer:
        """The answer to a request target."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=20).items()}
        name, *rest = parts.path.removeprefix("/").split("/")
        lists: dict[str, Callable[[dict[str, str]], Answer]] = {
            "": self._home,
            "documents": self._documents,
            "windows": self._windows,
            "images": self._images,
            "dropped": self._dropped,
            "clusters": self._clusters,
            "figures": self._figures,
        }
        items: dict[str, Callable[[str, dict[str, str]], Answer]] = {
            "document": self._document,
            "window": self._window,
            "image": self._image,
            "cluster": self._cluster,
            "picture": self._picture,
            "found": self._found,
            "source": self._source,
            "random": self._random,
        }
        if not rest and name in lists:
            return lists[name](query)
        if not rest and name in STATIC:
            return Answer(STATIC[name], b"\n".join((HERE / file).read_bytes() for file in FILES.get(name, (name,))))
        if len(rest) == 1 and name in items and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", rest[0]):
            return items[name](rest[0], query)
        raise LookupError(target)

    def _home(self, query: dict[str, str]) -> Answer:
        corpus = self.library.corpus
        counts = [
            ("documents", sum(entry.rows for entry in corpus.files("documents")), "/documents"),
            ("training windows", sum(entry.rows for entry in corpus.windows("train")), "/windows?split=train"),
            ("validation windows", sum(entry.rows for entry in corpus.windows("validation")),
             "/windows?split=validation"),
            ("stored images", sum(entry.rows for entry in corpus.files("images", ".tar")), "/images"),
        ]  # fmt: skip
        return self._page(
            "home.html",
            "corpus",
            counts=counts,
            missing=self.inputs.missing,
            built=self._built(),
            glimpse=[(doc_id, self._stored(image)) for doc_id, image in self.library.glimpse(GLIMPSE)],
        )

    def _built(self) -> list[tuple[str, str]]:
        corpus = self.library.corpus
        names = [source["name"] for source in corpus.manifest["input"]]
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
        return [("input", shown), ("recipe", f"{corpus.recipe.name} ({corpus.manifest['recipe'][:12]})")]

    def _choices(self, table: str) -> dict[str, list[tuple[str, int]]]:
        return {name: self.library.values(table, name) for name in ("split", "language", "licence", "host")}

    def _documents(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**given(query, "split host language licence images metric low high q rule"))
        found = self.library.find(wanted, number(query.get("from", "0")), DOCUMENTS)
        return self._list(
            "documents.html",
            wanted,
            query,
            found,
            items=self._listed(found.rows, wanted.q),
            choices=self._choices("page"),
            metrics=list(PAGE_METRICS) if self.library.corpus.has_work else [],
            rules=self.library.rules_of("page"),
        )

    def _listed(self, rows: Sequence[dict[str, Any]], words: str = "") -> list[dict[str, Any]]:
        """Pages as they are listed: their beginning, or where the searched words are, and their first images."""
        places = [(row["part"], row["document"]) for row in rows if row["rule"] is None]
        kept = self.library.contents("documents", places, "texts, images")
        dropped = [(row["part"], row["row"]) for row in rows if row["rule"] is not None and row["doc_id"]]
        others = self.library.contents("pages", dropped, "texts")
        survivors = self.library.titles([row["survivor"] for row in rows if row["survivor"]])
        listed = []
        for row in rows:
            is_kept = row["rule"] is None
            content = kept[row["part"], row["document"]] if is_kept else others.get((row["part"], row["row"]), {})
            texts = [text for text in content.get("texts") or () if text]
            thumbs = [self._stored(image) for image in content.get("images") or () if image][:THUMBS]
            listed.append(
                row | {"start": _excerpt(texts, words), "thumbs": thumbs, "kept": survivors.get(row["survivor"])}
            )
        return listed

    def _windows(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**given(query, "split host language licence images metric low high q"))
        found = self.library.find_windows(wanted, number(query.get("from", "0")), WINDOWS)
        return self._list(
            "windows.html",
            wanted,
            query,
            found,
            items=[self._shown_window(row) for row in found.rows],
            choices=self._choices("windows"),
            metrics=["tokens", *(PAGE_METRICS if self.library.corpus.has_work else ())],
        )

    def _images(self, query: dict[str, str]) -> Answer:
        wanted = Filter(**given(query, "rule format licence images metric low high sort"))
        found = self.library.find_pictures(wanted, number(query.get("from", "0")), IMAGES)
        return self._list(
            "images.html",
            wanted,
            query,
            found,
            items=found.rows,
            choices={name: self.library.values("picture", name) for name in ("format", "licence")},
            metrics=self.library.image_metrics(),
            rules=self.library.rules_of("picture"),
        )

    def _dropped(self, query: dict[str, str]) -> Answer:
        if not self.library.corpus.has_work:
            raise LookupError("dropped")
        groups = self._counts()
        rule = query.get("rule") or _largest(groups)
        known = {row["rule"] for _, rows in groups for row in rows}
        if rule and rule not in known:
            raise LookupError(rule)
        start = number(query.get("from", "0"))
        level = query.get("level") or next((name for name, rows in groups for row in rows if row["rule"] == rule), "")
        kind, found = self._dropped_by(rule, level, start) if rule else ("pages", Found([], None))
        return self._list(
            "dropped.html",
            Filter(rule=rule),
            query,
            found,
            title=rule or "dropped",
            groups=[(TITLES[name][0], name, rows) for name, rows in groups],
            kind=kind,
            unit=UNITS[level or "pages"],
            dropped=next(
                (row["count"] for name, rows in groups for row in rows if (name, row["rule"]) == (level, rule)), 0
            ),
            items=self._listed(found.rows) if kind == "pages" else found.rows,
            level=level,
        )

    def _counts(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Levels of the funnel with their rules, for the levels that are listed."""
        levels = {level["level"]: level for level in self.library.funnel["levels"]}
        shown = [(name, shown_level(levels[name])["rows"]) for name in LEVELS if name in levels]
        return [(name, rows) for name, rows in shown if rows]

    def _dropped_by(self, rule: str, level: str, start: int) -> tuple[str, Found]:
        if rule in COUNTED_ALONE:
            return "left_out", self.library.left_out(rule, start, DROPPED)
        if level == "images":
            return "images", self.library.dropped_references(rule, start, DROPPED)
        if level == "paragraphs":
            return "left_out", self.library.dropped_paragraphs(rule, start, DROPPED)
        if level in ("tokens", "document_images"):
            return "left_out", self.library.uncovered(level, rule, start, DROPPED)
        if level == "windows":
            return "left_out", self.library.dropped_windows(rule, start, DROPPED)
        if level == "records":
            return "records", self.library.dropped_records(rule, start, DROPPED)
        return "pages", self.library.find(Filter(rule=rule), start, DROPPED)

    def _clusters(self, query: dict[str, str]) -> Answer:
        found = self.library.clusters(number(query.get("from", "0")), DROPPED)
        first = self.library.titles([row["id"] for row in found.rows])
        items = [row | {"first": first.get(row["id"])} for row in found.rows]
        return self._list("clusters.html", Filter(), query, found, items=items)

    def _cluster(self, id: str, query: dict[str, str]) -> Answer:
        found = self.library.cluster(id, number(query.get("from", "0")), DOCUMENTS)
        items = self._listed(found.rows)
        return self._list("cluster.html", Filter(), query, found, items=items, path=f"/cluster/{id}", title="cluster")

    def _figures(self, query: dict[str, str]) -> Answer:
        """Histograms whose bars lead to what they count."""
        known, corpus = rules.metrics(), self.library.corpus
        of_pages = (
            [name for name in PAGE_METRICS if known[name].edges and name != "pictures"] if corpus.has_work else []
        )
        wanted: list[tuple[str, str, Sequence[float], str]] = [
            ("page", "images", COUNTS, "Images of a page"),
            *(("page", name, known[name].edges, known[name].what) for name in of_pages),
            ("windows", "tokens", _edges(corpus.recipe.windows.tokens), "Tokens of a window"),
            ("windows", "images", COUNTS, "Images of a window"),
            *(("picture", name, known[name].edges, known[name].what) for name in self.library.image_metrics()),
            ("picture", "pages", COUNTS, "Pages that show an image"),
        ]
        return self._page("figures.html", "figures", tiles=[self._tile(*figure) for figure in wanted])

    def _tile(self, table: str, column: str, edges: Sequence[float], what: str) -> dict[str, Any]:
        path = {"page": "/documents", "windows": "/windows", "picture": "/images"}[table]
        bins = []
        for low, high, kept, dropped in self.library.histogram(table, column, tuple(edges)):
            name = f"{short(low)}{'' if high is None else f'–{short(high)}'}{'+' if high is None else ''}"
            whole = isinstance(low, int) and (high is None or isinstance(high, int))
            if whole and high == low + 1:
                name = short(low)
            counted = column == "images" or (table == "picture" and column == "pages")
            span = {"metric": column, "low": f"{low:g}"} | ({} if high is None else {"high": f"{high:g}"})
            if counted:
                span = {"images": f"{low}-" if high is None else f"{low}-{int(high) - 1}"}
            target = link_to(path, span | ({"rule": "all"} if table != "windows" and dropped else {}))
            bins.append({"name": name, "count": kept + dropped, "dropped": dropped, "href": target})
        title = f"{what[0].upper()}{what[1:]}"
        return {"title": title, "plot": plots.histogram(bins, title), "column": column}

    def _random(self, kind: str, query: dict[str, str]) -> Answer:
        wanted = Filter(**given(query, "split host language licence images metric low high rule format"))
        draw = {
            "document": self.library.random_page,
            "window": self.library.random_window,
            "image": self.library.random_picture,
        }[kind]
        return Answer("text/plain", b"", location=f"/{kind}/{quote(draw(wanted))}")


def _largest(groups: Sequence[tuple[str, list[dict[str, Any]]]]) -> str:
    """The rule that dropped most pages or images."""
    rows = [row for name, rows in groups if name in ("pages", "images") for row in rows]
    rows = rows or [row for _, rows in groups for row in rows]
    return str(max(rows, key=lambda row: row["count"])["rule"]) if rows else ""


def _edges(tokens: int) -> tuple[int, ...]:
    return tuple(range(0, tokens + 1, max(1, tokens // 16)))


def _excerpt(texts: Sequence[str], words: str) -> str:
    """The text around the first occurrence of `words`, else the beginning."""
    for text in texts:
        at = text.lower().find(words.lower()) if words else -1
        if at >= 0:
            start = max(0, at - START // 3)
            return ("… " if start else "") + harmless(text[start : start + START])
    return harmless(texts[0][:START]) if texts else ""
