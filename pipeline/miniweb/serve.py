"""Serve a generated web on loopback addresses, one address per host, so that a crawler sees many servers."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType

from pipeline.miniweb.web import Resource
from pipeline.miniweb.write import chunked, http_head

FIRST = (127 << 24) + (1 << 16) + 1
"""127.1.0.1; Linux answers on all of 127.0.0.0/8 without configuration."""


@dataclass
class Addresses:
    """Assigns the next loopback address to each new host. An instance is a `Base` for `generate`."""

    port: int
    hosts: dict[str, str] = field(default_factory=dict)

    def __call__(self, host: str) -> str:
        if host not in self.hosts:
            value = FIRST + len(self.hosts)
            self.hosts[host] = ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
        return f"http://{self.hosts[host]}:{self.port}"


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it. `at` is in seconds of the monotonic clock."""

    at: float
    host: str
    target: str
    headers: dict[str, str]


Answer = Callable[[Asked], "Resource | bytes | None"]
"""The answer: a resource, raw bytes before closing the connection, or nothing before closing it."""


class Server:
    """Serves loopback addresses from a separate thread. Use as a context manager.

    `log` holds every request in order of arrival."""

    def __init__(self, addresses: list[str], port: int, answer: Answer, delay: float = 0.0) -> None:
        self._addresses, self.port, self._answer, self._delay = addresses, port, answer, delay
        self.log: list[Asked] = []
        self._started = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="miniweb", daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        servers: list[asyncio.Server] = []
        try:
            for address in self._addresses:
                server = await asyncio.start_server(self._talk, address, self.port, backlog=1024)
                self.port = server.sockets[0].getsockname()[1]
                servers.append(server)
        except OSError as error:
            self._error = error
        self._started.set()
        if self._error is None:
            await self._stop.wait()
        for server in servers:
            server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *fields = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
                asked = Asked(time.monotonic(), host, line.split(" ")[1], headers)
                self.log.append(asked)
                if self._delay:
                    await asyncio.sleep(self._delay)
                answer = self._answer(asked)
                if answer is None:
                    break
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                    break
                writer.write(message(answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # the client disconnected
        finally:
            writer.close()


def message(resource: Resource) -> bytes:
    """A response as it goes over the wire."""
    framed = chunked(resource.body) if resource.header("Transfer-Encoding") == "chunked" else resource.body
    return http_head(resource) + framed


def answer_from(resources: dict[str, Resource], port: int) -> Answer:
    """Answer with the resources of a web, by URL; 404 for other URLs."""
    body = HTTPStatus.NOT_FOUND.phrase.encode()
    missing = Resource(404, (("Content-Type", "text/plain"),), body, "")
    return lambda asked: resources.get(f"http://{asked.host}:{port}{asked.target}", missing)
