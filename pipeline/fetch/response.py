"""The result of a fetch: a response as received, or the reason for its failure."""

from dataclasses import dataclass, field
from functools import cached_property

from pipeline.media_type import essence
from pipeline.sources.http import Damaged, TooLarge, payload, whole

REDIRECTS = (301, 302, 303, 307, 308)

# Statuses that may be temporary (RFC 9110, section 15, and common answers of proxies)
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504, 520, 522, 524)
RETRY_REASONS = ("dns", "connect", "timeout", "slow", "reset", "overload")
# Reasons for having no connection at all
CONNECTION_REASONS = ("dns", "connect", "tls", "address", "contact")


@dataclass(frozen=True)
class Limits:
    """Limits of one exchange. `body_bytes` applies on the wire and after decoding.

    `min_rate` (bytes/s, over the whole exchange) applies from `grace` seconds on: a server that only trickles bytes is
    abandoned long before `total_seconds`."""

    header_bytes: int = 64 << 10
    body_bytes: int = 20_000_000
    redirects: int = 5
    connect_seconds: float = 10.0
    total_seconds: float = 60.0
    min_rate: float = 500.0
    grace: float = 10.0


DEFAULT_LIMITS = Limits()


class FetchFailed(Exception):
    """A failed fetch. `reason` is a word for statistics: scheme, url, dns, address, contact, connect, tls, timeout,
    slow, reset, protocol, header_too_large, too_large, coding, media_type, overload, redirects, redirect_loop,
    disallowed, busy, empty, range, http, unreadable."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    @property
    def may_heal(self) -> bool:
        """Whether the same request may succeed later."""
        return self.reason in RETRY_REASONS


@dataclass(frozen=True)
class Response:
    """One HTTP exchange. `head` and `raw` are the response's bytes as received, with transfer and content coding;
    `headers` have lower-case names, of a repeated one the first value counts (see `first_values`). `started` is in
    seconds since the epoch."""

    url: str
    address: str
    started: float
    seconds: float
    request: bytes
    head: bytes
    raw: bytes
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    limit: int = Limits.body_bytes

    @property
    def media_type(self) -> str:
        return essence(self.headers.get("content-type", ""))

    @property
    def whole(self) -> bool:
        """Whether the response is complete."""
        return whole(self.status, self.headers)

    @property
    def location(self) -> str | None:
        """The target of a redirect, as written."""
        return self.headers.get("location") if self.status in REDIRECTS else None

    @cached_property
    def body(self) -> bytes:
        """The payload. Raises FetchFailed with too_large or coding."""
        try:
            return payload(self.headers, self.raw, self.limit)
        except TooLarge:
            raise FetchFailed("too_large", f"over {self.limit} bytes after decoding") from None
        except Damaged as error:
            raise FetchFailed("coding", str(error)) from None
