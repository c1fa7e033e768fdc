"""Several captures of one URL, and one capture under several spellings of its URL."""

from pathlib import Path

import pyarrow.parquet as pq

from tests.jobs.corpora import build_here
from tests.jobs.records import record
from tests.jobs.test_folders import digest, page, picture, shown


def test_captures_are_found_under_every_spelling_of_their_urls(tmp_path: Path) -> None:
    captures = {  # page: what it names, the picture's capture
        "http://port.org:80/p.html": ("i.png", "http://port.org:80/i.png"),
        "http://HOST.org/p.html": ("i.png", "HTTP://HOST.org/i.png"),
        "http://tilde.org/p.html": ("/~u/i.png", "http://tilde.org/%7Eu/i.png"),
        "http://quote.org/p.html": ("/i?n=o&#39;brien", "http://quote.org/i?n=o'brien"),
        "http://moved.org/p.html": ("/r.png", "http://moved.org/%C3%BC.png"),
    }
    records = [record("http://moved.org/r.png", status="302 Found", headers="Location: /ü.png\r\n")]
    for seed, (url, (reference, captured)) in enumerate(captures.items()):
        records += [record(url, page(seed, reference)), record(captured, picture(seed), "image/png")]
    records += [
        record("http://gone.org/~u/p.html", page(9, "/i.png")),
        record("http://gone.org/i.png", picture(9), "image/png"),
        record("http://GONE.org:80/%7Eu/p.html", page(9, "/i.png"), headers="X-Robots-Tag: noai\r\n"),
    ]
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(b"".join(records))
    root = build_here([warc], tmp_path / "corpus")
    assert shown(root) == {url: [digest(picture(seed))] for seed, url in enumerate(captures)}
    assert "host.org" in pq.read_table(root / "documents")["site"].to_pylist()
