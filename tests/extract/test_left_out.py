"""Every image of a page is a node of its document, or counted under the rule that left it out."""

from pathlib import Path

import pytest

from filters.rules import EXTRACTION
from pipeline.extract import ExtractOptions, document, extract
from pipeline.extract import reader as reading
from shards.records import Image

WORDS = "The lamp stands beside the window of the old house and shines over the harbour all night long. "
URL = "https://example.org/page.html"


def page(markup: str, below: str = "") -> bytes:
    text = f"<p>{WORDS * 3}</p>"
    return f"<html><body><article>{text}{markup}{text}</article>{below}</body></html>".encode()


@pytest.mark.parametrize(
    ("markup", "rule"),
    [
        ('<img src="data:image/gif;base64,R0lGOD">', "image.placeholder"),
        ('<img src="/lamp_{width}x.jpg">', "image.placeholder"),
        ("<img>", "image.placeholder"),
        ('<img src="http://[bad/a.jpg">', "image.placeholder"),
        ('<img src="/a.jpg" width="1" height="1">', "image.icon"),
        ('<img src="/a.jpg" width="16" height="16">', "image.icon"),
        ('<div style="display:none"><img src="/a.jpg"></div>', "image.hidden"),
        ('<img src="/a.jpg" width="400" height="300">', None),
    ],
)
def test_each_rule(markup: str, rule: str | None) -> None:
    found = extract(page(markup), URL)
    assert found is not None
    assert found.left_out == (((rule, 1),) if rule else ())
    assert sum(isinstance(node, Image) for node in found.nodes) == (0 if rule else 1)


def test_outside_of_the_main_content() -> None:
    below = '<footer><nav><a href="/x"><img src="/partner.jpg" width="90" height="60"></a></nav></footer>'
    found = extract(page('<img src="/a.jpg">', below), URL)
    assert found is not None and found.left_out == (("image.outside", 1),)


@pytest.mark.parametrize("engine", ["openm3w", "trafilatura"])
def test_pictures_are_nodes_or_counted(shared: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    nodes = document.nodes

    def counted(read: reading.Page, *rest: object) -> object:
        seen.append(len(read.pictures))
        return nodes(read, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.extract.nodes", counted)
    known = {rule.id for rule in EXTRACTION}
    pages = sorted((shared / "data/pages").rglob("*.html"))[:40]
    rules: set[str] = set()
    for path in pages:
        found = extract(path.read_bytes(), URL, options=ExtractOptions(engine))
        if found is not None:
            images = sum(isinstance(node, Image) for node in found.nodes)
            assert seen[-1] == images + sum(count for _, count in found.left_out), path
            rules |= {rule for rule, _ in found.left_out}
    assert seen and rules <= known and len(rules) > 2
