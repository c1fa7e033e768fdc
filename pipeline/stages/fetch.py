"""Stage fetched: images used by pages but missing from the input are fetched from the network.

Their URLs are grouped by host into lists, so one task has a host to itself and can be polite to it. Fetched images are
a further supply for stage references, beside the records of the input."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import image
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.fetch import Client, Limits, Networks
from pipeline.images.video import FILE as VIDEO_FILE
from pipeline.json_files import read_json, write_json
from pipeline.recipe import Recipe
from pipeline.stages.schemas import MISSING
from pipeline.urls import host_of, partition_of
from shards.files import atomic

LISTS, LIST_URLS = 16, 100_000
"""The lists hold about `LIST_URLS` URLs each, so memory does not grow with the total; at least `LISTS`, to give every
worker some. The grouping does not depend on the machine."""
OPEN_LISTS = 512
"""Lists written at once, each an open file; for more, what is missing is read again."""


HOSTS = 3
"""Maximum hosts tried for one image if the page offers it on several."""


@dataclass(frozen=True)
class Network:
    """Network permissions of a build. `fetch` without a contact or a private network requests nothing."""

    fetch: bool = True
    retry_failed: bool = False
    contact: str | None = None
    allow_private: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.fetch and (self.contact is not None or bool(self.allow_private))


WEB = ("http://", "https://")
NOT_FETCHED = "image.not_fetched"
DISALLOWED = "disallowed: "
"""Prefix of the message of an image that was not fetched because of an opt-out by it or its host; the rule follows."""
OFFLINE = Network(fetch=False)


def write_lists(corpus: CorpusDirectory, wanted: Sequence[FileEntry]) -> tuple[Task, ...]:
    """Group the images of work/wanted into lists by the host of their first URL; one task per list."""
    corpus.work("fetched").mkdir(parents=True, exist_ok=True)
    lists = max(LISTS, -(-sum(entry.rows for entry in wanted) // LIST_URLS))

    def offered() -> Iterator[list[str]]:
        for entry in wanted:
            yield from tables.read(corpus.root / entry.path)["urls"].to_pylist()

    return _deal(corpus, offered, range(lists))


def write_further_lists(corpus: CorpusDirectory, before: Sequence[Task]) -> tuple[Task, ...]:
    """Group the images that the hosts of earlier lists did not deliver, by the next host the page offers."""
    first = before[-1].number + 1

    def left() -> Iterator[list[str]]:
        for task in before:
            yield from _lines(corpus.part("fetched", task.number, "left"))

    return _deal(corpus, left, range(first, first + len(before)))


def _deal(corpus: CorpusDirectory, pictures: Callable[[], Iterable[list[str]]], numbers: range) -> tuple[Task, ...]:
    """Write work/fetched/LIST.urls: one line per image, with its URLs."""
    counts = [0] * len(numbers)
    for start in range(0, len(numbers), OPEN_LISTS):
        paths = [corpus.part("fetched", number, "urls") for number in numbers[start : start + OPEN_LISTS]]
        files: list[IO[str]] = [path.with_suffix(".urls.tmp").open("w", encoding="utf-8") for path in paths]
        for offered in pictures():
            index = partition_of(host_of(offered[0]), len(numbers))
            if start <= index < start + len(files):
                files[index - start].write("\t".join(offered) + "\n")
                counts[index] += 1
        for file, path in zip(files, paths, strict=True):
            file.close()
            path.with_suffix(".urls.tmp").replace(path)
    return tuple(map(Task, numbers, counts))


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n").split("\t")


def missing(asked: Iterable[list[str]]) -> pa.Table:
    """The images on the open web (rows of MISSING) among those that were not found in a usable form."""
    found = (dict.fromkeys(urls) for urls in asked if urls and urls[0].startswith(WEB))
    return pa.table({"urls": [[url for url in urls if url.startswith(WEB)] for urls in found]}, MISSING)


def attempt_of(corpus: CorpusDirectory, wanted: str, retry: bool) -> int:
    """Number of the attempt that this run starts or continues. A requested retry starts only when the previous attempt
    is complete."""
    path = corpus.work("fetched/attempt.json")
    saved = read_json(path)
    if saved is None or saved["wanted"] != wanted:
        saved = {"wanted": wanted, "attempt": 0}
    elif retry and (read_json(corpus.work(RESULT)) or {}).get("attempt") == saved:
        saved = saved | {"attempt": saved["attempt"] + 1}
    write_json(path, saved)
    return int(saved["attempt"])


RESULT = "fetched/result.json"


def write_result(corpus: CorpusDirectory, lists: int, files: Sequence[FileEntry]) -> None:
    """Record that an attempt is complete, with the tables of all its lists; `lists`: number of lists."""
    attempt = read_json(corpus.work("fetched/attempt.json"))
    write_json(corpus.work(RESULT), {"attempt": attempt, "lists": lists, "files": [vars(entry) for entry in files]})


def read_result(corpus: CorpusDirectory) -> list[FileEntry]:
    """The tables of the last complete attempt; empty if there is none."""
    result = read_json(corpus.work(RESULT))
    return [] if result is None else [FileEntry(**entry) for entry in result["files"]]


@dataclass(eq=False)
class FetchImages(EachTask):
    """Input: tasks, one per list. Output: (list, files): work/fetched/LIST.parquet, a row per URL, and the bytes beside
    it."""

    corpus: CorpusDirectory
    network: Network
    recipe: Recipe
    run: str
    lists: int

    def work(self, task: Task) -> list[FileEntry]:
        from pipeline.fetch.shards import COLUMNS, FetchShards

        network, number, rules = self.network, task.number, self.recipe.image
        limits = Limits(body_bytes=rules.max_bytes)
        client = partial(Client, network.contact, Networks.parse(network.allow_private), limits)
        folder = self.corpus.work("fetched")
        before = {row["url"]: row for row in fetched(self.corpus, number) if row["status"] == "success"}
        usable: dict[str, bool] = {}
        for earlier in range(number - self.lists, -1, -self.lists):  # of the same hosts
            usable |= self._usable(_table(self.corpus, earlier))
        waiting = list(_lines(self.corpus.part("fetched", number, "urls")))
        if self.recipe.video.keep:  # videos come from the input alone
            usable |= {url: False for offered in waiting for url in offered if VIDEO_FILE.search(url)}
        left: list[list[str]] = []
        done: list[pa.Table] = []
        closed: dict[str, str] = {}
        for earlier in range(number - self.lists, -1, -self.lists):
            closed |= read_json(self.corpus.part("fetched", earlier, "closed")) or {}
        while waiting:
            urls = _in_turns({offered[0] for offered in waiting} - usable.keys())
            if urls:
                shards = FetchShards(folder, number, f"{self.run}{len(done)}", client, rules.max_pixels, closed)
                done.append(shards.fetch(urls, before))
                usable |= self._usable(done[-1])
            waiting, failed = [], [offered for offered in waiting if not usable[offered[0]]]
            for first, *others in failed:
                # the next URL on this host; other hosts belong to other lists
                here = [url for url in others if host_of(url) == host_of(first)]
                elsewhere = [url for url in others if host_of(url) != host_of(first)]
                if here:
                    waiting.append(here + elsewhere)
                elif elsewhere:
                    left.append(elsewhere)
        with atomic(self.corpus.part("fetched", number, "left")) as file:
            file.write("".join("\t".join(offered) + "\n" for offered in left).encode())
        write_json(self.corpus.part("fetched", number, "closed"), closed)
        table = pa.concat_tables(done) if done else COLUMNS.empty_table()
        entry = tables.write(self.corpus, self.corpus.part("fetched", number), table)
        for path in folder.glob(f"{number:05d}-*"):
            if f"-{self.run}" not in path.stem:
                path.unlink()
        return [entry]

    def _usable(self, rows: pa.Table) -> dict[str, bool]:
        """Whether the response of each URL can be used; if not, the next URL the page offers is fetched."""
        usable = image.usable(rows) & np.equal(rows["status"].to_numpy(), "success")
        return dict(zip(rows["url"].to_pylist(), usable.tolist(), strict=True))


def _in_turns(urls: set[str]) -> list[str]:
    """One URL per host, then the next of each: a slow host holds few threads."""
    rank: dict[str, int] = {}
    keyed = []
    for url in sorted(urls):
        host = host_of(url)
        rank[host] = rank.get(host, -1) + 1
        keyed.append((rank[host], host, url))
    return [url for _, _, url in sorted(keyed)]


def fetched(corpus: CorpusDirectory, number: int, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a list's table; empty if nothing was fetched."""
    return _table(corpus, number, columns).to_pylist()


