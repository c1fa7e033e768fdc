"""What a corpus dropped, rule by rule, and its copies, as SQL over its tables."""

from functools import cached_property, lru_cache
from typing import Any

from filters import rules
from pipeline.inspect.funnel import funnel
from pipeline.inspect.viewer.database import Database, Found


class DroppedItems(Database):
    """Lists of what was dropped."""

    @lru_cache(32)  # noqa: B019
    def values(self, table: str, column: str, dropped: bool = False) -> list[tuple[str, int]]:
        """The 200 most frequent values of a column with their counts, among what was kept or `dropped`."""
        {"page": self.pages, "windows": self.windows_table, "picture": self.pictures}[table]()
        condition = "true" if table == "windows" else f"rule IS {'NOT ' if dropped else ''}NULL"
        rows = self.rows(
            f"SELECT {column} AS name, count(*) AS count FROM {table} WHERE {condition} AND {column} IS NOT NULL"
            f" AND {column} != '' GROUP BY ALL ORDER BY count DESC, name LIMIT 200"
        )
        return [(row["name"], row["count"]) for row in rows]

    def rules_of(self, table: str) -> list[str]:
        """The rules that dropped pages or images, in the order they are applied."""
        found = {name for name, _ in self.values(table, "rule", dropped=True)}
        return [rule for rule in rules.EXPLAINED if rule in found] + sorted(found - rules.EXPLAINED.keys())

    @cached_property
    def funnel(self) -> dict[str, Any]:
        return funnel(self.corpus)

    def dropped_references(self, rule: str, start: int, count: int) -> Found:
        """Image references that a rule dropped."""
        self.pictures()
        shown = f"""
            SELECT d.url, d.content, p.doc_id, p.title, p.url AS page_url, i.tar, i.width, i.height,
                i.original_width, i.original_height, i.detail, i.format
            FROM {self.decisions("rule = ?")} d JOIN page p ON p.part = d.part AND p.row = d.page
            LEFT JOIN picture i ON i.content = d.content"""
        total = self.value(f"SELECT count(*) FROM {self.decisions('rule = ?')}", [rule])
        rows = self.rows(f"{shown} ORDER BY p.number, d.node LIMIT ? OFFSET ?", [rule, count, start])
        return Found(rows, start + count if start + count < total else None, total)

    def left_out(self, rule: str, start: int, count: int) -> Found:
        """Pages with images that extraction left out under a rule, and how many."""
        self.pages()
        counted = "list_extract(element_at(left_out, ?), 1)"
        if rule == "image.page_dropped":
            counted = f"""CASE WHEN d.rule IS NOT NULL THEN o.pictures ELSE (SELECT CAST(count(*) AS INTEGER)
                FROM {self.decisions("rule = ?")} x WHERE x.part = p.part AND x.page = p.row) END"""
        shown = f"""
            SELECT p.*, {counted} AS count FROM {self.work("pages")} o JOIN page p USING (part, row)
            JOIN {self.work("dedup")} d USING (part, row)"""
        total = self.value(f"SELECT count(*) FROM ({shown}) WHERE count > 0", [rule])
        rows = self.rows(
            f"SELECT * FROM ({shown}) WHERE count > 0 ORDER BY number LIMIT ? OFFSET ?", [rule, count, start]
        )
        return Found(rows, start + count if start + count < total else None, total)

    def dropped_paragraphs(self, rule: str, start: int, count: int) -> Found:
        """Pages with paragraphs that a rule dropped, and how many."""
        self.pages()
        shown = f"""
            SELECT p.*, list_extract(element_at(v.dropped, ?), 1) AS count
            FROM {self.work("verdicts")} v JOIN page p USING (part, row)"""
        total = self.value(f"SELECT count(*) FROM ({shown}) WHERE count > 0", [rule])
        rows = self.rows(
            f"SELECT * FROM ({shown}) WHERE count > 0 ORDER BY number LIMIT ? OFFSET ?", [rule, count, start]
        )
        return Found(rows, start + count if start + count < total else None, total)

    def uncovered(self, level: str, rule: str, start: int, count: int) -> Found:
        """Documents with tokens or images that are in no window under a rule, and how many."""
        self.pages()
        column = {"tokens": "tokens", "document_images": "images"}[level]
        shown = f"""
            SELECT p.*, w.count FROM (SELECT doc_id, CAST(sum({column}) AS INTEGER) AS count
                FROM {self.work("coverage")} WHERE rule = ? GROUP BY doc_id HAVING sum({column}) > 0) w
            JOIN page p ON p.doc_id = w.doc_id AND p.rule IS NULL"""
        total = self.value(f"SELECT count(*) FROM ({shown})", [rule])
        rows = self.rows(f"{shown} ORDER BY number LIMIT ? OFFSET ?", [rule, count, start])
        return Found(rows, start + count if start + count < total else None, total)

    def dropped_records(self, rule: str, start: int, count: int) -> Found:
        """Records of the input that a rule dropped."""
        records = self.work("records")
        total = self.value(f"SELECT count(*) FROM {records} WHERE rule = ?", [rule])
        rows = self.rows(
            f"""SELECT url, CASE WHEN rule = 'record.status' THEN CAST(status AS VARCHAR)
                    ELSE coalesce(nullif(detail, ''), media_type) END AS detail
                FROM {records} WHERE rule = ? ORDER BY part, row LIMIT ? OFFSET ?""",
            [rule, count, start],
        )
        return Found(rows, start + count if start + count < total else None, total)

    def dropped_windows(self, rule: str, start: int, count: int) -> Found:
        """Documents with windows that a rule dropped, and how many."""
        self.pages()
        shown = f"""
            SELECT p.*, w.count FROM (SELECT doc_id, sum("count") AS count FROM {self.work("windows")} WHERE rule = ?
                GROUP BY doc_id) w JOIN page p ON p.doc_id = w.doc_id AND p.rule IS NULL"""
        total = self.value(f"SELECT count(*) FROM ({shown})", [rule])
        rows = self.rows(f"{shown} ORDER BY number LIMIT ? OFFSET ?", [rule, count, start])
        return Found(rows, start + count if start + count < total else None, total)

    def clusters(self, start: int, count: int) -> Found:
        """Near-duplicate clusters and groups of equal texts, largest first: the page that was kept, and how many."""
        self.pages()
        groups = """SELECT cluster AS id, count(*) AS pages FROM page WHERE cluster IS NOT NULL
            GROUP BY cluster HAVING count(*) > 1"""
        total = self.value(f"SELECT count(*) FROM ({groups})")
        rows = self.rows(
            f"SELECT id, pages FROM ({groups}) ORDER BY pages DESC, id LIMIT ? OFFSET ?",
            [count, start],
        )
        return Found(rows, start + count if start + count < total else None, total)

    def cluster(self, id: str, start: int, count: int) -> Found:
        """The pages of a cluster. Raises LookupError."""
        self.pages()
        mine = "cluster = ?"
        total = self.value(f"SELECT count(*) FROM page WHERE {mine}", [id])
        if not total:
            raise LookupError(id)
        rows = self.rows(
            f"SELECT * FROM page WHERE {mine} ORDER BY rule NULLS FIRST, number LIMIT ? OFFSET ?", [id, count, start]
        )
        return Found(rows, start + count if start + count < total else None, total)
