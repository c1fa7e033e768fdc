"""A corpus as tables of DuckDB: its Parquet files, and four tables in memory (100 to 300 bytes a row), filled when
first needed: `page`, `measured`, `windows` and `picture`. Texts and pixels stay in their files."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from filters import rules
from filters.image import SCORE_METRICS
from filters.scorers import named
from pipeline.errors import BuildError
from pipeline.inspect.finished import Finished, ListedFile
from pipeline.inspect.samples import WINDOW_COLUMNS
from shards.store import RemotePath

PAGE_METRICS = {metric.name: metric for metric in rules.PAGE_METRICS if not pa.types.is_string(metric.type)}
HOST = "lower(regexp_extract(url, '^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#@]*)', 1))"


@dataclass(frozen=True)
class Found:
    """Rows of a list, where to continue (None at the end), how many there are in all (None if unknown), and whether a
    search ran out of time."""

    rows: list[dict[str, Any]]
    next: int | None
    total: int | None = None
    late: bool = False


class Database:
    """The tables of a corpus. Damaged or missing files raise BuildError."""

    def __init__(self, corpus: Finished):
        self.corpus = corpus
        self._database = duckdb.connect(
            ":memory:", config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        if isinstance(corpus.root, RemotePath):
            self._database.register_filesystem(corpus.root.filesystem)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """One for each table, so that the first list does not wait for tables that it does not show."""
        self._made: set[str] = set()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        try:
            with self._database.cursor() as cursor:
                found = cursor.execute(sql, list(values))
                names = [column[0] for column in found.description]
                return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            raise BuildError(f"the corpus cannot be read ({str(error).splitlines()[0]}): run m3w verify") from None

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        (row,) = self.rows(sql, values)
        return next(iter(row.values()))

    def files(self, entries: Sequence[ListedFile], *, numbered: bool = True) -> str:
        """SQL for the rows of some files, with `part` (the number in the file's name) and `row`."""
        names = ", ".join("'" + str(self.corpus.path(entry)).replace("'", "''") + "'" for entry in entries)
        if not numbered:
            return f"read_parquet([{names}])"
        part = "CAST(parse_filename(filename, true) AS INTEGER) AS part, CAST(file_row_number AS INTEGER) AS row"
        return (
            f"(SELECT * EXCLUDE (filename, file_row_number), {part}"
            f" FROM read_parquet([{names}], filename = true, file_row_number = true))"
        )

    @lru_cache(32)  # noqa: B019
    def entries(self, folder: str) -> list[ListedFile]:
        """The files of documents/ or of a folder of work/."""
        return self.corpus.files(folder) if folder == "documents" else self.corpus.work(folder)

    def work(self, folder: str) -> str:
        return self.files(self.entries(folder))

    def _table(self, name: str, select: str, change: str = "") -> None:
        """Create a table, and change it, unless it exists."""
        with self._locks[name]:
            if name not in self._made:
                for statement in (f"CREATE OR REPLACE TABLE {name} AS {select}", change):
                    if statement:
                        self.rows(statement)
                self._made.add(name)

    def decisions(self, condition: str = "true") -> str:
        """SQL: `part`, `page` (its row), `node`, `rule`, `content` (hex), `url` and `survivor` of the image references
        that meet a condition on the columns of work/decisions."""
        survivor = "survivor" if self.corpus.recipe.dedup.image_set else "NULL::VARCHAR AS survivor"
        files = self.files(self.entries("decisions"), numbered=False).removesuffix(")")
        return (
            "(SELECT CAST(parse_filename(filename, true) AS INTEGER) AS part, row AS page, node, rule, url,"
            f" {survivor}, lower(hex(content)) AS content FROM {files}, filename = true) WHERE {condition})"
        )

    def scores(self) -> str:
        """SQL for work/scores; "" if no model scored."""
        if not (self.corpus.has_work and named(self.corpus.recipe.values())):
            return ""
        return self.files(self.entries("scores"), numbered=False)

    def _numbered(self, folder: str, columns: str) -> str:
        """SQL for columns of the rows of a folder, with `part`, `row` and `number`, the order of the corpus."""
        entries = self.entries(folder)
        parts = [int(Path(entry.path).stem) for entry in entries]
        starts = accumulate((entry.rows for entry in entries[:-1]), initial=0)
        known = ", ".join(f"({part}, {start})" for part, start in zip(parts, starts, strict=False)) or "(0, 0)"
        return (
            f"(SELECT {columns}, part, row, start + row AS number FROM {self.files(entries)}"
            f" JOIN (VALUES {known}) f (part, start) USING (part))"
        )

    def pages(self) -> None:
        """Table `page`: every page of the input, or every document if work/ was deleted. `number` is the order of the
        corpus; `rule` is null for documents; `images` counts those kept, or those found if the page was dropped."""
        columns = f"doc_id, url, {HOST} AS host, metadata.title AS title, metadata.licence AS licence, language"
        change = ""
        if self.corpus.has_work:
            select = f"""
                SELECT p.* EXCLUDE (language, pictures), coalesce(v.language, p.language) AS language, s.rule, s.split,
                    coalesce(d.survivor, i.survivor) AS survivor, coalesce(d.cluster, d.survivor, p.doc_id) AS cluster,
                    CAST(coalesce(i.images, p.pictures, 0) AS INTEGER) AS images, document.row AS document
                FROM {self._numbered("pages", columns + ", pictures")} p
                JOIN {self.work("verdicts")} v USING (part, row)
                JOIN {self.work("split")} s USING (part, row)
                JOIN {self.work("dedup")} d USING (part, row)
                LEFT JOIN (SELECT part, page AS row, count(*) FILTER (rule IS NULL) AS images,
                           max(survivor) AS survivor
                           FROM {self.decisions()} GROUP BY ALL) i USING (part, row)
                LEFT JOIN {self.files(self.entries("documents"))} document
                    ON document.doc_id = p.doc_id AND s.rule IS NULL
                ORDER BY number"""
            change = """
                UPDATE page SET cluster = kept.cluster FROM page kept
                WHERE page.survivor = kept.doc_id AND page.cluster = page.survivor AND kept.cluster != kept.doc_id"""
        else:
            select = f"""
                SELECT *, NULL::VARCHAR AS rule, NULL::VARCHAR AS survivor, row AS document
                FROM {
                self._numbered(
                    "documents",
                    columns + ", split, coalesce(cluster, doc_id) AS cluster,"
                    " CAST(len(texts) - list_count(texts) AS INTEGER) AS images",
                )
            } ORDER BY number"""
        self._table("page", select, change)

    def measured(self) -> None:
        """Table `measured`: the metrics of every page, by `number`, and its rule."""
        metrics = ", ".join(f"coalesce(v.{name}, p.{name}) AS {name}" for name in PAGE_METRICS)
        self._table(
            "measured",
            f"""SELECT number, s.rule, {metrics} FROM {self._numbered("pages", ", ".join(PAGE_METRICS))} p
                JOIN {self.work("verdicts")} v USING (part, row)
                JOIN {self.work("split")} s USING (part, row) ORDER BY number""",
        )

    def windows_table(self) -> None:
        """Table `windows`: where each window is, and how many tokens and images it has."""
        shards = [(split, entry) for split in ("train", "validation") for entry in self.corpus.windows(split)]
        self.pages()
        if any(entry.path.endswith(".tar") for _, entry in shards):
            self._register_tars()
            source = "SELECT *, file_number AS file FROM window_tar"
        else:
            names = [
                f"('{str(self.corpus.path(entry)).replace(chr(39), chr(39) * 2)}', {number}, '{split}')"
                for number, (split, entry) in enumerate(shards)
            ]
            known = f"(VALUES {', '.join(names)}) f (name, file, split)"
            rows = self.files([entry for _, entry in shards]).replace(
                "CAST(parse_filename(filename, true) AS INTEGER) AS part", "filename AS name"
            )
            source = f"SELECT w.*, f.file, f.split FROM {rows} w JOIN {known} USING (name)"
        if not shards:
            source = "SELECT * FROM (SELECT '' AS window_id, '' AS doc_id, '' AS split, 0 AS file, 0 AS row,"
            source += " [0] AS input_ids, [0] AS image_positions, 0 AS token_start) WHERE false"
        self._table(
            "windows",
            f"""SELECT row_number() OVER (ORDER BY w.file, w.row) - 1 AS number, w.file, w.row, w.window_id, w.doc_id,
                w.split, len(w.input_ids) AS tokens, len(w.image_positions) AS images, w.token_start, p.host,
                p.language, p.licence, p.title
                FROM ({source}) w LEFT JOIN (SELECT doc_id, host, language, licence, title FROM page
                    WHERE rule IS NULL) p USING (doc_id) ORDER BY number""",
        )

    def _register_tars(self) -> None:
        """Windows stored as tar only: read once into memory, without their images."""
        with self._locks["window_tar"]:
            if "window_tar" in self._made:
                return
            batches = [
                pa.Table.from_batches([batch])
                .append_column("split", pa.array([split] * batch.num_rows))
                .append_column("file_number", pa.array([number] * batch.num_rows))
                for number, split in enumerate(("train", "validation"))
                for batch in self.corpus.window_batches(split, WINDOW_COLUMNS)
            ]
            table = pa.concat_tables(batches)
            self._database.register("tars", table.append_column("row", pa.array(range(table.num_rows))))
            self._database.execute("CREATE TABLE window_tar AS SELECT * FROM tars")
            self._database.unregister("tars")
            self._made.add("window_tar")

    def pictures(self) -> None:
        """Table `picture`: every distinct image, named by the first 16 bytes of its sha256 in hex. `pages` counts the
        pages that show it; `rule` is null if it was kept on at least one; `licence` and `author` are its own, else
        its page's."""
        self.pages()
        if not self.corpus.has_work:
            shown = f"""
                SELECT doc_id, lower(hex(image.sha256[1:16])) AS content, unnest(image)
                FROM (SELECT doc_id, unnest(images) AS image FROM {self.files(self.entries("documents"))})
                WHERE image IS NOT NULL"""
            select = f"""
                SELECT row_number() OVER (ORDER BY content) - 1 AS number, content, first(tar) AS tar,
                    first("offset") AS "offset", first(length) AS length, first(width) AS width,
                    first(height) AS height, first(original_width) AS original_width,
                    first(original_height) AS original_height, first(format) AS format, NULL::VARCHAR AS rule,
                    '' AS detail, count(DISTINCT doc_id) AS pages
                FROM ({shown}) GROUP BY content"""
        else:
            scores = self.scores()
            joined = f"LEFT JOIN (SELECT * REPLACE (lower(hex(content)) AS content) FROM {scores}) USING (content)"
            names = ", ".join(metric.name if scores else f"NULL::DOUBLE AS {metric.name}" for metric in SCORE_METRICS)
            select = f"""
                SELECT row_number() OVER (ORDER BY content) - 1 AS number, content, tar, "offset", length, width,
                    height, original_width, original_height, format, coalesce(d.rule, u.rule) AS rule, detail,
                    coalesce(pages, 0) AS pages, spread, {names}
                FROM (SELECT * REPLACE (lower(hex(content)) AS content) FROM {self.work("distinct_images")}) d
                LEFT JOIN (SELECT content, count(DISTINCT (part, page)) AS pages,
                               CASE WHEN bool_or(rule IS NULL) THEN NULL ELSE mode(rule) END AS rule
                           FROM {self.decisions()} WHERE content IS NOT NULL GROUP BY content) u USING (content)
                {joined if scores else ""}"""
        self._table(
            "picture",
            f"SELECT *, least(original_width, original_height) AS shorter_side, greatest(original_width,"
            f" original_height) / greatest(1, least(original_width, original_height)) AS aspect FROM ({select})"
            f" LEFT JOIN ({self._terms()}) USING (content) ORDER BY number",
        )

    def _terms(self) -> str:
        """SQL: licence and author by content. Indexes of older versions lack some of the columns."""
        entries = self.corpus.files("images")
        files = self.files(entries, numbered=False)
        known = {row["column_name"] for row in self.rows(f"DESCRIBE SELECT * FROM {files}")} if entries else set()
        columns = []
        for name in ("licence", "author"):
            stated = [f"min(nullif({column}, ''))" for column in (name, f"page_{name}") if column in known]
            columns.append(f"coalesce({', '.join([*stated, 'NULL::VARCHAR'])}) AS {name}")
        if not entries:
            return "SELECT NULL::VARCHAR AS content, NULL::VARCHAR AS licence, NULL::VARCHAR AS author WHERE false"
        return f"SELECT lower(hex(sha256[1:16])) AS content, {', '.join(columns)} FROM {files} GROUP BY 1"
