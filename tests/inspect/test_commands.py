"""The commands as a user gives them."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli.commands import run
from pipeline.errors import BuildError
from pipeline.export import export
from shards.exports import EXPORTS

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def m3w(*arguments: str | Path) -> subprocess.CompletedProcess:
    """The command in this process, which saves seconds of imports."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        run([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, ended.value.code or 0, output.getvalue(), errors.getvalue())


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


def test_a_corpus_of_another_version_is_one_line(corpus: Path) -> None:
    for path in (corpus / "work" / "pages").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["sentences"]), path)
    for options in ((), ("--what-if", "text.min_sentences=2")):
        done = m3w("inspect", corpus, *options)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert re.search(r"work/pages/.* has no column sentences: another version of m3w", done.stderr)


def test_inspect_without_work(corpus: Path) -> None:
    shutil.rmtree(corpus / "work")
    done = m3w("inspect", corpus)
    assert done.returncode == 0 and "the funnel is not available" in done.stdout


@pytest.mark.parametrize("command", ["inspect", "verify", "view"])
def test_what_is_no_corpus_gets_one_line(command: str, tmp_path: Path) -> None:
    done = m3w(command, tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("m3w: ") and "not a corpus" in done.stderr


def test_what_if_tells_and_writes_nothing(corpus: Path) -> None:
    done = m3w("inspect", corpus, "--what-if", "image.min_side=200")
    assert done.returncode == 0 and "image.min_side: 64 -> 200" in done.stdout
    assert not (corpus / "report.html").exists()
    done = m3w("inspect", corpus, "--what-if", "image.nothing=1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("inspect", "--json", "--html", "report.html"), 2, "write no report"),
        (("inspect", "--what-if", "image.min_side=200", "--html", "report.html"), 2, "write no report"),
        (("view", "--port", "99999"), 2, "65535"),
        (("evaluate", "task", "--episodes", "0"), 1, "--episodes at least 1"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    arguments: tuple[str, ...], status: int, message: str, small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run([arguments[0], str(small_corpus), *arguments[1:]])
    assert ended.value.code == status and message in capsys.readouterr().err


def test_view_serves_until_it_is_interrupted(small_corpus: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "view", str(small_corpus)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as serving:
        assert serving.stdout is not None and serving.stderr is not None
        url = re.search(r"http://127\.0\.0\.1:\d+/", serving.stdout.readline())
        assert url is not None
        with urllib.request.urlopen(url[0] + "documents", timeout=20) as answer:
            assert b'href="/document/' in answer.read()
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=20) == 0
        assert serving.stderr.read() == ""


def test_a_port_that_is_taken_gets_one_line(small_corpus: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = m3w("view", small_corpus, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1 and "choose another --port" in done.stderr and done.stderr.count("\n") == 1


def test_verify_a_whole_corpus(corpus: Path) -> None:
    done = m3w("verify", corpus)
    assert done.returncode == 0 and "is whole" in done.stdout


def test_verify_finds_damage_below_work_too(corpus: Path) -> None:
    path = corpus / "work" / "decisions" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    done = m3w("verify", corpus)
    assert done.returncode == 1 and "work/decisions/00000.parquet: " in done.stderr and "Traceback" not in done.stderr


def test_a_damaged_file_is_named_by_inspect(corpus: Path) -> None:
    path = corpus / "documents" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:100])
    done = m3w("inspect", corpus)
    assert done.returncode == 1
    assert "documents/00000.parquet" in done.stderr and done.stderr.count("\n") == 1


def test_every_format_is_exported_from_a_real_corpus(small_corpus: Path, tmp_path: Path) -> None:
    for name in EXPORTS:
        told: list[str] = []
        export(small_corpus, name, tmp_path / name, told.append)
        assert re.fullmatch(r"[\d,]+ samples in .*", told[0]) and any((tmp_path / name).iterdir())


def test_damaged_input_of_an_export_is_one_line(corpus: Path, tmp_path: Path) -> None:
    path = next((corpus / "windows").glob("train-*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BuildError, match=r"windows/ or images/ cannot be read .*m3w verify"):
        export(corpus, "openflamingo", tmp_path / "out", print)


def test_pairs_are_exported_and_what_cannot_be_is_one_line(corpus: Path, tmp_path: Path) -> None:
    done = m3w("export", corpus, "--to", "pairs", "-o", tmp_path / "pairs")
    assert done.returncode == 0 and re.fullmatch(r"\d+ samples in .*\n", done.stdout)
    names = subprocess.run(["tar", "tf", tmp_path / "pairs" / "00000.tar"], capture_output=True, text=True).stdout
    assert names.split()[:3] == ["000000000.jpg", "000000000.txt", "000000000.json"]
    for arguments, says in (
        ((corpus, "--to", "pairs", "-o", tmp_path / "pairs"), "is not empty"),
        ((corpus, "--to", "parts", "-o", tmp_path / "parts"), "unknown format 'parts'"),
        ((tmp_path, "--to", "pairs", "-o", tmp_path / "parts"), "is not a corpus"),
    ):
        done = m3w("export", *arguments)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("m3w: ") and says in done.stderr and done.stderr.count("\n") == 1
