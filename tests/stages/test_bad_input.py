"""Errors outside of the program end in one line with the problem and what to do."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli.commands import run as run_command
from pipeline.errors import BuildError
from pipeline.inspect.funnel import funnel
from tests.corpora import M3W, build_here, digests, start_build
from tests.records import record
from tests.stages.test_folders import page, picture


def column(root: Path, stage: str, name: str) -> list:
    return [value for path in sorted((root / "work" / stage).glob("*.parquet")) for value in
            pq.read_table(path, columns=[name])[name].to_pylist()]  # fmt: skip


def test_what_cannot_be_built_is_said_in_one_line(web_warc: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="missing: file or folder not found"):
        build_here([tmp_path / "missing"], tmp_path / "a")
    text = tmp_path / "notes.warc"
    text.write_text("just text")
    with pytest.raises(BuildError, match=r"notes\.warc: neither WARC nor ARC"):
        build_here([text], tmp_path / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="the folder is empty"):
        build_here([tmp_path / "empty"], tmp_path / "c")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("years of work")
    with pytest.raises(BuildError, match=r"is not a corpus: it holds thesis\.doc"):
        build_here([web_warc], other)
    assert [path.name for path in other.iterdir()] == ["thesis.doc"]
    with pytest.raises(BuildError, match="is a file"):
        build_here([web_warc], text)
    with pytest.raises(BuildError, match="contains the input"):
        build_here([web_warc], web_warc.parent)


def test_a_corpus_of_another_recipe_or_input_is_left_alone(undisturbed: Path, shared: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(undisturbed, root)
    before = digests(root)
    warc = shared / "data/warc/odd/example.warc.gz"
    with pytest.raises(BuildError, match=r"another recipe \(image\.min_side differs\)"):
        build_here([warc], root, ["image.min_side=70"])
    with pytest.raises(BuildError, match="another input"):
        build_here([warc], root)
    assert digests(root) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "pages.warc.gz", "-o", "abfs://bucket/corpus"],
        ["build", "pages.warc.gz", "-oS3://bucket/corpus"],
        ["build", "hdfs://bucket/pages.warc.gz", "-o", "corpus"],
        ["build", "all.paths", "--takedown=s3://bucket/list", "-o", "corpus"],
        ["crawl", "https://example.org/", "--output=gs://bucket/warc"],
        ["crawl", "https://example.org/", "-o", "file:///warc"],
        ["verify", "az://bucket/corpus"],
        ["inspect", "corpus", "--html", "s3://bucket/report.html"],
        ["evaluate", "s3://bucket/run", "task"],
        ["export", "corpus", "--to", "pairs", "-o", "S3://bucket/pairs"],
        ["train", "corpus", "-o", "hdfs://host/run"],
    ],
    ids=" ".join,
)
def test_what_no_object_store_can_hold_is_refused_before_anything_is_written(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_command(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and "://" in told and "not supported" in told
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_is_wrong(web_warc: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> tuple[int, str]:
        done = subprocess.run([*M3W, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    assert run()[0] == 2
    assert run("build", web_warc)[0] == 2
    assert run("build", web_warc, "-o", tmp_path / "a", "--no-such-option")[0] == 2
    status, text = run("train", tmp_path / "a", "--", "--every", "6")
    assert status == 2 and text.count("\n") == 1 and "--every: only build" in text
    status, text = run("build", web_warc, "-o", tmp_path / "a", "--set", "image.min_side=small")
    assert status == 1 and text == "m3w: image.min_side must be a whole number, not 'small'\n"
    status, text = run("build", web_warc, "-o", tmp_path / "a", "--recipe", "obelix")
    assert status == 1 and "unknown recipe 'obelix'" in text
    status, text = run("build", web_warc, "-o", tmp_path / "a", "--", "--runner=DirectRunner")
    assert status == 1 and "DirectRunner is not supported" in text


# What a full disk does to a writer: an error in the middle of a file. (The language model unpacks itself into a file.)
FULL_DISK = """
import resource
from filters.language import identify
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
identify("words of a text in a language")
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, most))
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_is_named_and_the_build_goes_on_later(
    web_warc: Path, tmp_path: Path, expected: dict[str, str], workers: int
) -> None:
    root = tmp_path / "corpus"
    (tmp_path / "sitecustomize.py").write_text(FULL_DISK)
    build = start_build([web_warc], root, workers=workers, environment={"PYTHONPATH": str(tmp_path)})
    _, errors = build.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if line.startswith("m3w:")]
    assert build.returncode == 1, errors
    assert len(lines) == 1 and "File too large" in lines[0] and str(root) in lines[0]
    assert "Traceback" not in errors
    assert not list((root / "windows").glob("*.parquet"))
    build = start_build([web_warc], root, workers=workers)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0
    assert ("limits.record_seconds has no effect" in errors) == (workers == 1)
    assert digests(root) == expected


# A disk that cannot be read at one place: of the WARC file, by a worker
BROKEN_DISK = """
import errno, os
main, pread = os.getpid(), os.pread
def failing(file, count, offset):
    if os.getpid() != main and offset + count > 200_000 and os.readlink(f"/proc/self/fd/{file}").endswith(".warc.gz"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return pread(file, count, offset)
os.pread = failing
"""


@pytest.mark.slow
def test_a_disk_that_cannot_be_read_is_named_and_the_build_goes_on_later(
    web_warc: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    root = tmp_path / "corpus"
    (tmp_path / "sitecustomize.py").write_text(BROKEN_DISK)
    build = start_build([web_warc], root, environment={"PYTHONPATH": str(tmp_path)})
    _, errors = build.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if line.startswith("m3w:")]
    assert build.returncode == 1, errors
    assert len(lines) == 1 and "Input/output error" in lines[0] and str(web_warc) in lines[0]
    assert "Traceback" not in errors
    build = start_build([web_warc], root)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert digests(root) == expected


