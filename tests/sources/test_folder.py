"""A folder of HTML: what is read, under which URL, and what is refused."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import folder
from pipeline.urls import resolve, spelling


@given(
    name=st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
)
def test_references_reach_every_name_however_escaped(name: bytes) -> None:
    url = folder.url_of("file:///a/", os.fsdecode(name))
    assert url.isascii() and url.startswith("file:///a/") and resolve(url, "file:///") == url
    for safe in ("", "!$&'()*+,;=:@[]|~"):
        reference = resolve("./" + quote(name, safe=safe), "file:///a/page.html")
        assert reference is not None and spelling(reference) == spelling(url) == spelling(spelling(url))
    other = folder.url_of("file:///a/", os.fsdecode(name + b"x"))
    assert spelling(other) != spelling(url)


def test_files_come_in_order_with_urls_below_the_base(tmp_path: Path) -> None:
    for name in ("b/ö x.html", "a.html", "b/picture 1.png", "a#b.html", "b?c.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"<p>" + name.encode())
    names = [name for name, _, _ in folder.files(tmp_path)]
    assert names == sorted(names) and len(names) == 5
    records = list(folder.read(tmp_path, names, "https://host.example/", 1000))
    urls = {record.url: record.content_type for record in records}
    assert urls == {
        "https://host.example/a.html": "text/html",
        "https://host.example/a%23b.html": "text/html",
        "https://host.example/b%3Fc.html": "text/html",
        "https://host.example/b/%C3%B6%20x.html": "text/html",
        "https://host.example/b/picture%201.png": "image/png",
    }


def test_what_is_no_readable_file_is_counted(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.html").write_text("secret")
    (inside / "link.html").symlink_to(tmp_path / "secret.html")
    (inside / "dangling.html").symlink_to(tmp_path / "nowhere")
    (inside / "good.html").symlink_to(inside / "page.html")
    (inside / "page.html").write_text("page")
    (inside / "empty.html").write_text("")
    (inside / "large.html").write_text("x" * 2000)
    os.mkfifo(inside / "pipe.html")
    (inside / "linked").symlink_to(tmp_path)
    (inside / "again").symlink_to(inside)
    os.utime(tmp_path, (1, 1))
    names = [name for name, _, _ in folder.files(inside)]
    # what a link leads to is not part of the folder, and changes without it
    times = {name: time for name, _, time in folder.files(inside)}
    assert times["linked"] == (inside / "linked").lstat().st_mtime_ns
    rules = {record.url: record.rule for record in folder.read(inside, names, "file:///", 1000)}
    assert rules == {
        "file:///again": "record.not_a_file",
        "file:///dangling.html": "record.not_a_file",
        "file:///empty.html": "record.empty",
        "file:///good.html": None,
        "file:///large.html": "record.too_large",
        "file:///link.html": "record.not_a_file",
        "file:///linked": "record.not_a_file",
        "file:///page.html": None,
        "file:///pipe.html": "record.not_a_file",
    }


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pic.jpg", None),
        ("upper.jpg", None),
        ("PIC.JPG", "pic.jpg"),
        ("map.png", "MAP.png"),
        ("IMG/Pic.jpg", "img/pic.JPG"),
        ("img//pic.JPG", "img/pic.JPG"),
        ("pic.jpg?ver=2", "pic.jpg"),
        ("img.php?id=3", "img.php%3Fid=3"),
        ("img.php?id=4", None),
        ("a.png?w=1&h=2", "a.png@w=1&h=2"),
        ("b.png?a%20b", "b.png%3Fa%20b"),
        ("c.png?x=1", "c.png%253Fx=1"),
        ("show?id=7", "show%3Fid=7.jpg"),
        ("https://host.example/pic.jpg?ver=2", "pic.jpg"),
        ("https://cdn.example/p/q.png", "cdn.example/p/q.png"),
        ("https://other.example/p/q.png", None),
        ("../../pic.jpg?x", "pic.jpg"),
        ("gone.jpg", None),
        ("/logo.png?v=1", "www.example/logo.png"),
        ("/pic.jpg", None),
        ("/gone.png", None),
    ],
)
def test_files_of_mirrors_stand_for_references(tmp_path: Path, reference: str, expected: str | None) -> None:
    names = [
        "pic.jpg",
        "upper.jpg",
        "UPPER.JPG",
        "Map.png",
        "MAP.png",
        "img/pic.JPG",
        "img.php?id=3",
        "a.png@w=1&h=2",
        "b.png?a b",
        "c.png%3Fx=1",
    ]
    for name in [*names, "show?id=7.jpg", "cdn.example/p/q.png", "www.example/logo.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    source, root = folder.Folder.at(tmp_path), "https://host.example/"
    assert source is not None
    page = root + "www.example/docs/page.html" if reference.startswith("/") else root + "page.html"
    found = source.file_for(root, page, resolve(reference, page) or "")
    assert found == (expected and root + expected)
