"""Other systems, and corpora of other versions: they work, or are refused in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.commands import run
from tests.stages.test_folders import page, picture, write

# Standard modules and libraries decide by sys.platform when they are imported: only ours shall see another one.
ELSEWHERE = """
import sys
import logging
logging.getLogger().addHandler(logging.NullHandler())
import pipeline.build, pipeline.cli.commands, pipeline.crawl.inputs, pipeline.crawl.rounds
sys.platform = sys.argv[1]
pipeline.cli.commands.run(sys.argv[2:])
"""


def elsewhere(system: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", ELSEWHERE, system, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", ["build", "crawl"])
def test_windows_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    done = elsewhere("win32", command, "https://example.org/", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr == "m3w: build and crawl need Linux or macOS: on Windows use WSL\n"
    assert not (tmp_path / "out").exists()


def test_a_build_elsewhere_runs_in_one_process(tmp_path: Path) -> None:
    write(tmp_path / "site", {"page.html": page(1, "1.png"), "1.png": picture(1)})
    build = ("build", tmp_path / "site", "-o", tmp_path / "corpus", "--no-fetch")
    done = elsewhere("darwin", *build, "--", "--direct_num_workers=2")
    assert done.returncode == 1
    assert done.stderr == "m3w: worker processes need Linux, this is darwin: use --direct_num_workers=1\n"
    done = elsewhere("darwin", *build, "--set", "windows.vocabulary=600")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "corpus/work/worker.log").exists()


@pytest.mark.parametrize("command", ["build", "inspect", "verify", "view", "export", "train", "against"])
def test_a_corpus_of_another_format_is_refused_in_one_line(
    small_corpus: Path, tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(small_corpus, other, ignore=shutil.ignore_patterns("*.tar", "work"))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest |= {"format": 1, "tool": {"name": "openm3w", "version": "0.0.9"}}
    (other / "manifest.json").write_text(json.dumps(manifest))
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    arguments: dict[str, list[str | Path]] = {
        "build": ["build", small_corpus.parent / "miniweb.warc.gz", "-o", other, "--no-fetch"],
        "export": ["export", other, "--to", "pairs", "-o", tmp_path / "pairs"],
        "against": ["train", small_corpus, "--against", other, "-o", tmp_path / "run"],
        "train": ["train", other, "-o", tmp_path / "run"],
    }
    with pytest.raises(SystemExit) as ended:
        run([*map(str, arguments.get(command, [command, other]))])
    assert ended.value.code == 1
    assert capfd.readouterr().err == (
        f"m3w: {other} has corpus format 1 (openm3w 0.0.9), and this version reads format 4: "
        "build it in another directory\n"
    )
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before
