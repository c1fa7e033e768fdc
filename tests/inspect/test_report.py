"""The report shows a corpus in reading order, makes no network requests, and runs nothing that a page wrote."""

import hashlib
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inspect.beside import merged_levels, write_beside
from pipeline.inspect.figures import figures, ranking
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.pictures import Pictures
from pipeline.inspect.plots import lines, ticks
from pipeline.inspect.report import (
    PICTURES,
    RUN_PICTURES,
    is_web,
    shown_documents,
    shown_level,
    shown_ranking,
    write_report,
)
from pipeline.inspect.runs import read_run
from pipeline.inspect.samples import SampleDocument, harmless, sample_documents, sample_dropped, visible
from shards.records import Text
from tests.inspect.conftest import HOSTILE, URL


def report_of(corpus: Path, path: Path) -> str:
    opened = open_corpus(corpus)
    write_report(opened, path, funnel(opened), figures(opened))
    return path.read_text()


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_the_report_is_one_small_file_that_is_the_same_each_time(small_corpus: Path, tmp_path: Path) -> None:
    page = report_of(small_corpus, tmp_path / "report.html")
    assert page == report_of(small_corpus, tmp_path / "again.html")
    assert 20_000 < len(page) < 2_500_000
    assert 5 < page.count("<img ") <= PICTURES + RUN_PICTURES
    for tag, attributes in Tags(page).found:
        assert tag not in ("script", "link", "iframe", "object")
        assert (attributes.get("src") or "data:image/").startswith("data:image/")


def test_the_funnel_in_the_report_ends_at_what_was_kept(small_corpus: Path) -> None:
    for level in funnel(small_corpus)["levels"]:
        shown = shown_level(level)
        assert shown["left"] == sum(level["out"].values())
        assert sum(shown["shares"]) + sum(row["share"] for row in shown["rows"]) == pytest.approx(100, abs=0.01)


def test_all_images_of_the_shown_documents_are_shown(small_corpus: Path, tmp_path: Path) -> None:
    documents = report_of(small_corpus, tmp_path / "report.html").split('id="documents"')[1].split('id="windows"')[0]
    assert documents.count("<img ") > 3 and 'class="mark"' not in documents
    shown = sample_documents(open_corpus(small_corpus), 4)
    images = [sum(not isinstance(node, Text) for node in document.nodes) for document in shown]
    pictures = Pictures(open_corpus(small_corpus), images[0])
    assert len(shown_documents(shown, pictures)) == 1, "fewer documents rather than fewer images"


