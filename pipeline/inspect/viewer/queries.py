"""What the viewer asks of a corpus: lists, searches and single items, as SQL over its tables. Only the rows that are
shown are read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from filters.image import SCORE_METRICS
from pipeline.errors import BuildError
from pipeline.inspect.samples import WINDOW_COLUMNS
from pipeline.inspect.viewer.database import PAGE_METRICS, Found
from pipeline.inspect.viewer.dropped import DroppedItems
from shards.tokenizer import Tokenizer

SECONDS = 5.0
"""Time limit of one text search in seconds; it then reports how far it got."""


@dataclass(frozen=True)
class Filter:
    """What to list. Empty values do not filter. `rule` is a rule's id, "any" for all dropped, or "" for what was kept;
    `images` is the number of images, `3` or `2-5` or `4-`; `metric` a stored number between `low` and below `high`; `q`
    a text, case-insensitive."""

    rule: str = ""
    split: str = ""
    host: str = ""
    language: str = ""
    licence: str = ""
    images: str = ""
    metric: str = ""
    low: str = ""
    high: str = ""
    q: str = ""
    cluster: str = ""
    format: str = ""
    sort: str = ""

    def query(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value}


@dataclass
class Where:
    """Conditions and their parameters."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values += values

    def __str__(self) -> str:
        return " AND ".join(self.conditions) or "true"


