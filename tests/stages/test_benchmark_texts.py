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
