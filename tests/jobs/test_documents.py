"""Which nodes of a page become those of its document."""

import pytest

from pipeline.extract import extract
from pipeline.jobs.documents import kept_nodes
from pipeline.jobs.pages import _content

LINES = "A lighthouse stands on the rock, and its keeper climbs the stairs twice a day to clean its lamp. " * 3


def kept(middle: str, *pictures: int) -> list[str | None]:
    """The texts of a document of which the pictures with these numbers stay."""
    page = f"<html><body><article><p>{LINES}</p>{middle}<p>{LINES}</p></article></body></html>"
    document = extract(page.encode(), "https://example.org/")
    assert document is not None
    row = _content(document)
    nodes = [node for node, image in enumerate(row["images"]) if image is not None]
    return kept_nodes(row["texts"], row["images"], {nodes[number]: b"picture" for number in pictures})[0]


ICON = '<img src="{}.png" alt="">'
A, B = ICON.format("a"), ICON.format("b")


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (f"<p>Press the {A} button to go on.</p>", "Press the button to go on."),
        (f"<p>Press{A}, {B} or both.</p>", "Press, or both."),
        (f"<p>Press the<br>{A}{B}<br>button.</p>", "Press the\nbutton."),
        (f"<p>按下{A}按钮继续。</p>", "按下按钮继续。"),
        (f"<p>Press this.</p>{A}<p>Then wait.</p>", "Press this.\n\nThen wait."),
        (f"<p>Press this. {A}</p><p>{B} Then wait.</p>", "Press this.\n\nThen wait."),
    ],
)
def test_a_picture_that_is_left_out_leaves_its_line_whole(middle: str, expected: str) -> None:
    (text,) = kept(middle)
    assert text is not None and f"\n\n{expected}\n\n" in text


def test_a_picture_that_stays_divides_its_line() -> None:
    before, picture, after = kept(f"<p>Press {A} or {B} to go on.</p>", 1)
    assert before is not None and before.endswith("Press or")
    assert picture is None
    assert after is not None and after.startswith("to go on.")
