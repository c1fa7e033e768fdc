"""The tokenizer of a corpus is trained only on training text."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import Task
from pipeline.recipe import load
from pipeline.stages import tokenizer as stage
from pipeline.stages.tokenizer import MakeTokenizer
from shards.files import write_table
from shards.records import DOCUMENTS
from tests.shards.test_writers import document


def tokenizer(root: Path, held_out: str) -> bytes:
    """The tokenizer of training text and of other text in each place that is held out."""
    corpus = CorpusDirectory(root)
    corpus.prepare(["documents"])
    rows = [document(number) for number in range(4)]
    for row, split in zip(rows, ("train", "validation", "leak", "mixed"), strict=True):
        row["split"] = split
    chunks = [{"start": 1, "stop": 2, "split": "validation"}, {"start": 5, "stop": 6, "split": "leak"}]
    rows[3]["held_out"] = chunks
    for row, nodes in ((rows[1], range(1, 14, 2)), (rows[2], range(1, 14, 2)), (rows[3], (1, 5))):
        for node in nodes:
            row["texts"][node] = held_out
    rows[3]["texts"][3] = "Narrowboat beside narrowboat. " * 9
    write_table(corpus.part("documents", 0), pa.Table.from_pylist(rows, schema=DOCUMENTS))
    MakeTokenizer(corpus, load("web", ["windows.vocabulary=600"]), 1).work(Task(0, 1))
    return (root / "tokenizer.json").read_bytes()


def test_held_out_text_does_not_change_the_tokenizer(tmp_path: Path) -> None:
    found = tokenizer(tmp_path / "a", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 9)
    assert found == tokenizer(tmp_path / "b", "Portez ce vieux whisky au juge blond qui fume. " * 9)
    assert b'boat"' in found, "text between held-out chunks is training text"


def test_of_much_text_about_the_limit_is_drawn_by_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = CorpusDirectory(tmp_path)
    corpus.prepare(["documents"])
    rows = [document(number) for number in range(400)]
    write_table(corpus.part("documents", 0), pa.Table.from_pylist(rows, schema=DOCUMENTS))
    made = MakeTokenizer(corpus, load("web"), 1)
    whole = list(made._sample())
    assert len(whole) == 400 * 7
    monkeypatch.setattr(stage, "SAMPLE_BYTES", sum(map(len, whole)) // 2)
    some = list(made._sample())
    assert 150 * 7 < len(some) < 250 * 7 and set(some) < set(whole)
