"""Inputs other than WARC files: zstd, zips, folders of archives, single pages, and empty ones."""

import base64
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from filters.rules import EXPLAINED
from pipeline.cli.commands import run
from pipeline.errors import BuildError
from pipeline.stages.parts import resolve
from tests.corpora import build_here
from tests.records import record
from tests.sources.test_compressed import skippable
from tests.sources.test_kinds import written
from tests.sources.test_wacz import zipped
from tests.stages.test_folders import digest, page, picture, shown, write


def warc(host: str, seed: int) -> bytes:
    return record(f"http://{host}/", page(seed, "i.png")) + record(f"http://{host}/i.png", picture(seed), "image/png")


def plain(host: str, seed: int) -> list[bytes]:
    import gzip

    members = [
        record(f"http://{host}/", page(seed, "i.png")),
        record(f"http://{host}/i.png", picture(seed), "image/png"),
    ]
    return [gzip.decompress(member) for member in members]


def mhtml(seed: int) -> bytes:
    head = b'Snapshot-Content-Location: http://saved.org/\r\nContent-Type: multipart/related; boundary="-x"\r\n\r\n'
    pieces = (
        ("text/html", "http://saved.org/", page(seed, "i.png")),
        ("image/png", "http://saved.org/i.png", picture(seed)),
    )
    body = "".join(
        f"---x\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\nContent-Location: {url}\r\n\r\n"
        + base64.encodebytes(data).decode()
        for kind, url, data in pieces
    )
    return head + body.encode() + b"---x--\r\n"


def test_every_kind_of_archive_is_built(tmp_path: Path) -> None:
    sample = b"".join(plain("zstd.org", 1))[:900]
    trained = zstandard.train_dictionary(1000, [sample[at:] for at in range(600)])
    compress = zstandard.ZstdCompressor(dict_data=trained).compress
    write(
        tmp_path,
        {
            "a.warc.zst": skippable(trained.as_bytes()) + b"".join(map(compress, plain("zstd.org", 1))),
            "b.wacz": zipped({"archive/d.warc.gz": warc("zip.org", 2), "datapackage.json": b"{}"}),
            "coll/archive/r.warc.gz": warc("coll.org", 3),
            "coll/archive/open.warc.gz": b"",
            "coll/indexes/i.cdx": b" CDX",
            "coll/static/about.html": b"<p>A page of the program",
            "notes/one.html": page(4, "one files/i.png", "missing.png", "\0", "x" * 4000),
            "notes/one files/i.png": picture(4),
            "notes/other.png": picture(9),
            "notes/more/two.htm": page(5, "two.png"),
            "notes/more/two.png": picture(5),
            "mirror/seven.html": page(7, "I.PNG?ver=2"),
            "mirror/i.png": picture(7),
            "saved.mhtml": mhtml(6),
        },
    )
    inputs = ["a.warc.zst", "b.wacz", "coll", "mirror", "notes/one.html", "notes/more/two.htm", "saved.mhtml"]
    root = build_here([tmp_path / name for name in inputs], tmp_path / "corpus")
    assert shown(root) == {
        url: [digest(picture(seed))]
        for url, seed in {
            "http://zstd.org/": 1,
            "http://zip.org/": 2,
            "http://coll.org/": 3,
            "file:///notes/one.html": 4,
            "file:///notes/more/two.htm": 5,
            "file:///mirror/seven.html": 7,
            "http://saved.org/": 6,
        }.items()
    }
    records = [
        row for path in sorted((root / "work/records").glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert len(records) == 14, "files that no page names are no input"
    captures = {
        row["url"]: row["capture"]
        for path in sorted((root / "documents").glob("*.parquet"))
        for row in pq.read_table(path, columns=["url", "capture"]).to_pylist()
    }
    assert captures["http://zip.org/"]["file"] == "b.wacz"
    data, at = (tmp_path / "b.wacz").read_bytes(), captures["http://zip.org/"]["offset"]
    assert data[at : at + captures["http://zip.org/"]["length"]] == record("http://zip.org/", page(2, "i.png"))


def test_what_a_folder_is_read_as(tmp_path: Path) -> None:
    said: list[str] = []

    def names(folder: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in resolve([str(tmp_path / folder)], said.append)]

    write(tmp_path, {"warcs/b/x.WARC.GZ": b"x", "warcs/a.wacz": b"x", "warcs/a.cdxj": b"x"})
    write(tmp_path, {"both/x.warc": b"x", "both/y.arc.gz": b"", "both/index.html": b"x", "both/a/b.htm": b"x"})
    write(tmp_path, {"mirror/index.html": b"x", "mirror/a.mhtml": b"x", "saved/a.mht": b"x", "saved/b.mhtml": b"x"})
    write(tmp_path, {"nothing/a.warc.gz": b""})
    assert names("warcs") == ["warcs/a.wacz", "warcs/b/x.WARC.GZ"] and not said
    assert names("mirror") == ["mirror"] and names("saved") == ["saved/a.mht", "saved/b.mhtml"] and not said
    assert names("both") == ["both/x.warc"]
    assert said == [
        f"{tmp_path / 'both'}: reading its WARC files (1), not the HTML files beside them (2)",
        f"{tmp_path / 'both'}: skipping empty files (1)",
    ]
    with pytest.raises(BuildError, match="nothing: all its WARC files are empty"):
        names("nothing")


def test_a_build_without_a_document_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wet, pages, corpus = tmp_path / "a.warc.wet.gz", tmp_path / "pages.warc.gz", tmp_path / "corpus"
    wet.write_bytes(written("warcinfo", b"x") + written("conversion", b"Words alone.", "Content-Type: text/plain") * 2)
    pages.write_bytes(record("http://a.org/", page(1, "gone.png")) + record("http://b.org/", page(2, "gone.png")))
    common = ["--set", "windows.vocabulary=600", "--no-fetch", "--", "--direct_num_workers=1"]
    with pytest.raises(SystemExit) as ended:
        run(["build", str(wet), "-o", str(corpus / "wet"), *common])
    assert ended.value.code == 1
    output, errors = capfd.readouterr()
    assert output == "" and errors.splitlines()[-1] == (
        f"m3w: {corpus / 'wet'} has no documents: no pages among 3 records, of which 2 were dropped under "
        f"record.conversion ({EXPLAINED['record.conversion']})"
    )
    with pytest.raises(SystemExit) as ended:
        run(["build", str(pages), "-o", str(corpus / "pages"), *common])
    assert ended.value.code == 0
    assert capfd.readouterr().out == (
        f"built, but {corpus / 'pages'} has no documents: of 2 pages 2 were dropped under page.no_image_left "
        f"({EXPLAINED['page.no_image_left']})\n"
    )
