"""When to retry a request."""

import random
from datetime import UTC
from email.utils import parsedate_to_datetime

from pipeline.fetch.response import Response

ATTEMPTS = 3
BACK_OFF = 1.0
"""Seconds before the second attempt; doubled for each further one."""
BUSY = 8
"""Answers 429 or 503 in a row after which a host is left."""
LONGEST_WAIT = 300.0
"""A request does not wait longer for a server that asks to come back later (Retry-After)."""


def back_off(attempts: int, seed: str) -> float:
    """Seconds to wait after `attempts` attempts, plus up to a half at random so that retries spread."""
    return BACK_OFF * 2 ** (attempts - 1) * (1 + random.Random(f"{seed} {attempts}").random() / 2)


def retry_after(response: Response, now: float) -> float | None:
    """Seconds a server asks to wait (RFC 9110, section 10.2.3); None if it does not say."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        # the obsolete form of C's asctime names no zone; every date of HTTP is in UTC (RFC 9110, section 5.6.7)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
