"""Look up documents and windows by number, filter and search, with about 40 bytes of memory per document."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inspect.figures import hosts_of
from pipeline.inspect.finished import Finished, ListedFile
from pipeline.inspect.pictures import Place, stored_bytes
from pipeline.inspect.samples import DOCUMENT_COLUMNS, WINDOW_COLUMNS, Dropped, dropped_tables, read_row

SECONDS = 5.0
"""Time limit of one search in seconds; it then reports how far it got."""
CACHED = 32
"""Number of documents cached."""


@dataclass(frozen=True)
class Filter:
    """What to show; empty values do not filter. `q` is a case-insensitive substring of the text."""

    split: str = ""
    host: str = ""
    language: str = ""
    q: str = ""


@dataclass(frozen=True)
class Found:
    """Numbers of the results, where to continue (None at the end), and whether the search ran out of time."""

    numbers: list[int]
    next: int | None
    late: bool = False


class Library:
    """A corpus to browse. Raises BuildError if its documents cannot be read."""

    def __init__(self, corpus: Finished):
        self.corpus = corpus
        self._files = corpus.files("documents")
        names = ("doc_id", "url", "split", "language")
        columns: dict[str, list[pa.Array]] = {name: [] for name in ("id", "host", "split", "language")}
        sizes = []
        for entry in self._files:
            batches = list(corpus.batches(entry, names))
            sizes.append(sum(batch.num_rows for batch in batches))
            for batch in batches:
                columns["id"].append(_digests(batch["doc_id"]))
                columns["host"].append(hosts_of(batch["url"]).dictionary_encode())
                for name in ("split", "language"):
                    columns[name].append(batch[name].fill_null("").dictionary_encode())
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._ids = np.concatenate([np.asarray(ids) for ids in columns["id"]] or [np.zeros(0, np.uint64)])
        self._order = np.argsort(self._ids, kind="stable")
        self._columns = {name: _codes(columns[name]) for name in ("host", "split", "language")}
        self.document = lru_cache(CACHED)(self._document)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def values(self, column: str) -> list[str]:
        """Distinct hosts, splits or languages, most frequent first."""
        codes, names = self._columns[column]
        counts = np.bincount(codes, minlength=len(names))
        return [names[index] for index in np.argsort(-counts, kind="stable") if names[index]]

    def _document(self, number: int) -> dict[str, Any]:
        """A row of documents/. Raises IndexError if `number` does not exist."""
        entry, row = self._place(number)
        return read_row(self.corpus, entry, row, DOCUMENT_COLUMNS)

    def _place(self, number: int) -> tuple[ListedFile, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"no document {number}")
        file = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._files[file], number - int(self._starts[file])

    def number(self, doc_id: str) -> int | None:
        """The number of a document, by its id."""
        (wanted,) = np.asarray(_digests(pa.array([doc_id])))
        at = int(np.searchsorted(self._ids, wanted, sorter=self._order))
        for index in self._order[at : at + 8].tolist():
            if self._ids[index] == wanted and self.document(index)["doc_id"] == doc_id:
                return index
        return None

    def find(self, wanted: Filter, start: int, count: int) -> Found:
        """The first `count` documents from number `start` on that match a filter."""
        passing = np.flatnonzero(self._mask(wanted))
        passing = passing[passing >= start]
        if not wanted.q:
            chosen = passing[: count + 1].tolist()
            return Found(chosen[:count], chosen[count] if len(chosen) > count else None)
        deadline = time.monotonic() + SECONDS
        chosen = []
        for number, texts in self._texts(passing):
            if time.monotonic() > deadline:
                return Found(chosen, number, late=True)
            if _contains(texts, wanted.q):
                if len(chosen) == count:
                    return Found(chosen, number)
                chosen.append(number)
        return Found(chosen, None)

    def _mask(self, wanted: Filter) -> np.ndarray:
        mask = np.ones(len(self), bool)
        for name in ("split", "host", "language"):
            value = getattr(wanted, name)
            codes, names = self._columns[name]
            if value:
                mask &= codes == (names.index(value) if value in names else -1)
        return mask

    def _texts(self, numbers: np.ndarray) -> Iterator[tuple[int, list[str | None]]]:
        for file in np.unique(np.searchsorted(self._starts, numbers, side="right") - 1).tolist():
            before = int(self._starts[file])
            for batch in self.corpus.batches(self._files[file], ["texts"], rows=256):
                mine = numbers[(numbers >= before) & (numbers < before + batch.num_rows)]
                rows = batch["texts"].take(pa.array(mine - before)).to_pylist() if len(mine) else []
                yield from zip(mine.tolist(), rows, strict=True)
                before += batch.num_rows

    def windows(self, wanted: Filter, start: int, count: int) -> tuple[list[tuple[str, dict[str, Any]]], Found]:
        """(split, row) of the first `count` windows from number `start` on, and their numbers."""
        deadline = time.monotonic() + SECONDS
        mask = self._mask(Filter(host=wanted.host, language=wanted.language))
        rows: list[tuple[str, dict[str, Any]]] = []
        numbers: list[int] = []
        before = 0
        for split in ("train", "validation"):
            for batch in self.corpus.window_batches(split, WINDOW_COLUMNS):
                first, before = before, before + batch.num_rows
                if before <= start or (wanted.split and wanted.split != split):
                    continue
                for index in self._passing(batch, mask, wanted).tolist():
                    if first + index < start:
                        continue
                    if len(rows) == count:
                        return rows, Found(numbers, first + index)
                    numbers.append(first + index)
                    rows.append((split, batch.slice(index, 1).to_pylist()[0]))
                if time.monotonic() > deadline:
                    return rows, Found(numbers, before, late=True)
        return rows, Found(numbers, None)

    def _passing(self, batch: pa.RecordBatch, mask: np.ndarray, wanted: Filter) -> np.ndarray:
        """Rows of a batch of windows that match a filter."""
        keep = np.ones(batch.num_rows, bool)
        if wanted.host or wanted.language:
            digests = np.asarray(_digests(batch["doc_id"]))
            at = np.minimum(np.searchsorted(self._ids, digests, sorter=self._order), len(self._order) - 1)
            documents = self._order[at]
            keep &= (self._ids[documents] == digests) & mask[documents]
        if wanted.q:
            found = pc.match_substring(batch["text"], wanted.q, ignore_case=True)
            keep &= np.asarray(found.fill_null(False))
        return np.flatnonzero(keep)

    def picture(self, number: int, node: int) -> bytes:
        """Stored bytes of a document's image. Raises IndexError if there is none."""
        images = self.document(number)["images"]
        if not 0 <= node < len(images) or images[node] is None:
            raise IndexError(f"document {number} has no image at node {node}")
        image = images[node]
        return stored_bytes(self.corpus, Place(image["tar"], image["offset"], image["length"]))

    def dropped(self, rule: str, start: int, count: int) -> tuple[list[Dropped], int | None]:
        """What a rule dropped, from number `start` on."""
        found: list[Dropped] = []
        before = 0
        for table in dropped_tables(self.corpus, rule):
            mine = table.filter(pc.equal(table["rule"], rule))
            first, before = before, before + mine.num_rows
            if before > start:
                rows = mine.slice(max(0, start - first), count + 1 - len(found)).to_pylist()
                found += [Dropped.from_row(row) for row in rows]
            if len(found) > count:
                return found[:count], start + count
        return found, None


def _digests(ids: pa.Array) -> pa.Array:
    """First 64 bits of each doc_id; 0 if it is invalid."""
    values = []
    for doc_id in ids.to_pylist():
        try:
            values.append(int((doc_id or "")[:16], 16))
        except ValueError:
            values.append(0)
    return pa.array(values, pa.uint64())


def _codes(batches: list[pa.Array]) -> tuple[np.ndarray, list[str]]:
    """One code per row, and the values of the codes."""
    if not batches:
        return np.zeros(0, np.int32), []
    column = pa.chunked_array(batches).unify_dictionaries()
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in column.chunks]).astype(np.int32)
    return codes, column.chunk(0).dictionary.to_pylist()


def _contains(texts: list[str | None], words: str) -> bool:
    wanted = words.casefold()
    return any(text is not None and wanted in text.casefold() for text in texts)
