"""Paragraph rules: what a build drops, counts and keeps, and what-if beside a build."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from filters.text import measure
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import what_if
from pipeline.stages import step
from tests.corpora import build_here, digests
from tests.stages.test_folders import picture

SENTENCE = "The old boat of the fisherman lies at the quay, and the {0} gulls sit on it until the evening comes."
SHORT = "Share this"
LONG = " ".join(SENTENCE.format(word) for word in ("white", "grey", "young", "loud"))


def write_site(folder: Path) -> Path:
    """Pages with a short paragraph between long ones, before and after an image; one page has short ones alone."""
    folder.mkdir()
    for number in range(6):
        body = [LONG.replace("boat", f"boat {number}"), SHORT, f"Image {number} follows here.", "<img src=a.png>",
                SHORT, SENTENCE.format(number)]  # fmt: skip
        if number == 5:
            body = [f"Only {number}.", "<img src=a.png>", *(f"Very {word}." for word in "abcdefgh")]
        (folder / f"{number}.html").write_text("<article>" + "".join(f"<p>{text}</p>" for text in body) + "</article>")
    (folder / "a.png").write_bytes(picture(0))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paragraphs")
    settings = ["paragraph.min_words=3", "text.min_words=5", "dedup.near_text=false", "image.max_documents=100"]
    return build_here([write_site(folder / "site")], folder / "corpus", settings)


def levels(root: Path) -> dict[str, Any]:
    return {level["level"]: level for level in funnel(root)["levels"]}


def test_short_paragraphs_are_dropped_and_counted(corpus: Path) -> None:
    found = levels(corpus)["paragraphs"]
    assert found["rules"] == [{"rule": "paragraph.words", "count": 19}] and found["in"] == 34
    assert {"rule": "paragraph.words", "count": 38} in levels(corpus)["words"]["rules"]
    rows = pq.read_table(corpus / "documents/00000.parquet").to_pylist()
    texts = [[text for text in row["texts"] if text is not None] for row in rows]
    assert len(texts) == 5 and all(SHORT not in text for page in texts for text in page)
    assert texts[0] == [f"{LONG.replace('boat', 'boat 0')}\n\nImage 0 follows here.", SENTENCE.format(0)]


def test_a_page_is_judged_by_what_remains(corpus: Path) -> None:
    pages = open_corpus(corpus).pages(0, ["url", "rule", "words", "texts"]).to_pylist()
    by_url = {page["url"].rpartition("/")[2]: page for page in pages}
    assert by_url["5.html"]["rule"] == "text.too_few_words"
    kept = by_url["0.html"]
    assert kept["words"] == measure("\n\n".join(text for text in kept["texts"] if text))["words"]


def test_what_if_of_paragraph_rules_is_what_a_build_gives(corpus: Path, tmp_path: Path) -> None:
    settings = ["paragraph.min_words=5"]
    told = {level["level"]: level for level in what_if(open_corpus(corpus), settings)["levels"]}
    all_settings = ["text.min_words=5", "dedup.near_text=false", "image.max_documents=100", *settings]
    built = levels(build_here([corpus.parent / "site"], tmp_path / "corpus", all_settings))
    for name in ("pages", "images"):
        then = {row["rule"]: row["then"] for row in told[name]["rules"] if row["then"]}
        assert then == {row["rule"]: row["count"] for row in built[name]["rules"]}
        assert told[name]["out"][1] == sum(built[name]["out"].values())


def page(*paragraphs: str, title: str) -> str:
    own = f"Only this page tells of {title}, which no other page of this site does, and so it is kept."
    body = "".join(f"<p>{text}</p>" for text in (own, *paragraphs))
    return f"<html><body><article><h1>{title}</h1>{body}<img src=a.png></article></body></html>"


def test_paragraphs_that_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three, two = SENTENCE.format("grey"), SENTENCE.format("white")
    lines = "The harbour is open from eight to five.<br>Ask for the keeper of the lighthouse."
    other = LONG.replace("boat", "ship")
    folder = tmp_path / "site"
    folder.mkdir()
    pages = {
        "a": (three, two, lines, other, other.replace("loud", "quiet")),
        "b": (three, two, "The harbour is open from eight to five."),
        "c": (three.upper(), "Ask for the keeper of the lighthouse."),
        "d": ("The harbour is open from eight to five.", "Ask for the keeper of the lighthouse."),
    }
    for name, paragraphs in pages.items():
        (folder / f"{name}.html").write_text(page(*paragraphs, title=f"place {name}"))
    (folder / "a.png").write_bytes(picture(0))
    common = ["text.min_words=5", "dedup.near_text=false", "image.max_documents=100"]
    counted = ["paragraph.max_site_pages=2", "paragraph.max_line_pages=2", "paragraph.max_likeness=0.6"]
    root = build_here([folder], tmp_path / "corpus", [*common, *counted])
    rules = {row["rule"]: row["count"] for row in levels(root)["paragraphs"]["rules"]}
    # three pages each have the sentence and the two lines; on page a the lines are one paragraph
    assert rules == {"paragraph.repeated": 7, "paragraph.boilerplate": 1, "paragraph.likeness": 1}
    texts = {row["url"][-6]: row["texts"] for row in pq.read_table(root / "documents/00000.parquet").to_pylist()}
    assert two in texts["a"][0] and two in texts["b"][0] and other in texts["a"][0]
    assert not any(
        three.lower() in text.lower() or "harbour" in text for kept in texts.values() for text in kept if text
    )
    looser = ["paragraph.max_site_pages=3", "paragraph.max_line_pages=3"]
    told = what_if(open_corpus(root), looser)["levels"]
    again = build_here([root], tmp_path / "again", [*common, *counted, *looser])
    assert (again / "work/repeats/00000.parquet").samefile(root / "work/repeats/00000.parquet")
    assert [level["out"][1] for level in told] == [
        sum(levels(again)[name]["out"].values()) for name in ("pages", "images")
    ]
    assert levels(again)["paragraphs"]["rules"] == [{"rule": "paragraph.likeness", "count": 1}]
    monkeypatch.setattr(step, "partitions", lambda parts: 3)
    assert digests(build_here([folder], tmp_path / "other", [*common, *counted])) == digests(root)
