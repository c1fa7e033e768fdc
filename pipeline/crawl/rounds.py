"""The crawl as rounds of a Beam pipeline.

A round takes all known URLs that are not done: each partition fetches those of its hosts and yields the links found; a
shuffle sends the links to the partitions of their hosts, which drop seen ones and write the next round's frontier. A
killed round is repeated: URLs in its log are not fetched twice.
"""

import hashlib
import json
import os
import sys
import time
from asyncio import new_event_loop
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import apache_beam as beam
import numpy as np

from pipeline.crawl import frontier, lists
from pipeline.crawl.fetcher import Allowance
from pipeline.crawl.frontier import PAGE, SITEMAP, Entry, pack
from pipeline.crawl.ledger import done
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.partition import PartitionRound
from pipeline.crawl.progress import RoundLog
from pipeline.crawl.store import CrawlStore
from pipeline.display import Display
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.runner import Runner
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json
from pipeline.urls import normal, partition_of
from shards.draws import hash64
from shards.files import atomic

FORMAT = 4


@dataclass(frozen=True)
class Summary:
    """The result of a crawl: counts by outcome and rule, and `waiting` URLs left for another run by the time limit."""

    counts: dict[str, int]
    waiting: int
    rounds: int

    @property
    def discovered(self) -> int:
        return sum(self.counts.get(name, 0) for name in ("fetched", "failed", "disallowed", "left")) + self.waiting


def crawl(
    seeds: Sequence[str],
    root: Path,
    options: CrawlOptions,
    beam_options: list[str],
    stream: TextIO | None = None,
) -> Summary:
    """Crawl to WARC files under `root`, or resume a crawl started there.

    Raises BuildError for every error outside of this program."""
    options.check()
    entries = read_seeds(seeds)
    store = CrawlStore(root.resolve())
    _claim(store)
    log, cores = store.root / "work" / "worker.log", os.cpu_count() or 1
    with (
        Runner.from_options(beam_options, log, cores, "pipeline.crawl.rounds") as runner,  # before any thread
        CorpusDirectory(store.root).locked(),
    ):
        program = _program(store, entries, options, runner.workers)
        return _rounds(store, options, program["partitions"], runner, Display(stream or sys.stderr))


def read_seeds(seeds: Sequence[str]) -> list[Entry]:
    """The seed URLs of arguments: URLs of pages, sitemaps or feeds, or files with one URL per line or a column `url`.

    Raises BuildError for an argument that is neither, and if there is no URL at all."""
    found: dict[str, Entry] = {}
    for seed in seeds:
        lines: Iterable[str] = [seed]
        if not seed.startswith(("http://", "https://")):
            lines = _lines(Path(seed))
        for line in lines:
            url = normal(line.strip())
            if url is None:
                if line.strip() and not line.startswith("#"):
                    raise BuildError(f"{seed}: {line.strip()[:200]!r} is not an http or https URL")
                continue
            path = url.partition("?")[0].lower()
            kind = SITEMAP if path.endswith((".xml", ".xml.gz", ".rss", ".atom")) else PAGE
            found.setdefault(url, Entry(url, kind, 0))
    if not found:
        raise BuildError("no seeds: pass URLs, or a file with one URL per line")
    return sorted(found.values())


def _lines(path: Path) -> Iterable[str]:
    if not path.exists():
        raise BuildError(f"{path}: neither a URL (http://, https://) nor a file")
    return lists.column(path, "url") if path.suffix == ".parquet" else lists.lines(path)


def _claim(store: CrawlStore) -> None:
    root = store.root
    try:
        if (
            root.is_dir()
            and any(root.iterdir())
            and not store.program.exists()
            and not (root / "work" / "lock").exists()
        ):
            raise BuildError(f"{root} is not a crawl directory: choose a new or empty one")
        (root / "work").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{root}: {error.strerror}") from None


def _program(store: CrawlStore, seeds: list[Entry], options: CrawlOptions, workers: int) -> dict[str, Any]:
    """Start the crawl, or check that it is the same one."""
    asked = {"tool": "openm3w crawl", "format": FORMAT, "seeds": _identity(seeds), "options": options.lasting()}
    before = read_json(store.program)
    if before is None:
        partitions = max(1, workers)
        store.prepare(0)
        for number in range(partitions):
            block = pack(entry for entry in seeds if partition_of(entry.host, partitions) == number)
            write_frontier(store, options, 0, number, [block])
        before = asked | {"partitions": partitions}
        write_json(store.program, before)
    for name, value in asked.items():
        if before.get(name) != value:
            what = "other seeds" if name == "seeds" else f"other {name}"
            raise BuildError(f"{store.root} was started with {what}: choose another -o, or delete it first")
    return before


def _identity(seeds: list[Entry]) -> str:
    return hashlib.sha256(b"".join(entry.line() for entry in seeds)).hexdigest()


def is_finished(root: Path, seeds: Sequence[str]) -> bool:
    """Whether a crawl of exactly these seeds has finished at `root`. Raises BuildError like `crawl`."""
    summary, program = read_json(root / "summary.json"), read_json(CrawlStore(root).program)
    ended = summary is not None and summary.get("waiting") == 0
    return ended and program is not None and program.get("seeds") == _identity(read_seeds(seeds))


