"""Images embedded in a page: their bytes come from the page."""

import base64
import io
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from tests.corpora import build_here, digests
from tests.records import record
from tests.stages.test_folders import digest, page, picture, shown


def data_url(body: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


def plain(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, "PNG")
    return file.getvalue()


def test_embedded_images_are_judged_and_stored_as_all_others(tmp_path: Path) -> None:
    known, cut = picture(1), picture(2)[:-300]
    escaped = "data:image/png," + "".join(f"%{byte:02x}" for byte in picture(4))
    first = page(
        1, data_url(picture(3)), "/known.png", escaped, data_url(known), data_url(plain(200, 200)), data_url(cut)
    )
    lazy = b"<img src='%s' data-src='/%s'>"
    second = page(2, "A", "B", data_url(picture(3))).replace(
        b"<img src='A'>", lazy % (data_url(picture(5)).encode(), b"gone.png")
    )
    second = second.replace(b"<img src='B'>", lazy % (data_url(picture(6)).encode(), b"b.png"))
    records = [
        record("http://e.org/p", first),
        record("http://e.org/known.png", known, "image/png"),
        record("http://e.org/b.png", picture(7), "image/png"),
        record("http://e.org/q", second),
    ]
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(b"".join(records))
    corpora = [build_here([warc], tmp_path / str(n), workers=n, settings=["dedup.near_text=false"]) for n in (1, 2)]
    assert digests(corpora[0]) == digests(corpora[1])
    assert shown(corpora[0]) == {
        "http://e.org/p": [digest(picture(3)), digest(known), digest(picture(4))],
        "http://e.org/q": [digest(picture(5)), digest(picture(7)), digest(picture(3))],
    }
    levels = {level["level"]: level for level in funnel(open_corpus(corpora[0]))["levels"]}
    rules = {row["rule"]: row["count"] for row in levels["images"]["rules"]}
    assert rules == {"image.repeated": 1, "image.single_colour": 1, "image.undecodable": 1}
    rows = {row["url"]: row for row in pq.read_table(corpora[0] / "images/00000.parquet").to_pylist()}
    row = rows[f"data:sha256,{digest(picture(3))}"]
    assert (row["status"], row["sha256"].hex()) == ("success", digest(picture(3)))
