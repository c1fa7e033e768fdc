"""Download large files in pieces, with Range requests: a broken connection costs one piece, a killed download resumes
where it stopped, and every request stays within the client's limits."""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import BuildError
from pipeline.fetch.client import Client
from pipeline.fetch.response import RETRY_STATUSES, FetchFailed, Response
from pipeline.fetch.retry import LONGEST_WAIT, back_off, retry_after
from pipeline.json_files import read_json, write_json
from pipeline.sources.http import payload

AT_ONCE = 4
PIECE = 16 << 20
"""Bytes per request; after a failure an eighth, down to `LEAST`, so that bad connections also make progress."""
LEAST = 256 << 10
ATTEMPTS = 8
"""Consecutive failures after which a file is given up."""
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True)
class ByteRange:
    """Bytes of a file from an offset, the size of the whole, and an identifier of its version."""

    data: bytes
    size: int
    version: str


@dataclass
class Downloads:
    """Downloads URLs into `folder`. `say` is called for each complete file; `name` gives a file's name by the number
    and the URL.

    NAME is the file; NAME.part its bytes so far, NAME.json its state: URL, size and version."""

    client: Client
    folder: Path
    say: Callable[[str], None]
    name: Callable[[int, str], str]
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _done: int = 0

    async def all(self, urls: Mapping[int, str]) -> list[Path]:
        """Download the files of some URLs, given by number, in this order. Raises BuildError for one that failed,
        after trying all others."""
        found = await asyncio.gather(
            *(self._one(url, self.folder / self.name(number, url), len(urls)) for number, url in urls.items()),
            return_exceptions=True,
        )
        paths: list[Path] = []
        for url, path in zip(urls.values(), found, strict=True):
            if isinstance(path, FetchFailed):
                hint = "give --contact" if path.reason == "contact" else "rerun the command to resume"
                raise BuildError(f"{url} could not be fetched ({path}): {hint}")
            if isinstance(path, BaseException):
                raise path
            paths.append(path)
        return paths

    async def _one(self, url: str, path: Path, total: int) -> Path:
        async with self._slots:
            if not path.exists():
                await self._download(url, path)
            self._done += 1
            self.say(f"{self._done} of {total} downloaded: {url}, {path.stat().st_size / 1e6:,.1f} MB")
        return path

    async def _download(self, url: str, path: Path) -> None:
        part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.json")
        known = read_json(state)
        with part.open("r+b" if part.exists() and known else "wb") as file:
            at = file.seek(0, os.SEEK_END)
            ask, failures = PIECE, 0
            while known is None or at < known["size"]:
                try:
                    piece = await self._piece(url, at, ask)
                except FetchFailed as error:
                    failures += 1
                    if not error.may_heal or failures >= ATTEMPTS:
                        raise
                    ask = max(LEAST, ask // 8)
                    await asyncio.sleep(back_off(failures, url))
                    continue
                now = {"url": url, "size": piece.size, "version": piece.version}
                if known is not None and now != known:  # the file at the URL has changed
                    file.truncate(0)
                    at, known = file.seek(0), None
                    continue
                if known is None:
                    write_json(state, now)
                    known = now
                file.write(piece.data)
                at, failures, ask = at + len(piece.data), 0, min(PIECE, 2 * ask)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    async def _piece(self, url: str, at: int, length: int) -> ByteRange:
        # compressed content would have other offsets
        headers = {"Range": f"bytes={at}-{at + length - 1}", "Accept-Encoding": "identity"}
        try:
            response, _ = await self.client.fetch(url, headers=headers)
        except FetchFailed as error:
            if error.reason == "too_large":
                raise FetchFailed("range", "the server does not serve parts of files") from None
            raise
        if response.status in RETRY_STATUSES:
            asked = retry_after(response, time.time())
            if asked is not None:
                await asyncio.sleep(min(asked, LONGEST_WAIT))
            raise FetchFailed("overload", f"status {response.status}")
        framed = {"transfer-encoding": response.headers.get("transfer-encoding", "")}
        data = payload(framed, response.raw, len(response.raw))
        size = _size(response, at, len(data))
        version = response.headers.get("etag") or response.headers.get("last-modified", "")
        return ByteRange(data, size, version)


def _size(response: Response, at: int, length: int) -> int:
    """The size of the whole file. Raises FetchFailed if the response is not a range from an offset on."""
    if response.status == 200 and at == 0:
        return length
    if response.status not in (200, 206):
        raise FetchFailed("http", str(response.status))
    found = CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status == 200 or found is None or int(found[1]) != at or not 0 < length <= int(found[2]) - at:
        raise FetchFailed("range", "the server does not serve parts of files")
    return int(found[2])


def numbered(number: int, url: str) -> str:
    """A name of a WARC file from number and hash; URLs never become file names."""
    ending = ".warc.gz" if re.split("[?#]", url)[0].endswith(".gz") else ".warc"
    return f"{number:05d}-{hashlib.sha256(url.encode()).hexdigest()[:16]}{ending}"
