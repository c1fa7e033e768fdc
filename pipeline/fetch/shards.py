"""img2dataset's downloader with our own fetch of a URL: shard list in, tar and Parquet out.

From img2dataset: shard lists, the thread pool with its limit on images in memory, the resizer and writer protocols, the
columns and status of a row. Ours: the fetch; a spool, so that a killed shard resumes; a tar in the order of the list,
whatever the order of arrival.
"""

import asyncio
import io
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fetch.client import Client
from pipeline.fetch.images import ImageFetcher
from pipeline.fetch.img2dataset import download_shard
from pipeline.fetch.response import FetchFailed
from pipeline.images.probe import probe
from shards.files import atomic, write_table
from shards.tar import TarWriter, read_member
from shards.writers import image_extension

SHARD = 10_000
"""URLs per shard: img2dataset's default."""
COLUMNS = pa.schema(
    [
        ("url", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        ("format", pa.string()),
        ("shorter_side", pa.int32()),
        ("spread", pa.float64()),
        ("unusable", pa.string()),
    ]
)
"""img2dataset's columns, where the bytes are stored, and the results of `pipeline.images.probe`."""


class Spool:
    """What was fetched of a shard so far, in order of arrival: for each URL a line of JSON, then the bytes.

    An incomplete entry of a killed process is cut off when the spool is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a+b", buffering=0)
        self.rows: dict[str, dict[str, Any]] = {}
        self._end = 0
        size = path.stat().st_size
        with path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                end = self._end + len(line) + row["length"]
                if not line.endswith(b"\n") or end > size:
                    break
                self.rows[row["url"]] = row | {"offset": self._end + len(line)}
                file.seek(end)
                self._end = end
        os.truncate(path, self._end)

    def add(self, url: str, error: str | None, data: bytes) -> None:
        line = json.dumps({"url": url, "error": error, "length": len(data)}).encode() + b"\n"
        with self._lock:
            view = memoryview(line + data)
            while view:
                view = view[self._file.write(view) :]
            self.rows[url] = {"url": url, "error": error, "length": len(data), "offset": self._end + len(line)}
            self._end += len(line) + len(data)

    def read(self, url: str) -> bytes:
        row = self.rows[url]
        return os.pread(self._file.fileno(), row["length"], row["offset"])

    def remove(self) -> None:
        self._file.close()
        self.path.unlink()


class OrderedTar:
    """img2dataset's writer protocol: rows in order of arrival, written at the end as a tar in the order of the list."""

    def __init__(self, spool: Spool, stem: Path, max_pixels: int, shard: int, folder: str, *options: Any) -> None:
        self._spool, self._stem, self._max_pixels = spool, stem, max_pixels
        self._rows: list[dict[str, Any]] = []

    def write(self, image: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        self._rows.append(meta)

    def close(self) -> None:
        self._rows.sort(key=lambda row: row["key"])
        tar_path = self._stem.with_suffix(".tar")
        with atomic(tar_path) as output:
            tar = TarWriter(output)  # type: ignore[arg-type]
            for row in self._rows:
                if row["status"] == "success":
                    data = self._spool.read(row["url"])
                    name = f"{row['key']}.{image_extension(data)}"
                    row |= {"tar": tar_path.name, "offset": tar.add(name, data), "length": len(data)}
                    row |= probe(data, self._max_pixels)
            tar.close()
        table = pa.table({name: [row.get(name) for row in self._rows] for name in COLUMNS.names}, schema=COLUMNS)
        write_table(self._stem.with_suffix(".parquet"), table)


@dataclass(frozen=True)
class FetchShards:
    """Fetches a list of distinct URLs into FOLDER/NUMBER-SHARD-RUN.{tar,parquet}; `table` are their rows.

    `run` names the attempt. `before` are the rows with success of an earlier one: they are taken over."""

    folder: Path
    number: int
    run: str
    client: Callable[[], Client]
    max_pixels: int
    closed: dict[str, str] = field(default_factory=dict)

    def fetch(self, urls: list[str], before: dict[str, dict[str, Any]]) -> pa.Table:
        tables = []
        for shard, start in enumerate(range(0, len(urls), SHARD)):
            stem = self.folder / f"{self.number:05d}-{shard:04d}-{self.run}"
            if not stem.with_suffix(".parquet").exists():
                self._shard(shard, stem, urls[start : start + SHARD], before)
            tables.append(pq.read_table(stem.with_suffix(".parquet"), partitioning=None))
            if len(tables[-1]) != len(urls[start : start + SHARD]):
                raise RuntimeError(f"{stem}: {len(tables[-1])} rows for {len(urls[start : start + SHARD])} URLs")
        return pa.concat_tables(tables) if tables else COLUMNS.empty_table()

    def _shard(self, shard: int, stem: Path, urls: list[str], before: dict[str, dict[str, Any]]) -> None:
        spool = Spool(stem.with_suffix(".spool"))
        for url in urls:
            if url in before and url not in spool.rows:
                row = before[url]
                spool.add(url, None, read_member(self.folder / row["tar"], row["offset"], row["length"]))
        listing = stem.with_suffix(".feather")
        table = pa.table({"url": pa.array(urls, pa.string())})
        with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_file(file, table.schema) as arrow:
            arrow.write_table(table)
        with _Loop() as loop:
            fetcher = ImageFetcher(self.client(), self.closed)
            fetch_one = partial(_fetch_one, spool, fetcher, loop)
            writer = partial(OrderedTar, spool, stem, self.max_pixels)
            download_shard(fetch_one, writer, self.folder, self.number * 1000 + shard, listing)
            asyncio.run_coroutine_threadsafe(_close(fetcher.client), loop).result()
        spool.remove()


def _fetch_one(
    spool: Spool, fetcher: ImageFetcher, loop: asyncio.AbstractEventLoop, row: tuple[int, str], **_: Any
) -> tuple[int, io.BytesIO | None, str | None]:
    """Replaces img2dataset's download_image_with_retry: reads from the spool, after fetching a missing URL to it."""
    key, url = row
    if url not in spool.rows:
        try:
            data, error = asyncio.run_coroutine_threadsafe(fetcher.fetch(url), loop).result(), None
        except FetchFailed as failure:
            data, error = b"", str(failure)[:200]
        except Exception as failure:  # a response at which this program fails costs only one image
            data, error = b"", f"unreadable: {type(failure).__name__}: {failure}"[:200]
        spool.add(url, error, data)
    error = spool.rows[url]["error"]
    return key, None if error else io.BytesIO(spool.read(url)), error


async def _close(client: Client) -> None:
    client.close()


class _Loop:
    """An event loop on a separate thread."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._thread.start()
        return self._loop

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
