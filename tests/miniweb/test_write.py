"""WARC files and folders hold the web, and are the same bytes each time."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from PIL import Image
from warcio.archiveiterator import ArchiveIterator
from warcio.checker import Checker

from pipeline.miniweb import Web, folder_base, generate, write_folder, write_warc
from pipeline.miniweb.__main__ import main
from pipeline.miniweb.pictures import COLOUR_RGB, COLOURS, GROUND_RGB


@pytest.fixture(scope="module")
def warc(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warc") / "web.warc.gz"
    write_warc(web, path)
    return path


def test_warcio_reads_every_capture(web: Web, warc: Path) -> None:
    seen = []
    revisits = 0
    earlier: dict[tuple[str, str], bytes] = {}
    with warc.open("rb") as stream:
        for record in ArchiveIterator(stream):
            url, date = record.rec_headers.get_header("WARC-Target-URI"), record.rec_headers.get_header("WARC-Date")
            if record.rec_type == "response":
                body = record.content_stream().read()
                if record.http_headers.get_header("Content-Encoding"):
                    body = None
                else:
                    earlier[url, date] = body
            elif record.rec_type == "revisit":
                revisits += 1
                get = record.rec_headers.get_header
                body = earlier[get("WARC-Refers-To-Target-URI"), get("WARC-Refers-To-Date")]
            else:
                continue
            seen.append((url, date, int(record.http_headers.get_statuscode()), body))
    wanted = [(url, r.date, r.status, None if r.header("Content-Encoding") else r.body) for url, r in web.captures]
    assert seen == wanted
    assert revisits > 3


def test_digests_are_right(warc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Arguments:
        inputs = (str(warc),)
        verbose = True

    assert Checker(Arguments).process_all() == 0
    assert "digest failed" not in capsys.readouterr().out
    kinds = set()
    with warc.open("rb") as stream:
        for record in FastIterator(stream, parse_http=False):
            assert record.verify_block_digest(), record.record_id
            kinds.add(record.headers["WARC-Type"])
    assert kinds == {"warcinfo", "response", "request", "revisit"}
    with warc.open("rb") as stream:
        for record in FastIterator(stream, record_types=WarcRecordType.response):
            if not record.http_headers.get("Transfer-Encoding"):
                assert record.verify_payload_digest(), record.record_id


def test_plain_and_compressed_hold_the_same_records(web: Web, warc: Path, tmp_path: Path) -> None:
    plain = tmp_path / "web.warc"
    write_warc(web, plain, gzip=False)

    def ids(path: Path) -> list[str]:
        with path.open("rb") as stream:
            return [record.record_id for record in FastIterator(stream, parse_http=False)]

    found = ids(plain)
    assert found == ids(warc)
    twice = sum(page.rule == "dedup.same_capture" for page in web.truth)
    assert len(found) - len(set(found)) == 2 * twice


def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    digests = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        command = [sys.executable, "-m", "pipeline.miniweb", "-o", str(folder), "--pages", "120", "--seed", "7"]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": hash_seed})
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["miniweb.warc.gz", "truth.jsonl"]
        digests.append([hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names])
    assert digests[0] == digests[1]


def test_another_seed_gives_another_web() -> None:
    one, two = generate(120, seed=1), generate(120, seed=2)
    assert one.truth != two.truth
    nodes = {page.nodes for page in one.truth if page.nodes}
    assert not nodes & {page.nodes for page in two.truth if page.nodes}


def test_a_folder_holds_pages_with_their_pictures(tmp_path: Path) -> None:
    web = generate(400, base=folder_base)
    truth = write_folder(web, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["url"] for line in lines] == [page.url for page in truth]
    assert sum(page.rule is None for page in truth) > 100
    rules = {page.rule for page in truth}
    assert {"dedup.text", "dedup.near_text", "page.no_image", "page.no_image_left", "text.placeholder"} <= rules
    assert not {"record.status", "record.redirect", "dedup.url"} & rules
    for page in truth:
        assert (tmp_path / urlsplit(page.url).path.lstrip("/")).is_file(), page.url
        gone = {url for url, rule in page.dropped if rule == "image.not_fetched"}
        for url in (url for kind, url in page.extracted if kind == "image" and "bomb" not in url):
            assert (tmp_path / urlsplit(url).path.lstrip("/")).is_file() == (url not in gone), url
    common = [url for page in truth if page.rule is None for url, rule in page.dropped if rule == "image.too_common"]
    assert len(common) > 10
    with pytest.raises(ValueError, match="folder_base"):
        write_folder(generate(120), tmp_path / "other")


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-o", str(tmp_path / "web"), "--pages", "5"]) == 1
    assert capsys.readouterr().err == "miniweb: 5 pages are too few: all cases need at least 120\n"
    (tmp_path / "file").write_text("")
    assert main(["-o", str(tmp_path / "file"), "--pages", "120"]) == 1
    assert "file" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["-o", str(tmp_path / "web"), "--format", "serve", "--port", "99999"])
    assert "--port must be from 1 to 65535" in capsys.readouterr().err


def test_a_task_has_as_many_drawings_of_each_colour_and_none_of_the_web(tmp_path: Path) -> None:
    assert main(["-o", str(tmp_path), "--format", "task", "--pages", "32"]) == 0
    drawings = sorted(tmp_path.rglob("*.jpg"))
    assert {folder.name: len(list(folder.iterdir())) for folder in tmp_path.iterdir()} == dict.fromkeys(COLOURS, 4)
    contents = {path.read_bytes() for path in drawings}
    assert len(contents) == 32
    palette = np.array(COLOUR_RGB + GROUND_RGB)
    for path in drawings[::4]:
        with Image.open(path) as image:
            distance = np.abs(np.asarray(image.convert("RGB"), int)[:, :, None] - palette).sum(-1)
        counts = np.bincount(distance.argmin(-1).ravel(), minlength=len(palette))[: len(COLOURS)]
        assert COLOURS[counts.argmax()] == path.parent.name
