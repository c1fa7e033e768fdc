"""One request to a host, and whether it is made again."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline.crawl.hosts import DOWN, Host
from pipeline.fetch import Client, FetchFailed, Response
from pipeline.fetch.response import RETRY_STATUSES
from pipeline.fetch.retry import ATTEMPTS, LONGEST_WAIT, back_off, retry_after

UNREADABLE = "unreadable"
"""The rule of a response at which this program itself failed; the row's `detail` tells how and where."""


async def exchange(
    client: Client, host: Host, url: str, wanted: Callable[[int, str], bool] | None = None
) -> Response | FetchFailed:
    try:
        return await client.exchange(url, wanted, host.sent)
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> FetchFailed:
    """What is written down of an error; of a defect of this program what it says, and where."""
    if isinstance(error, FetchFailed):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    return FetchFailed(UNREADABLE, f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}")


def pause(host: Host, url: str, attempts: int, answer: Response | FetchFailed) -> float | None:
    """Seconds until a request that was made `attempts` times is made again; None where the answer is final."""
    wait: float | None = None
    if isinstance(answer, FetchFailed):
        heals = answer.may_heal
    else:
        heals = answer.status in RETRY_STATUSES
        wait = retry_after(answer, time.time())
    wait = back_off(attempts, url) if wait is None else wait
    again = heals and attempts < ATTEMPTS and wait <= LONGEST_WAIT and host.failures < DOWN
    return wait if again else None