def test_two_corpora_side_by_side(small_corpus: Path, undisturbed: Path, tmp_path: Path, browser: Any) -> None:
    one, other = open_corpus(small_corpus), open_corpus(undisturbed)
    write_beside(one, other, tmp_path / "beside.html")
    page = (tmp_path / "beside.html").read_text()
    assert "windows.tokens" in page and "<td>64</td><td>256</td>" in page
    levels = [{level["level"]: level for level in funnel(corpus)["levels"]} for corpus in (one, other)]
    for merged, (name, level) in zip(
        merged_levels(*(list(each.values()) for each in levels)), levels[0].items(), strict=True
    ):
        counts = {name: [count for count, _ in sides] for name, sides in merged["rows"]}
        for row in level["rules"]:
            there = {row["rule"]: row["count"] for row in levels[1][name]["rules"]}
            assert counts[row["rule"]] == [row["count"], there.get(row["rule"], 0)]
    tags = Tags(page).found
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    shown = browser.new_page(viewport={"width": 320, "height": 900})
    shown.goto((tmp_path / "beside.html").as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= 320
    # nor does a number run into the next one
    assert shown.evaluate(
        "[...document.querySelectorAll('.compared td')].every(td => td.scrollWidth <= td.clientWidth)"
    )
    shown.close()
    write_beside(one, one, tmp_path / "same.html")
    same = (tmp_path / "same.html").read_text().split("Windows of the same pages")[1]
    assert same.count('<article class="sheet">') == 2 * 4 and "has no window of this page" not in same


def test_the_tail_of_a_ranking_has_no_bar() -> None:
    figure = ranking(Counter({"a": 9, "b": 5} | {f"tail {number}": 1 for number in range(40)}))
    rows = shown_ranking("Hosts", figure)["rows"]
    assert rows[0]["share"] == 100 and rows[-1] == {"name": "30 others", "count": 30, "share": None}


def test_a_line_under_another_one_is_visible() -> None:
    drawn = lines({name: [(0, 1), (1, 2)] for name in ("true", "reference", "control")}, "loss")
    assert re.findall(r'class="line s(\d)" stroke-width="([\d.]+)"( stroke-dasharray)?', drawn) == [
        ("0", "3.6", ""), ("2", "2.6", ""), ("1", "2.6", " stroke-dasharray"),
    ]  # fmt: skip


def test_hostile_pages_are_text(hostile_corpus: Path, tmp_path: Path) -> None:
    page = report_of(hostile_corpus, tmp_path / "report.html")
    found = Tags(page).found
    assert "script" not in {tag for tag, _ in found}
    assert not any(name.startswith("on") for _, attributes in found for name in attributes)
    links = [attributes for tag, attributes in found if tag == "a" and not (attributes["href"] or "").startswith("#")]
    assert all((link["href"] or "").startswith("http") for link in links)
    assert all(link["rel"] == "noopener noreferrer nofollow" for link in links)
    assert page.count("</style>") == 1
    assert "{{ 7*7 }}" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", page)
    assert "&lt;script&gt;" in page and "⟨202E⟩" in page


def test_the_browser_shows_every_picture_in_order_and_asks_for_nothing(
    small_corpus: Path, tmp_path: Path, browser: Any
) -> None:
    path = tmp_path / "report.html"
    report_of(small_corpus, path)
    said, asked = [], []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert widths and min(widths) > 0
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    # the order of a document's nodes is the order on the page
    first = sample_documents(open_corpus(small_corpus), 4)[0]
    shown = page.evaluate(
        "[...document.querySelector('#documents .sheet').querySelectorAll(':scope > p.text, :scope > figure')]"
        ".map(node => node.tagName === 'FIGURE' ? 'image' : 'text')"
    )
    kinds = [
        kind
        for node in first.nodes
        for kind in (["text"] * len(node.text.split("\n\n")) if isinstance(node, Text) else ["image"])
    ]
    assert shown == kinds and "image" in kinds
    page.close()


def test_a_hostile_corpus_beside_another_is_text(
    hostile_corpus: Path, small_corpus: Path, tmp_path: Path, browser: Any
) -> None:
    path = tmp_path / "beside.html"
    write_beside(open_corpus(hostile_corpus), open_corpus(small_corpus), path)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in Tags(path.read_text()).found}
    page = browser.new_page(viewport={"width": 420, "height": 800})
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(path.as_uri())
    assert page.title() != "taken" and wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    page.close()


@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_is_never_wider_than_the_window(
    hostile_corpus: Path, tmp_path: Path, browser: Any, width: int
) -> None:
    path = tmp_path / "report.html"
    report_of(hostile_corpus, path)
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() != "taken"
    page.close()


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "tokens": 900, "documents": 40, "enough": True}


