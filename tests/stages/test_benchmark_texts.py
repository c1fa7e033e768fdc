"""Texts of benchmarks do not get into a corpus."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.grams import INDEX, grams, read_index
from pipeline.benchmarks import index_for, make_text_index
from pipeline.errors import BuildError
from pipeline.inspect.command import work_problems
from pipeline.inspect.figures import metric_figures
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.matched_texts import passages
from pipeline.inspect.review import write_review
from pipeline.inspect.whatif import what_if
from tests.corpora import build_here
from tests.stages.test_folders import page, picture, shown, write

QUESTION = "Which of these is the largest planet that orbits our sun: Mars, Venus, Jupiter or the Earth?"
OTHER = "If seven cats catch seven mice in seven minutes, how many cats catch a hundred mice in fifty minutes?"


def pages(told: dict, count: str) -> dict[str, int]:
    (level,) = (level for level in told["levels"] if level["level"] == "pages")
    return {row["rule"]: row[count] for row in level["rules"] if row[count]}


def names(root: Path) -> list[str]:
    return sorted(Path(url).stem for url in shown(root))


def test_a_page_with_a_benchmarks_text_is_dropped(tmp_path: Path) -> None:
    """Page 1 holds the question (5 13-grams), page 2 all but the last of its first 13 words, page 3 the 13."""
    words = QUESTION.split()
    planted = {1: QUESTION.upper(), 2: " ".join(words[:12]), 3: f"So {' '.join(words[:13])} - said he"}
    site = tmp_path / "site"
    for number in range(4):
        more = f"<p>{planted.get(number, '')}</p></article>".encode()
        write(site, {f"{number}.html": page(number, f"{number}.png").replace(b"</article>", more)})
        write(site, {f"{number}.png": picture(number)})
    (tmp_path / "quiz.txt").write_text(f"{QUESTION}\nToo short.\n{OTHER}\n")
    index, said = tmp_path / "index.parquet", []
    make_text_index([tmp_path / "quiz.txt"], "", index, said.append)
    assert said == [f"12 13-grams of 2 texts in {index}; 1 texts of fewer than 13 words left out"]
    key, path = index_for(index, tmp_path / "corpus", said.append)
    assert (key, path) == ("page.benchmarks", index) and len(said) == 1

    looser = build_here([site], tmp_path / "looser", [f"{key}={path}", "page.max_benchmark_grams=1"])
    assert names(looser) == ["0", "2", "3"]
    told = what_if(open_corpus(looser), ["page.max_benchmark_grams=0"])
    with pytest.raises(BuildError, match=r"page\.benchmarks: needs a build; what-if covers .*page\.max_benchmark"):
        what_if(open_corpus(looser), ["page.benchmarks="])

    root = build_here([looser], tmp_path / "corpus", [f"page.benchmarks={index}"])
    corpus = open_corpus(root)
    assert names(root) == ["0", "2"]
    assert pages(funnel(corpus), "count") == pages(told, "then") == {"page.benchmark": 2}
    assert metric_figures(corpus)["benchmark_grams"]["max"] == len(grams(QUESTION)) == 5
    assert not work_problems(corpus)
    assert (root / "work/page_grams/00000.parquet").samefile(looser / "work/page_grams/00000.parquet")

    (tmp_path / "quiz.txt").write_text(OTHER)
    make_text_index([tmp_path / "quiz.txt"], "", index, print)
    read_index.cache_clear()
    assert names(build_here([looser], root, [f"page.benchmarks={index}"])) == ["0", "2", "3"], "another index"
    read_index.cache_clear()


@pytest.fixture(scope="module")
def quoting(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A site of 4 pages, 1 and 2 of which quote a question of quiz.txt, and 2 another one; quiz.txt; the index."""
    root = tmp_path_factory.mktemp("quoting")
    planted = {1: [QUESTION.upper()], 2: [f"So: <i>{QUESTION}</i>", OTHER]}
    for number in range(4):
        more = "".join(f"<p>{text}</p>" for text in planted.get(number, ()))
        html = page(number, f"{number}.png").replace(b"</article>", f"{more}</article>".encode())
        write(root / "site", {f"{number}.html": html, f"{number}.png": picture(number)})
    (root / "quiz.txt").write_text(f"Question 1: {QUESTION}\n{OTHER}\n")
    make_text_index([root / "quiz.txt"], "", root / "index.parquet", print)
    return root / "site", root / "quiz.txt", root / "index.parquet"


