"""Servers that fail, forbid, ask for pauses or lie, seen by a whole crawl."""

import collections
import gzip
import itertools
import statistics
from pathlib import Path

import pytest

from pipeline.crawl import fetcher
from pipeline.crawl.frontier import Entry
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.rounds import crawl
from pipeline.crawl.store import CrawlStore, warcs_of
from pipeline.miniweb.serve import Server
from pipeline.miniweb.web import Resource
from pipeline.sources import warc
from tests.crawl.faulty import QUICK, Web, answer_with, page, picture, run
from tests.ports import PORT


def records(path: Path) -> list[warc.Record]:
    found = warc.index(path, 1 << 30)
    return list(warc.read(path, 0, found.size, found.reader, 20_000_000))


def times(server: Server, target: str) -> list[float]:
    return [asked.at for asked in server.log if asked.target == target]


def test_servers_that_heal_and_servers_that_do_not(tmp_path: Path) -> None:
    ok, broken = page(), answer_with(500)
    web = Web(
        h1={"/": page("/heals", "/broken", "/closes"), "/heals": itertools.chain([broken], itertools.repeat(ok)),
            "/broken": broken, "/closes": None},
    )  # fmt: skip
    _, found, server = run(web, tmp_path, f"1:{PORT}/")
    assert found == {"1/": "fetched", "1/heals": "fetched", "1/broken": "failed http", "1/closes": "failed reset"}
    assert len(times(server, "/broken")) == 3 and len(times(server, "/heals")) == 2
    first, second, third = times(server, "/broken")
    assert second - first > 0.9 and third - second > 1.9


def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path) -> None:
    ok, wait = page(), answer_with(429, ("Retry-After", "2"))
    later = answer_with(503, ("Retry-After", "999999"))
    web = Web(
        h1={"/": page("/a", "/b", "/c"), "/a": itertools.chain([wait], itertools.repeat(ok)), "/b": ok, "/c": ok},
        h2={"/": later},
    )
    _, found, server = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/")
    assert found == {"1/": "fetched", "1/a": "fetched", "1/b": "fetched", "1/c": "fetched", "2/": "left limit.busy"}
    begin = times(server, "/a")[0]
    after = [asked.at for asked in server.log if asked.host == "127.4.0.1" and asked.at > begin]
    assert min(after) - begin >= 1.9, "the whole host rests"
    assert len([asked for asked in server.log if asked.host == "127.4.0.2" and asked.target == "/"]) == 1


