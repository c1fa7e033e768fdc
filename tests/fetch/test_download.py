"""Large files over a connection that breaks: every byte arrives once, and a failure is one line."""

import asyncio
import itertools
import os
import random
import re
from pathlib import Path

import pytest

from pipeline.errors import BuildError
from pipeline.fetch import Client, Networks, download
from pipeline.fetch.download import Downloads, numbered
from pipeline.miniweb.serve import Asked, Server

DATA = random.Random(1).randbytes(1_000_000)


class Files:
    """Serves `DATA` under every path, in the requested ranges. `breaks` connections end in the middle."""

    def __init__(self, breaks: int = 0, version: str = "a", ranges: bool = True) -> None:
        self.breaks, self.version, self.ranges = breaks, version, ranges
        self.asked: list[tuple[int, int]] = []

    def __call__(self, asked: Asked) -> bytes:
        if asked.target == "/missing":
            return b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n"
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers["range"]).groups())
        assert asked.headers["accept-encoding"] == "identity"
        self.asked.append((first, last + 1))
        body = DATA[first : last + 1] if self.ranges else DATA
        head = f"HTTP/1.1 {206 if self.ranges else 200} X\r\nETag: {self.version}\r\nContent-Length: {len(body)}\r\n"
        if self.ranges:
            head += f"Content-Range: bytes {first}-{first + len(body) - 1}/{len(DATA)}\r\n"
        if self.breaks:
            self.breaks -= 1
            body = body[: len(body) // 2]
        return head.encode() + b"\r\n" + body


def download_from(server: Server, folder: Path, *names: str) -> list[Path]:
    async def run() -> list[Path]:
        root = f"http://127.0.0.1:{server.port}"
        async with Client(private=Networks.parse(["127.0.0.1/32"])) as client:
            urls = {number: f"{root}/{name}" for number, name in enumerate(names)}
            return await Downloads(client, folder, print, numbered).all(urls)

    return asyncio.run(run())


def fetch(files: Files, folder: Path, *names: str) -> list[bytes]:
    with Server(["127.0.0.1"], 0, files) as server:
        return [path.read_bytes() for path in download_from(server, folder, *names)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PIECE", 400_000)
    monkeypatch.setattr(download, "LEAST", 50_000)


def test_a_connection_that_breaks_costs_one_piece(tmp_path: Path) -> None:
    files = Files(breaks=2)
    assert fetch(files, tmp_path, "a.warc.gz") == [DATA]
    assert files.asked[:4] == [(0, 400_000), (0, 50_000), (0, 50_000), (50_000, 150_000)]
    stored = files.asked[2:]
    assert all(later[0] == earlier[1] for earlier, later in itertools.pairwise(stored))


def test_a_download_that_was_killed_goes_on(tmp_path: Path) -> None:
    files = Files()
    with Server(["127.0.0.1"], 0, files) as server:
        (path,) = download_from(server, tmp_path, "a.warc.gz")
        path.rename(f"{path}.part")
        os.truncate(f"{path}.part", 123_456)
        files.asked.clear()
        assert download_from(server, tmp_path, "a.warc.gz") == [path] and path.read_bytes() == DATA
        assert [first for first, _ in files.asked] == [123_456, 523_456, 923_456]
        download_from(server, tmp_path, "a.warc.gz")
        assert len(files.asked) == 3, "a file that is here is not asked for"


def test_a_file_that_changed_is_begun_anew(tmp_path: Path) -> None:
    class Changing(Files):
        def __call__(self, asked: Asked) -> bytes:
            self.version = "a" if len(self.asked) < 1 else "b"
            return super().__call__(asked)

    files = Changing()
    assert fetch(files, tmp_path, "a.warc.gz") == [DATA]
    assert [first for first, _ in files.asked] == [0, 400_000, 0, 400_000, 800_000]


def test_what_cannot_be_had_is_said_after_the_rest_is_here(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"/missing could not be fetched \(http: 404\)"):
        fetch(Files(), tmp_path, "missing", "a.warc", "b.warc.gz")
    assert [
        path.read_bytes() for path in sorted(tmp_path.glob("*.warc*")) if path.suffix not in (".json", ".part")
    ] == [DATA] * 2


def test_servers_without_parts_of_files(tmp_path: Path) -> None:
    assert fetch(Files(ranges=False), tmp_path, "small.warc.gz") == [DATA], "one request brings all of it"

    class Wrong(Files):
        def __call__(self, asked: Asked) -> bytes:
            return super().__call__(asked).replace(b"Content-Range: bytes 0-", b"Content-Range: bytes 7-")

    with pytest.raises(BuildError, match="parts of files"):
        fetch(Wrong(), tmp_path, "wrong.warc.gz")


def test_private_addresses_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with Client("https://example.org/bot") as client:
            await Downloads(client, tmp_path, print, numbered).all({0: "http://127.0.0.1:1/a.warc.gz"})

    with pytest.raises(BuildError, match="not public"):
        asyncio.run(run())
