"""Folders as input: distinct URLs, file names as file systems have them, and how folders are identified."""

import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.stages.parts import cut
from tests.corpora import build_here, start_build


def picture(seed: int) -> bytes:
    """A PNG of coarse noise."""
    noise = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    return cv2.imencode(".png", cv2.resize(noise, (160, 160)))[1].tobytes()


def page(seed: int, *references: str | bytes) -> bytes:
    """A page with distinct words that shows images."""
    letters = np.random.default_rng(seed).integers(ord("a"), ord("z"), (len(references) + 1, 40, 6), np.uint8)
    texts = [b" ".join(word.tobytes() for word in words) for words in letters]
    shown = b"".join(
        b"<p>%s</p><img src='%s'>" % (text, name if isinstance(name, bytes) else name.encode())
        for text, name in zip(texts, references, strict=False)
    )
    return b"<html><body><article><h1>A page</h1>%s<p>%s</p></article></body></html>" % (shown, texts[-1])


def write(folder: Path, files: dict[str | bytes, bytes]) -> Path:
    for name, body in files.items():
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


def shown(root: Path) -> dict[str, list[str]]:
    """sha256 of each document's images, by its URL."""
    files = sorted((root / "documents").glob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(path, columns=["url", "images"]) for path in files]).to_pylist()
    return {row["url"]: [image["sha256"].hex() for image in row["images"] if image] for row in rows}


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_each_of_several_folders_shows_its_own_pictures(tmp_path: Path) -> None:
    folders = [tmp_path / "a/site", tmp_path / "b/site", tmp_path / "b/site-2"]
    for seed, folder in enumerate(folders):
        write(folder, {"page.html": page(seed, "img/1.png"), "img/1.png": picture(seed)})
    assert shown(build_here(folders, tmp_path / "corpus")) == {
        "file:///site/page.html": [digest(picture(0))],
        "file:///site-2/page.html": [digest(picture(1))],
        "file:///site-2-2/page.html": [digest(picture(2))],
    }
    with pytest.raises(BuildError, match=r"https://e\.org/ cannot be the URL of several folders: build each"):
        build_here(folders, tmp_path / "other", base_url="https://e.org/")


def test_a_base_without_a_slash_is_a_folder_and_what_is_no_base_is_refused(tmp_path: Path) -> None:
    site = write(tmp_path / "site", {"page.html": page(1, "1.png", "https://e.org/docs/2.png"), "1.png": picture(1)})
    write(site, {"2.png": picture(2)})
    root = build_here([site], tmp_path / "corpus", base_url="https://E.org/docs")
    assert shown(root) == {"https://e.org/docs/page.html": [digest(picture(1)), digest(picture(2))]}
    for base in ("e.org", "https://e.org/?page=", "https://e.org/#top", "ftp://e.org/"):
        with pytest.raises(BuildError, match="not the URL of a folder, such as"):
            build_here([site], tmp_path / "other", base_url=base)
    (site / "1.png").rename(site / "3.png")
    with pytest.raises(BuildError, match="another input"):
        build_here([site], root, base_url="https://e.org/docs/")


def test_names_as_file_systems_have_them(tmp_path: Path) -> None:
    """What old mirrors hold: names in windows-1252, with colons, brackets and percent signs, named by pages as they
    are or escaped in one way or another."""
    names = [
        b"caf\xe9.png",
        b"File:Cat.jpg",
        b"b[1] (2).png",
        b"100% a&b;c.png",
        b"d\xfcr/\xf6l.png",
        "ö.png".encode(),
        b"\xf6.png",
    ]
    references = {
        b"caf\xe9.html": [b"caf\xe9.png", "caf%e9.png", "./File:Cat.jpg", "File%3aCat.jpg"],
        b"Talk:Foo.html": ["b[1] (2).png", "b%5b1%5D%20%282%29.png", "100%25%20a%26b%3Bc.png", b"100% a&amp;b;c.png"],
        b"d\xfcr/page.html": [b"\xf6l.png", "%F6l.png", b"../d\xfcr/\xf6l.png", "../caf%E9.png"],
        b"last.html": ["%C3%B6.png", "%f6.png", b"d\xfcr/\xf6l.png"],
    }
    expected = {
        "caf%E9.html": [0, 1],
        "Talk:Foo.html": [2, 3],
        "d%FCr/page.html": [4, 0],
        "last.html": [5, 6, 4],
    }  # a picture that a page shows again is dropped
    folder = tmp_path / os.fsdecode(b"mir\xe9")
    with pytest.raises(BuildError, match=r"mir\\xe9: pyarrow cannot open paths that are not UTF-8: choose another -o"):
        build_here([tmp_path], folder)
    write(folder, {name: picture(seed) for seed, name in enumerate(names)})
    write(folder, {name: page(seed, *named) for seed, (name, named) in enumerate(references.items())})
    root = tmp_path / "corpus"
    build = start_build([folder], root)
    _, errors = build.communicate(timeout=120)
    assert build.returncode == 0, errors
    assert shown(root) == {
        f"file:///{name}": [digest(picture(seed)) for seed in seeds] for name, seeds in expected.items()
    }
    verdicts = pa.concat_tables([pq.read_table(path) for path in sorted((root / "work/decisions").glob("*.parquet"))])
    assert set(verdicts["rule"].to_pylist()) == {None, "image.repeated"}
    for path in [root / "manifest.json", *(root / "work").rglob("*.json")]:
        json.loads(path.read_bytes().decode())
    manifest = (root / "manifest.json").read_bytes()
    build_here([folder], root)
    assert (root / "manifest.json").read_bytes() == manifest


def test_a_folder_that_changed_is_another_input(tmp_path: Path) -> None:
    """A new name, or the same name, size and number of files with an older time."""
    site = write(tmp_path / "site", {f"{name}.html": name.encode() for name in "abc"})
    corpus = CorpusDirectory(tmp_path / "corpus")
    corpus.work("parts.json").parent.mkdir(parents=True)
    before = cut(corpus, [site], "file:///").parts
    assert cut(corpus, [site], "file:///").parts == before
    (site / "b.html").rename(site / "d.html")
    renamed = cut(corpus, [site], "file:///").parts
    (site / "a.html").write_text("x")
    os.utime(site / "a.html", ns=(1, 1))
    edited = cut(corpus, [site], "file:///").parts
    assert len({parts.sources[0].identity for parts in (before, renamed, edited)}) == 3
    assert len({parts.sources[0].size for parts in (before, renamed, edited)}) == 1
