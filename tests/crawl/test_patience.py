"""Hosts that ask for pauses, slow hosts, and endless lists, seen by a whole crawl."""

import collections
import itertools
import json
import socket
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from pipeline.crawl import hosts, partition, rights
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.rounds import crawl
from pipeline.crawl.store import CrawlStore
from pipeline.fetch import retry
from pipeline.miniweb.serve import Server
from pipeline.miniweb.web import Resource
from tests.crawl.faulty import QUICK, Web, answer_with, page, run
from tests.ports import PORT


def asked(server: Server, host: str) -> list[str]:
    return [asked.target for asked in server.log if asked.host == f"127.4.0.{host}"]


def test_a_host_that_says_when_to_come_back_is_not_asked_before(tmp_path: Path) -> None:
    """Not in later rounds, nor when the crawl resumes; the other hosts continue."""
    pages = {f"/{number}": page(f"/{number + 1}") for number in range(4)}
    refused = {f"/{number}": answer_with(503, ("Retry-After", "3600")) for number in range(20)}
    date = formatdate(time.time() + 3600, usegmt=True)
    web = Web(
        h1={"/": page("/0"), **pages, "/4": page()},
        h2={"/": page(*refused), **refused},
        h3={"/robots.txt": answer_with(429, ("Retry-After", date)), "/": page()},
    )
    seeds = [f"{number}:{PORT}/" for number in (1, 2, 3)]
    summary, found, server = run(web, tmp_path, *seeds, seconds=120, depth=9)
    assert found == dict.fromkeys(["1/", *(f"1/{number}" for number in range(5)), "2/"], "fetched")
    assert summary.waiting == 21
    assert len([target for target in asked(server, "2") if target in refused]) == 1
    assert asked(server, "3") == ["/robots.txt"]
    with Server(sorted(web.hosts), PORT, web) as again, (tmp_path / "progress").open("w") as stream:
        options = CrawlOptions(delay=0.01, limits=QUICK, allow_private=("127.4.0.0/24",), depth=9, seconds=20)
        urls = [f"http://127.4.0.{seed}" for seed in seeds]
        began = time.monotonic()
        summary = crawl(urls, tmp_path / "c", options, ["--direct_num_workers=1"], stream)
    # it does not wait for what comes after its limit of time
    assert summary.waiting == 21 and not again.log and time.monotonic() - began < 15


def test_a_crawl_waits_for_its_last_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "ROUND_SECONDS", 1.0)
    wait = answer_with(429, ("Retry-After", "3"))
    web = Web(h1={"/": itertools.chain([wait], itertools.repeat(page("/a"))), "/a": page()})
    summary, found, server = run(web, tmp_path, f"1:{PORT}/")
    assert found == {"1/": "fetched", "1/a": "fetched"} and summary.waiting == 0
    first, second = (asked.at for asked in server.log if asked.target == "/")
    assert second - first > 2.9
    assert summary.rounds == 3  # it sleeps before the second


def test_a_host_that_goes_on_refusing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BACK_OFF", 0.01)
    refused = {f"/{number}": answer_with(503 if number % 2 else 429) for number in range(30)}
    one = answer_with(503)
    web = Web(
        h1={"/": page(*refused), **refused},
        h2={"/": page("/a", "/b", "/c"), "/a": one, "/b": page(), "/c": one},
        h3={"/robots.txt": answer_with(503, ("Retry-After", "999999")), "/": page()},
    )
    summary, found, server = run(web, tmp_path, *(f"{number}:{PORT}/" for number in (1, 2, 3)))
    rules = collections.Counter(what for name, what in found.items() if name.startswith("1/"))
    assert rules.total() == 31 and rules["left limit.busy"] + rules["failed http"] == 30
    assert rules["left limit.busy"] >= 30 - retry.BUSY // 2
    assert len([target for target in asked(server, "1") if target in refused]) == retry.BUSY
    # of one page or two it is the page, not the host
    expected = {"2/": "fetched", "2/a": "failed http", "2/b": "fetched", "2/c": "failed http", "3/": "left limit.busy"}
    assert {name: what for name, what in found.items() if name[0] in "23"} == expected
    assert asked(server, "3") == ["/robots.txt"]
    assert summary.counts["left: limit.busy"] == rules["left limit.busy"] + 1


def test_a_slow_robots_txt_does_not_hold_up_the_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "SECONDS", 0.3)
    web = Web(h1={"/": page("/a"), "/a": page("/b"), "/b": page()})
    with socket.create_server(("127.4.0.2", PORT)):  # which takes connections and says nothing
        _, found, _ = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/")
    assert found == {"1/": "fetched", "1/a": "fetched", "1/b": "fetched", "2/": "disallowed robots.unreachable"}
    rounds = [path.read_text().splitlines() for path in sorted((tmp_path / "c/log").glob("*.jsonl"))]
    outcomes = [[json.loads(line)["outcome"] for line in lines if "127.4.0.2" in line] for lines in rounds]
    # an attempt a round; the third is the last
    assert outcomes == [["carried"], ["carried"], ["failed", "disallowed"]]


