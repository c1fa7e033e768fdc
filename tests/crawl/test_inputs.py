"""Arguments of m3w build that stand for WARC files: errors are reported in one line, before anything is written or
requested."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.crawl.inputs import with_lists
from pipeline.crawl.store import CrawlStore
from pipeline.crawl.warc_lists import WarcLists
from pipeline.errors import BuildError
from pipeline.miniweb.serve import Server
from pipeline.miniweb.web import Resource
from pipeline.recipe import load
from pipeline.stages.fetch import Network

from .conftest import PRIVATE, here

HTML = (("Content-Type", "text/html"),)


def refused(*arguments: str | Path) -> str:
    """Output of m3w build."""
    with pytest.raises(BuildError) as caught:
        here("build", *arguments)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    return said


def damaged(data: bytes) -> bytes:
    """A gzip file whose deflate stream is broken in its middle."""
    whole = bytearray(gzip.compress(data, mtime=0))
    whole[10:14] = b"\xff\xff\xff\xff"
    return bytes(whole)


def test_files_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    listed = b"".join(b"http://127.0.0.1:1/%d\n" % number for number in range(100))
    written = {
        "junk.parquet": b"PAR1junkPAR1",
        "empty.parquet": b"",
        "damaged.paths.gz": damaged(listed),
        "cut.paths.gz": gzip.compress(listed)[:-9],
        "plain.paths.gz": listed,
        "binary.paths": bytes(range(256)),
        "damaged.txt.gz": damaged(listed),
        "cut.txt.gz": gzip.compress(listed)[:-9],
    }
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    pq.write_table(pa.table({"url": [1, 2]}), tmp_path / "numbers.parquet")
    table = pa.table({"url": [f"http://127.0.0.1:1/{number}" for number in range(5000)]})
    pq.write_table(table, tmp_path / "torn.parquet", compression="zstd")
    with (tmp_path / "torn.parquet").open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * 2000)
    for name, what in (
        ("junk.parquet", "cannot be read as Parquet"),
        ("empty.parquet", "cannot be read as Parquet"),
        ("damaged.paths.gz", "damaged; download or write it again"),
        ("cut.paths.gz", "damaged; download or write it again"),
        ("plain.paths.gz", "damaged; download or write it again"),
        ("binary.paths", "not a text file"),
        ("missing.paths", "No such file"),
        ("damaged.txt.gz", "damaged; download or write it again"),
        ("cut.txt.gz", "damaged; download or write it again"),
        ("numbers.parquet", "is not a text column"),
        ("torn.parquet", "cannot be read as Parquet"),
    ):
        said = refused(tmp_path / name, "-o", tmp_path / "corpus", *PRIVATE)
        assert said.startswith(str(tmp_path / name)) and what in said, said


def test_no_fetch_and_foreign_directories_ask_nothing(tmp_path: Path) -> None:
    """`--no-fetch` without an existing crawl, a directory with something else, a corpus of another recipe."""
    listing, other = tmp_path / "urls.txt", tmp_path / "others.txt"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    (tmp_path / "warc.paths").write_text("a.warc.gz\n")
    with Server(["127.0.0.1"], 0, lambda asked: Resource(200, HTML, b"<!doctype html><p>A page", "")) as server:
        root = f"http://127.0.0.1:{server.port}"
        listing.write_text(f"{root}/a\n")
        other.write_text(f"{root}/b\n")
        for name in ("corpus", "thesis"):
            assert "--no-fetch or --dry-run, but" in refused(listing, "-o", tmp_path / name, *PRIVATE, "--no-fetch")
        assert not (tmp_path / "corpus").exists()
        for arguments in ((listing,), (tmp_path / "warc.paths", "--warc-prefix", root)):
            said = refused(*arguments, "-o", tmp_path / "thesis", *PRIVATE)
            assert "is not a corpus: it holds thesis.tex" in said
        assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
        assert not server.log
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "recipe.toml").write_text(load("web", ["image.min_side=7"]).toml())
        assert "another recipe (image.min_side differs)" in refused(listing, "-o", tmp_path / "other", *PRIVATE)
        assert not server.log and not (tmp_path / "other" / "warc").exists()

        def named(path: Path, fetch: bool, corpus: str = "corpus", body_bytes: int = 10_000) -> list[str]:
            network, beam = Network(fetch=fetch, allow_private=PRIVATE[1:]), ["--direct_num_workers=1"]
            return with_lists([str(path)], tmp_path / corpus, WarcLists(), network, beam, lambda: None, body_bytes)

        warcs = named(listing, True)
        program = json.loads(CrawlStore(tmp_path / "corpus" / "warc").program.read_text())
        assert program["options"]["pages_per_host"] > 1_000_000_000  # all of a list is wanted
        asked = len(server.log)
        assert asked and named(listing, False) == warcs
        with pytest.raises(BuildError, match=r"--no-fetch or --dry-run, but .*others\.txt has not been crawled"):
            named(other, False)
        assert len(server.log) == asked
        with pytest.raises(BuildError, match="none of the URLs"):  # the page has more bytes
            named(listing, True, "small", body_bytes=10)
