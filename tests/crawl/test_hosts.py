"""The queue of one host."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.hosts import Host


@given(st.floats(0, 1e6), st.floats(0.001, 120), st.floats(0, 1e6))
def test_a_request_waits_a_little_longer_than_the_delay(last: float, delay: float, rest: float) -> None:
    """Requests sent exactly one delay apart may arrive closer together than that."""
    host = Host("example.org", iter(()), delay, rest, last)
    assert host.next_time >= rest
    assert host.next_time - last > 1.02 * delay - 1e-6
    assert host.next_time <= max(rest, last + 1.1 * delay)