def test_a_review_shows_the_passages_and_a_passage_may_stay(quoting: tuple[Path, Path, Path], tmp_path: Path) -> None:
    site, quiz, index = quoting
    root = build_here([site], tmp_path / "corpus", [f"page.benchmarks={index}"])
    assert names(root) == ["0", "3"]
    first, second = passages(open_corpus(root))
    assert [url.rpartition("/")[2] for url in first.pages] == ["1.html", "2.html"] and len(second.pages) == 1
    assert (first.shown.passage, second.shown.passage) == (QUESTION.upper().rstrip("?"), OTHER.rstrip("?"))
    assert first.benchmarks == ["quiz"] and first.grams.tolist() == grams(QUESTION).tolist()
    review = tmp_path / "review.html"
    assert write_review(open_corpus(root), [], [quiz], review) == (None, 2)
    shown = review.read_text()
    assert shown.count("<mark>") == 4 and "Question 1: </span><mark>Which of these" in shown
    assert '<th scope="row">quiz</th><td class="n">2</td>' in shown
    write_review(open_corpus(root), [], [], review)
    assert "with --texts" in review.read_text() and review.read_text().count("<mark>") == 2

    keep = tmp_path / "keep.txt"
    keep.write_text(f"# a riddle\n\n{first.shown.passage}\n")
    settings = [f"page.benchmarks={index}", f"page.benchmarks_keep={keep}"]
    assert names(build_here([site], tmp_path / "kept", settings)) == ["0", "1", "3"]
    with pytest.raises(BuildError, match=r"page\.benchmarks_keep: needs a build"):
        what_if(open_corpus(root), settings[1:])
    for text, message in ("Mars, Venus", "line 1 has fewer than 13 words, so it keeps nothing"), (None, "not found"):
        (tmp_path / "short").write_text(text) if text else (tmp_path / "short").unlink()
        with pytest.raises(BuildError, match=message):
            build_here([site], tmp_path / "new", [settings[0], f"page.benchmarks_keep={tmp_path / 'short'}"])

    before = index.read_bytes()
    quiz_now = tmp_path / "quiz.txt"
    quiz_now.write_text(OTHER)
    make_text_index([quiz_now], "", index, print)
    read_index.cache_clear()
    with pytest.raises(BuildError, match="has changed since"):
        write_review(open_corpus(root), [], [], review)
    index.write_bytes(before)
    read_index.cache_clear()
    with pytest.raises(BuildError, match=r"has no image\.benchmarks and no page\.benchmarks"):
        write_review(open_corpus(build_here([site], tmp_path / "plain", [])), [], [], review)


def test_every_string_of_rows_is_a_text(tmp_path: Path) -> None:
    rows = [{"id": 1, "question": QUESTION, "choices": [OTHER, "Mars"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    pq.write_table(pa.Table.from_pylist([{"inner": {"text": OTHER}, "image": b"\0"}]), tmp_path / "b.parquet")
    index, said = tmp_path / "index", []
    make_text_index([tmp_path / "a.jsonl", tmp_path / "b.parquet"], "", index, said.append)
    assert said == [f"19 13-grams of 3 texts in {index}; 1 texts of fewer than 13 words left out"]
    table = pq.read_table(index)
    assert table.schema == INDEX and QUESTION.encode() not in index.read_bytes()
    assert table["benchmark"].value_counts().to_pylist() == [
        {"values": "a", "counts": 12},
        {"values": "b", "counts": 7},
    ]
    assert read_index(str(index)).tolist() == sorted({*grams(QUESTION).tolist(), *grams(OTHER).tolist()})


def test_errors_are_one_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "text").write_text(QUESTION)
    pq.write_table(pa.table({"phash": [1]}), tmp_path / "images")
    wrong = {"text": f"{tmp_path}/text: ", "images": "is not an index of texts: make one with m3w decontaminate-index",
             "none": "none: file not found", "site": "is a folder: make an index of it first"}  # fmt: skip
    for name, message in wrong.items():
        with pytest.raises(BuildError) as error:
            build_here([tmp_path / "site"], tmp_path / "corpus", [f"page.benchmarks={tmp_path / name}"])
        assert message in str(error.value) and "\n" not in str(error.value)
        assert not (tmp_path / "corpus").exists()
    (tmp_path / "bad.jsonl").write_text('"a"\n{"a": }\n')
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "short.txt").write_text("A short line.\n")
    files = {"bad.jsonl": "line 2 is not JSON", "deep.jsonl": "line 1 is not JSON", "latin.txt": "is not UTF-8 text",
             "short.txt": "no text of 13 words or more in", "none": "No such file", "site": "directory"}  # fmt: skip
    for name, message in files.items():
        with pytest.raises(BuildError) as error:
            make_text_index([tmp_path / name], "", tmp_path / "index", print)
        assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "index").exists()
