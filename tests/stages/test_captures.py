"""Several captures of one URL, and one capture under several spellings of its URL."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.stages.references import LINK, NEED, REFUSED, ROW, SUPPLY, find
from tests.corpora import build_here
from tests.records import record
from tests.stages.test_folders import digest, page, picture, shown


def test_captures_are_found_under_every_spelling_of_their_urls(tmp_path: Path) -> None:
    captures = {  # page: what it names, the picture's capture
        "http://port.org:80/p.html": ("i.png", "http://port.org:80/i.png"),
        "http://HOST.org/p.html": ("i.png", "HTTP://HOST.org/i.png"),
        "http://tilde.org/p.html": ("/~u/i.png", "http://tilde.org/%7Eu/i.png"),
        "http://quote.org/p.html": ("/i?n=o&#39;brien", "http://quote.org/i?n=o'brien"),
        "http://moved.org/p.html": ("/r.png", "http://moved.org/%C3%BC.png"),
        "https://upgraded.org/p.html": ("http://upgraded.org/i.png", "https://upgraded.org/i.png"),
        "http://secure.org/p.html": ("https://secure.org:443/i.png", "http://secure.org/i.png"),
    }
    records = [record("http://moved.org/r.png", status="302 Found", headers="Location: /ü.png\r\n")]
    for seed, (url, (reference, captured)) in enumerate(captures.items()):
        records += [record(url, page(seed, reference)), record(captured, picture(seed), "image/png")]
    records += [
        record("http://gone.org/~u/p.html", page(9, "/i.png")),
        record("http://gone.org/i.png", picture(9), "image/png"),
        record("http://GONE.org:80/%7Eu/p.html", page(9, "/i.png"), headers="X-Robots-Tag: noai\r\n"),
    ]
    refused = record("https://no.org/i.png", picture(10), "image/png", headers="X-Robots-Tag: noai\r\n")
    records += [record("http://no.org/p.html", page(10, "i.png")), record("http://no.org/i.png", picture(10)), refused]
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(b"".join(records))
    root = build_here([warc], tmp_path / "corpus")
    assert shown(root) == {url: [digest(picture(seed))] for seed, url in enumerate(captures)}
    assert "host.org" in pq.read_table(root / "documents")["site"].to_pylist()


def test_a_page_shows_the_captures_of_its_own_time(tmp_path: Path) -> None:
    site = "http://e.org/"
    records = []
    for seed, year in ((1, "2024"), (2, "2025")):
        date = f"{year}-03-01T00:00:00Z"
        records += [
            record(f"{site}p.html", page(seed, "i.png"), date=date),
            record(f"{site}i.png", picture(seed), "image/png", date=date),
            record(f"{site}moved.png", status="302 Found", headers="Location: i.png\r\n", date=date),
        ]
    records += [
        record(f"{site}old.html", page(3, "i.png"), date="20240601000000"),
        record(f"{site}new.html", page(4, "moved.png"), date="2026-01-01T00:00:00Z"),
    ]
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(b"".join(records))
    root = build_here([warc], tmp_path / "corpus")
    old, new = [digest(picture(1))], [digest(picture(2))]
    assert shown(root) == {f"{site}p.html": new, f"{site}old.html": old, f"{site}new.html": new}


def test_the_nearest_capture_is_met_unless_one_opted_out() -> None:
    rows = np.zeros(8, ROW)
    rows["low"] = [1, 1, 1, 2, 2, 2, 2, 3]
    rows["kind"] = [REFUSED, SUPPLY, NEED, SUPPLY, SUPPLY, LINK, NEED, NEED]
    rows["time"] = [0, 9, 9, 1, 8, 6, 3, 0]
    rows["index"] = rows["other_low"] = np.arange(8)
    assert find(NEED, rows)[["index", "kind", "record", "low"]].tolist() == [(2, REFUSED, 0, 0), (6, SUPPLY, 3, 3)]
    assert find(LINK, rows)[["index", "kind", "record", "low"]].tolist() == [(5, SUPPLY, 4, 4)]
    assert len(find(NEED, rows[:0])) == 0
