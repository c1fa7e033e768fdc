"""One request to a host, and whether to retry it."""

import asyncio
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline.crawl.hosts import DOWN, Host
from pipeline.fetch import Client, FetchFailed, Response
from pipeline.fetch.response import RETRY_STATUSES
from pipeline.fetch.retry import ATTEMPTS, back_off, retry_after

UNREADABLE = "unreadable"
"""The rule of a response at which this program failed; the row's `detail` says how and where."""


async def exchange(
    client: Client,
    host: Host,
    url: str,
    wanted: Callable[[int, str], bool] | None = None,
    seconds: float | None = None,
) -> Response | FetchFailed:
    """One request, limited to `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await client.exchange(url, wanted, host.sent)
    except TimeoutError:
        return FetchFailed("timeout", f"not done after {seconds:g} s")
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> FetchFailed:
    """The log entry of an error; for a defect of this program its message and place."""
    if isinstance(error, FetchFailed):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return FetchFailed(UNREADABLE, f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}")


def pause(host: Host, url: str, attempts: int, answer: Response | FetchFailed) -> float | None:
    """Seconds until a request is retried after `attempts` attempts; None if the response is final. A host that asks for
    a pause is left alone for it, and skipped if it keeps asking."""
    rest = 0.0
    if isinstance(answer, FetchFailed):
        heals = answer.may_heal
    elif heals := answer.status in RETRY_STATUSES:
        asked = retry_after(answer, time.time())
        if asked is not None or answer.status in (429, 503):
            rest = host.refused(asked, asyncio.get_running_loop().time())
    else:
        host.refusals = 0
    # slightly longer than the host rests, so that another URL comes first: maybe only this one is refused
    again = host.left or (heals and attempts < ATTEMPTS and host.failures < DOWN)
    return rest + back_off(attempts, url) if again else None