def run_of(corpus: Path) -> dict[str, Any]:
    documents = sample_documents(open_corpus(corpus), 3)
    return {
        "sentence": "images carry 0.09 bits per token of the text they belong to <script>",
        "gain": estimate(0.09),
        "control": estimate(0.001),
        "penalties": {"documents": estimate(0.2), "host": estimate(0.1), "document": {"value": None}},
        "by_distance": {"0-8": estimate(0.2), "32-128": estimate(0.1), "8-32": estimate(0.1)},
        "curves": {
            f"{variant}-{seed}": [
                {"step": step, "loss": {"a": 5 - step / 9, "b": 2}, "gates": {"ffw": [step]}} for step in range(9)
            ]
            for variant in ("true", "reference")
            for seed in (0, 1)
        },
        "documents": {
            "best": [{"doc_id": documents[0].doc_id, "gain": 0.5, "tokens": 90}],
            "worst": [
                {"doc_id": 3},
                {
                    "doc_id": documents[0].doc_id,
                    "gain": -0.25,
                    "tokens": 80,
                    "part": {
                        "start": 5120,
                        "text": "The second part<|endofchunk|><image>goes on.",
                        "images": [picture_of(documents[0]).hex()],
                    },
                },
            ],
        },
        "options": {"seeds": 2, "steps": 9},
        "next": {"gain": estimate(0.02)},
        "dose_response": {
            "kind": "placement",
            "points": [
                {"dose": 0.0, "gain": estimate(0.09), "within_document": 0.2},
                {"dose": 0.25, "gain": estimate(0.06), "lost": estimate(0.03), "within_document": 0.1},
                "none",
            ],
        },
        "captions": [{"sha256": picture_of(documents[0]).hex(), "text": "two red <b>circles"}, {"sha256": "x"}],
    }


def picture_of(document: SampleDocument) -> bytes:
    return next(node.stored_sha256 for node in document.nodes if not isinstance(node, Text))


def test_a_run_is_shown(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    (corpus / "runs" / "a").mkdir(parents=True)
    (corpus / "runs" / "a" / "result.json").write_text(json.dumps(run_of(corpus)))
    shots = [
        {"shots": n, "shown": min(n, 6), "accuracy": n / 8, "shuffled": 0.1, "majority": 0.125} for n in (0, 4, 32)
    ]
    (corpus / "runs" / "a" / "evaluate.json").write_text(json.dumps({"task": "birds", "mode": "closed", "rows": shots}))
    page = report_of(corpus, tmp_path / "report.html")
    assert "Too few to say" not in page
    (corpus / "runs" / "b").mkdir()
    few = run_of(corpus)
    few["gain"]["enough"] = False
    (corpus / "runs" / "b" / "result.json").write_text(json.dumps(few))
    training = report_of(corpus, tmp_path / "few.html").split('id="training"')[1]
    assert training.index("Too few to say") < training.index("<svg")
    assert "Images carry 0.09 bits per token of the text they belong to &lt;script&gt;" in page
    assert "+0.500 bits per token over 90 tokens" in page
    # losses and gates, penalties by dose, three variants of few-shot; gain, next, two penalties, three distances, doses
    assert page.count("<polyline") == 2 * 2 + 1 + 1 + 3 and page.count('class="whisker"') == 8 + 3
    assert "25% of documents wrong" in page and "Few-shot accuracy" in page
    assert "two red &lt;b&gt;circles" in page
    assert page.index(">0-8<") < page.index(">8-32<") < page.index(">32-128<")
    assert "true, a" in page and "true, b" in page and "task birds, closed: " in page
    assert "Each variant was trained for 9 steps, with 2 seeds." in page
    part = page[page.index("-0.250 bits per token over 80 tokens, of the book&#39;s part that begins at token 5,120") :]
    assert part.index("The second part") < part.index("<img") < part.index("goes on.") and "&lt;image" not in part


def test_a_run_of_the_corpus_as_it_was_before_is_no_headline(small_corpus: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    (corpus / "runs" / "a").mkdir(parents=True)
    (corpus / "runs" / "a" / "result.json").write_text(json.dumps(run_of(corpus)))
    manifest = (corpus / "manifest.json").read_bytes()
    for content, stale in ((manifest, False), (b"of another build", True)):
        stamp = {"contents": {"corpus": {"manifest": hashlib.sha256(content).hexdigest()}}}
        (corpus / "runs" / "a" / "options.json").write_text(json.dumps(stamp))
        page = report_of(corpus, tmp_path / "report.html")
        assert ('class="gain"' in page) != stale and ("of an earlier build of this corpus" in page) == stale


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"gain": 3, "sentence": "x"}', '{"gain": {}, "curves": {"true-0": [3]}}']
)
def test_a_result_that_is_none_changes_nothing(small_corpus: Path, tmp_path: Path, content: str) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(small_corpus, corpus)
    before = report_of(corpus, tmp_path / "before.html")
    (corpus / "runs" / "a").mkdir(parents=True)
    (corpus / "runs" / "a" / "result.json").write_text(content)
    after = report_of(corpus, tmp_path / "report.html")
    assert "Traceback" not in after and (after == before or 'id="training"' in after)