class Library(DroppedItems):
    """A corpus to ask. Damaged or missing files raise BuildError."""

    def prepare(self) -> None:
        """Fill all tables. A damaged corpus shows where it is asked for."""
        try:
            self.pages()
            self.windows_table()
            self.pictures()
            if self.corpus.has_work:
                self.measured()
                _ = self.funnel
        except BuildError:
            pass

    # pages

    def find(self, wanted: Filter, start: int, count: int) -> Found:
        """Pages from `number` start on."""
        self.pages()
        where = self._where(wanted)
        if wanted.q:
            return self._search(wanted, where, start, count)
        total = self.value(f"SELECT count(*) FROM page WHERE {where}", where.values)
        rows = self.rows(
            f"SELECT * FROM page WHERE {where} AND number >= ? ORDER BY number LIMIT ?",
            [*where.values, start, count + 1],
        )
        return Found(rows[:count], rows[count]["number"] if len(rows) > count else None, total)

    def _where(self, wanted: Filter) -> Where:
        """Conditions on `page`. Raises ValueError for a number that is none."""
        where = Where()
        if wanted.rule == "any":
            where.add("rule IS NOT NULL")
        elif wanted.rule != "all":
            where.add("rule IS NOT DISTINCT FROM ?", wanted.rule or None)
        for name in ("split", "host", "language", "licence", "cluster"):
            if getattr(wanted, name):
                where.add(f"{name} = ?", getattr(wanted, name))
        _between(where, "images", wanted.images)
        if wanted.metric:
            measured = self._measured(wanted)
            where.add(f"number IN (SELECT number FROM measured WHERE {measured})", *measured.values)
        return where

    def _measured(self, wanted: Filter) -> Where:
        """Conditions on `measured`. Raises ValueError for an unknown metric."""
        if not self.corpus.has_work or wanted.metric not in PAGE_METRICS:
            raise ValueError(wanted.metric)
        self.measured()
        measured = Where()
        _range(measured, wanted.metric, wanted.low, wanted.high)
        return measured

    def _search(self, wanted: Filter, where: Where, start: int, count: int) -> Found:
        """Search the texts file by file, in order, so that the first results come at once."""
        kept = not wanted.rule or not self.corpus.has_work
        entries = self.entries("documents") if kept else self.entries("pages")
        first = self.rows("SELECT part FROM page WHERE number >= ? ORDER BY number LIMIT 1", [start])
        left = [entry for entry in entries if first and int(Path(entry.path).stem) >= first[0]["part"]]
        deadline, step, found = time.monotonic() + SECONDS, 2, list[dict[str, Any]]()
        while left and len(found) <= count:
            if time.monotonic() > deadline:
                part = int(Path(left[0].path).stem)
                after = self.rows("SELECT number FROM page WHERE part >= ? ORDER BY number LIMIT 1", [part])
                return Found(found, after[0]["number"] if after else None, late=True)
            batch, left, step = left[:step], left[step:], min(64, 2 * step)
            found += self.rows(
                f"""SELECT page.* FROM page JOIN
                    (SELECT part, row FROM {self.files(batch)} WHERE contains(lower(concat_ws(chr(10), url,
                        metadata.title, array_to_string(texts, chr(10)))), lower(?))) hit
                    ON hit.part = page.part AND hit.row = {"page.document" if kept else "page.row"}
                    WHERE {where} AND number >= ? ORDER BY number LIMIT ?""",
                [wanted.q, *where.values, start, count + 1 - len(found)],
            )
        return Found(found[:count], found[count]["number"] if len(found) > count else None)

    def page(self, doc_id: str) -> dict[str, Any]:
        """The row of `page` with its metrics; of several captures the one that was kept. Raises LookupError."""
        self.pages()
        found = self.rows("SELECT * FROM page WHERE doc_id = ? ORDER BY rule NULLS FIRST LIMIT 1", [doc_id])
        if not found:
            raise LookupError(doc_id)
        if self.corpus.has_work:
            self.measured()
            found[0] |= self.rows("SELECT * FROM measured WHERE number = ?", [found[0]["number"]])[0]
        return found[0]

    def titles(self, doc_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows of `page` by doc_id, as far as they exist."""
        self.pages()
        rows = self.rows("SELECT * FROM page WHERE doc_id IN (SELECT unnest(?)) ORDER BY number DESC", [list(doc_ids)])
        return {row["doc_id"]: row for row in rows}

    def beside(self, number: int, wanted: Filter) -> tuple[str | None, str | None]:
        """The doc_ids before and after a page among those that pass a filter (without its text search)."""
        where = self._where(wanted)
        ids = []
        for sign, order in (("<", "DESC"), (">", "ASC")):
            rows = self.rows(
                f"SELECT doc_id FROM page WHERE {where} AND doc_id IS NOT NULL AND number {sign} ?"
                f" ORDER BY number {order} LIMIT 1",
                [*where.values, number],
            )
            ids.append(rows[0]["doc_id"] if rows else None)
        return ids[0], ids[1]

    def random(self, table: str, column: str, where: Where) -> str:
        """An id drawn at random. Raises LookupError if there is none."""
        rows = self.rows(f"SELECT {column} AS id FROM {table} WHERE {where} ORDER BY random() LIMIT 1", where.values)
        if not rows:
            raise LookupError(table)
        return str(rows[0]["id"])

    def glimpse(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The first image of some documents of the first files, with their doc_ids; without a table."""
        entries = self.entries("documents")[:count]
        files = self.files(entries, numbered=False)
        rows = self.rows(f"SELECT doc_id, images FROM {files} LIMIT ?", [count]) if entries else []
        return [(row["doc_id"], image) for row in rows if (image := next(filter(None, row["images"]), None))]

    @lru_cache(64)  # noqa: B019  one library per process
    def document(self, part: int, row: int) -> dict[str, Any]:
        """A row of documents/."""
        return self.contents("documents", [(part, row)], "*")[part, row]

    @lru_cache(64)  # noqa: B019
    def extracted(self, part: int, row: int) -> dict[str, Any]:
        """A row of work/pages: all nodes that extraction found. `kept_texts` are its texts without dropped paragraphs
        (None if none was dropped), `dropped` the number of dropped paragraphs by rule."""
        found = self.contents("pages", [(part, row)], "* EXCLUDE (minhash)")[part, row]
        verdict = self.contents("verdicts", [(part, row)], "texts AS kept_texts, dropped")[part, row]
        return found | verdict

    def contents(
        self, folder: str, places: Sequence[tuple[int, int]], columns: str
    ) -> dict[tuple[int, int], dict[str, Any]]:
        """Columns of some rows of documents/ or work/pages, by part and row."""
        found: dict[tuple[int, int], dict[str, Any]] = {}
        files = {int(Path(entry.path).stem): entry for entry in self.entries(folder)} if places else {}
        for part in {part for part, _ in places}:
            rows = [row for other, row in places if other == part]
            sql = f"SELECT {columns}, row AS at FROM {self.files([files[part]])} WHERE row IN (SELECT unnest(?))"
            found |= {(part, content["at"]): content for content in self.rows(sql, [rows])}
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return self.corpus.tokenizer()

    def verdicts(self, part: int, row: int) -> dict[int, dict[str, Any]]:
        """The decision on each image reference of a page, by node."""
        entries = [entry for entry in self.entries("decisions") if int(Path(entry.path).stem) == part]
        rows = self.rows(
            f"SELECT node, rule, url, lower(hex(content)) AS content FROM {self.files(entries, numbered=False)}"
            " WHERE row = ?",
            [row],
        )
        return {found["node"]: found for found in rows}

    # windows

    def find_windows(self, wanted: Filter, start: int, count: int) -> Found:
        """Windows from `number` start on, whole rows."""
        self.windows_table()
        where = self._windows_where(wanted)
        if not wanted.q:
            total = self.value(f"SELECT count(*) FROM windows WHERE {where}", where.values)
            rows = self.rows(
                f"SELECT * FROM windows WHERE {where} AND number >= ? ORDER BY number LIMIT ?",
                [*where.values, start, count + 1],
            )
            after = rows[count]["number"] if len(rows) > count else None
            return Found(self.whole_windows(rows[:count]), after, total)
        deadline, found = time.monotonic() + SECONDS, list[dict[str, Any]]()
        for file in self.rows("SELECT DISTINCT file FROM windows WHERE number >= ? ORDER BY file", [start]):
            if time.monotonic() > deadline:
                after = self.value("SELECT min(number) FROM windows WHERE file = ?", [file["file"]])
                return Found(self.whole_windows(found), after, late=True)
            found += self.rows(
                f"""SELECT windows.* FROM windows JOIN (SELECT row AS hit FROM {self._window_rows(file["file"])}
                        WHERE contains(lower(text), lower(?))) ON hit = windows.row
                    WHERE file = ? AND {where} AND number >= ? ORDER BY number LIMIT ?""",
                [wanted.q, file["file"], *where.values, start, count + 1 - len(found)],
            )
            if len(found) > count:
                break
        after = found[count]["number"] if len(found) > count else None
        return Found(self.whole_windows(found[:count]), after)

    def _windows_where(self, wanted: Filter) -> Where:
        where = Where()
        for name in ("split", "host", "language", "licence"):
            if getattr(wanted, name):
                where.add(f"{name} = ?", getattr(wanted, name))
        _between(where, "images", wanted.images)
        if wanted.metric == "tokens":
            _range(where, "tokens", wanted.low, wanted.high)
        elif wanted.metric:
            measured = self._measured(wanted)
            documents = f"SELECT doc_id FROM page JOIN measured m USING (number) WHERE page.rule IS NULL AND {measured}"
            where.add(f"doc_id IN ({documents})", *measured.values)
        return where

    def _window_rows(self, file: int) -> str:
        """SQL for the rows of a shard."""
        if "window_tar" in self._made:
            return f"(SELECT * FROM window_tar WHERE file_number = {int(file)})"
        shards = [entry for split in ("train", "validation") for entry in self.corpus.windows(split)]
        name = str(self.corpus.path(shards[file])).replace("'", "''")
        return f"(SELECT *, file_row_number AS row FROM read_parquet('{name}', file_row_number = true))"

    def whole_windows(self, windows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of `windows` with their contents."""
        names = ", ".join(WINDOW_COLUMNS)
        contents: dict[tuple[int, int], dict[str, Any]] = {}
        for file in sorted({window["file"] for window in windows}):
            wanted = [window["row"] for window in windows if window["file"] == file]
            found = self.rows(
                f"SELECT {names}, row FROM {self._window_rows(file)} WHERE row IN (SELECT unnest(?))", [wanted]
            )
            contents |= {(file, row["row"]): row for row in found}
        return [window | contents[window["file"], window["row"]] for window in windows]

    def window(self, window_id: str) -> dict[str, Any]:
        """A window, whole. Raises LookupError."""
        self.windows_table()
        found = self.rows("SELECT * FROM windows WHERE window_id = ? LIMIT 1", [window_id])
        if not found:
            raise LookupError(window_id)
        return self.whole_windows(found)[0]

    def windows_of(self, doc_id: str) -> list[dict[str, Any]]:
        """The windows of a document (without their contents), in its order."""
        self.windows_table()
        return self.rows("SELECT * FROM windows WHERE doc_id = ? ORDER BY token_start, number", [doc_id])

    def window_beside(self, number: int) -> tuple[str | None, str | None]:
        rows = {
            row["number"]: row["window_id"]
            for row in self.rows(
                "SELECT number, window_id FROM windows WHERE number IN (?, ?)", [number - 1, number + 1]
            )
        }
        return rows.get(number - 1), rows.get(number + 1)

    def random_window(self, wanted: Filter) -> str:
        self.windows_table()
        return self.random("windows", "window_id", self._windows_where(wanted))

    def random_page(self, wanted: Filter) -> str:
        self.pages()
        where = self._where(wanted)
        where.add("doc_id IS NOT NULL")
        return self.random("page", "doc_id", where)

    # images

    def find_pictures(self, wanted: Filter, start: int, count: int) -> Found:
        """Images from place `start` on of an order."""
        self.pictures()
        where = self._pictures_where(wanted)
        order = {"": "number", "pages": "pages DESC, number", "size": "original_width * original_height DESC, number"}
        sort = order.get(wanted.sort) or f"{self._image_metric(wanted.sort)} DESC NULLS LAST, number"
        total = self.value(f"SELECT count(*) FROM picture WHERE {where}", where.values)
        rows = self.rows(
            f"SELECT * FROM picture WHERE {where} ORDER BY {sort} LIMIT ? OFFSET ?", [*where.values, count, start]
        )
        return Found(rows, start + count if start + count < total else None, total)

    def image_metrics(self) -> list[str]:
        """Stored numbers of images that can be selected and sorted by."""
        scores = [metric.name for metric in SCORE_METRICS] if self.scores() else []
        return ["shorter_side", "aspect", *(["spread"] if self.corpus.has_work else []), *scores]

    def _image_metric(self, name: str) -> str:
        if name not in self.image_metrics():
            raise ValueError(name)
        return name

    def _pictures_where(self, wanted: Filter) -> Where:
        where = Where()
        if wanted.rule == "any":
            where.add("rule IS NOT NULL")
        elif wanted.rule != "all":
            where.add("rule IS NOT DISTINCT FROM ?", wanted.rule or None)
        for name in ("format", "licence"):
            if getattr(wanted, name):
                where.add(f"{name} = ?", getattr(wanted, name))
        _between(where, "pages", wanted.images)
        if wanted.metric:
            _range(where, self._image_metric(wanted.metric), wanted.low, wanted.high)
        return where

    def random_picture(self, wanted: Filter) -> str:
        self.pictures()
        return self.random("picture", "content", self._pictures_where(wanted))

    def picture(self, content: str) -> dict[str, Any]:
        """A row of `picture`. Raises LookupError."""
        self.pictures()
        found = self.rows("SELECT * FROM picture WHERE content = ?", [content])
        if not found:
            raise LookupError(content)
        return found[0]

    def uses(self, content: str, start: int, count: int) -> Found:
        """The pages that show an image, with the rule under which the reference was dropped."""
        self.pages()
        if self.corpus.has_work:
            shown = f"""
                SELECT p.*, u.rule AS image_rule, u.url AS image_url FROM {self.decisions("content = unhex(?)")} u
                JOIN page p ON p.part = u.part AND p.row = u.page"""
        else:
            shown = f"""
                SELECT p.*, NULL::VARCHAR AS image_rule, image.url AS image_url
                FROM (SELECT doc_id, unnest(images) AS image FROM {self.files(self.entries("documents"))})
                JOIN page p USING (doc_id) WHERE lower(hex(image.sha256[1:16])) = ?"""
        total = self.value(f"SELECT count(*) FROM ({shown})", [content])
        rows = self.rows(f"{shown} ORDER BY number LIMIT ? OFFSET ?", [content, count, start])
        return Found(rows, start + count if start + count < total else None, total)

    def pictures_of(self, contents: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows of `picture` by content."""
        self.pictures()
        rows = self.rows("SELECT * FROM picture WHERE content IN (SELECT unnest(?))", [list(contents)])
        return {row["content"]: row for row in rows}

    # values to choose from

    @lru_cache(64)  # noqa: B019
    def histogram(
        self, table: str, column: str, edges: tuple[float, ...]
    ) -> list[tuple[float, float | None, int, int]]:
        """(low, high, kept, dropped) of each bin; the last has no upper end."""
        {"page": self.pages, "windows": self.windows_table, "picture": self.pictures}[table]()
        source = table
        if table == "page" and column in PAGE_METRICS:
            self.measured()
            source = "measured"
        kept = "true" if table == "windows" else "rule IS NULL"
        bins = "+".join(f"({column} >= {edge!r})::INTEGER" for edge in edges)
        rows = self.rows(
            f"SELECT {bins} - 1 AS bin, count(*) FILTER ({kept}) AS kept, count(*) FILTER (NOT ({kept})) AS dropped"
            f" FROM {source} WHERE {column} IS NOT NULL GROUP BY bin"
        )
        counts = {row["bin"]: (row["kept"], row["dropped"]) for row in rows}
        return [
            (edge, edges[index + 1] if index + 1 < len(edges) else None, *counts.get(index, (0, 0)))
            for index, edge in enumerate(edges)
        ]

    # the input

    def record_of_page(self, page: dict[str, Any]) -> tuple[int, int]:
        """The number and offset of a page's record in its part."""
        offset = self.extracted(page["part"], page["row"])["capture"]["offset"]
        entries = [entry for entry in self.entries("records") if int(Path(entry.path).stem) == page["part"]]
        (row,) = self.rows(
            f"""SELECT number, "offset" FROM {self.files(entries)}
                WHERE use = 'page' AND url = ? AND "offset" = ? LIMIT 1""",
            [page["url"], offset],
        )
        return row["number"], row["offset"]

    def records_at(self, urls: list[str]) -> dict[str, tuple[int, int, int]]:
        """(part, record number, offset) of a record at each URL, as far as the input has one that did not opt out."""
        rows = self.rows(
            f"""SELECT url, part, number, "offset" FROM {self.work("records")} WHERE url IN (SELECT unnest(?))
                AND status IN (0, 200) AND (rule IS NULL OR NOT starts_with(rule, 'consent.'))
                ORDER BY part DESC, row DESC""",
            [urls],
        )
        return {row["url"]: (row["part"], row["number"], row["offset"]) for row in rows}


def _between(where: Where, column: str, text: str) -> None:
    """`3`, `2-5` or `4-`. Raises ValueError."""
    if text:
        low, dash, high = text.partition("-")
        where.add(f"{column} >= ?", int(low))
        if high or not dash:
            where.add(f"{column} <= ?", int(high or low))


def _range(where: Where, column: str, low: str, high: str) -> None:
    """From `low` to below `high`. Raises ValueError."""
    where.add(f"{column} IS NOT NULL")
    for sign, text in ((">=", low), ("<", high)):
        if text:
            where.add(f"{column} {sign} ?", float(text))
