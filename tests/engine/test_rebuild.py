"""Rebuilding a finished corpus, with nothing or with something to do."""

import io
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline.build as building
from pipeline.build import build
from pipeline.engine import tasks
from pipeline.engine.progress import Progress
from pipeline.errors import BuildError
from pipeline.inspect.finished import open_corpus
from pipeline.manifest import PAGE_PACKAGES, PICTURE_PACKAGES
from pipeline.recipe import load
from shards.enough import too_few_held_out
from shards.tokenizer import train_corpus_tokenizer
from shards.verify import verify
from tests.corpora import SMALL, build_here, digests
from tests.stages.test_folders import page, picture, write


def test_a_corpus_that_is_being_rebuilt_has_no_manifest(
    web_warc: Path, undisturbed: Path, expected: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "corpus"
    shutil.copytree(undisturbed, root)
    manifest = (root / "manifest.json").read_bytes()
    build_here([web_warc], root)
    assert (root / "manifest.json").read_bytes() == manifest
    # what a rebuild that comes to fewer shards leaves, and a file of the user's own
    for name in ("windows/train-00099.parquet", "windows/validation-00099.tar", "documents/00099.parquet"):
        (root / name).write_bytes(b"left over")
    own = root / "windows/train-merged.parquet"
    own.write_bytes(b"mine")
    updated = min({*PICTURE_PACKAGES} - {*PAGE_PACKAGES})
    monkeypatch.setattr(tasks, "version", lambda package: version(package) + ".1" * (package == updated))

    def stop(*arguments: object) -> None:
        raise BuildError("stopped")

    with monkeypatch.context() as patch, pytest.raises(BuildError, match="stopped"):
        patch.setattr(building, "IndexImages", stop)  # the stage behind the one that writes images/P.tar
        build_here([web_warc], root)
    with pytest.raises(BuildError, match="has not finished"):
        open_corpus(root)
    build_here([web_warc], root)
    open_corpus(root)
    assert own.read_bytes() == b"mine"
    own.unlink()
    assert digests(root) == expected


def test_windows_are_cut_anew_when_the_tokenizers_file_was_replaced(tmp_path: Path) -> None:
    site = write(tmp_path / "site", {"page.html": page(1, "1.png"), "1.png": picture(1)})
    file, root = tmp_path / "tokenizer.json", tmp_path / "corpus"
    settings = [f"windows.tokenizer={file}", "windows.formats=['parquet']"]
    for text in ("one", "another"):
        tokenizer = train_corpus_tokenizer([text])
        file.write_text(tokenizer.json)
        build_here([site], root, settings)
        assert open_corpus(root).tokenizer().id == tokenizer.id
        assert {row["tokenizer"] for row in pq.read_table(root / "windows").to_pylist()} == {tokenizer.id}
    file.unlink()
    with pytest.raises(BuildError, match="cannot read the tokenizer"):
        build_here([site], root, settings)


def test_changed_windows_and_split_are_cut_anew_in_the_same_directory(
    web_warc: Path, undisturbed: Path, tmp_path: Path
) -> None:
    changed = ["windows.tokens=64", "windows.vocabulary=500", "windows.min_shards=3", "windows.validation=0.02"]
    root = tmp_path / "corpus"
    shutil.copytree(undisturbed, root)
    before = {path: path.stat().st_mtime_ns for path in (root / "work/pages").iterdir()}
    told = io.StringIO()
    recipe = load("web", [*SMALL, *changed])
    build([str(web_warc)], root, recipe, "file:///", ["--direct_num_workers=1"], Progress(told))
    assert {path: path.stat().st_mtime_ns for path in (root / "work/pages").iterdir()} == before
    assert (
        "changed since the last build: windows.min_shards, windows.tokens, windows.validation, windows.vocab"
        in told.getvalue()
    )
    assert "done anew: site_counts, split, documents, tokenizer, windows, counts, shards\n" in told.getvalue()
    assert digests(root) == digests(build_here([web_warc], tmp_path / "new", changed))
    assert open_corpus(root).recipe.windows.tokens == 64
    assert len(list((root / "windows").glob("train-*.parquet"))) == 3
    assert too_few_held_out((root / "documents").glob("*.parquet")) == ""
    assert not verify(root, json.loads((root / "manifest.json").read_text())).problems
    told.truncate(0)
    build([str(web_warc)], root, recipe, "file:///", ["--direct_num_workers=1"], Progress(told))
    assert "anew" not in told.getvalue() and "changed" not in told.getvalue()
