"""Time of the pages of `m3w view` on a corpus of 100,000 documents.

The corpus is a generated web of 300 pages, built once and repeated with other ids, hosts and images, as Parquet files.

python -m tests.bench.view [--record] [--documents N]"""

import argparse
import hashlib
import http.client
import json
import re
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.inspect.finished import Finished, open_corpus
from pipeline.inspect.viewer.server import server
from pipeline.miniweb import generate, write_warc
from tests.bench.results import Figure, record
from tests.corpora import build_here

PER_PART = 4
"""Repetitions in a part, which makes it about as large as one of a large input."""
WORK = (
    "records",
    "pages",
    "verdicts",
    "dedup",
    "split",
    "references",
    "decisions",
    "distinct_images",
    "windows",
    "coverage",
)
IDS = ("doc_id", "window_id", "survivor", "cluster")
HASHES = ("content", "sha256")


def repeated(corpus: Path, root: Path, documents: int) -> int:
    """Write a corpus of at least `documents` documents to `root`, and return how many."""
    opened = open_corpus(corpus)
    folders = ["documents", *(f"work/{name}" for name in WORK)]
    base = {folder: _joined(opened, folder) for folder in folders}
    pages = [entry.rows for entry in opened.work("pages")]
    for folder in ("work/references", "work/decisions"):
        base[folder] = _renumbered(opened, folder, pages)
    shards = {split: pa.concat_tables([opened.table(entry) for entry in opened.windows(split)])
              for split in ("train", "validation")}  # fmt: skip
    copies = -(-documents // base["documents"].num_rows)
    shutil.copytree(
        corpus, root, ignore=shutil.ignore_patterns("work", "documents", "windows", "*.html", "funnel.json")
    )
    listed: dict[str, list[dict[str, Any]]] = {folder: [] for folder in folders}
    files = [entry for entry in opened.manifest["files"] if entry["path"].startswith(("images/", "tokenizer"))]
    for part in range(-(-copies // PER_PART)):
        mine = range(part * PER_PART, min(copies, (part + 1) * PER_PART))
        for folder, table in base.items():
            shift = base["work/pages"].num_rows if folder in ("work/references", "work/decisions") else 0
            tables = [_copy(table, copy, shift * place) for place, copy in enumerate(mine)]
            listed[folder].append(_write(root, f"{folder}/{part:05d}.parquet", tables))
        for split, table in shards.items():
            tables = [_copy(table, copy) for copy in mine]
            files.append(_write(root, f"windows/{split}-{part:05d}.parquet", tables))
    for name in WORK:
        owner = {"records": "pages", "coverage": "windows"}.get(name, name)
        manifest = root / f"work/{owner}/manifest.json"
        before = json.loads(manifest.read_text())["files"] if manifest.exists() else []
        manifest.write_text(json.dumps({"key": "", "files": [*before, *listed[f"work/{name}"]]}))
    manifest = json.loads((corpus / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest | {"files": [*files, *listed["documents"]]}))
    return copies * base["documents"].num_rows


def _joined(corpus: Finished, folder: str) -> pa.Table:
    entries = corpus.files(folder) if folder == "documents" else corpus.work(folder.removeprefix("work/"))
    return pa.concat_tables([corpus.table(entry) for entry in entries])


def _renumbered(corpus: Finished, folder: str, pages: list[int]) -> pa.Table:
    """The rows of all parts, with the pages' numbers as if they were one part."""
    tables = []
    for part, entry in enumerate(corpus.work(folder.removeprefix("work/"))):
        table = corpus.table(entry)
        at = table.schema.get_field_index("row")
        rows = pc.add(table["row"], pa.scalar(sum(pages[:part]), pa.int32()))
        tables.append(table.set_column(at, table.schema.field(at), rows))
    return pa.concat_tables(tables)


def _copy(table: pa.Table, copy: int, rows: int = 0) -> pa.Table:
    """A table with the ids, hosts and hashes of another repetition."""
    for at, field in enumerate(table.schema):
        column = table.column(at).combine_chunks()
        if field.name in IDS:
            column = pc.utf8_replace_slice(column, 0, 8, f"{copy:08x}")
        elif field.name == "url":
            column = pc.replace_substring(column, "https://", f"https://c{copy % 400}.", max_replacements=1)
        elif field.name in HASHES:
            column = _rehashed(column, copy)
        elif field.name in ("images", "image_metadata") and "sha256" in _fields(field.type):
            column = _with_hashes(column, copy)
        elif field.name == "row" and rows:
            column = pc.add(column, pa.scalar(rows, pa.int32()))
        table = table.set_column(at, field, column.cast(field.type))
    return table


def _fields(kind: pa.DataType) -> list[str]:
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return [inner.field(index).name for index in range(inner.num_fields)]


def _rehashed(column: pa.Array, copy: int) -> pa.Array:
    return pc.binary_replace_slice(column.cast(pa.binary()), 0, 4, copy.to_bytes(4)).cast(column.type)


def _with_hashes(column: pa.Array, copy: int) -> pa.Array:
    inner = column.values
    fields = [inner.field(index) for index in range(inner.type.num_fields)]
    at = inner.type.get_field_index("sha256")
    fields[at] = _rehashed(fields[at], copy)
    kinds = [inner.type.field(index) for index in range(inner.type.num_fields)]
    return pa.ListArray.from_arrays(
        column.offsets, pa.StructArray.from_arrays(fields, fields=kinds, mask=inner.is_null()), type=column.type
    )


def _write(root: Path, name: str, tables: list[pa.Table]) -> dict[str, Any]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.concat_tables(tables)
    pq.write_table(table, path, compression="zstd")
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"path": name, "rows": table.num_rows, "bytes": path.stat().st_size, "sha256": digest}


ADDRESSES = (
    ("a list of documents", "/documents"),
    ("documents of a host", "/documents?host=c7.birds.example"),
    ("documents of a language with 3 to 5 images", "/documents?language=en&images=3-5"),
    ("documents with 100 to 200 words, kept and dropped", "/documents?metric=words&low=100&high=200&rule=all"),
    ("documents 50,000 and following", "/documents?from=60000"),
    ("a search for a common word", "/documents?q=library"),
    ("a list of windows", "/windows?images=3-"),
    ("a list of images, largest first", "/images?sort=size"),
    ("images with an aspect above 1.2", "/images?metric=aspect&low=1.2"),
    ("dropped: pages", "/dropped?rule=page.no_image&level=pages"),
    ("dropped: images", "/dropped?rule=image.too_small&level=images"),
    ("groups of copies", "/clusters"),
    ("figures", "/figures"),
)


def measure(root: Path) -> list[Figure]:
    """Milliseconds of pages: the fastest of three; the first page once, from the start of the server."""
    begun = time.perf_counter()
    serving = server(open_corpus(root))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    port = serving.server_address[1]

    def get(path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        assert answer.status == 200, (path, answer.status, body[:300])
        return body

    def milliseconds(path: str, times: int = 3) -> float:
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            get(path)
            taken.append(1000 * (time.perf_counter() - start))
        return round(min(taken), 1)

    get("/")
    figures = [Figure("first page of the viewer, with its start", round(time.perf_counter() - begun, 2), "s", "< 1")]
    get("/documents")
    figures.append(Figure("first list of documents after the start", round(time.perf_counter() - begun, 2), "s"))
    get("/figures")
    get("/dropped")
    figures.append(Figure("all tables of the viewer and the funnel ready", round(time.perf_counter() - begun, 2), "s"))
    document = re.findall(r'href="(/document/\w+)"', get("/documents?images=3-&from=70000"))[0]
    window = re.findall(r'href="(/window/[\w-]+)"', get("/windows?images=2-"))[0]
    image = re.findall(r'href="(/image/\w+)"', get("/images"))[0]
    items = (("a document beside its windows", document), ("a window by token", f"{window}?tokens=1"),
             ("an image and its pages", image))  # fmt: skip
    figures += [Figure(f"viewer: {name}", milliseconds(path), "ms", "< 300") for name, path in (*ADDRESSES, *items)]
    figures.append(Figure("viewer: a search for a word that is nowhere", milliseconds("/documents?q=zzqzz", 1), "ms"))
    serving.shutdown()
    serving.server_close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write results/view.json")
    parser.add_argument("--documents", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        write_warc(generate(pages=300, seed=7), here / "web.warc.gz")
        corpus = build_here([here / "web.warc.gz"], here / "small")
        count = repeated(corpus, here / "corpus", options.documents)
        figures = measure(here / "corpus")
    for figure in figures:
        print(f"{figure.value:>10,} {figure.unit:3} {figure.figure}")
    if options.record:
        data = f"a generated web of 300 pages, repeated to {count:,} documents"
        record("view", figures, "python -m tests.bench.view --record", data)


if __name__ == "__main__":
    main()
