"""The same site in WARC files of four writers, and as a folder, gives the same corpus apart from document ids."""

import asyncio
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.stream_io import GzipWriter
from fastwarc.warc import WarcRecord, WarcRecordType

from pipeline.crawl.store import CrawlStore
from pipeline.fetch import Client, Networks, Response
from pipeline.miniweb.serve import Asked, Server
from pipeline.miniweb.web import Resource
from pipeline.sources import warc

from .conftest import PRIVATE, Miniweb, build, documents, here


def fetched(folder: Path) -> list[str]:
    """The pages and images stored by a crawl."""
    return [row["url"] for row in CrawlStore(folder).rows() if row["kind"] in ("page", "image") and "warc" in row]


def stored_pictures(corpus: Path) -> dict[str, tuple]:
    names = ("status", "sha256", "stored_sha256", "phash", "width", "height")
    tables = [pq.read_table(path, columns=["url", *names]) for path in sorted((corpus / "images").glob("*.parquet"))]
    return {row["url"]: tuple(row[name] for name in names) for table in tables for row in table.to_pylist()}


@pytest.fixture(scope="module")
def ours(miniweb: Miniweb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crawl of six hosts: about twenty pages with their images."""
    folder = tmp_path_factory.mktemp("ours") / "crawl"
    here("crawl", *miniweb.seeds[4:10], "-o", folder, *PRIVATE, "--no-sitemaps")
    return folder


@pytest.fixture(scope="module")
def expected(ours: Path) -> tuple[dict, dict]:
    corpus = ours.parent / "corpus"
    build(ours, "-o", corpus, "--no-fetch")
    found = documents(corpus), stored_pictures(corpus)
    assert len(found[0]) >= 12 and sum(row[0] == "success" for row in found[1].values()) >= 30
    return found


def write_with_warcio(urls: list[str], path: Path) -> None:
    # in a process of its own: warcio patches http.client where it is imported before requests
    program = (
        "import sys; from warcio.capture_http import capture_http; import requests\n"
        "with capture_http(sys.argv[1]):\n"
        "    for url in sys.stdin.read().split():\n"
        "        requests.get(url, allow_redirects=False)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], input="\n".join(urls), text=True, check=True)


def write_with_fastwarc(urls: list[str], path: Path) -> None:
    async def fetch() -> list[Response]:
        async with Client(private=Networks.parse([PRIVATE[1]])) as client:
            return [await client.exchange(url) for url in urls]

    with GzipWriter(str(path)) as stream:
        for response in asyncio.run(fetch()):
            record = WarcRecord()
            record.init_headers(record_type=WarcRecordType.response)
            record.headers["WARC-Target-URI"] = response.url
            record.headers["WARC-Date"] = datetime.fromtimestamp(response.started, UTC).isoformat()
            record.headers["Content-Type"] = "application/http; msgtype=response"
            record.set_bytes_content(response.head + response.raw)
            record.write(stream, checksum_data=True)


def write_with_wget(urls: list[str], path: Path) -> None:
    assert shutil.which("wget"), "install wget: `make test` does on Debian"
    command = [
        "wget",
        "--quiet",
        "--input-file=-",
        "--tries=1",
        "--max-redirect=0",
        "--delete-after",
        "--no-warc-keep-log",
    ]
    command.append(f"--warc-file={path.with_name(path.name.removesuffix('.warc.gz'))}")
    # 8: a server said that something is missing
    assert subprocess.run(command, input="\n".join(urls), text=True, cwd=path.parent).returncode in (0, 8)


@pytest.mark.parametrize("write", [write_with_warcio, write_with_fastwarc, write_with_wget])
def test_warcs_of_other_writers_build_alike(ours: Path, expected: tuple[dict, dict], tmp_path: Path, write) -> None:
    path = tmp_path / "other.warc.gz"
    write(fetched(ours), path)
    build(path, "-o", tmp_path / "corpus", "--no-fetch")
    assert documents(tmp_path / "corpus") == expected[0]
    assert stored_pictures(tmp_path / "corpus") == expected[1]


@pytest.mark.slow
def test_a_debian_documentation_site_as_wget_fetched_it(shared: Path, tmp_path: Path) -> None:
    """Served from wget's WARC and crawled again. wget's own list defines what belongs to the site."""
    path = shared / "data/warc/hugin.warc.gz"
    found = warc.index(path, 1 << 40)
    records = [record for record in warc.read(path, 0, found.size, found.reader, 20_000_000) if record.status == 200]
    root = "http://127.0.0.2:8900"  # where the site was when wget fetched it
    site = {
        record.url.removeprefix(root): Resource(200, (("Content-Type", record.content_type),), record.body, "")
        for record in records
        if record.kind == "response"
    }
    missing = Resource(404, (("Content-Type", "text/plain"),), b"none", "")

    def answer(asked: Asked) -> Resource:
        return site.get(asked.target, missing)

    with Server(["127.0.0.2"], 0, answer) as server:
        port = str(server.port)
        seed = f"http://127.0.0.2:{port}/"
        here("crawl", seed, "-o", tmp_path / "crawl", *PRIVATE, "--delay", "0.001", "--depth", "9")
    lines = (shared / "data/warc/hugin.cdx").read_text().splitlines()[1:]
    theirs = {line.split(" ")[0] for line in lines if line.split(" ")[4] == "200"}
    ours = {url.replace(port, "8900") for url in fetched(tmp_path / "crawl")}
    # a style sheet is neither a page nor a picture
    assert theirs - ours == {f"{root}/manual.css"} and ours <= theirs
    folder = tmp_path / "folder"
    folder.mkdir()
    for target, resource in site.items():
        if target != "/":  # the server's list of the folder
            (folder / target.removeprefix("/")).write_bytes(resource.body)
    build(tmp_path / "crawl", "-o", tmp_path / "ours", "--no-fetch")
    build(path, "-o", tmp_path / "theirs", "--no-fetch")
    build(folder, "-o", tmp_path / "files", "--no-fetch", "--base-url", f"{root}/")
    expected = documents(tmp_path / "theirs")
    assert len(expected) > 20
    crawled = json.dumps(documents(tmp_path / "ours"), sort_keys=True)
    assert crawled.replace(f"127.0.0.2:{port}/", "127.0.0.2:8900/") == json.dumps(expected, sort_keys=True)
    assert documents(tmp_path / "files") == expected
