"""A web whose hosts answer as a test specifies, and a crawl of it in one process."""

import itertools
import re
from pathlib import Path

from pipeline.crawl.frontier import Entry
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.rounds import Summary, crawl
from pipeline.crawl.store import CrawlStore
from pipeline.fetch import Limits
from pipeline.miniweb.serve import Asked, Server
from pipeline.miniweb.web import Resource
from tests.ports import PORT

QUICK = Limits(body_bytes=200_000, header_bytes=8192, total_seconds=2, connect_seconds=1, grace=0.5, min_rate=2000)


def page(*links: str, head: str = "", headers: tuple[tuple[str, str], ...] = (), body: str = "") -> Resource:
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    html = f"<!doctype html><head>{head}</head><body>{anchors}{body}</body>"
    return Resource(200, (("Content-Type", "text/html; charset=utf-8"), *headers), html.encode(), "")


def picture(headers: tuple[tuple[str, str], ...] = ()) -> Resource:
    return Resource(200, (("Content-Type", "image/png"), *headers), b"\x89PNG\r\n\x1a\n" + bytes(99), "")


def answer_with(status: int, *headers: tuple[str, str]) -> Resource:
    return Resource(status, headers, b"", "")


class Web:
    """Answers by "HOST TARGET": a resource, bytes, None (closes), or an iterator of those."""

    def __init__(self, **hosts: dict) -> None:
        self.port = 0
        self.hosts = {f"127.4.0.{name[1:]}": paths for name, paths in hosts.items()}

    def __call__(self, asked: Asked):
        found = self.hosts.get(asked.host, {}).get(asked.target, answer_with(404))
        return next(found) if isinstance(found, itertools.chain) else found


def run(web: Web, folder: Path, *seeds: str, **options) -> tuple[Summary, dict[str, str], Server]:
    """(summary, outcome and rule by "HOST/PATH", server) of a crawl in one process."""
    with Server(sorted(web.hosts), PORT, web) as server:
        asked = {"delay": 0.01, "limits": QUICK, "allow_private": ("127.4.0.0/24",)} | options
        urls = [f"http://127.4.0.{seed}" if seed[0].isdigit() else seed for seed in seeds]
        with (folder / "progress").open("w") as stream:
            summary = crawl(urls, folder / "c", CrawlOptions(**asked), ["--direct_num_workers=1"], stream)
    found = {}
    for row in CrawlStore(folder / "c").rows():
        if row["kind"] in ("page", "image", "sitemap") and row["outcome"] != "carried":
            name = short(row["url"])
            assert name not in found, "a URL has two rows"
            found[name] = f"{row['outcome']} {row.get('rule', '')}".strip()
    assert summary.discovered == len(found) + summary.waiting
    counted = sum(summary.counts.get(name, 0) for name in ("fetched", "failed", "disallowed", "left"))
    waiting = set() if summary.waiting == 0 else discovered(folder / "c") - set(found)
    assert discovered(folder / "c") == set(found) | waiting and counted == len(found)
    # nothing that a server says becomes the name of a file
    names = [path.relative_to(folder / "c").as_posix() for path in (folder / "c").rglob("*")]
    known = r"[a-z]+(/[0-9-]+)*(/[0-9-]+)?(\.[a-z.]+)?|work/[a-z.]+|work/generations/[0-9]+\.(json|beat)"
    assert all(re.fullmatch(known, name) for name in names), names
    return summary, found, server


def short(url: str) -> str:
    return url.replace(f":{PORT}", "").removeprefix("http://127.4.0.")


def discovered(folder: Path) -> set[str]:
    """Every URL in the frontier of some round."""
    lines = [line for path in folder.glob("rounds/*/*.frontier") for line in path.read_bytes().splitlines()]
    return {short(Entry.of_line(line).url) for line in lines}
