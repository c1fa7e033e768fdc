"""A partition's round, apart from what it fetches."""

import asyncio
from pathlib import Path

import pytest

from pipeline.crawl.fetcher import Allowance
from pipeline.crawl.hosts import HostLoop
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.outbox import Outbox
from pipeline.crawl.partition import PartitionRound
from pipeline.crawl.store import CrawlStore, Lines
from pipeline.json_files import write_json


class FullDisk(PartitionRound):
    async def _work(self, log: Lines, outbox: Outbox) -> None:
        outbox.ready.put_nowait((0, b"a block"))
        raise OSError("no space left")


def test_a_round_is_shortened_when_another_partition_has_done_its_work(tmp_path: Path) -> None:
    store = CrawlStore(tmp_path)
    store.prepare(0)
    shortened = []

    class Loop(HostLoop):
        def __init__(self) -> None:
            pass

        def shorten(self) -> None:
            shortened.append(True)

    async def watch(partitions: int) -> None:
        work = PartitionRound(store, CrawlOptions(), partitions, 0, 0, Allowance(1, 1, 1, None))
        await asyncio.wait_for(work._watch(Loop()), 2.5)

    write_json(store.part(0, 1, "done.json"), {"counts": {}})
    with pytest.raises(TimeoutError):
        asyncio.run(watch(3))
    asyncio.run(watch(1))
    assert not shortened
    write_json(store.part(0, 2, "done.json"), {"counts": {"fetched": 1}})
    asyncio.run(watch(3))
    assert shortened


def test_a_round_that_fails_with_its_last_block_is_not_taken_as_done(tmp_path: Path) -> None:
    store = CrawlStore(tmp_path)
    store.prepare(0)
    store.part(0, 0, "again").touch()
    work = FullDisk(store, CrawlOptions(), 1, 0, 0, Allowance(1, 1, 1, None))

    async def blocks() -> list[tuple[int, bytes]]:
        return [block async for block in work.blocks()]

    with pytest.raises(OSError, match="no space left"):
        asyncio.run(blocks())
