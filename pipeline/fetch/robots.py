"""What a host allows: robots.txt (RFC 9309, parsed by Protego), and ai.txt, which has the same syntax."""

import math
import re
from dataclasses import dataclass, field

from protego import Protego

from pipeline.fetch.client import PRODUCT
from pipeline.fetch.response import FetchFailed, Response

MOST_BYTES = 500 << 10
"""RFC 9309, section 2.5: at least 500 KiB must be parsed."""
LIFETIME = 24 * 3600.0
"""RFC 9309, section 2.4: maximum seconds to use a cached copy."""


FIELD = re.compile(r"\s*([A-Za-z0-9_-]+)\s*:")
KNOWN = re.compile(
    r"dis+al+o?a?w|diasllow|allow|user-?agent|crawl-delay|request-rate|visit-time|site-?maps?|host", re.IGNORECASE
)
"""Fields known to Protego, including misspellings."""


@dataclass(frozen=True)
class Rules:
    """The rules of one file of one host. `text` is None if the file could not be fetched: then nothing is allowed."""

    text: str | None
    _parsed: Protego | None = field(default=None, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str | None) -> "Rules":
        # a line of another protocol does not end a group (RFC 9309, section 2.2.4), but does for Protego
        known = (line for line in (text or "").splitlines() if not _is_foreign(line))
        return cls(text, Protego.parse("\n".join(known)) if text else None)

    def allows(self, url: str) -> bool:
        if self.text is None:
            return False
        return self._parsed is None or self._parsed.can_fetch(url, PRODUCT)

    @property
    def delay(self) -> float | None:
        """Seconds between requests, from Crawl-delay or Request-rate; None if the file has neither."""
        if self._parsed is None:
            return None
        delay = self._parsed.crawl_delay(PRODUCT)
        rate = self._parsed.request_rate(PRODUCT)
        if rate is not None and rate.requests > 0:
            try:
                delay = max(delay or 0.0, rate.seconds / rate.requests)
            except OverflowError:  # numbers with hundreds of digits
                return None
        return delay if delay is not None and math.isfinite(delay) and delay >= 0 else None

    @property
    def sitemaps(self) -> list[str]:
        return [] if self._parsed is None else list(self._parsed.sitemaps)


def _is_foreign(line: str) -> bool:
    field = FIELD.match(line)
    return field is not None and not KNOWN.fullmatch(field[1])


def text_of(answer: Response | FetchFailed) -> str | None:
    """The text that a response to a request for robots.txt or a similar file stands for (RFC 9309, section 2.3.1).

    A missing file (4xx): "", which allows everything. No usable response (5xx, 429, no connection, a timeout, endless
    redirects, a body that cannot be decoded): None, which allows nothing."""
    if isinstance(answer, FetchFailed) or answer.status >= 500 or answer.status == 429:
        return None
    if 400 <= answer.status < 500:
        return ""
    if not 200 <= answer.status < 300:
        return None
    try:
        body = answer.body[:MOST_BYTES]
    except FetchFailed:
        return None
    if answer.raw and not body and answer.headers.get("content-encoding"):
        return None
    return body.decode("utf-8-sig", "replace")