def _rounds(store: CrawlStore, options: CrawlOptions, partitions: int, runner: Runner, display: Display) -> Summary:
    deadline = time.time() + options.seconds if options.seconds is not None else None
    totals: dict[str, int] = {}
    number, resume = 0, 0.0
    while True:
        counts = [read_json(store.part(number, part, "frontier.json")) for part in range(partitions)]
        size = sum(count["total"] + count["again"] for count in counts)
        if size == 0 or (deadline is not None and max(time.time(), resume) > deadline):
            break
        _wait(resume, display)
        saved = read_json(store.part(number, 0, "round.json"))
        if saved is None:
            allowances = _allowances(options, totals, [count["pages"] for count in counts])
            saved = {"allowances": allowances}
            write_json(store.part(number, 0, "round.json"), saved)
        sitemaps = max(0, options.pages - done(totals, SITEMAP)) // partitions
        work = [
            PartitionRound(store, options, partitions, part, number, Allowance(pages, sitemaps, most_bytes, deadline))
            for part, (pages, most_bytes) in enumerate(saved["allowances"])
        ]
        store.prepare(number + 1)
        following = [read_json(store.part(number + 1, part, "frontier.json")) for part in range(partitions)]
        if any(counted is None for counted in following):
            log = RoundLog(store, number, partitions, size)
            workers, name = min(partitions, runner.workers), f"{store.root.name}-crawl-{number}"
            with display.watch(log), runner.pipeline(workers, name) as pipeline:
                links = pipeline | "Partitions" >> beam.Create(work) | "Crawl" >> beam.FlatMap(crawl_partition)
                # Output: (partition, packed links)
                _ = (
                    links
                    | "To their hosts" >> beam.GroupByKey()
                    | "Frontier" >> beam.MapTuple(partial(write_frontier, store, options, number + 1))
                )
        ended = [read_json(store.part(number, part, "done.json")) for part in range(partitions)]
        for name, count in (item for part in ended for item in part["counts"].items()):
            totals[name] = totals.get(name, 0) + count
        resume = _resume(ended)
        number += 1
    totals.pop("carried", None)
    waiting = size
    summary = Summary(dict(sorted(totals.items())), waiting, number)
    write_json(
        store.root / "summary.json",
        {"counts": summary.counts, "waiting": waiting, "rounds": number, "discovered": summary.discovered},
    )
    return summary


def _resume(ended: list[dict[str, Any]]) -> float:
    """When to start the next round of these partitions, in seconds since the epoch: later than now if only hosts that
    asked for a pause are left."""
    outcomes = ("fetched", "failed", "disallowed", "left")
    if any(part["counts"].get(outcome) for part in ended for outcome in outcomes):
        return 0.0  # finished requests may have led to new URLs
    return min((part["resume"] for part in ended if part.get("resume")), default=0.0)


def _wait(until: float, display: Display) -> None:
    if until - time.time() > 5:
        clock = time.strftime("%H:%M:%S", time.localtime(until))
        display.note(f"all remaining hosts asked for a pause: waiting until {clock}")
    while (left := until - time.time()) > 0:
        time.sleep(min(left, 1.0))


def _allowances(options: CrawlOptions, totals: dict[str, int], pages: list[int]) -> list[tuple[int, int]]:
    """What each partition may use, from what is left of the total, in proportion to its work."""
    left, total = max(0, options.pages - done(totals, PAGE)), sum(pages)
    bytes_left = max(0, options.bytes - totals.get("bytes", 0)) // len(pages)
    if total <= left:
        return [(count, bytes_left) for count in pages]
    shares, given = [], 0
    for index, count in enumerate(pages):
        until = left * sum(pages[: index + 1]) // total
        shares.append((min(count, until - given), bytes_left))
        given = until
    return shares


def crawl_partition(work: PartitionRound) -> Iterator[tuple[int, bytes]]:
    """Run a partition's event loop, yielding blocks as links arrive."""
    loop = new_event_loop()
    blocks = work.blocks()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(blocks))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def write_frontier(store: CrawlStore, options: CrawlOptions, round: int, part: int, blocks: Iterable[bytes]) -> None:
    """Write a partition's next frontier: the links sent to it, without seen ones."""
    seen = unusable = np.zeros(0, np.uint64)
    pages_of_host: dict[str, int] = {}
    if round:
        seen = np.load(store.part(round - 1, part, "seen.npy"))
        unusable = np.union1d(np.load(store.part(round - 1, part, "unusable.npy")), _unusable(store, round - 1, part))
        pages_of_host = read_json(store.part(round - 1, part, "hosts.json"))
    path = store.part(round, part, "frontier")
    hashes = [seen]
    further: list[Entry] = []

    def shares() -> Iterator[list[Entry]]:
        for entries in frontier.by_hosts(blocks, path.parent):
            kept, found, again = frontier.merge(entries, seen, unusable, pages_of_host, options.pages_per_host)
            hashes.append(found)
            further.extend(again)
            yield kept

    counts = frontier.write(path, shares())
    with atomic(store.part(round, part, "again")) as file:
        file.write(b"".join(entry.line() for entry in further))
    for name, known in (("seen.npy", np.unique(np.concatenate(hashes))), ("unusable.npy", unusable)):
        with atomic(store.part(round, part, name)) as file:
            np.save(file, known)
    write_json(store.part(round, part, "hosts.json"), pages_of_host)
    about = {"pages": counts.pages, "others": counts.others, "hosts": counts.hosts, "total": counts.total}
    write_json(store.part(round, part, "frontier.json"), about | {"again": len(further)})


def _unusable(store: CrawlStore, round: int, part: int) -> np.ndarray:
    """The hashes of the images that a partition could not use in a round."""
    with store.log(round, part).open("rb") as file:
        rows = map(json.loads, file)
        return np.array([hash64(row["url"]) for row in rows if row.get("unusable")], np.uint64)
