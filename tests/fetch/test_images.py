"""Images from the network: what they and their hosts allow, servers that fail, one row per URL."""

import asyncio
import collections
import gzip
import itertools
import re
from pathlib import Path

import pytest

from pipeline.fetch import Client, FetchFailed, Limits, Networks, retry
from pipeline.fetch.images import PER_HOST, ImageFetcher
from pipeline.fetch.response import Response
from pipeline.fetch.shards import FetchShards
from pipeline.miniweb.serve import Asked, Server
from pipeline.miniweb.web import Resource

NAMED = Networks.parse(["127.6.0.0/24"])
QUICK = Limits(body_bytes=100_000, header_bytes=8192, total_seconds=2, connect_seconds=1, grace=0.5, min_rate=1000)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0"
MISSING = Resource(404, (("Content-Type", "text/plain"),), b"none", "")


def picture(*headers: tuple[str, str]) -> Resource:
    return Resource(200, (("Content-Type", "image/png"), *headers), PNG, "")


def text(body: str, status: int = 200) -> Resource:
    return Resource(status, (("Content-Type", "text/plain"),), body.encode(), "")


def to(target: str) -> Resource:
    return Resource(302, (("Location", target),), b"", "")


class Hosts:
    """Answers by path on each of 127.6.0.N: a resource, bytes, None (closes), or an iterator of those. `{port}` in a
    redirect is the server's."""

    def __init__(self, **hosts: dict) -> None:
        self.hosts = {f"127.6.0.{name[1:]}": paths for name, paths in hosts.items()}
        self.server = Server(sorted(self.hosts), 0, self)

    def __call__(self, asked: Asked):
        found = self.hosts[asked.host].get(asked.target, MISSING)
        return next(found) if isinstance(found, itertools.chain) else found

    def fetch(self, *paths: str) -> dict[str, str]:
        """ "HOST/PATH" -> "fetched" or why not."""

        async def one(fetcher: ImageFetcher, path: str) -> str:
            host, _, rest = path.partition("/")
            try:
                data = await fetcher.fetch(f"http://127.6.0.{host}:{self.server.port}/{rest}")
            except FetchFailed as error:
                return str(error) if error.reason in ("disallowed", "http") else error.reason
            assert data == PNG or b"html" in data
            return "fetched"

        async def all_of_them() -> list[str]:
            async with Client(private=NAMED, limits=QUICK) as client:
                fetcher = ImageFetcher(client)
                return await asyncio.gather(*(one(fetcher, path) for path in paths))

        with self.server:
            return dict(zip(paths, asyncio.run(all_of_them()), strict=True))

    def asked(self, path: str) -> list[float]:
        host, _, rest = path.partition("/")
        return [a.at for a in self.server.log if (a.host, a.target) == (f"127.6.0.{host}", f"/{rest}")]


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (("X-Robots-Tag", "noai"), "consent.noai"),
        (("X-Robots-Tag", "otherbot: noimageai"), "consent.noimageai"),
        (("X-Robots-Tag", "none"), "consent.noindex"),
        (("X-Robots-Tag", "noindex"), "consent.noindex"),
        (("X-Robots-Tag", "noml"), "consent.noml"),
        (("TDM-Reservation", "1"), "consent.tdm_reservation"),
    ],
)
def test_pictures_that_opt_out(header: tuple[str, str], rule: str) -> None:
    web = Hosts(h1={"/a.png": picture(), "/b.png": picture(header)})
    assert web.fetch("1/a.png", "1/b.png") == {"1/a.png": "fetched", "1/b.png": f"disallowed: {rule}"}


REFUSAL = text("User-Agent: *\nDisallow: *.png")


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"/robots.txt": REFUSAL}, "robots.disallow"),
        ({"/robots.txt": text("", 403)}, None),
        ({"/robots.txt": text("", 501)}, "robots.unreachable"),
        ({"/robots.txt": to("/robots.txt")}, "robots.unreachable"),
        ({"/robots.txt": to("/rules"), "/rules": REFUSAL}, "robots.disallow"),
        ({"/ai.txt": REFUSAL}, "consent.ai_txt"),
        ({"/ai.txt": text("", 501)}, "consent.ai_txt"),
        ({"/.well-known/tdmrep.json": text('[{"location": "/", "tdm-reservation": 1}]')}, "consent.tdm_reservation"),
        ({"/.well-known/tdmrep.json": text('[{"location": "/b", "tdm-reservation": 1}]')}, None),
        ({"/.well-known/tdmrep.json": text("", 501)}, "consent.tdm_reservation"),
    ],
)
def test_hosts_that_opt_out(files: dict[str, Resource], rule: str | None) -> None:
    web = Hosts(h1=files | {"/a.png": picture()})
    assert web.fetch("1/a.png") == {"1/a.png": f"disallowed: {rule}" if rule else "fetched"}
    assert len(web.asked("1/a.png")) == (rule is None)


