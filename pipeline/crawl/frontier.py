"""URLs to fetch: their data, how blocks of them travel between partitions, and the sorted file that a partition
processes in a round."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from pipeline.urls import host_of, normal
from shards.draws import hash64
from shards.files import atomic

PAGE, IMAGE, SITEMAP = "page", "image", "sitemap"
_RANK = {SITEMAP: 0, PAGE: 1, IMAGE: 2}
SHARES = 64
MOST_OTHERS = 8
"""Maximum further URLs of an image, if its first one cannot be used."""


class Entry(NamedTuple):
    """A URL to fetch. `depth` counts links from a seed, `hops` the redirects and sitemaps that led here, `via` is where
    it was found. `left` is a limit under which it will not be fetched. `known` entries were in an earlier frontier.
    `others` are the URLs to try if an image cannot be used, in their order.
    `owner` is the robots.txt that named a sitemap, which therefore lists pages of that host; "" for the sitemap's own
    host.
    """

    url: str
    kind: str
    depth: int
    hops: int = 0
    via: str = ""
    left: str = ""
    known: bool = False
    owner: str = ""
    others: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return host_of(self.url)

    def line(self) -> bytes:
        return json.dumps(self, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> "Entry":
        return cls.of_row(json.loads(line))

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Entry":
        """An entry read from JSON, which has no tuples."""
        return cls._make([*row[:-1], tuple(row[-1])])


def another(entry: Entry) -> list[Entry]:
    """The next candidate of an image that cannot be used, if there is one."""
    named = list(filter(None, map(normal, entry.others)))
    return [entry._replace(url=url, hops=0, known=False, others=tuple(named[1:])) for url in named[:1]]


def pack(entries: Iterable[Entry]) -> bytes:
    """A block of entries in transit."""
    return zlib.compress(b"".join(entry.line() for entry in entries), 1)


@dataclass(frozen=True)
class Counts:
    """Contents of a frontier file."""

    pages: int
    others: int
    hosts: int

    @property
    def total(self) -> int:
        return self.pages + self.others


def by_hosts(blocks: Iterable[bytes], scratch: Path) -> Iterator[list[Entry]]:
    """The entries of blocks, a share of the hosts at a time and each host complete: memory does not hold them all."""
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile(dir=scratch)) for _ in range(SHARES)]
        for block in blocks:
            for line in zlib.decompress(block).splitlines(keepends=True):
                files[zlib.crc32(Entry.of_line(line).host.encode()) % SHARES].write(line)
        for file in files:
            file.seek(0)
            yield [Entry.of_line(line) for line in file]


def merge(
    entries: Iterable[Entry],
    seen: np.ndarray,
    unusable: np.ndarray,
    pages_of_host: dict[str, int],
    pages_per_host: int,
) -> tuple[list[Entry], np.ndarray, list[Entry]]:
    """(entries of a new frontier sorted by host, the hashes of their URLs and of known ones, further candidates).

    Of several entries for a URL the one nearest to a seed counts. `seen` are sorted hashes, `unusable` those of images
    that earlier rounds could not use: of these, the candidates that pages offer now are returned. `pages_of_host` is
    updated; sitemaps and feeds do not count as pages."""
    best: dict[str, Entry] = {}
    others: dict[str, set[str]] = {}
    for entry in entries:
        other = best.get(entry.url)
        if other is None or _order(entry) < _order(other):
            best[entry.url] = entry
        if other is not None and entry.others != other.others:
            others.setdefault(entry.url, {*other.others}).update(entry.others)
    for url, named in others.items():
        own = best[url].others
        best[url] = best[url]._replace(others=(*own, *sorted(named.difference(own)))[:MOST_OTHERS])
    candidates = sorted(best.values(), key=lambda entry: entry.url)
    hashes = np.fromiter((hash64(entry.url) for entry in candidates), np.uint64, len(candidates))
    is_new, tried = ~np.isin(hashes, seen), np.isin(hashes, unusable)
    chosen = [entry for entry, new in zip(candidates, is_new, strict=True) if new or entry.known]
    again = [
        one
        for entry, failed in zip(candidates, tried, strict=True)
        if failed and entry.kind == IMAGE and not entry.known
        for one in another(entry)
    ]
    chosen.sort(key=lambda entry: (entry.host, entry.depth, _RANK[entry.kind], entry.url))
    out = []
    for entry in chosen:
        if entry.kind != IMAGE and not entry.known and not entry.left:
            counted = entry.host if entry.kind == PAGE else f"{entry.kind} {entry.host}"
            count = pages_of_host.get(counted, 0)
            if count >= pages_per_host:
                entry = entry._replace(left="limit.pages_per_host")
            else:
                pages_of_host[counted] = count + 1
        out.append(entry)
    return out, hashes, again


def _order(entry: Entry) -> tuple[bool, int, int, int, str]:
    return not entry.known, entry.depth, _RANK[entry.kind], entry.hops, entry.via


def write(path: Path, shares: Iterable[list[Entry]]) -> Counts:
    """Write a frontier file and return its counts. All entries of a host are in one share."""
    pages = total = hosts = 0
    with atomic(path) as file:
        for entries in shares:
            for start in range(0, len(entries), 1000):
                file.write(b"".join(entry.line() for entry in entries[start : start + 1000]))
            pages += sum(entry.kind == PAGE and not entry.left for entry in entries)
            total += len(entries)
            hosts += len({entry.host for entry in entries})
    return Counts(pages, total - pages, hosts)


def read_all(path: Path) -> Iterator[Entry]:
    """The entries of a file of lines."""
    with path.open("rb") as file:
        yield from map(Entry.of_line, file)


@dataclass(frozen=True)
class Slice:
    """The entries of one host: `count` lines from byte `offset` on, of which `pages` are pages to fetch."""

    host: str
    offset: int
    count: int
    pages: int


def slices(path: Path) -> list[Slice]:
    """The hosts of a frontier file."""
    found: list[Slice] = []
    offset = 0
    with path.open("rb") as file:
        for line in file:
            entry = Entry.of_line(line)
            page = int(entry.kind == PAGE and not entry.left)
            if found and found[-1].host == entry.host:
                found[-1] = replace(found[-1], count=found[-1].count + 1, pages=found[-1].pages + page)
            else:
                found.append(Slice(entry.host, offset, 1, page))
            offset += len(line)
    return found


def read(path: Path, part: Slice, batch: int = 64) -> Iterator[Entry]:
    """The entries of one host, some at a time, so that many hosts can be read from one file."""
    offset, left = part.offset, part.count
    while left:
        with path.open("rb") as file:
            file.seek(offset)
            lines = [file.readline() for _ in range(min(batch, left))]
        offset += sum(map(len, lines))
        left -= len(lines)
        yield from map(Entry.of_line, lines)