def test_hostile_bodies_do_not_hold_the_others_up(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    slow = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n<html>"
    web = Web(
        h1={"/": page("/bomb", "/large", "/short", "/film", "/lie", "/deep"),
            "/bomb": Resource(200, (("Content-Type", "text/html"), ("Content-Encoding", "gzip")), bomb, ""),
            "/large": Resource(200, (("Content-Type", "text/html"),), bytes(300_000), ""),
            "/short": slow,
            "/film": Resource(200, (("Content-Type", "video/mp4"),), b"film", ""),
            "/lie": Resource(200, (("Content-Type", "text/html"),), b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ""),
            "/deep": page(body="<div>" * 20_000 + '<a href="/down">x</a>'),
            "/down": page()},
    )  # fmt: skip
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert found == {
        "1/": "fetched",
        "1/bomb": "failed too_large",
        "1/large": "failed too_large",
        "1/short": "failed reset",
        "1/film": "failed media_type",
        "1/lie": "fetched",
        "1/deep": "fetched",
        "1/down": "fetched",
    }


def test_redirects(tmp_path: Path) -> None:
    def to(target: str) -> Resource:
        return answer_with(302, ("Location", target))

    web = Web(
        h1={"/": page("/chain", "/loop", "/file", "/away", "/inner"), "/chain": to("/chain2"), "/chain2": to("/end"),
            "/end": page(), "/loop": to("/loop2"), "/loop2": to("/loop"), "/file": to("file:///etc/passwd"),
            "/away": to(f"http://127.4.0.2:{PORT}/x"), "/inner": to(f"http://127.5.0.1:{PORT}/")},
        h2={"/x": page()},
        h3={"/": to(f"http://127.4.0.2:{PORT}/x")},
        h4={"/": to(f"http://127.4.0.5:{PORT}/")},
        h5={"/robots.txt": Resource(200, (), b"User-agent: *\nDisallow: /", ""), "/": page()},
        h6={"/": to("http://169.254.169.254/latest/meta-data/")},
        h7={f"/{hops or ''}": to(f"/{hops + 1}") for hops in range(20)},
    )  # fmt: skip
    _, found, server = run(web, tmp_path, *(f"{number}:{PORT}/" for number in (1, 3, 4, 6, 7)))
    assert found["4/"] == "fetched" and found["5/"] == "disallowed robots.disallow"
    assert found["http://169.254.169.254/latest/meta-data/"] in ("disallowed robots.unreachable", "failed address")
    assert found["7/9"] == "fetched" and found["7/10"] == "failed redirects" and "7/11" not in found
    assert found["1/end"] == found["1/loop"] == found["1/loop2"] == "fetched"
    assert found["1/file"] == "failed redirect_to_no_url"
    # a link that leads off its host is out of scope, a seed that has moved is followed
    assert found["2/x"] == "fetched" and not [name for name in found if name.startswith("http://127.5")]
    assert collections.Counter(asked.target for asked in server.log)["/loop"] == 1


def test_addresses_that_are_not_allowed_are_never_asked(tmp_path: Path) -> None:
    links = [
        f"http://127.0.0.1:{PORT}/",
        f"http://[::1]:{PORT}/",
        f"http://2130706433:{PORT}/",
        "http://169.254.169.254/latest/",
    ]
    web = Web(h1={"/": page(*links, body="".join(f'<img src="{link}i.png" width=300>' for link in links))})
    with Server(["127.0.0.1"], PORT, lambda asked: page()) as inner:
        _, found, _ = run(web, tmp_path, f"1:{PORT}/", scope="any")
        assert not inner.log
    assert set(found.values()) == {"fetched", "disallowed robots.unreachable", "failed host_down"} or {
        value for name, value in found.items() if name != "1/"
    } <= {"failed address", "failed host_down", "disallowed robots.unreachable"}
    assert len(found) >= 7


def test_the_delay_that_a_host_asks_for(tmp_path: Path) -> None:
    """Start to start; a host that asks for none keeps to the default."""
    slow = Resource(200, (), b"User-agent: *\nCrawl-delay: 0.3", "")
    web = Web(
        h1={"/robots.txt": slow, "/": page("/a", "/b"), "/a": page(), "/b": page()}, h2={"/": page("/c"), "/c": page()}
    )
    _, found, server = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/")
    assert set(found.values()) == {"fetched"}
    at = [asked.at for asked in server.log if asked.host == "127.4.0.1"]
    assert min(later - earlier for earlier, later in itertools.pairwise(at[1:])) > 0.29
    at = [asked.at for asked in server.log if asked.host == "127.4.0.2"]
    assert statistics.median(later - earlier for earlier, later in itertools.pairwise(at)) < 0.3


@pytest.mark.parametrize(
    ("robots", "rule"),
    [
        (Resource(200, (), b"User-agent: *\nDisallow: /", ""), "disallowed robots.disallow"),
        (Resource(200, (), b"User-agent: openm3w\nDisallow: /p", ""), "disallowed robots.disallow"),
        (answer_with(500), "disallowed robots.unreachable"),
        (answer_with(403), "fetched"),
        (answer_with(301, ("Location", "/moved.txt")), "disallowed robots.disallow"),
        (answer_with(301, ("Location", "/robots.txt")), "disallowed robots.unreachable"),
        (None, "disallowed robots.unreachable"),
    ],
)
def test_robots(tmp_path: Path, robots: Resource | None, rule: str) -> None:
    moved = Resource(200, (), b"User-agent: *\nDisallow: /", "")
    web = Web(h1={"/robots.txt": robots, "/moved.txt": moved, "/page": page()})
    _, found, server = run(web, tmp_path, f"1:{PORT}/page")
    assert found == {"1/page": rule}
    assert bool(times(server, "/page")) == (rule == "fetched")


OPT_OUTS = {
    "noai": ({"head": '<meta name="robots" content="noai">'}, "consent.noai"),
    "noimageai": ({"head": '<meta name="ROBOTS" content="index, NOIMAGEAI">'}, "consent.noimageai"),
    "noindex": ({"head": '<meta name="robots" content="noindex">'}, "consent.noindex"),
    "none": ({"head": '<meta name="robots" content="none">'}, "consent.noindex"),
    "noml": ({"head": '<meta name="robots" content="noml">'}, "consent.noml"),
    "tdm": ({"head": '<meta name="tdm-reservation" content="1">'}, "consent.tdm_reservation"),
    "h-noai": ({"headers": (("X-Robots-Tag", "noai"),)}, "consent.noai"),
    "h-noimageai": ({"headers": (("X-Robots-Tag", "bot: noimageai"),)}, "consent.noimageai"),
    "h-noindex": ({"headers": (("X-Robots-Tag", "noindex"),)}, "consent.noindex"),
    "h-noml": ({"headers": (("X-Robots-Tag", "a"), ("X-Robots-Tag", "noml"))}, "consent.noml"),
    "h-tdm": ({"headers": (("TDM-Reservation", "1"),)}, "consent.tdm_reservation"),
}


def test_opt_outs_of_pages_and_pictures(tmp_path: Path) -> None:
    """Each has a row under its rule, nothing in the WARC; its images are not requested, its links are."""
    shown = "".join(f'<img src="/{name}.png" width=300>' for name in OPT_OUTS if name.startswith("h-"))
    paths = {"/": page(*(f"/{name}" for name in OPT_OUTS), body=shown + '<img src="/a.png" width=300>')}
    for name, (how, _) in OPT_OUTS.items():
        paths[f"/{name}"] = page(f"/after-{name}", body='<img src="/only.png">', **how)
        paths[f"/after-{name}"] = page()
        paths[f"/{name}.png"] = picture(how.get("headers", ()))
    web = Web(h1=paths | {"/a.png": picture(), "/only.png": picture()})
    summary, found, server = run(web, tmp_path, f"1:{PORT}/")
    expected = {"1/": "fetched", "1/a.png": "fetched"}
    for name, (_, rule) in OPT_OUTS.items():
        expected[f"1/{name}"] = f"disallowed {rule}"
        if name.startswith("h-"):
            expected[f"1/{name}.png"] = f"disallowed {rule}"
        if name != "none":  # which also means nofollow
            expected[f"1/after-{name}"] = "fetched"
    assert found == expected and not times(server, "/only.png")
    assert summary.counts["disallowed: consent.noai"] == 3 and summary.counts["disallowed: consent.noindex"] == 4
    stored = {record.url.rpartition("/")[2] for path in warcs_of(tmp_path / "c") for record in records(path)}
    assert {"a.png", "after-noai"} <= stored and stored.isdisjoint({*OPT_OUTS, *(f"{name}.png" for name in OPT_OUTS)})


def test_hosts_that_opt_out(tmp_path: Path) -> None:
    def says(text: str) -> Resource:
        return Resource(200, (), text.encode(), "")

    tdmrep, all_paths = "/.well-known/tdmrep.json", {"/": page(body='<img src="/a.png">'), "/a.png": picture()}
    web = Web(
        h1=all_paths | {"/ai.txt": says("User-Agent: *\nDisallow: /")},
        h2=all_paths | {"/ai.txt": says("User-Agent: *\nDisallow: *.png")},
        h3=all_paths | {"/ai.txt": answer_with(500)},
        h4=all_paths | {tdmrep: says('[{"location": "/", "tdm-reservation": 1}]')},
        h5=all_paths | {tdmrep: says('[{"location": "/*.png$", "tdm-reservation": 1}]')},
        h6=all_paths | {tdmrep: answer_with(301, ("Location", "/tdm")), "/tdm": says('[{"tdm-reservation": 1}]')},
        h7=all_paths | {tdmrep: answer_with(500)},
        h8=all_paths | {tdmrep: None},
    )
    _, found, server = run(web, tmp_path, *(f"{number}:{PORT}/" for number in range(1, 9)))
    ai, tdm = "disallowed consent.ai_txt", "disallowed consent.tdm_reservation"
    assert found == {
        "1/": ai,
        "2/": "fetched",
        "2/a.png": ai,
        "3/": ai,
        "4/": tdm,
        "5/": "fetched",
        "5/a.png": tdm,
        "6/": tdm,
        "7/": tdm,
        "8/": tdm,
    }
    assert {asked.host[-1] for asked in server.log if asked.target == "/"} == {"2", "5"}


def test_a_host_that_is_down_is_given_up(tmp_path: Path) -> None:
    listing = tmp_path / "seeds.txt"
    listing.write_text("".join(f"http://127.4.0.9:1/{number}\n" for number in range(50)))
    with (tmp_path / "progress").open("w") as stream:
        options = CrawlOptions(delay=0.01, allow_private=("127.4.0.0/24",), limits=QUICK)
        summary = crawl([str(listing)], tmp_path / "c", options, ["--direct_num_workers=1"], stream)
    assert summary.discovered == 50 and summary.counts == {
        "disallowed": 50,
        "disallowed: robots.unreachable": 50,
        "pages.disallowed": 50,
        "bytes": 0,
    }


def test_a_host_that_goes_down_is_given_up(tmp_path: Path) -> None:
    """It closes every connection after its first page: the other hosts continue, each of its URLs has a row."""
    closed = {f"/{number}": None for number in range(12)}
    web = Web(h1={"/": page(*closed)} | closed, h2={"/": page("/a"), "/a": page()})
    _, found, server = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/")
    assert found["1/"] == found["2/"] == found["2/a"] == "fetched"
    rules = collections.Counter(what for name, what in found.items() if name.startswith("1/") and name != "1/")
    assert set(rules) <= {"failed reset", "failed host_down"} and rules["failed host_down"] >= 6
    assert len([asked for asked in server.log if asked.target in closed]) <= 7


def test_one_response_or_host_does_not_end_a_crawl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds that are slow to read or that json refuses, a defect of this program, a delay of years."""
    judge = fetcher.judge

    def defective(entry: Entry, *rest):
        if entry.url.endswith("/odd"):
            raise IndexError("list index out of range")
        return judge(entry, *rest)

    monkeypatch.setattr(fetcher, "judge", defective)
    digits = b'{"items": [], "n": ' + b"1" * 5000 + b"}"
    kind = (("Content-Type", "application/feed+json"),)
    web = Web(
        h1={"/": page("/odd", "/number", "/slow", "/last"), "/odd": page(), "/last": page(),
            "/number": Resource(200, kind, digits, ""),
            "/slow": Resource(200, (("Content-Type", "text/xml"),), b"<rss>" + b"<link>" * 30_000, "")},
        h2={"/robots.txt": Resource(200, (), b"User-agent: *\nCrawl-delay: 1000000000", ""), "/": page()},
        h3={"/robots.txt": Resource(200, (), b"User-agent: *\nRequest-rate: 1/" + b"1" * 400, ""), "/": page()},
    )  # fmt: skip
    _, found, _ = run(web, tmp_path, f"1:{PORT}/", f"2:{PORT}/", f"3:{PORT}/")
    assert found.pop("1/odd") == "failed unreadable" and found.pop("2/") == "left limit.delay"
    assert found == dict.fromkeys(("1/", "1/number", "1/slow", "1/last", "3/"), "fetched")
    (row,) = (row for row in CrawlStore(tmp_path / "c").rows() if row.get("rule") == "unreadable")
    assert "IndexError" in row["detail"] and "test_faults.py:" in row["detail"] and "warc" not in row


def test_a_limit_of_time_leaves_the_rest_for_the_next_run(tmp_path: Path) -> None:
    web = Web(h1={"/": page(*(f"/{number}" for number in range(40))), **{f"/{number}": page() for number in range(40)}})
    summary, _, server = run(web, tmp_path, f"1:{PORT}/", delay=0.1, seconds=2.5)
    assert summary.waiting > 0
    before = {asked.target for asked in server.log}
    with Server(sorted(web.hosts), PORT, web) as again, (tmp_path / "progress").open("w") as stream:
        options = CrawlOptions(delay=0.01, limits=QUICK, allow_private=("127.4.0.0/24",))
        summary = crawl([f"http://127.4.0.1:{PORT}/"], tmp_path / "c", options, ["--direct_num_workers=1"], stream)
    assert summary.waiting == 0 and summary.counts["fetched"] == 41
    assert not {asked.target for asked in again.log} & before