def _table(corpus: CorpusDirectory, number: int, columns: list[str] | None = None) -> pa.Table:
    from pipeline.fetch.shards import COLUMNS  # importing img2dataset is slow

    path = corpus.part("fetched", number)
    return tables.read(path, columns) if path.exists() else COLUMNS.empty_table()


def supply(corpus: CorpusDirectory, part: int, parts: int, lists: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """(list, its rows with `number`) of the fetched images that `part` passes on, each with `usable`, and of those that
    opted out, with their `rule`."""
    columns = ["url", "status", "sha256", "error_message", *image.PROBED_COLUMNS]
    for number in range(part, lists, parts):
        told = []
        table = _table(corpus, number, columns)
        table = table.append_column("usable", pa.array(image.usable(table)))
        for index, row in enumerate(table.to_pylist()):
            message = row["error_message"] or ""
            rule = message.removeprefix(DISALLOWED) if message.startswith(DISALLOWED) else None
            if row["status"] == "success" or rule is not None:
                told.append(row | {"number": index, "rule": rule})
        yield number, told


def failures(corpus: CorpusDirectory, urls: Iterable[str]) -> dict[str, tuple[str, str]]:
    """(status, error) of those URLs whose request failed."""
    result = read_json(corpus.work(RESULT)) or {"lists": 0, "files": []}
    wanted: dict[int, list[str]] = {}
    for url in urls if result["files"] else ():
        for number in range(partition_of(host_of(url), result["lists"]), len(result["files"]), result["lists"]):
            wanted.setdefault(number, []).append(url)
    found = {}
    for number, names in sorted(wanted.items()):
        table = tables.read(corpus.part("fetched", number), ["url", "status", "error_message"])
        failed = table.filter(
            pc.and_(pc.is_in(table["url"], pa.array(names)), pc.not_equal(table["status"], "success"))
        )
        for row in failed.to_pylist():
            found[row["url"]] = (row["status"], row["error_message"])
    return found
