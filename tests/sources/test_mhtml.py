"""MHTML files written by browsers, Word and attackers."""

import base64
import quopri
import shutil
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from pipeline.errors import BuildError
from pipeline.sources.mhtml import DEPTH, Mhtml
from pipeline.sources.record import Record
from pipeline.sources.source import Part
from tests.stages.test_folders import page, picture, write

LIMIT = 1_000_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
HTML = '<p>A buoy = ü</p><img src="cid:buoy@sea"><img src="cid:none@sea">\r\n'.encode()
SAVED = b"""From: <Saved by Blink>\r
Snapshot-Content-Location: https://e.org/buoys\r
Date: Fri, 2 Jan 2026 10:00:00 +0100\r
MIME-Version: 1.0\r
Content-Type: multipart/related;\r
\ttype="text/html";\r
\tboundary="----=_Sea"\r
\r
Words before the first boundary are for nobody.\r
------=_Sea\r
"""


def piece(media_type: str, coding: str, body: bytes, *fields: str) -> bytes:
    encoded = {"base64": base64.encodebytes, "quoted-printable": quopri.encodestring}.get(coding, bytes)(body)
    lines = [f"Content-Type: {media_type}", f"Content-Transfer-Encoding: {coding}", *fields, "", ""]
    return "\r\n".join(lines).encode() + encoded


def saved(*pieces: bytes, end: bytes = b"\r\n------=_Sea--\r\n") -> bytes:
    return SAVED + b"\r\n------=_Sea\r\n".join(pieces) + end


def read(path: Path, data: bytes, skip: int = -1) -> list[Record]:
    path.write_bytes(data)
    source = Mhtml.at(path)
    assert source is not None
    entry, ((start, stop, weight),) = source.cut("a.mhtml", 1)
    part = Part(0, 0, start, stop, weight)
    records = list(source.known(entry).read(part, "", LIMIT, lambda number: number == skip))
    wanted = [record.number for record in records if record.body]
    assert dict(source.bodies(part, wanted, dict, LIMIT)) == {number: records[number].body for number in wanted}
    return records


PAGE = piece(
    "text/html; charset=utf-8",
    "quoted-printable",
    HTML,
    "Content-ID: <frame@sea>",
    "Content-Location: https://e.org/buoys",
)
PICTURE = piece("image/png", "base64", PNG, "Content-ID: <buoy@sea>", "Content-Location: /img/\r\n buoy.png")


def test_a_saved_page_and_its_pictures(tmp_path: Path) -> None:
    binary = piece("image/png", "binary", PNG + b"\r\n--", "Content-Location: cid:x")
    page, picture, other = read(tmp_path / "a.mhtml", saved(PAGE, PICTURE, binary))
    assert (page.url, picture.url, other.url) == ("https://e.org/buoys", "https://e.org/img/buoy.png", "cid:x")
    assert page.body.decode() == HTML.decode().replace("cid:buoy@sea", "https://e.org/img/buoy.png")
    assert (picture.body, other.body) == (PNG, PNG + b"\r\n--")
    assert {record.date for record in (page, picture)} == {"2026-01-02T09:00:00Z"}
    assert page.content_type == "text/html; charset=utf-8" and page.rule is None


