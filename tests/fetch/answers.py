"""A server of one answer, and a fetch from it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.fetch import Client, FetchFailed, Limits, Networks, Response
from pipeline.miniweb.serve import Server

LOOPBACK = Networks.parse(["127.0.0.0/8"])
QUICK = Limits(body_bytes=100_000, header_bytes=8192, total_seconds=3, connect_seconds=1, grace=0.5, min_rate=1000)


@contextmanager
def answering(answer) -> Iterator[str]:
    """A server that answers every request so, and its root URL."""
    give = answer if callable(answer) else lambda asked: answer
    with Server(["127.0.0.1"], 0, give) as server:
        yield f"http://127.0.0.1:{server.port}"


def get(url: str, follow: bool = False, **options) -> Response:
    async def run() -> Response:
        async with Client(**({"private": LOOPBACK, "limits": QUICK} | options)) as client:
            return (await client.fetch(url))[0] if follow else await client.exchange(url)

    return asyncio.run(run())


def reason(url: str, follow: bool = False, **options) -> str:
    """Why a fetch failed, the body's decoding included."""
    with pytest.raises(FetchFailed) as caught:
        _ = get(url, follow, **options).body
    return caught.value.reason


def ok(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
