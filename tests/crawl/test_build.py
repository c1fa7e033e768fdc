"""Builds from a crawl, from lists, and with images that only the network has."""

import gzip
import itertools
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.inputs import with_lists
from pipeline.crawl.warc_lists import WarcLists, sample
from pipeline.errors import BuildError
from pipeline.miniweb.serve import Asked, Server
from pipeline.miniweb.web import Resource, Web
from pipeline.miniweb.write import write_warc
from pipeline.stages import fetch
from pipeline.stages.fetch import OFFLINE, Network
from tests.ports import PORT

from .conftest import PRIVATE, Miniweb, build, documents, kill, m3w, start


def index(corpus: Path) -> dict[str, dict]:
    tables = [pq.read_table(path) for path in sorted((corpus / "images").glob("*.parquet"))]
    return {row["url"]: row for row in pa.concat_tables(tables).to_pylist()}


@pytest.fixture(scope="module")
def whole(miniweb: Miniweb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of the web's own WARC, which holds every picture, older captures left out."""
    folder = tmp_path_factory.mktemp("whole")
    newest = Web(miniweb.web.base, list(miniweb.web.resources.items()), miniweb.web.truth, miniweb.web.pictures)
    write_warc(newest, folder / "web.warc.gz")
    build(folder / "web.warc.gz", "-o", folder / "corpus", "--no-fetch")
    return folder / "corpus"


@pytest.fixture(scope="module")
def pages_only(miniweb: Miniweb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WARC of the web's pages, without images."""
    path = tmp_path_factory.mktemp("pages") / "pages.warc.gz"
    captures = [
        (url, resource)
        for url, resource in miniweb.web.resources.items()
        if resource.header("Content-Type").startswith(("text/html", "application/xhtml"))
    ]
    write_warc(Web(miniweb.web.base, captures, miniweb.web.truth, miniweb.web.pictures), path)
    return path


def image_rules(root: Path) -> Counter[str]:
    tables = [pq.read_table(path, columns=["rule"]) for path in (root / "work/decisions").glob("*.parquet")]
    return Counter(pa.concat_tables(tables)["rule"].to_pylist())


def test_pictures_that_the_input_does_not_hold_are_fetched(
    miniweb: Miniweb, whole: Path, pages_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LIST_URLS", 15)
    build(pages_only, "-o", tmp_path / "corpus", *PRIVATE)
    assert len(list((tmp_path / "corpus/work/fetched").glob("?????.urls"))) > fetch.LISTS
    assert documents(tmp_path / "corpus") == documents(whole)
    ours, theirs = index(tmp_path / "corpus"), index(whole)
    assert {url for url, row in ours.items() if row["status"] == "success"} == {
        url for url, row in theirs.items() if row["status"] == "success"
    }
    fields = ("sha256", "stored_sha256", "phash", "width", "height")
    same = [url for url, row in ours.items() if row["status"] == "success"]
    assert len(same) > 100
    assert all(ours[url][name] == theirs[url][name] for url in same for name in fields)
    failed = {row["error_message"] for row in ours.values() if row["status"] == "failed_to_download"}
    assert "http: 404" in failed
    tables = [pq.read_table(path) for path in (tmp_path / "corpus/work/fetched").glob("?????.parquet")]
    fetched = pa.concat_tables(tables).to_pylist()
    asked = [row["url"] for row in fetched]
    assert len(asked) == len(set(asked)) and {row["status"] for row in fetched} <= {
        "success",
        "failed_to_download",
        "failed_to_resize",
    }
    assert image_rules(tmp_path / "corpus")["consent.noimageai"] == image_rules(whole)["consent.noimageai"] > 0
    before = len(miniweb.server.log)
    build(pages_only, "-o", tmp_path / "corpus", *PRIVATE)
    build(pages_only, "-o", tmp_path / "corpus", "--no-fetch")
    assert len(miniweb.server.log) == before
    assert documents(tmp_path / "corpus") == documents(whole)


def test_without_a_contact_nothing_is_asked_and_private_addresses_never(
    miniweb: Miniweb, pages_only: Path, tmp_path: Path
) -> None:
    before = len(miniweb.server.log)
    build(pages_only, "-o", tmp_path / "corpus")
    assert {row["status"] for row in index(tmp_path / "corpus").values()} == {"not_fetched"}
    build(pages_only, "-o", tmp_path / "corpus", "--contact", "https://example.org/bot")
    messages = {row["error_message"].partition(":")[0] for row in index(tmp_path / "corpus").values()}
    assert messages == {"address"}
    assert len(miniweb.server.log) == before


def test_fetching_that_is_killed_goes_on(miniweb: Miniweb, whole: Path, pages_only: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    arguments = (pages_only, "-o", corpus, *PRIVATE)
    begin = len(miniweb.server.log)
    process = start("build", *arguments)
    while process.poll() is None and len(miniweb.server.log) - begin < 150:
        time.sleep(0.02)
    kill(process)
    time.sleep(0.5)
    stored = set()
    for path in (corpus / "work/fetched").glob("*.spool"):
        data = path.read_bytes()
        stored |= {
            json.loads(line)["url"] for line in data.split(b"\n") if line.startswith(b'{"url"') and line.endswith(b"}")
        }
    assert stored
    before = len(miniweb.server.log)
    m3w("build", *arguments)
    again = {f"http://{asked.host}:{PORT}{asked.target}" for asked in miniweb.server.log[before:]}
    assert not stored & again
    assert documents(corpus) == documents(whole)


def test_retry_failed_asks_again_for_what_failed_and_for_nothing_else(
    miniweb: Miniweb, whole: Path, pages_only: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    arguments = (pages_only, "-o", corpus, *PRIVATE)
    answer = miniweb.server._answer
    broken = sorted(url for url, row in index(whole).items() if row["status"] == "success")[::3]
    try:
        urls = set(broken)
        missing = Resource(404, (("Content-Type", "text/plain"),), b"gone", "")
        miniweb.server._answer = lambda asked: (
            missing if f"http://{asked.host}:{PORT}{asked.target}" in urls else answer(asked)
        )
        build(*arguments)
    finally:
        miniweb.server._answer = answer
    found = index(corpus)
    # of some pictures another size was there
    assert {found[url]["error_message"] for url in broken if url in found} == {"http: 404"}
    assert len([url for url in broken if url in found]) > 50
    before = len(miniweb.server.log)
    build(*arguments, "--retry-failed")
    again = {f"http://{asked.host}:{PORT}{asked.target}" for asked in miniweb.server.log[before:]}
    assert set(broken) <= again
    assert not {url for url, row in found.items() if row["status"] == "success"} & again
    assert documents(corpus) == documents(whole)


def test_a_crawl_builds_like_the_webs_own_warc(miniweb: Miniweb, whole: Path, tmp_path: Path) -> None:
    m3w("crawl", *miniweb.seeds, "-o", tmp_path / "crawl", *PRIVATE)
    build(tmp_path / "crawl", "-o", tmp_path / "corpus", "--no-fetch")
    assert documents(tmp_path / "corpus") == documents(whole)


def test_a_sample_of_a_common_crawl(whole: Path, tmp_path: Path) -> None:
    """From a server that breaks the first connection of a file, and from a folder."""
    crawl, warc = "CC-MAIN-2026-05", (whole.parent / "web.warc.gz").read_bytes()
    names = [f"crawl-data/{crawl}/segments/1/warc/{number}.warc.gz" for number in range(20)]
    chosen = [names[number] for number in sample(names, 0.05)]
    assert len(chosen) == 1
    listing = gzip.compress("".join(f"{name}\n" for name in names).encode())
    served = {f"/{chosen[0]}": warc, f"/crawl-data/{crawl}/warc.paths.gz": listing}
    broken = itertools.chain([True], itertools.repeat(False))

    def answer(asked: Asked) -> bytes:
        data = served[asked.target]
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        body = data[first : last + 1]
        head = f"HTTP/1.1 206 P\r\nContent-Range: bytes {first}-{first + len(body) - 1}/{len(data)}\r\n"
        sent = body[: len(body) // 2] if next(broken) else body
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent

    with Server(["127.0.0.1"], 0, answer) as server:
        arguments = ["--cc", crawl, "--sample", "0.05", "-o", tmp_path / "corpus", "--allow-private", "127.0.0.1/32"]
        arguments += ["--warc-prefix", f"http://127.0.0.1:{server.port}/"]
        build(*arguments)
        assert {asked.target for asked in server.log} == set(served) and len(server.log) > 2
        asked = len(server.log)
        build(*arguments)
        assert len(server.log) == asked
    assert documents(tmp_path / "corpus") == documents(whole)
    for name, data in served.items():
        (tmp_path / "local" / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / name[1:]).write_bytes(data)

    def named(lists: WarcLists, *inputs: str, network: Network = OFFLINE) -> list[str]:
        return with_lists(inputs, tmp_path / "other", lists, network, [], lambda: None, 10**6)

    local = str(tmp_path / "local")
    assert named(WarcLists(local, 0.05, crawl)) == [f"{local}/{chosen[0]}"]
    assert named(WarcLists(local, 0.05), f"{local}/crawl-data/{crawl}/warc.paths.gz") == [f"{local}/{chosen[0]}"]
    for network, lists, message in (
        (Network(), WarcLists(local, crawl=crawl), "set --warc-prefix"),
        (Network(), WarcLists(local, crawl="CC-MAIN-2026-06"), "No such file"),
        (Network(), WarcLists(sample=0.5), "--sample needs --cc"),
        (Network(fetch=False), WarcLists("https://127.0.0.1:1/", crawl=crawl), "--no-fetch"),
        (Network(contact="x"), WarcLists("https://127.0.0.1:1/", crawl=crawl), "not public"),
    ):
        with pytest.raises(BuildError, match=message):
            named(lists, network=network)
    for wrong in ({"prefix": "ftp://commoncrawl/"}, {"sample": 0.0}, {"sample": 1.1}, {"crawl": "2026-05"}):
        with pytest.raises(BuildError, match=r"-(warc-prefix|sample|cc) "):
            WarcLists(**wrong)


@given(lines=st.lists(st.text(), min_size=1, unique=True), shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_a_larger_sample_contains_a_smaller_one(lines: list[str], shares: tuple[float, float]) -> None:
    small, large = (set(sample(lines, share)) for share in sorted(shares))
    assert 1 <= len(small) <= len(large) == max(1, round(max(shares) * len(lines))) and small <= large
    again = lines[::-1]
    assert {again[number] for number in sample(again, min(shares))} == {lines[number] for number in small}


def test_a_list_of_urls_is_crawled_first(
    miniweb: Miniweb, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    urls = sorted(documents(whole))[:12]
    listing = tmp_path / "urls.txt"
    listing.write_text("".join(f"{url}\n" for url in [*urls, f"{urls[0]}/nowhere"]))
    build(listing, "-o", tmp_path / "corpus", *PRIVATE)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "URLs and images" in line)
    # the page that is not there; an image of the others may be missing or opt out too, as the web's addresses decide
    assert re.search(r"^\d+ URLs and images: \d+ fetched, [1-9]\d* failed\b", line), line
    found = documents(tmp_path / "corpus")
    assert set(found) <= set(urls) and len(found) >= 10
    expected = documents(whole)
    # a picture that stands on too many of the whole web's pages may stay among twelve: the text is the same

    def words(texts: list[str | None]) -> str:
        return " ".join(text for text in texts if text).replace("\n\n", " ")

    assert {url: words(texts) for url, (texts, _) in found.items()} == {url: words(expected[url][0]) for url in found}
    assert any(image for _, images in found.values() for image in images)
    before = len(miniweb.server.log)
    build(listing, "-o", tmp_path / "corpus", *PRIVATE)
    assert len(miniweb.server.log) == before


def test_a_picture_that_one_host_does_not_give_is_asked_for_at_the_next(tmp_path: Path) -> None:
    """The page offers each at three hosts: the first is lost, the second forbids it, the third has it."""
    picture = numpy.random.default_rng(1).integers(0, 255, (240, 320, 3), numpy.uint8)
    kept = Resource(200, (("Content-Type", "image/png"),), cv2.imencode(".png", picture)[1].tobytes(), "")
    other = Resource(200, kept.headers, cv2.imencode(".png", picture[::-1])[1].tobytes(), "")
    missing = Resource(404, (("Content-Type", "text/plain"),), b"none", "")
    forbids = Resource(200, (), b"User-agent: *\nDisallow: /", "")
    has = {
        ("127.8.0.2", "/robots.txt"): forbids,
        ("127.8.0.3", "/lost.png"): kept,
        ("127.8.0.1", "/here.png"): other,
        ("127.8.0.3", "/here.png"): missing,
    }
    vocabulary = ["the", "of", "and", "to", "in", "is", "was", "that", "with", "on", "as", "by", "at", "from", "river",
                  "mill", "road", "village", "hill", "stone"]  # fmt: skip
    draw = random.Random(1)

    def prose() -> str:
        return " ".join(" ".join(draw.choices(vocabulary, k=12)).capitalize() + "." for _ in range(8))

    hosts = ["127.8.0.1", "127.8.0.2", "127.8.0.3"]
    (tmp_path / "site").mkdir()
    with Server(hosts, 0, lambda asked: has.get((asked.host, asked.target), missing)) as first:
        port = first.port
    root = [f"http://{host}:{port}" for host in hosts]
    shown = "".join(
        f'<p>{prose()}</p><img srcset="{root[0]}/{name}.png 1000w, {root[1]}/{name}.png 700w" '
        f'src="{root[2]}/{name}.png" width="320" height="240">'
        for name in ("lost", "here")
    )
    (tmp_path / "site/page.html").write_text(f"<!doctype html><title>Mill</title><h1>Mill</h1>{shown}<p>{prose()}</p>")
    with Server(hosts, port, lambda asked: has.get((asked.host, asked.target), missing)) as server:
        build(tmp_path / "site", "-o", tmp_path / "corpus", "--allow-private", "127.8.0.0/24")
        asked = {(asked.host, asked.target) for asked in server.log if asked.target.endswith(".png")}
        before = len(server.log)
        build(tmp_path / "site", "-o", tmp_path / "corpus", "--no-fetch")
        build(tmp_path / "site", "-o", tmp_path / "corpus", "--allow-private", "127.8.0.0/24")
        assert len(server.log) == before
    assert asked == {("127.8.0.1", "/lost.png"), ("127.8.0.3", "/lost.png"), ("127.8.0.1", "/here.png")}
    (document,) = (pq.read_table(path).to_pylist()[0] for path in (tmp_path / "corpus/documents").glob("*.parquet"))
    found = [image["fetched_url"] for image in document["images"] if image]
    assert found == [f"{root[2]}/lost.png", f"{root[0]}/here.png"]
    tables = [pq.read_table(path) for path in sorted((tmp_path / "corpus/work/fetched").glob("?????.parquet"))]
    said = {row["url"]: row["error_message"] for table in tables for row in table.to_pylist()}
    assert said[f"{root[0]}/lost.png"] == "http: 404"
    assert said[f"{root[1]}/lost.png"] == "disallowed: robots.disallow"
