"""The explanation of a page agrees with its extraction, and its reasons with the coefficients."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openm3w
from pipeline.extract import ExtractOptions, explain
from pipeline.extract.explain import ExplainedPart
from shards.records import Image, Text
from tests.extract.pages import AFTER, BEFORE, FOOTER, MENU, STORY, URL, page

LINKS = "".join(f'<li><a href="#part{n}">Part {n} of the story</a></li>' for n in range(5))
BODY = (
    f"{MENU}<ul>{LINKS}</ul>{STORY}<figure><img src=/a.jpg><figcaption>A lamp.</figcaption></figure>"
    f"<p hidden>{AFTER}</p>"
    f'<div class="comments"><p>{BEFORE} And that was all I wanted to say.</p></div><img src=/dot.gif width=1>{FOOTER}'
)


def parts_of(body: str) -> tuple[ExplainedPart, ...]:
    return openm3w.explain(page(body), URL).parts


def test_kept_parts_are_those_of_the_document():
    document = openm3w.extract(page(BODY), URL)
    assert document is not None
    parts = parts_of(BODY)
    text = "\n\n".join(node.text for node in document.nodes if isinstance(node, Text))
    assert text.split("\n\n") == [part.content for part in parts if part.type == "text" and part.kept]
    urls = [node.url for node in document.nodes if isinstance(node, Image)]
    assert urls == [part.content for part in parts if part.type == "image" and part.kept]
    assert len(parts) == len([part for part in parts if part.content])  # also those that are left out


def test_each_part_has_its_probability_and_the_rule_that_overrode_it():
    found = openm3w.explain(page(BODY), URL)
    assert (
        abs(sum(found.kinds.values()) - 1) < 1e-5 and max(found.kinds, key=lambda kind: found.kinds[kind]) == "article"
    )
    for part in found.parts:
        if part.type == "text" and not part.rule:
            assert part.kept == (part.probability > found.text_threshold), part
    rules = {part.content: part.rule for part in found.parts}
    assert rules["https://example.org/dot.gif"] == "image.icon"
    (hidden,) = (part for part in found.parts if part.content == AFTER and not part.kept)
    assert hidden.probability == 0
    (comment,) = (part for part in found.parts if "all I wanted" in part.content)
    assert (comment.kept, comment.rule) == (False, "comment") and comment.probability > found.text_threshold
    asked = openm3w.explain(page(BODY), URL, options=ExtractOptions(comments=True)).parts
    assert any("all I wanted" in part.content and part.kept and not part.rule for part in asked)


def test_reasons_are_the_strongest_terms_of_the_regression(monkeypatch):
    few = [part.reasons for part in parts_of(BODY)]
    monkeypatch.setattr(explain, "STRONGEST", 10_000)
    for part, strongest in zip(parts_of(BODY), few, strict=True):
        sizes = [abs(reason.log_odds) for reason in part.reasons]
        assert sizes == sorted(sizes, reverse=True) and part.reasons[: len(strongest)] == strongest
        if part.type == "image":
            constant = explain.image_classifier.coefficients()[1]
            odds = constant + sum(reason.log_odds for reason in part.reasons)
            assert abs(1 / (1 + np.exp(-odds)) - part.probability) < 1e-4


@given(
    st.lists(st.sampled_from(("<p>", "<img src=x>", "</p>", "<noscript>", "<li hidden>", "word ", "<")), max_size=12)
)
def test_any_page_can_be_explained(pieces):
    html = "".join(pieces).encode()
    document = openm3w.extract(html, URL)
    parts = openm3w.explain(html, URL).parts
    assert document is None or any(part.kept for part in parts)


def test_limits_and_engines_are_refused():
    with pytest.raises(openm3w.PageDropped):
        openm3w.explain(b"%PDF-1.4", URL)
    for call in (openm3w.extract, openm3w.explain):
        with pytest.raises(TypeError, match="html must be bytes"):
            call("<p>decoded already", URL)
    with pytest.raises(ValueError, match="only the engine openm3w"):
        openm3w.explain(page(STORY), URL, options=ExtractOptions(engine="trafilatura"))


def test_the_command_prints_each_part(tmp_path):
    def m3w(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", "explain-page", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    (tmp_path / "page.html").write_bytes(page(BODY))
    done = m3w(str(tmp_path / "page.html"), "--url", URL)
    assert done.returncode == 0, done.stderr
    assert "kind of page: article" in done.stdout and "image.icon" in done.stdout
    assert any(line.startswith("+ ") and BEFORE[:80] in line for line in done.stdout.splitlines())
    (tmp_path / "other.html").write_bytes(b"%PDF-1.4")
    refused = m3w(str(tmp_path / "other.html"))
    assert refused.returncode == 1
    assert refused.stderr == f"m3w: {tmp_path / 'other.html'} is dropped under page.not_html (no HTML)\n"
    assert m3w(str(tmp_path / "none")).stderr == f"m3w: {tmp_path / 'none'}: No such file or directory\n"
