"""Whatever a recipe's limits exclude is counted under their rules."""

import io
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.corpora import build_here
from tests.stages.test_bad_input import column
from tests.stages.test_folders import page, picture

SITE = "https://e.org/"


def write_warc(path: Path, captures: dict[str, bytes]) -> Path:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for name, body in captures.items():
            media_type = "image/png" if name.endswith(".png") else "text/html"
            http = StatusAndHeaders("200 OK", [("Content-Type", media_type)], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(SITE + name, "response", io.BytesIO(body), http_headers=http))
    return path


def test_what_is_over_a_limit_is_dropped_under_its_rule(tmp_path: Path) -> None:
    deep = b"<html><body>" + b"<div>" * 60 + page(2, "a.png") + b"</div>" * 60
    small, large = picture(1), picture(2) + bytes(40_000)
    captures = {"flat.html": page(1, "1.png", "2.png"), "deep.html": deep, "1.png": small, "2.png": large}
    warc = write_warc(tmp_path / "a.warc.gz", captures)
    settings = ["limits.page_depth=50", f"image.max_bytes={len(large) - 1}"]
    root = build_here([warc], tmp_path / "corpus", settings)
    assert column(root, "pages", "rule") == [None, "page.too_deep"]
    assert column(root, "distinct_images", "rule") == [None, "image.too_large"]
