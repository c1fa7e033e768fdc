"""When to retry: the field Retry-After in every form of RFC 9110."""

import time

import pytest

from pipeline.fetch import Response
from pipeline.fetch.retry import retry_after

NOW = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110, section 5.6.7."""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Sun, 06 Nov 1994 08:51:37 GMT", 120),
        ("Sunday, 06-Nov-94 08:51:37 GMT", 120),
        ("Sun Nov  6 08:51:37 1994", 120),
        ("Sun, 06 Nov 1994 07:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:51:37 -0000", 120),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("9999999999", None),
        ("Sun, 99 Nov 1994 08:51:37 GMT", None),
        ("Sun, 06 Nov 999999 08:51:37 GMT", None),
    ],
)
def test_seconds_and_dates(value: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    response = Response("http://e.org/", "", 0, 0, b"", b"", b"", 503, {"retry-after": value})
    try:
        assert retry_after(response, NOW) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()