def test_a_date_without_a_zone_is_in_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        (page,) = read(tmp_path / "a.mhtml", saved(PAGE).replace(b"10:00:00 +0100", b"10:00:00 -0000"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert page.date == "2026-01-02T10:00:00Z"


def test_what_chromium_saves(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium is not None, "the file is saved by a browser: `make browser` installs Debian's chromium"
    site = write(tmp_path / "site", {"p.html": page(1, "i.png", "j k.png"), "i.png": picture(1), "j k.png": picture(2)})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto((site / "p.html").as_uri())
        snapshot = tab.context.new_cdp_session(tab).send("Page.captureSnapshot", {"format": "mhtml"})
        browser.close()
    records = read(tmp_path / "a.mhtml", snapshot["data"].encode())
    bodies = {record.url: record.body for record in records}
    assert bodies.pop((site / "p.html").as_uri()).count(b"<img") == 2
    assert bodies == {(site / name).as_uri(): picture(seed) for name, seed in (("i.png", 1), ("j k.png", 2))}
    assert {record.rule for record in records} == {None} and records[0].date.startswith("20")


def test_nested_bodies_and_files_of_word_are_read(tmp_path: Path) -> None:
    message = EmailMessage()
    message.set_content("plain words")
    message.add_alternative(HTML.decode(), subtype="html")
    message.get_payload()[1].add_related(PNG, "image", "png", cid="<buoy@sea>")
    message["Subject"] = "buoys"
    message.replace_header("Content-Type", message["Content-Type"].replace("alternative", "related"))
    plain, page, picture = read(tmp_path / "a b.mht", message.as_bytes())
    assert plain.body.strip() == b"plain words" and picture.body == PNG
    assert (plain.url, page.url, picture.url) == ("file:///a%20b.mht", "file:///a%20b.mht/1", "file:///a%20b.mht/2")
    assert b'src="file:///a%20b.mht/2"' in page.body and b"cid:none@sea" in page.body


def test_what_is_damaged_or_too_large_is_counted(tmp_path: Path) -> None:
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (level, level) for level in range(DEPTH + 3)
    )
    pieces = {
        PAGE: None,
        piece("image/png", "base64", PNG)[:-9] + b"A": "record.corrupt",
        piece("image/png", "base64", bytes(LIMIT + 1)): "record.too_large",
        piece("image/png", "binary", bytes(LIMIT * 3 + 1)): "record.too_large",
        b"": "record.empty",
        deep: "record.corrupt",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary": "record.empty",
        b"Content-Type: multipart/mixed; boundary=none\r\n\r\nno boundary": "record.corrupt",
        b"Content-Type: multipart/mixed; boundary=last\r\n\r\n--last--\r\n": "record.corrupt",
        PICTURE: "record.truncated",
    }
    records = read(tmp_path / "a.mhtml", saved(*pieces, end=b""))
    assert [record.rule for record in records] == [
        rule if rule != "record.empty" or not data else None for data, rule in pieces.items()
    ]
    assert [record.rule for record in read(tmp_path / "a.mhtml", saved(PAGE, PICTURE), skip=1)] == [
        None,
        "record.crashed",
    ]
    (tmp_path / "a.mhtml").write_bytes(saved(PAGE).replace(b'boundary="----=_Sea"', b"charset=utf-8"))
    source = Mhtml.at(tmp_path / "a.mhtml")
    assert source is not None
    with pytest.raises(BuildError, match="an MHTML file without a boundary"):
        source.cut("a.mhtml", 1)
    (tmp_path / "a.mhtml").write_bytes(b"Subject: words\r\n\r\nContent-Type: multipart/related; boundary=x\r\n")
    assert Mhtml.at(tmp_path / "a.mhtml") is None


def test_a_boundary_directly_after_another_is_an_empty_body(tmp_path: Path) -> None:
    records = read(tmp_path / "a.mhtml", saved(PAGE, b"------=_Sea\r\n" + PICTURE))
    assert [record.rule for record in records] == [None, "record.empty", None] and records[2].body == PNG


def test_bodies_beyond_all_bounds_are_counted_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.mhtml.BODIES", 3)
    records = read(tmp_path / "a.mhtml", saved(PAGE, *[PICTURE] * 9))
    assert [record.detail for record in records] == ["", "", "", "more than 3 bodies"]
    assert records[3].rule == "record.corrupt"


@given(data=st.data())
def test_nothing_escapes_from_mutilated_files(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    mutilated = bytearray(saved(PAGE, PICTURE, piece("text/css", "7bit", b"p {}")))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(SAVED.index(b"Content-Type"), len(mutilated) - 1))
        new = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\r\n", b"------=_Sea\r\n", b"multipart/x; boundary=a"])
        )
        mutilated[at : at + data.draw(st.integers(0, 30))] = new
    path = tmp_path_factory.mktemp("mutilated") / "a.mhtml"
    path.write_bytes(mutilated)
    if Mhtml.at(path) is None:
        return
    try:
        assert len(read(path, bytes(mutilated))) >= 1
    except BuildError as error:
        assert "without a boundary" in str(error)
