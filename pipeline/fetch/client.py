"""An HTTP/1.1 client for hostile servers: h11 frames the messages, asyncio transports the bytes.

The address is checked, not the name: each name is resolved once per connection and the socket is opened to a checked
address, so DNS rebinding has no effect. No cookies, no credentials, no proxies.
"""

import asyncio
import re
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import h11

from pipeline import urls
from pipeline.errors import BuildError
from pipeline.fetch.address import NO_NETWORKS, Networks
from pipeline.fetch.response import DEFAULT_LIMITS, FetchFailed, Limits, Response
from pipeline.media_type import essence
from pipeline.sources.http import END_OF_HEAD, first_values

READ = 1 << 16
IDLE_CONNECTIONS = 256
IDLE_SECONDS = 30.0
"""How long an idle connection is kept; servers close theirs after 5 (Apache) to 75 (nginx) seconds."""
NAME_SECONDS = 60.0
"""How long a name's addresses are cached."""
NAMES = 10_000
BUFFERED_BYTES = 512 << 20
"""Maximum memory of all unfinished bodies together."""
PRODUCT = "openm3w"
VERSION = re.compile(rb"http(?:/(1\.[01]))?[ \t]+(?=\d{3})", re.IGNORECASE)
CONTACT = re.compile(r"[!-~]{1,300}")

USUAL = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate, br", "Connection": "keep-alive"}
NO_HEADERS: Mapping[str, str] = {}

