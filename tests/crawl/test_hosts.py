"""The queue of one host, and the loop over all of them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl import hosts
from pipeline.crawl.frontier import PAGE, Entry
from pipeline.crawl.hosts import Host, HostLoop, RoundEnd


@given(st.floats(0, 1e6), st.floats(0.001, 120), st.floats(0, 1e6))
def test_a_request_waits_a_little_longer_than_the_delay(last: float, delay: float, rest: float) -> None:
    """Requests sent exactly one delay apart may arrive closer together than that."""
    host = Host("example.org", iter(()), delay, rest, last)
    assert host.next_time >= rest
    assert host.next_time - last > 1.02 * delay - 1e-6
    assert host.next_time <= max(rest, last + 1.1 * delay)


def queues(count: int) -> list[Host]:
    return [
        Host(f"h{n}", iter([Entry(f"http://h{n}/{page}", PAGE, 0) for page in "ab"]), 0.0, 0.0) for n in range(count)
    ]


def test_all_hosts_get_their_turns_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CONNECTIONS", 3)
    asked: list[str] = []
    at_once: list[int] = []
    flying: set[str] = set()

    async def step(host: Host) -> None:
        flying.add(host.name)
        at_once.append(len(flying))
        await asyncio.sleep(0)
        if (taken := host.take(1e9)) is not None:
            asked.append(taken[0].url)
        flying.remove(host.name)

    async def run() -> None:
        await HostLoop(step, RoundEnd(0.0, 1e9, 0)).run(queues(8))

    asyncio.run(asyncio.wait_for(run(), 20))
    assert sorted(asked) == [f"http://h{n}/{page}" for n in range(8) for page in "ab"]
    assert max(at_once) == 3


def test_a_step_that_fails_ends_the_loop() -> None:
    async def step(host: Host) -> None:
        if host.name == "h1":
            raise OSError("no space left")
        await asyncio.sleep(60)

    async def run() -> None:
        await HostLoop(step, RoundEnd(0.0, 1e9, 0)).run(queues(3))

    with pytest.raises(OSError, match="no space left"):
        asyncio.run(run())


def test_hosts_that_are_done_do_not_wait_long_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the others rest until long after."""
    monkeypatch.setattr(hosts, "SHORTEST_ROUND", 0.2)
    carried: list[str] = []

    async def run() -> None:
        now = asyncio.get_running_loop().time()
        end = RoundEnd(now, now + 1e6, 9)
        slow, resting, *quick = queues(4)
        slow.delay, resting.rest = 0.05, now + 1e5
        slow.fresh = iter([Entry("http://h0/", PAGE, 0)] * 100_000)

        async def step(host: Host) -> None:
            if max(host.next_time, asyncio.get_running_loop().time()) > end.time:
                carried.append(host.name)
                list(host.drain())
            elif host.take(1e9) is not None:
                host.sent()

        await HostLoop(step, end).run([slow, resting, *quick])

    asyncio.run(asyncio.wait_for(run(), 60))
    assert sorted(carried) == ["h0", "h1"]
