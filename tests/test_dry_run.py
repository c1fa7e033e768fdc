"""m3w build --dry-run counts what a build counts, and writes nothing."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline.dry_run
from pipeline.cli.commands import run
from pipeline.dry_run import Forecast, dry_run
from pipeline.errors import BuildError
from pipeline.recipe import load

ONE_WORKER = ["--direct_num_workers=1"]


def look(path: Path, root: Path, options: list[str] = ONE_WORKER) -> Forecast:
    return dry_run([str(path)], root, load("web"), "file:///", options)


def test_it_counts_what_the_build_counts(small_corpus: Path, tmp_path: Path) -> None:
    found = look(small_corpus.parent / "miniweb.warc.gz", tmp_path / "none")
    records = [row for path in sorted((small_corpus / "work/records").glob("*.parquet"))
               for row in pq.read_table(path, columns=["use", "bytes"]).to_pylist()]  # fmt: skip
    images = [row["bytes"] for row in records if row["use"] == "image"]
    assert found.parts == len(list((small_corpus / "documents").glob("*.parquet")))
    assert (found.records, found.pages) == (len(records), sum(row["use"] == "page" for row in records))
    assert (found.images, found.image_bytes) == (len(images), sum(images))
    assert found.sampled == found.bytes == (small_corpus.parent / "miniweb.warc.gz").stat().st_size
    assert not any("about" in line for line in found.lines() if line.startswith(("records", "pages")))
    assert not list(tmp_path.iterdir())


def test_a_large_input_is_estimated_from_a_sample(
    small_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warc = small_corpus.parent / "miniweb.warc.gz"
    counted = look(warc, tmp_path / "none")
    monkeypatch.setattr(pipeline.dry_run, "SAMPLE", counted.bytes // 2)
    estimated = look(warc, tmp_path / "none")
    assert 0 < estimated.sampled < counted.bytes == estimated.bytes
    assert estimated.parts == counted.parts
    assert counted.records / 2 < estimated.records < counted.records * 2
    assert re.match(r"records  about [\d,]+ \(estimated from .* MB of .* MB\)", estimated.lines()[1])


def test_time_shrinks_with_workers_and_grows_with_the_input(small_corpus: Path, tmp_path: Path) -> None:
    warc = small_corpus.parent / "miniweb.warc.gz"
    one, two = (look(warc, tmp_path / "none", [f"--direct_num_workers={number}"]) for number in (1, 2))
    assert one.seconds is not None and two.seconds is not None
    assert two.seconds < one.seconds and (one.workers, two.workers) == (1, 2)
    cluster = look(warc, tmp_path / "none", ["--runner=FlinkRunner"])
    assert cluster.seconds is None and "time     not estimated for a cluster" in cluster.lines()


def test_a_folder_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    for number in range(45):
        (folder / f"{number}.html").write_text("<html><p>words</p></html>")
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = look(folder, tmp_path / "none")
    assert (found.parts, found.records, found.pages, found.images, found.image_bytes) == (3, 46, 45, 1, 8)


def test_the_command_refuses_what_the_build_refuses(
    small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def m3w(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run(["build", "--dry-run", *map(str, arguments)])
        return ended.value.code or 0, *capsys.readouterr()

    warc = small_corpus.parent / "miniweb.warc.gz"
    status, output, errors = m3w(warc, "-o", tmp_path / "none", "--", "--direct_num_workers=1")
    assert status == 0, errors
    assert [line.split()[0] for line in output.splitlines()] == ["parts", "records", "pages", "images", "time", "disk"]
    assert not (tmp_path / "none").exists()
    before = {path: path.stat().st_mtime_ns for path in small_corpus.rglob("*")}
    status, _, errors = m3w(warc, "-o", small_corpus, "--set", "image.min_side=70")
    assert status == 1 and "another recipe" in errors
    (tmp_path / "urls.txt").write_text("https://example.org/\n")
    status, _, errors = m3w(tmp_path / "urls.txt", "-o", tmp_path / "none", "--contact", "me@example.org")
    assert status == 1 and errors.startswith("m3w: --no-fetch or --dry-run, but") and errors.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in small_corpus.rglob("*")} == before
    assert not (tmp_path / "none").exists()
    with pytest.raises(BuildError, match="not found"):
        look(tmp_path / "missing", tmp_path / "none")