Origin = tuple[str, str, int]
"""Scheme, host, port."""
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Maps host and port to addresses."""


def user_agent(contact: str | None) -> str:
    """The User-Agent. `contact` is a URL or mail address at which server owners can reach the user.

    Raises BuildError if `contact` is not valid in a header."""
    if contact is not None and not CONTACT.fullmatch(contact):
        raise BuildError(f"--contact {contact!r}: must be a URL or mail address in ASCII without spaces")
    return f"{PRODUCT}/0.1" + (f" (+{contact})" if contact else "")


def parts_of(url: str) -> urls.UrlParts:
    """The parts of an http or https URL. Raises FetchFailed for anything else."""
    parts = urls.split(url)
    if parts is None:
        scheme = url.partition(":")[0].lower()
        raise FetchFailed("url" if scheme in ("http", "https") else "scheme", url[:200])
    if parts.scheme not in ("http", "https"):
        raise FetchFailed("scheme", parts.scheme)
    return parts


@dataclass(eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: str
    http: h11.Connection
    since: float = 0.0

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass(eq=False)
class _Answer:
    """The bytes of a response as they arrive, of which h11 reads the head and the end."""

    http: h11.Connection
    limits: Limits
    received: bytearray = field(default_factory=bytearray)
    size: int = 0
    _head: bytes = b""
    _response: h11.Response | None = None
    _read: bool = False
    _since: float = field(default_factory=time.monotonic)

    def receive(self, data: bytes) -> None:
        """Add `data`, empty at the end of the connection. Raises FetchFailed if there is too much, or too slowly."""
        if not data and not self.size:
            raise FetchFailed("reset", "closed before the response")
        limits = self.limits
        self.size += len(data)
        self.received += data
        if self._read:
            self.http.receive_data(data)
        elif b"\n" in self.received or not data or len(self.received) >= limits.header_bytes:
            self._read = True
            self.http.receive_data(_usual(bytes(self.received)))
            if not data:
                self.http.receive_data(data)
        seconds = time.monotonic() - self._since
        if len(self.received) - len(self._head) > limits.body_bytes + limits.body_bytes // 8 + limits.header_bytes:
            raise FetchFailed("too_large", f"over {limits.body_bytes} bytes")
        if seconds > limits.grace and len(self.received) < limits.min_rate * seconds:
            raise FetchFailed("slow", f"{len(self.received) / seconds:.0f} bytes/s")

    def begin(self, response: h11.Response) -> None:
        """The head has ended."""
        self._response = response
        blank = END_OF_HEAD.search(self.received)  # as in h11, this also ends a head
        self._head = bytes(self.received[: len(self.received) if blank is None else blank.end()])

    def complete(self) -> tuple[bytes, bytes, h11.Response]:
        """(head, body as sent, h11's response) at the end of the message."""
        assert self._response is not None
        over = len(self.http.trailing_data[0])
        return self._head, bytes(self.received[len(self._head) : len(self.received) - over]), self._response

    def failure(self, error: h11.RemoteProtocolError) -> FetchFailed:
        if self._response is None and len(self.received) >= self.limits.header_bytes:
            return FetchFailed("header_too_large", f"over {self.limits.header_bytes} bytes")
        if not self.received:
            return FetchFailed("reset", "closed before the response")
        cut = "peer closed connection" in str(error)
        return FetchFailed("reset" if cut else "protocol", str(error)[:200])


@dataclass(eq=False)
class Client:
    """Fetches URLs on one event loop, with keep-alive connections. Use as an asynchronous context manager.

    `contact` is required for hosts that are not in `private`: requests to the open web must identify the user."""

    contact: str | None = None
    private: Networks = NO_NETWORKS
    limits: Limits = DEFAULT_LIMITS
    resolve: Resolve | None = None
    _idle: OrderedDict[Origin, list[_Connection]] = field(default_factory=OrderedDict)
    _names: OrderedDict[tuple[str, int], tuple[float, list[str]]] = field(default_factory=OrderedDict)
    _held: int = 0
    _tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def fetch(
        self,
        url: str,
        check: Callable[[str], Awaitable[None]] | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> tuple[Response, list[str]]:
        """Follow redirects. Returns the last response and the URLs that led there, in order.

        `check` is awaited before each URL is requested and refuses it by raising FetchFailed. Raises FetchFailed."""
        path = [url]
        while True:
            if check is not None:
                await check(path[-1])
            response = await self.exchange(path[-1], headers=headers)
            if response.location is None:
                return response, path
            target = urls.resolve(response.location, path[-1])
            if target is None:
                raise FetchFailed("scheme", f"a redirect to {response.location[:200]!r}")
            if target in path:
                raise FetchFailed("redirect_loop", target[:200])
            if len(path) > self.limits.redirects:
                raise FetchFailed("redirects", f"more than {self.limits.redirects}")
            path.append(target)

    async def exchange(
        self,
        url: str,
        wanted: Callable[[int, str], bool] | None = None,
        sent: Callable[[], None] | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Response:
        """One request and its response, whatever its status; redirects are not followed.

        `wanted` sees status and media type before the body is read: if it returns false, the fetch fails with the
        reason media_type. `sent` is called when the request is sent. `headers` are added to the usual ones or replace
        them. Raises FetchFailed."""
        parts = parts_of(url)
        origin = parts.scheme, parts.host, parts.port
        fields = {"Host": parts.authority, "User-Agent": user_agent(self.contact), **USUAL, **headers}
        lines = [f"GET {parts.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        request = "\r\n".join(lines).encode("ascii", "replace")
        started = time.time()
        begin = time.monotonic()
        try:
            async with asyncio.timeout(self.limits.total_seconds):
                while True:
                    connection = self._take(origin)
                    fresh = connection is None
                    if connection is None:
                        connection = await self._connect(origin)
                    try:
                        if sent is not None:
                            sent()
                        head, raw, message = await self._talk(connection, request, parts, wanted)
                        break
                    except FetchFailed as error:
                        connection.close()
                        # the server may have closed a kept connection in the meantime: retry on a new one
                        if fresh or error.reason != "reset" or error.detail != "closed before the response":
                            raise
                    except BaseException:
                        connection.close()
                        raise
        except TimeoutError:
            raise FetchFailed("timeout", f"not complete after {self.limits.total_seconds:g} s") from None
        self._keep(origin, connection)
        received = first_values((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.headers)
        seconds = time.monotonic() - begin
        return Response(
            url,
            connection.address,
            started,
            seconds,
            request,
            head,
            raw,
            message.status_code,
            received,
            self.limits.body_bytes,
        )

    async def _talk(
        self, connection: _Connection, request: bytes, asked: urls.UrlParts, wanted: Callable[[int, str], bool] | None
    ) -> tuple[bytes, bytes, h11.Response]:
        """(head, body as sent, h11's response) of one exchange on a connection."""
        http = connection.http
        http.send(h11.Request(method="GET", target=asked.target, headers=[("Host", asked.authority)]))
        http.send(h11.EndOfMessage())
        answer = _Answer(http, self.limits)
        try:
            connection.writer.write(request)
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    data = await connection.reader.read(READ)
                    self._held += len(data)
                    answer.receive(data)
                    if self._held > BUFFERED_BYTES:
                        raise FetchFailed("overload", "memory limit of unfinished bodies")
                elif isinstance(event, h11.InformationalResponse):
                    answer.received = bytearray(http.trailing_data[0])
                elif isinstance(event, h11.Response):
                    _check_head(event, self.limits, wanted)
                    answer.begin(event)
                elif isinstance(event, h11.EndOfMessage):
                    return answer.complete()
                elif isinstance(event, h11.ConnectionClosed):
                    raise FetchFailed("reset", "closed before the response")
        except h11.RemoteProtocolError as error:
            raise answer.failure(error) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            detail = "broken off" if answer.size else "closed before the response"
            raise FetchFailed("tls" if isinstance(error, ssl.SSLError) else "reset", detail) from None
        finally:
            self._held -= answer.size

    def _take(self, origin: Origin) -> _Connection | None:
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if not connections:
                del self._idle[origin]
            if connection.reader.at_eof() or time.monotonic() - connection.since > IDLE_SECONDS:
                connection.close()
                continue
            return connection
        return None

    def _keep(self, origin: Origin, connection: _Connection) -> None:
        http = connection.http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE or http.trailing_data[0]:
            connection.close()
            return
        http.start_next_cycle()
        connection.since = time.monotonic()
        self._idle.setdefault(origin, []).append(connection)
        self._idle.move_to_end(origin)
        while len(self._idle) > IDLE_CONNECTIONS:
            for oldest in self._idle.popitem(last=False)[1]:
                oldest.close()

    async def _connect(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        addresses = await self._addresses(host, port)
        allowed = [address for address in addresses if self.private.allow(address)]
        if not allowed:
            raise FetchFailed("address", f"{host} is at {addresses[0]}, which is not public")
        if self.contact is None:
            allowed = [address for address in allowed if self.private.named(address)]
            if not allowed:
                raise FetchFailed("contact", "no contact for the User-Agent (--contact)")
        last: FetchFailed | None = None
        for address in allowed[:3]:
            try:
                async with asyncio.timeout(self.limits.connect_seconds):
                    reader, writer = await asyncio.open_connection(
                        address,
                        port,
                        ssl=self._context() if scheme == "https" else None,
                        server_hostname=host if scheme == "https" else None,
                        flags=socket.AI_NUMERICHOST,
                    )
            except ssl.SSLError as error:
                raise FetchFailed("tls", str(error.reason or error)[:200]) from None
            except TimeoutError:
                last = FetchFailed("timeout", f"no connection after {self.limits.connect_seconds:g} s")
            except OSError as error:
                last = FetchFailed("connect", error.strerror or str(error)[:200])
            else:
                name = writer.get_extra_info("peername")
                if name is None:  # the server has reset the connection since
                    writer.transport.abort()
                    raise FetchFailed("reset", "closed before the response")
                peer = name[0]
                http = h11.Connection(h11.CLIENT, max_incomplete_event_size=self.limits.header_bytes)
                connection = _Connection(reader, writer, peer, http)
                if not self.private.allow(peer):
                    connection.close()
                    raise FetchFailed("address", f"{host} led to {peer}, which is not public")
                return connection
        assert last is not None
        raise last

    async def _addresses(self, host: str, port: int) -> list[str]:
        now = time.monotonic()
        known = self._names.get((host, port))
        if known is not None and now - known[0] < NAME_SECONDS:
            return known[1]
        try:
            addresses = await (self.resolve or _resolve)(host, port)
        except OSError as error:
            raise FetchFailed("dns", error.strerror or str(error)[:200]) from None
        if not addresses:
            raise FetchFailed("dns", "no address")
        self._names[host, port] = now, addresses
        while len(self._names) > NAMES:
            self._names.popitem(last=False)
        return addresses

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or longer than 63 characters
        raise OSError("not a host name") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _usual(response: bytes) -> bytes:
    """A response with its version as h11 wants it: browsers read `HTTP 200 OK` and `http/1.1 200 OK` too."""
    found = VERSION.match(response)
    return response if found is None else b"HTTP/" + (found[1] or b"1.0") + b" " + response[found.end() :]


def _check_head(head: h11.Response, limits: Limits, wanted: Callable[[int, str], bool] | None) -> None:
    """Raises FetchFailed if the body is declared too large, or is not wanted."""
    declared = next((value for name, value in head.headers if name == b"content-length"), b"0")
    if int(declared) > limits.body_bytes:
        raise FetchFailed("too_large", f"Content-Length {int(declared)}")
    sent = next((value for name, value in head.headers if name == b"content-type"), b"")
    media_type = essence(sent.decode("latin-1"))
    if wanted is not None and not wanted(head.status_code, media_type):
        raise FetchFailed("media_type", media_type[:100])


def redirect_target(response: Response) -> str | None:
    """The absolute URL of a redirect; None if it cannot be fetched."""
    target = None if response.location is None else urls.resolve(response.location, response.url)
    return target if target is not None and target.startswith(("http://", "https://")) else None


__all__ = ["PRODUCT", "Client", "parts_of", "redirect_target", "user_agent"]
