"""Progress on a terminal and elsewhere."""

import io
import time

import pytest

from pipeline import display
from pipeline.display import Display, Status, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(shown: Display) -> list[str]:
    """What is written while 4 of 4 MB are worked off, half of them before."""
    done = [2e6]

    def look() -> Status:
        return Status(f"pages      {done[0] / 1e6:.0f} of [4] parts", done[0], 4e6, lambda rate: "FAST", "7 records")

    with shown.watch(look):
        done[0] = 3e6
        end = time.monotonic() + 20
        while "left" not in shown.stream.getvalue() and time.monotonic() < end:  # type: ignore[attr-defined]
            time.sleep(0.01)
        done[0] = 4e6
    return shown.stream.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "INTERVAL", 0.02)
    first, *_, last = work(Display(io.StringIO()))
    assert first.startswith("pages      3 of [4] parts, 7 records, FAST, ") and first.endswith(" s left")
    assert last.startswith("pages      4 of [4] parts, FAST, ") and "7 records" not in last and "left" not in last
    assert "\x1b" not in first + last


def test_a_terminal_shows_a_bar_and_keeps_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    lines = work(Display(stream))
    assert (
        "━" in stream.getvalue() and "3 of [4] parts" in stream.getvalue() and "7 records, FAST, " in stream.getvalue()
    )
    assert "\x1b[2K" in stream.getvalue(), "the line is drawn over"
    assert lines[-1].rpartition("\x1b[2K")[2].startswith("pages      4 of [4] parts, FAST, ")
    assert stream.getvalue().rfind("\x1b[?25l") < stream.getvalue().rfind("\x1b[?25h"), "the cursor is there"


def test_nothing_is_left_open_by_an_error() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), Display(stream).watch(lambda: Status("0 of 1", 0, 1, str)):
        raise KeyError
    assert stream.getvalue() == "0 of 1, 0.0 s\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (34408, "9 h 33 min"),
        (86399, "1 d 0 h"),
        (200_000, "2 d 8 h"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text
