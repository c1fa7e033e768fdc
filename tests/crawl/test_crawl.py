"""A whole crawl against loopback servers, from the command line."""

import collections
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.crawl.links import links_of
from pipeline.crawl.store import CrawlStore, warcs_of
from pipeline.errors import BuildError
from pipeline.fetch.rights import FILES
from pipeline.miniweb.web import Resource
from pipeline.sources import warc
from pipeline.sources.http import payload
from tests.ports import PORT

from .conftest import PRIVATE, Miniweb, here, kill, m3w, start


def rows_of(folder: Path) -> list[dict]:
    return list(CrawlStore(folder).rows())


def outcomes(folder: Path) -> dict[str, str]:
    """url -> outcome and rule, of pages and images."""
    kinds = ("page", "image", "sitemap")
    return {
        row["url"]: f"{row['outcome']} {row.get('rule', '')}".strip() for row in rows_of(folder) if row["kind"] in kinds
    }


def decoded(resource: Resource) -> bytes:
    return payload({name.lower(): value for name, value in resource.headers}, resource.body, 10**7)


@pytest.fixture(scope="module")
def crawled(miniweb: Miniweb, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crawl") / "c"
    m3w("crawl", *miniweb.seeds, "-o", folder, *PRIVATE)
    return folder


def test_everything_that_the_web_offers_is_accounted_for(miniweb: Miniweb, crawled: Path) -> None:
    summary = json.loads((crawled / "summary.json").read_text())
    counts = summary["counts"]
    assert summary["waiting"] == 0
    assert summary["discovered"] == sum(counts.get(name, 0) for name in ("fetched", "failed", "disallowed", "left"))
    found = outcomes(crawled)
    assert len(found) == summary["discovered"]
    kept = [page for page in miniweb.web.truth if page.rule is None]
    assert [page.url for page in kept if found.get(page.url) != "fetched"] == []
    pictures = {url for page in kept for kind, url in page.nodes if kind == "image"}
    first = {
        other: url
        for page in kept
        for url, others in links_of(decoded(miniweb.web.resources[page.url]), page.url, None).images.items()
        for other in others
    }
    assert {url for url in pictures if "fetched" not in (found.get(url), found.get(first.get(url, "")))} == set()


def test_pages_that_opt_out_are_not_stored(miniweb: Miniweb, crawled: Path) -> None:
    refused = {page.url: page.rule for page in miniweb.web.truth if (page.rule or "").startswith("consent.")}
    assert len(set(refused.values())) >= 4
    found = outcomes(crawled)
    assert {url: found[url] for url in refused} == {url: f"disallowed {rule}" for url, rule in refused.items()}
    stored = {record.url for path in warcs_of(crawled) for record in read(path)}
    assert stored.isdisjoint(refused)
    assert not [url for url, what in found.items() if "/private/" in url and what != "disallowed robots.disallow"]


def test_the_warc_passes_the_checks_of_warcio_and_holds_what_was_served(miniweb: Miniweb, crawled: Path) -> None:
    for path in warcs_of(crawled):
        subprocess.run([sys.executable, "-m", "warcio.cli", "check", str(path)], check=True)
        kinds = collections.Counter(record.kind for record in read(path))
        assert kinds["response"] == kinds["request"] == kinds["metadata"] and kinds["warcinfo"] == 1
    resources = miniweb.web.resources
    bodies = {record.url: record for path in warcs_of(crawled) for record in read(path) if record.kind == "response"}
    for url, record in bodies.items():
        if url in resources and resources[url].status == 200 and record.rule is None and resources[url].body:
            assert (record.status, record.body) == (200, resources[url].body) or "Content-Encoding" in str(
                resources[url].headers
            )


def read(path: Path) -> list[warc.Record]:
    found = warc.index(path, 1 << 30)
    return list(warc.read(path, 0, found.size, found.reader, 20_000_000))


def test_requests_to_a_host_keep_their_distance(miniweb: Miniweb, crawled: Path) -> None:
    times = collections.defaultdict(list)
    for asked in miniweb.server.log:
        times[asked.host].append(asked.at)
    # robots.txt says 0.02 s, start to start; ten at a time, because each is some milliseconds on its way
    spans = [later - earlier for stamps in times.values() for earlier, later in zip(stamps, stamps[10:], strict=False)]
    assert len(spans) > 100
    assert min(spans) > 0.15
    assert all(first.target == "/robots.txt" for first in {a.host: a for a in reversed(miniweb.server.log)}.values())


def test_a_crawl_that_is_killed_goes_on_without_fetching_twice(miniweb: Miniweb, crawled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    arguments = ("crawl", *miniweb.seeds, "-o", folder, *PRIVATE)
    for wanted in (60, 250):
        process = start(*arguments)
        store = CrawlStore(folder)
        while process.poll() is None and sum(1 for _ in store.rows()) < wanted:
            time.sleep(0.05)
        kill(process)
        time.sleep(0.5)
        stored = {row["url"] for row in store.rows() if row.get("warc") and row["kind"] != "robots.txt"}
        before = len(miniweb.server.log)
        # a record that was being written, a log line that was begun
        for path in (folder / "warc").glob("*.gz"):
            with path.open("ab") as file:
                file.write(b"\x1f\x8b\x08\x00torn")
        for path in (folder / "log").glob("*.jsonl"):
            with path.open("ab") as file:
                file.write(b'{"url": "http://torn')
    m3w(*arguments)
    again = {f"http://{asked.host}:{PORT}{asked.target}" for asked in miniweb.server.log[before:]}
    assert not {url for url in stored & again if not url.endswith(FILES)}
    assert outcomes(folder) == outcomes(crawled)
    for path in warcs_of(folder):
        subprocess.run([sys.executable, "-m", "warcio.cli", "check", str(path)], check=True)
        assert not [record for record in read(path) if record.kind == "gap"]


def test_a_finished_crawl_asks_nothing_when_it_is_given_again(miniweb: Miniweb, crawled: Path) -> None:
    before = len(miniweb.server.log)
    here("crawl", *miniweb.seeds, "-o", crawled, *PRIVATE)
    assert len(miniweb.server.log) == before
    for arguments, message in (
        (miniweb.seeds[:1], "started with other seeds"),
        ((*miniweb.seeds, "--depth", "1"), "started with other options"),
    ):
        with pytest.raises(BuildError, match=message):
            here("crawl", *arguments, "-o", crawled, *PRIVATE)


@pytest.mark.parametrize("limit", [("--pages", "20"), ("--pages-per-host", "5"), ("--depth", "0")])
def test_limits_leave_the_rest_with_their_name(miniweb: Miniweb, tmp_path: Path, limit: tuple[str, str]) -> None:
    here("crawl", *miniweb.seeds, "-o", tmp_path / "c", *PRIVATE, "--no-images", *limit)
    found = outcomes(tmp_path / "c")
    pages = [
        row
        for row in rows_of(tmp_path / "c")
        if row["kind"] == "page" and row["outcome"] in ("fetched", "failed", "disallowed")
    ]
    if limit[0] == "--pages":
        assert len(pages) == 20 and "left limit.pages" in found.values()
    elif limit[0] == "--pages-per-host":
        per_host = collections.Counter(row["url"].split("/")[2] for row in pages)
        assert set(per_host.values()) == {5} and "left limit.pages_per_host" in found.values()
    else:
        assert sorted(found) == sorted(miniweb.seeds)


def test_wrong_usage_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("# a comment\n\nhttp://127.0.0.1:1/\nno URL\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "torn.txt.gz").write_bytes(b"\x1f\x8b\x08torn")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    url, out = "http://127.0.0.1:1/", tmp_path / "c"
    for message, *arguments in (
        ("--contact", url, "-o", out),
        ("--contact", url, "-o", out, "--contact", "me\r\nX-A: b"),
        ("not an http or https URL", *PRIVATE, "http://[", "-o", out),
        ("bad.txt: 'no URL' is not an http or https URL", *PRIVATE, tmp_path / "bad.txt", "-o", out),
        ("binary.txt: ", *PRIVATE, tmp_path / "binary.txt", "-o", out),
        ("torn.txt.gz: ", *PRIVATE, tmp_path / "torn.txt.gz", "-o", out),
        ("neither a URL", *PRIVATE, tmp_path / "missing.txt", "-o", out),
        ("Is a directory", *PRIVATE, tmp_path, "-o", out),
        ("is not a crawl directory", *PRIVATE, url, "-o", tmp_path / "other"),
        ("bad.txt", *PRIVATE, url, "-o", tmp_path / "bad.txt"),
        ("--scope", *PRIVATE, url, "-o", out, "--scope", "everywhere"),
        ("not a regular expression", *PRIVATE, url, "-o", out, "--include", "("),
        ("--delay", *PRIVATE, url, "-o", out, "--delay", "-1"),
        ("--allow-private", url, "-o", out, "--allow-private", "localhost"),
    ):
        with pytest.raises(BuildError) as caught:
            here("crawl", *arguments)
        assert str(message) in str(caught.value) and "\n" not in str(caught.value), caught.value
    assert "neither a URL" in m3w("crawl", *PRIVATE, "missing.txt", "-o", tmp_path / "c", status=1)