def test_no_permission(web_warc: Path) -> None:
    # nobody may write there, root neither
    with pytest.raises(BuildError, match=r"/sys/openm3w.*(permitted|denied)"):
        build_here([web_warc], Path("/sys/openm3w"))


@pytest.mark.slow  # tests/test_public.py builds in such a folder too
def test_a_folder_named_dedup_in_the_current_directory_changes_nothing(
    web_warc: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    for name in ("dedup", "filters", "shards", "pipeline"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    build = start_build([web_warc], tmp_path / "corpus", cwd=tmp_path)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert digests(tmp_path / "corpus") == expected


def test_a_second_build_of_the_same_directory_is_refused(web_warc: Path, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    first = start_build([web_warc], root)
    while not (root / "work/pages/queue").exists():
        assert first.poll() is None
    with pytest.raises(BuildError, match="another build is writing"):
        build_here([web_warc], root)
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_the_funnel_of_odd_archives_adds_up(shared: Path, tmp_path: Path) -> None:
    """And of a folder of WARC, WET and WAT files; tests/stages/test_real_archives.py takes all archives."""
    warcs = shared / "data/warc"
    inputs = sorted(path for path in (warcs / "odd").iterdir() if path.name != "bad.arc")
    inputs += [warcs / "whirlwind", warcs / "iana.warc.gz"]
    root = build_here(inputs, tmp_path / "corpus", ["text.min_words=1"])
    levels = {level["level"]: level for level in funnel(root)["levels"]}
    rules = {row["rule"]: row["count"] for row in levels["records"]["rules"]}
    assert rules["record.truncated"] == 1 and rules["record.corrupt"] == 2 and rules["record.conversion"] == 2
    assert Counter(column(root, "records", "rule")) == rules | {None: sum(levels["records"]["out"].values())}
    assert levels["pages"]["in"] > 30
    cut = json.loads((root / "work/parts.json").read_text())
    for number, source in enumerate(cut["sources"]):
        if source["name"].count("/") == 0 and source["name"].endswith(".warc.gz"):
            parts = [part["number"] for part in cut["parts"] if part["source"] == number]
            tables = [pq.read_table(root / f"work/records/{part:05d}.parquet", columns=["length"]) for part in parts]
            assert sum(sum(table["length"].to_pylist()) for table in tables) == source["size"]


def test_headers_and_metadata_that_make_no_sense_end_no_build(tmp_path: Path) -> None:
    """Half a surrogate pair in JSON-LD, a status of five digits, digits that are none in a date."""
    headline = rb'<script type="application/ld+json">{"@type": "Article", "headline": "x \ud83d y"}</script>'
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(
        record("http://e.org/1", headline + page(1, "/a.png"), date="2024-01-0²T00:00:00Z")
        + record("http://e.org/2", b"<p>odd", status="40000 OK")
        + record("http://e.org/a.png", picture(1), "image/png")
    )
    root = build_here([warc], tmp_path / "corpus")
    assert column(root, "records", "status") == [200, 0, 200]
    assert column(root, "records", "rule") == [None, "record.status", None]
    (document,) = pq.read_table(root / "documents").to_pylist()
    assert document["metadata"]["title"] == "x \ufffd y"


# Runs a command and prints the peak memory (KiB) of the largest process that came of it.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""

HOSTILE = {
    "deep.html": b"<div>" * 100_000 + b"bottom of it",
    "nul.html": b"<p>" + b"words and \0 more words " * 20 + b"<img src=a.png>",
    "large.html": b"<p>" + b"word " * 11_000_000,
    "binary.html": bytes(range(256)) * 100,
    "charset.html": b'<meta charset="utf-16"><p>' + "Grüße aus München ".encode("latin-1") * 20,
    "empty.html": b"",
    "not.html": b"%PDF-1.4 \xff\xfe",
    "unclosed.html": b"<table><tr><td><p>" + b"some words <b>bold <i>both</b> " * 30 + b"<img src=a.png",
    "bomb.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) + (60_000).to_bytes(4) + b"\x08\x02\0\0\0",
}


def test_hostile_pages_and_images_are_counted_within_bounds(shared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(shared / "data/images/undecodable", folder / "images")
    for path in (folder / "images").iterdir():
        path.chmod(0o644)
    for name, body in HOSTILE.items():
        (folder / name).write_bytes(body)
    names = sorted(path.name for path in (folder / "images").iterdir())
    pictures = "".join(
        f"<p>A picture is called {name} and shows nothing at all.<img src='images/{name}'>" for name in names
    )
    (folder / "gallery.html").write_text(
        f"<html><body><article><h1>Pictures</h1>{pictures}<img src=bomb.png></article>"
    )
    command = [*M3W, "build", str(folder), "-o", str(tmp_path / "corpus"), "--", "--direct_num_workers=2"]
    build = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, timeout=240, check=False
    )
    assert build.returncode == 0, build.stderr
    root = tmp_path / "corpus"
    rules = dict(zip(column(root, "pages", "url"), column(root, "pages", "rule"), strict=True))
    assert rules["file:///deep.html"] in ("page.too_deep", "page.no_image", "page.no_content")
    records = dict(zip(column(root, "records", "url"), column(root, "records", "rule"), strict=True))
    assert records["file:///large.html"] == "record.too_large"
    assert records["file:///empty.html"] == "record.empty"
    assert Counter(column(root, "distinct_images", "rule"))["image.too_many_pixels"] >= 2
    assert int(build.stdout.splitlines()[-1]) * 1024 < 1.5 * 2**30
