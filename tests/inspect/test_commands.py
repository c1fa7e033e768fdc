"""The commands as a user gives them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def m3w(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def corpus(small_corpus: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_corpus, tmp_path / "corpus")
    return tmp_path / "corpus"


def test_inspect_prints_and_writes_a_report(corpus: Path) -> None:
    done = m3w("inspect", corpus)
    assert done.returncode == 0 and done.stderr == ""
    assert "record.media_type" in done.stdout and "[image " in done.stdout and "\x1b" not in done.stdout
    report = (corpus / "report.html").read_bytes()
    again = m3w("inspect", corpus, "--html", corpus / "again.html")
    assert again.returncode == 0 and (corpus / "again.html").read_bytes() == report
    assert json.loads((corpus / "funnel.json").read_bytes())["levels"][1]["level"] == "pages"


def test_json_is_all_that_is_printed(corpus: Path) -> None:
    done = m3w("inspect", corpus, "--json")
    told = json.loads(done.stdout)
    assert set(told) == {"funnel", "figures"} and told["figures"]["tokens"] > 0
    assert not (corpus / "report.html").exists() and not (corpus / "funnel.json").exists()


def test_inspect_without_work(corpus: Path) -> None:
    shutil.rmtree(corpus / "work")
    done = m3w("inspect", corpus)
    assert done.returncode == 0 and "can no longer be told" in done.stdout


@pytest.mark.parametrize("command", ["inspect", "verify", "view"])
def test_what_is_no_corpus_gets_one_line(command: str, tmp_path: Path) -> None:
    done = m3w(command, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("m3w: ") and "not a corpus" in done.stderr


def test_verify_a_whole_corpus(corpus: Path) -> None:
    done = m3w("verify", corpus)
    assert done.returncode == 0 and "is whole" in done.stdout


def test_verify_finds_damage_below_work_too(corpus: Path) -> None:
    path = corpus / "work" / "verdicts" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    done = m3w("verify", corpus)
    assert done.returncode == 1 and "work/verdicts/00000.parquet: " in done.stderr and "Traceback" not in done.stderr


def test_a_damaged_file_is_named_by_inspect(corpus: Path) -> None:
    path = corpus / "documents" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    done = m3w("inspect", corpus)
    assert done.returncode == 1
    assert "documents/00000.parquet" in done.stderr and done.stderr.count("\n") == 1