def test_a_host_that_does_not_answer_allows_nothing() -> None:
    web = Hosts(h1={"/robots.txt": None, "/a.png": picture()})
    assert web.fetch("1/a.png") == {"1/a.png": "disallowed: robots.unreachable"}


def test_a_redirect_is_allowed_by_the_host_it_leads_to() -> None:
    web = Hosts(h1={}, h2={"/robots.txt": REFUSAL, "/a.png": picture()}, h3={"/a.png": picture()})
    with web.server:  # its port is known from here on
        port = web.server.port
    web.server = Server(sorted(web.hosts), port, web)
    web.hosts["127.6.0.1"] |= {
        "/refused.png": to(f"http://127.6.0.2:{port}/a.png"),
        "/open.png": to(f"http://127.6.0.3:{port}/a.png"),
        "/private.png": to("http://127.7.0.1/a.png"),
        "/metadata.png": to("http://169.254.169.254/latest/meta-data/"),
        "/file.png": to("file:///etc/passwd"),
        "/loop.png": to("/loop.png"),
    }
    assert web.fetch("1/refused.png", "1/open.png", "1/private.png", "1/metadata.png", "1/file.png", "1/loop.png") == {
        "1/refused.png": "disallowed: robots.disallow",
        "1/open.png": "fetched",
        "1/private.png": "address",
        "1/metadata.png": "address",
        "1/file.png": "scheme",
        "1/loop.png": "redirect_loop",
    }
    assert not web.asked("2/a.png")


def test_servers_that_fail_or_lie() -> None:
    bomb = Resource(200, (("Content-Type", "image/png"), ("Content-Encoding", "gzip")), gzip.compress(bytes(10**7)), "")
    broken = text("", 500)
    web = Hosts(
        h1={"/heals": itertools.chain([broken, None], itertools.repeat(picture())), "/broken": broken, "/bomb": bomb,
            "/large": Resource(200, (), bytes(200_000), ""), "/gone": text("", 410),
            "/empty": Resource(200, (), b"", ""), "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nx",
            "/lie": Resource(200, (("Content-Type", "image/png"),), b"<html>", "")},
    )  # fmt: skip
    assert web.fetch("1/heals", "1/broken", "1/bomb", "1/large", "1/gone", "1/empty", "1/short", "1/lie") == {
        "1/heals": "fetched",
        "1/broken": "http: 500",
        "1/bomb": "too_large",
        "1/large": "too_large",
        "1/gone": "http: 410",
        "1/empty": "empty",
        "1/short": "reset",
        "1/lie": "fetched",  # the bytes decide what it is, not the header
    }
    assert len(web.asked("1/heals")) == len(web.asked("1/broken")) == 3 and len(web.asked("1/gone")) == 1


def test_patience_that_a_server_asks_for() -> None:
    wait = Resource(429, (("Retry-After", "1"),), b"", "")
    never = Resource(503, (("Retry-After", "99999"),), b"", "")
    slow = {"/robots.txt": text("User-agent: *\nCrawl-delay: 0.3"), "/a": picture(), "/b": picture(), "/c": picture()}
    web = Hosts(h1={"/a": itertools.chain([wait], itertools.repeat(picture()))}, h2={"/a": never}, h3=slow)
    found = web.fetch("1/a", "2/a", "3/a", "3/b", "3/c")
    assert found == {"1/a": "fetched", "2/a": "http: 503", "3/a": "fetched", "3/b": "fetched", "3/c": "fetched"}
    first, second = web.asked("1/a")
    assert second - first > 0.95 and len(web.asked("2/a")) == 1
    a, b, c = sorted(web.asked("3/a") + web.asked("3/b") + web.asked("3/c"))
    assert b - a > 0.25 and c - b > 0.25


