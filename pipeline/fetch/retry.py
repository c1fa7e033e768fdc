"""When a request is tried again."""

import random
from email.utils import parsedate_to_datetime

from pipeline.fetch.response import Response

ATTEMPTS = 3
BACK_OFF = 1.0
"""Seconds before the second attempt; doubled for each further one."""
LONGEST_WAIT = 300.0
"""A server that asks to come back later than this (Retry-After) is not asked again in this round."""


def back_off(attempts: int, seed: str) -> float:
    """Seconds to wait after so many attempts, spread by up to a half so that not all come back at once."""
    return BACK_OFF * 2 ** (attempts - 1) * (1 + random.Random(f"{seed} {attempts}").random() / 2)


def retry_after(response: Response, now: float) -> float | None:
    """The seconds that a server asks to wait (RFC 9110, section 10.2.3); None where it does not say."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