HUGE, TINY = int("9" * 400), 5e-324


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        *(
            json.dumps({"sentence": "x", "gain": {"value": low, "low": low, "high": high, "tokens": high}})
            for low, high in ((0, HUGE), (-1.7e308, 1.7e308), (0, TINY), (TINY, TINY), (1e14, 1e14 + 0.02), (0, 9e14))
        ),
        json.dumps({"sentence": "x", "gain": {}, "by_host": {"a": {"tokens": HUGE}, "b": {"tokens": float("nan")}}}),
        json.dumps({"sentence": "x", "gain": {}, "curves": {"true-0": [{"step": HUGE, "loss": {"a": HUGE}}] * 2}}),
        json.dumps({"sentence": "x", "gain": {}, "curves": {"true-0": [{"step": TINY, "loss": {"a": TINY}}] * 2}}),
        json.dumps({"sentence": "x", "gain": {}, "documents": {"best": [{"doc_id": 1, "gain": HUGE, "tokens": HUGE}]}}),
    ],
)
def test_numbers_beyond_all_measure_break_no_report(tmp_path: Path, content: str) -> None:
    for name in ("result.json", "evaluate.json"):
        (tmp_path / name).write_text(content)
    run = read_run(tmp_path / "result.json")
    assert (run is None) == content.startswith("[")
    assert not any("9" * 100 in str(tile) for tile in (run.tiles if run else ()))


@given(
    st.floats(-1e15, 1e15), st.one_of(st.floats(0, 1e15), st.sampled_from([5e-324, 1e-300, 1e-12, 1e-9, 2e-9, 1e-6]))
)
def test_ticks_span_what_is_drawn(low: float, span: float) -> None:
    found = ticks(low, low + span)
    slack = 1e-9 + 1e-8 * max(abs(low), abs(low + span))
    assert found[0] <= low + slack and found[-1] >= low + span - slack and 2 <= len(found) < 20


def test_what_may_become_a_link() -> None:
    assert is_web("https://example.org/a?b=c") and is_web("http://127.0.0.1:80/")
    for url in (
        URL,
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "//host/x",
        "https://",
        "http://[",
        "https://a\u202eb/",
    ):
        assert not is_web(url), url


def test_signs_that_act_are_named_or_left_out() -> None:
    assert visible("a\u202eb\x1b[0m\nc") == "a⟨202E⟩b⟨001B⟩[0m c"
    assert harmless("a\u202eb\n\nc\x00") == "ab\n\nc"
    assert "\x1b" not in visible(HOSTILE)


def test_what_was_dropped_is_shown_with_its_reason(small_corpus: Path) -> None:
    dropped = sample_dropped(open_corpus(small_corpus))
    assert all(thing.url for things in dropped.values() for thing in things)
    assert all(thing.detail.isdigit() for thing in dropped["record.status"])
    assert all("/" in thing.detail for thing in dropped["record.media_type"])
    assert all(thing.detail.startswith("words ") for thing in dropped["text.too_few_words"])
    assert all(thing.detail.startswith("kept: http") for thing in dropped["dedup.near_text"])
    assert all(re.fullmatch(r"\d+×\d+", thing.detail) for thing in dropped["image.too_small"])
    opted_out = [things for rule, things in dropped.items() if rule.startswith("consent.")]
    assert opted_out and not any(thing.detail for things in opted_out for thing in things)