def test_a_host_that_refuses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may refuse at once for long, or again and again; a host of which one picture is refused goes on."""
    monkeypatch.setattr(retry, "BACK_OFF", 0.01)
    names = [f"{number}.png" for number in range(40)]
    later = Resource(503, (("Retry-After", "99999"),), b"", "")
    web = Hosts(
        h1={f"/{name}": later for name in names},
        h2={f"/{name}": Resource(429, (), b"", "") for name in names},
        h3={"/robots.txt": later, **{f"/{name}": picture() for name in names}},
        h4={f"/{name}": picture() for name in names} | {"/7.png": Resource(503, (), b"", "")},
    )
    found = web.fetch(*(f"{host}/{name}" for host in "1234" for name in names))
    said = {host: collections.Counter(found[f"{host}/{name}"] for name in names) for host in "1234"}
    asked = {host: sum(len(web.asked(f"{host}/{name}")) for name in names) for host in "1234"}
    assert asked["1"] <= PER_HOST and said["1"]["busy"] == 40 - asked["1"] == 40 - said["1"]["http: 503"]
    assert asked["2"] <= PER_HOST * retry.BUSY and said["2"]["busy"] > 0 and set(said["2"]) <= {"busy", "http: 429"}
    assert asked["3"] == 0 and len(web.asked("3/robots.txt")) == 1
    assert said["3"] == {"disallowed: robots.unreachable": 40}
    assert said["4"] == {"fetched": 39, "http: 503": 1}


class TwoOrigins:
    """Replaces a client. http://e.org returns its images when `opened`, https://e.org asks for a delay."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = self.at_once = self.most_at_once = 0

    async def fetch(self, url: str, check=None) -> tuple[Response, str]:
        found = b"User-agent: *\nCrawl-delay: 0.001" if url == "https://e.org/robots.txt" else b""
        if check is None:
            return Response(url, "", 0, 0, b"", b"", found, 200 if found else 404), url
        await check(url)
        if url.startswith("http:"):
            self.waiting += 1
            await self.opened.wait()
        else:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0.02)
            self.at_once -= 1
        return Response(url, "", 0, 0, b"", b"", PNG, 200), url


def test_a_host_that_asks_for_a_delay_is_asked_one_by_one() -> None:
    """Though its other origin, which asked for none, had eight requests in the making."""

    async def most_at_once() -> int:
        client = TwoOrigins()
        fetcher = ImageFetcher(client)  # type: ignore[arg-type]
        before = [asyncio.ensure_future(fetcher.fetch(f"http://e.org/{number}")) for number in range(8)]
        while client.waiting < 8:
            await asyncio.sleep(0)
        await fetcher.fetch("https://e.org/first")
        client.opened.set()
        await asyncio.gather(*before)
        await asyncio.gather(*(fetcher.fetch(f"https://e.org/{number}") for number in range(6)))
        return client.most_at_once

    assert asyncio.run(most_at_once()) == 1


def test_every_url_of_a_list_has_a_row(tmp_path: Path) -> None:
    """In the order of the list, with img2dataset's statuses and why; file names say nothing of URLs."""
    web = Hosts(
        h1={"/../../up.png": picture(), "/a.png": picture(), "/no.png": picture(("X-Robots-Tag", "noai")),
            "/page": text("<html>")},
        h2={"/robots.txt": text("", 501)},
    )  # fmt: skip
    with web.server:
        root = f"http://127.6.0.1:{web.server.port}"
        urls = [f"{root}/{name}" for name in ("%2e%2e/up.png", "no.png", "missing", "page", "a.png")]
        urls += [
            f"http://127.6.0.2:{web.server.port}/x.png",
            "http://127.7.0.1/",
            "ftp://x/y",
            "http://[",
            "http://nowhere.invalid/",
        ]
        quick = lambda: Client(private=NAMED, limits=QUICK)  # noqa: E731
        table = FetchShards(tmp_path, 0, "r", quick, 1_000_000).fetch(urls, {})
    rows = table.to_pylist()
    assert [row["url"] for row in rows] == urls
    said = [(row["status"], (row["error_message"] or "").partition(" at ")[0].split(": ")[:2]) for row in rows]
    assert [what for what, _ in said].count("success") == 1 and rows[4]["status"] == "success"
    assert [why[0] if what == "failed_to_download" else what for what, why in said] == [
        "http", "disallowed", "http", "failed_to_resize", "success", "disallowed", "address", "scheme", "url", "dns",
    ]  # fmt: skip
    assert all(re.fullmatch("00000[-_0-9a-z.]*", path.name) for path in tmp_path.iterdir())


def test_a_picture_at_which_the_fetch_itself_fails_is_one_picture_less(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "odd.example":
            raise ZeroDivisionError("division by zero")
        return ["127.6.0.1"]

    with Server(["127.6.0.1"], 0, lambda asked: picture() if asked.target == "/a.png" else MISSING) as server:
        urls = [f"http://{host}.example:{server.port}/a.png" for host in ("odd", "good")]
        client = lambda: Client(private=NAMED, limits=QUICK, resolve=resolve)  # noqa: E731
        odd, good = FetchShards(tmp_path, 0, "r", client, 1_000_000).fetch(urls, {}).to_pylist()
    assert (odd["status"], good["status"]) == ("failed_to_download", "success")
    assert odd["error_message"] == "unreadable: ZeroDivisionError: division by zero"
