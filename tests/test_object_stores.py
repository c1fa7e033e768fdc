"""A build from and to s3:// has the bytes of a local one, and every command reads it (`make s3-test`)."""

import hashlib
import io
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import openm3w
from pipeline.build import build
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.progress import Progress
from pipeline.errors import BuildError
from pipeline.recipe import load
from shards.files import atomic
from shards.store import located, sizes
from tests.corpora import SMALL, start_build
from tests.s3 import faulty_s3_server, s3_server

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def warc(bucket: str, web_warc: Path) -> str:
    with atomic(f"{bucket}/in/{web_warc.name}") as file:
        file.write(web_warc.read_bytes())
    return f"{bucket}/in/{web_warc.name}"


@pytest.fixture(scope="module")
def corpus(bucket: str, warc: str) -> Path:
    """Built by the command, with two workers."""
    command = start_build([warc], located(f"{bucket}/corpus"), "--no-fetch")
    _, errors = command.communicate(timeout=500)
    assert command.returncode == 0, errors
    return located(f"{bucket}/corpus")


def published(root: Path) -> dict[str, str]:
    """sha256 of every file of a corpus outside of work/."""
    found = {path.relative_to(root).as_posix(): path for path in sizes(root)}
    found = {name: path for name, path in found.items() if not name.startswith("work/")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def test_the_bytes_are_those_of_a_local_build(corpus: Path, undisturbed: Path) -> None:
    assert len(published(undisturbed)) > 15
    assert published(corpus) == published(undisturbed)
    assert not [path for path in sizes(corpus) if path.name.endswith((".tmp", ".journal", "queue", ".log"))]


def test_a_prefix_and_a_glob_name_the_same_input(bucket: str, warc: str, undisturbed: Path, tmp_path: Path) -> None:
    from pipeline.stages.parts import resolve

    assert resolve([f"{bucket}/in"]) == resolve([f"{bucket}/in/*.warc.gz"]) == [located(warc)]
    with pytest.raises(BuildError, match="not found"):
        resolve([f"{bucket}/in/nothing.warc.gz"])
    with pytest.raises(BuildError, match="several stores"):
        resolve([warc, str(undisturbed)])
    with atomic(f"{bucket}/other/page.html") as file:
        file.write(b"<p>")
    with pytest.raises(BuildError, match="only WARC files"):
        run([f"{bucket}/other/page.html"], tmp_path / "local")


def test_a_build_goes_on_where_it_stopped(bucket: str, warc: str, undisturbed: Path) -> None:
    root = located(f"{bucket}/resumed")
    run([warc], root)
    for name in ("manifest.json", "work/documents/manifest.json", "work/documents/00001.done.json"):
        (root / name).unlink()
    (root / "work/verdicts/00000.parquet").unlink()
    before = CorpusDirectory(root).part("pages", 0).stat().st_mtime
    told = run([warc], root)
    assert "pages      already complete" in told and "verdicts   already" not in told
    assert published(root) == published(undisturbed)
    assert CorpusDirectory(root).part("pages", 0).stat().st_mtime == before


def run(inputs: list[str], root: Path) -> str:
    stream = io.StringIO()
    build(inputs, root, load("web", list(SMALL)), "file:///", ["--direct_num_workers=1"], Progress(stream))
    return stream.getvalue()


def test_readers_give_what_they_give_locally(corpus: Path, undisturbed: Path) -> None:
    there, here = openm3w.open_corpus(str(corpus)), openm3w.open_corpus(undisturbed)
    assert there.manifest == here.manifest
    columns = ["doc_id", "url", "texts"]
    assert list(there.documents(columns)) == list(here.documents(columns))
    for one, other in zip(there.windows("validation"), here.windows("validation"), strict=True):
        assert one["window_id"] == other["window_id"] and one["images"] == other["images"]
    for kind in (openm3w.Windows, openm3w.DrawnWindows):
        samples = [next(iter(kind(source, seed=3))) for source in (str(corpus), undisturbed)]
        assert [sample["window_id"] for sample in samples[:1]] == [sample["window_id"] for sample in samples[1:]]
        for one, other in zip(samples[0]["pixels"], samples[1]["pixels"], strict=True):
            assert (one == other).all()


def command(*arguments: str | Path) -> tuple[int, str, str]:
    import os
    import subprocess

    from tests.corpora import M3W

    done = subprocess.run([*M3W, *map(str, arguments)], capture_output=True, text=True, timeout=500, env=os.environ)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_commands_read_it(corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    status, told, errors = command("verify", corpus)
    assert (status, errors) == (0, "") and "is whole" in told
    assert command("inspect", "--json", corpus)[1] == command("inspect", "--json", undisturbed)[1]
    for source, name in ((corpus, "there"), (undisturbed, "here")):
        status, _, errors = command("export", source, "--to", "webdataset", "-o", tmp_path / name)
        assert status == 0, errors
    assert published(tmp_path / "there") == published(tmp_path / "here")
    status, _, errors = command("train", corpus)
    assert status == 1 and "-o DIR is needed" in errors


def test_a_new_build_leaves_out_what_it_holds(corpus: Path, warc: str, tmp_path: Path) -> None:
    options = ["--no-fetch", "--known", str(corpus), "-o", tmp_path / "next"]
    status, _, errors = command("build", warc, *options, "--", "--direct_num_workers=1")
    assert status == 0, errors
    levels = json.loads(command("inspect", "--json", tmp_path / "next")[1])["funnel"]["levels"]
    (pages,) = (level for level in levels if level["level"] == "pages")
    rules = {row["rule"]: row["count"] for row in pages["rules"]}
    held = sum(
        entry["rows"]
        for entry in json.loads((corpus / "manifest.json").read_bytes())["files"]
        if entry["path"].startswith("documents/")
    )
    assert 50 < held <= rules["dedup.known"]


def test_a_training_finds_what_it_finds_locally(corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    local = tmp_path / "corpus"
    shutil.copytree(undisturbed, local, ignore=shutil.ignore_patterns("work"))
    small = (
        "--steps",
        4,
        "--rows",
        2,
        "--lm-steps",
        4,
        "--lm-rows",
        4,
        "--seeds",
        1,
        "--workers",
        1,
        "--device",
        "cpu",
    )
    for source, name in ((corpus, "there"), (local, "here")):
        status, _, errors = command("train", source, "-o", tmp_path / name, *small)
        assert status == 0, errors
    for name in ("data/train.npz", "data/validation.npz", "variants/true-0.npz", "variants/reference-0.npz"):
        with np.load(tmp_path / "there" / name) as one, np.load(tmp_path / "here" / name) as other:
            assert set(one) == set(other), name
            for key in one:
                np.testing.assert_array_equal(one[key], other[key], f"{name}: {key}")


def test_the_viewer_shows_it(corpus: Path) -> None:
    from pipeline.inspect.finished import open_corpus
    from pipeline.inspect.viewer.server import server

    serving = server(open_corpus(corpus), 0, ())
    Thread(target=serving.serve_forever, daemon=True).start()
    try:
        port = serving.server_address[1]

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
                return answer.read()

        page = get("/documents").decode()
        (document, *_) = re.findall(r'href="(/document/[0-9a-f]+)"', page)
        assert b"<img" in get(document)
        assert b"/window/" in get("/windows") and b"/image/" in get("/images")
    finally:
        serving.shutdown()
        serving.server_close()


def test_verify_finds_damage(bucket: str, corpus: Path) -> None:
    fs = located(corpus).filesystem
    fs.copy(str(corpus), f"{bucket}/damaged", recursive=True)
    root = located(f"{bucket}/damaged")
    assert (root / "manifest.json").exists()
    manifest = json.loads((root / "manifest.json").read_bytes())
    tar = next(entry["path"] for entry in manifest["files"] if entry["path"].endswith(".tar"))
    data = bytearray((root / tar).read_bytes())
    data[600] ^= 255
    with atomic(root / tar) as file:
        file.write(data)
    (root / "tokenizer.json").unlink()
    status, _, errors = command("verify", root)
    assert status == 1
    assert f"{tar}: the sha256 differs" in errors and "tokenizer.json: missing" in errors
    assert "do not match the hash" in errors


def test_what_is_wrong_is_said_in_one_line(bucket: str, warc: str, tmp_path: Path) -> None:
    for arguments, message in (
        (("verify", f"{bucket}/nothing"), "not a corpus"),
        (("build", f"{bucket}/nothing.warc.gz", "-o", tmp_path / "x"), "not found"),
        (("build", "s3://absent/x.warc.gz", "-o", tmp_path / "x"), "not found"),
        (("build", warc, "-o", "s3://absent/corpus", "--no-fetch"), "absent"),
        (("build", warc, "-o", f"{bucket}/x", "--contact", "a@example.org"), "needs a local output directory"),
    ):
        status, _, errors = command(*arguments)
        assert status == 1 and message in errors and errors.count("\n") <= 2, errors


def test_a_tenth_of_the_requests_may_fail(web_warc: Path, undisturbed: Path) -> None:
    with faulty_s3_server() as (bucket, server):
        warc = f"{bucket}/in/{web_warc.name}"
        with atomic(warc) as file:
            file.write(web_warc.read_bytes())
        run([warc], located(f"{bucket}/corpus"))
        assert published(located(f"{bucket}/corpus")) == published(undisturbed)
        assert all(server.requests[kind] > 5 for kind in ("500", "503", "half", "lost")), server.requests