def test_slow_pages_do_not_hold_up_other_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "SHORTEST_ROUND", 0.3)
    monkeypatch.setattr(hosts, "CARRY_SECONDS", 0.0)
    slow = {f"/{number}": page() for number in range(30)}
    delay = Resource(200, (), b"User-agent: *\nCrawl-delay: 0.1\n", "")
    chain = {f"/{number}": page(f"/{number + 1}") for number in range(6)}
    web = Web(h1={"/robots.txt": delay, "/": page(*slow), **slow}, h2={"/": page("/0"), **chain, "/6": page()})
    _, found, server = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/", depth=9)
    assert found == dict.fromkeys(
        ["1/", *(f"1{name}" for name in slow), "2/", *(f"2/{n}" for n in range(7))], "fetched"
    )
    before = server.log[: [(asked.host, asked.target) for asked in server.log].index(("127.4.0.2", "/6"))]
    assert sum(asked.host == "127.4.0.1" for asked in before) < 25


def test_sitemaps_of_a_robots_txt_over_the_limit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "MOST_SITEMAPS", 3)
    named = "".join(f"Sitemap: http://127.4.0.1:{PORT}/{number}.xml\n" for number in range(8)).encode()
    web = Web(h1={"/robots.txt": Resource(200, (), named, ""), "/": page(), **{f"/{n}.xml": index() for n in range(8)}})
    summary, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert set(found) == {"1/", "1/0.xml", "1/1.xml", "1/2.xml"} and summary.counts["limit.links"] == 5


XML = (("Content-Type", "application/xml"),)


def index(*urls: str) -> Resource:
    named = "".join(f"<sitemap><loc>http://127.4.0.1:{PORT}{url}</loc></sitemap>" for url in urls)
    return Resource(200, XML, f"<sitemapindex>{named}</sitemapindex>".encode(), "")


def robots(url: str) -> Resource:
    return Resource(200, (), f"Sitemap: http://127.4.0.1:{PORT}{url}\n".encode(), "")


def test_sitemaps_of_sitemaps_end(tmp_path: Path) -> None:
    deep = {f"/{number}.xml": index(f"/{number + 1}.xml") for number in range(14)}
    summary, found, _ = run(Web(h1={"/robots.txt": robots("/0.xml"), "/": page(), **deep}), tmp_path, f"1:{PORT}/")
    assert found == dict.fromkeys(["1/", *(f"1/{number}.xml" for number in range(11))], "fetched")
    assert summary.counts["limit.links"] == 1


@pytest.mark.parametrize(("limit", "rule"), [("pages_per_host", "limit.pages_per_host"), ("pages", "limit.pages")])
def test_sitemaps_count_as_pages_do(tmp_path: Path, limit: str, rule: str) -> None:
    wide = {f"/{number}.xml": index() for number in range(9)}
    web = Web(h1={"/robots.txt": robots("/all.xml"), "/all.xml": index(*wide), "/": page(), **wide})
    _, found, _ = run(web, tmp_path, f"1:{PORT}/", **{limit: 4})
    assert collections.Counter(found.values()) == {"fetched": 5, f"left {rule}": 6}


def test_what_a_feed_lists_is_a_link_away(tmp_path: Path) -> None:
    def leads(number: int) -> dict[str, Resource]:
        item = f"<rss><channel><item><link>http://127.4.0.1:{PORT}/{number + 1}</link></item></channel></rss>"
        head = f'<link rel="alternate" type="application/rss+xml" href="/feed{number}">'
        return {f"/{number}": page(head=head), f"/feed{number}": Resource(200, XML, item.encode(), "")}

    paths = {target: answer for number in range(6) for target, answer in leads(number).items()}
    _, found, _ = run(Web(h1=paths), tmp_path, f"1:{PORT}/0", depth=2)
    assert set(found) == {"1/0", "1/feed0", "1/1", "1/feed1", "1/2"}


def test_rows_of_hosts_are_kept_in_few_lines(tmp_path: Path) -> None:
    """Nothing is kept of hosts that answer."""
    web = Web(h1={"/": page("/a"), "/a": page()})
    run(web, tmp_path, f"1:{PORT}/")
    store = CrawlStore(tmp_path / "c")
    assert all("origin" in json.loads(line) for line in store.robots(0).read_text().splitlines())
