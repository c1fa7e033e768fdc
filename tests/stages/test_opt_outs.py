"""Images that opted out are left out wherever they come from, under their rule."""

import io
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.miniweb import Web
from tests.corpora import build_here
from tests.records import record
from tests.stages.test_folders import digest, page, picture, shown

SITE = "http://pictures.example/"
REFUSED = ("X-Robots-Tag", "noai, noimageai")
PAGE = """<!DOCTYPE html><html lang="en"><title>Pictures</title><article><h1>Pictures</h1>
<p>{}</p><img src="/plain.jpg" alt="">
<p>{}</p><img src="/refused.jpg" alt="">
<p>{}</p><img src="/again.jpg" alt="">
<p>{}</p><img src="/moved.jpg" alt="">
<p>{}</p><img src="/small.jpg" srcset="/refused.jpg 800w, /small.jpg 300w" alt="">
<p>{}</p><img src="/nowhere.jpg" alt="">
</article></html>"""


@pytest.fixture
def warc(web: Web, tmp_path: Path) -> Path:
    pictures = [web.resources[url].body for url in sorted(web.pictures) if url.endswith(".jpg")]
    plain, refused, again, small = pictures[:4]
    words = "The {} picture, which stands below this paragraph, was taken in the {} week of a long journey. " * 2
    weeks = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]
    paragraphs = [words.format(*week * 2) for week in pairwise(weeks)]
    captures = [
        ("", "200 OK", "text/html", (), PAGE.format(*paragraphs).encode()),
        ("plain.jpg", "200 OK", "image/jpeg", (("X-Robots-Tag", "nofollow"),), plain),
        ("refused.jpg", "200 OK", "image/jpeg", (REFUSED,), refused),
        # of two captures the one that refuses counts, wherever it stands
        ("again.jpg", "200 OK", "image/jpeg", (), again),
        ("again.jpg", "200 OK", "image/jpeg", (("TDM-Reservation", "1"),), again),
        ("moved.jpg", "302 Found", "text/html", (("Location", "/refused.jpg"),), b"moved"),
        ("small.jpg", "200 OK", "image/jpeg", (), small),
    ]
    path = tmp_path / "pictures.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for name, status, media_type, headers, body in captures:
            http = StatusAndHeaders(status, [("Content-Type", media_type), *headers], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(SITE + name, "response", io.BytesIO(body), http_headers=http))
    return path


def test_a_picture_that_opted_out_is_left_out_under_its_rule(warc: Path, tmp_path: Path) -> None:
    corpus = build_here([warc], tmp_path / "corpus")
    verdicts = pq.read_table(corpus / "work/decisions/00000.parquet").to_pylist()
    assert {row["url"].removeprefix(SITE): row["rule"] for row in verdicts} == {
        "plain.jpg": None,
        "refused.jpg": "consent.noai",
        "again.jpg": "consent.tdm_reservation",
        "moved.jpg": "consent.noai",
        "small.jpg": None,
        "nowhere.jpg": "image.not_fetched",
    }
    index = pq.read_table(corpus / "images/00000.parquet").to_pylist()
    said = {row["url"].removeprefix(SITE): (row["status"], row["error_message"]) for row in index}
    assert said["refused.jpg"] == said["moved.jpg"] == ("not_fetched", "consent.noai")
    records = pq.read_table(corpus / "work/records/00000.parquet").to_pylist()
    left = [row for row in records if (row["rule"] or "").startswith("consent.")]
    assert [(row["url"].removeprefix(SITE), row["use"], row["sha256"]) for row in left] == [
        ("refused.jpg", None, None),
        ("again.jpg", None, None),
    ]


def test_a_page_that_opted_out_does_not_come_back_through_another_capture(web: Web, tmp_path: Path) -> None:
    picture = next(web.resources[url].body for url in sorted(web.pictures) if url.endswith(".jpg"))
    words = "The {0} lighthouse stands on the {0} rock, and its keeper climbs the stairs twice a day to clean it. " * 3
    page = (
        '<!DOCTYPE html><html lang="en"><title>{0}</title>{1}<article><p>' + words + '</p><img src="/a.jpg"></article>'
    )
    meta = '<meta name="robots" content="noai">'
    captures = [
        ("taken-back", "2020", "first", ""),
        ("taken-back", "2024", "first", meta),
        ("given", "2020", "second", meta),
        ("given", "2024", "second", ""),
        ("open", "2020", "third", ""),
        ("open", "2024", "third", ""),
    ]
    path = tmp_path / "pages.warc.gz"
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, media_type, date, body in [
            *((name, "text/html", year, page.format(word, head).encode()) for name, year, word, head in captures),
            ("a.jpg", "image/jpeg", "2020", picture),
        ]:
            http = StatusAndHeaders("200 OK", [("Content-Type", media_type)], protocol="HTTP/1.1")
            headers = {"WARC-Date": f"{date}-01-01T00:00:00Z"}
            writer.write_record(
                writer.create_warc_record(
                    SITE + url, "response", io.BytesIO(body), http_headers=http, warc_headers_dict=headers
                )
            )
    for settings in (["dedup.url=true"], ["dedup.url=false", "dedup.text=false", "dedup.near_text=false"]):
        corpus = build_here([path], tmp_path / settings[0], [*settings, "image.max_documents=100"])
        documents = pq.read_table(corpus / "documents").to_pylist()
        assert {row["url"].removeprefix(SITE) for row in documents} == {"open"}
        assert len(documents) == (1 if settings[0].endswith("true") else 2)
        rules = pq.read_table(corpus / "work/dedup/00000.parquet")["rule"].to_pylist()
        assert rules.count("consent.noai") == 4


def test_what_opts_out_later_is_heard_though_nothing_else_changed(tmp_path: Path) -> None:
    """A crawler that finds the same bytes again, or a redirect in their place, writes down the headers alone."""
    opted_out = {"date": "2025-01-01T00:00:00Z", "headers": "X-Robots-Tag: noai\r\nLocation: /elsewhere\r\n"}
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(
        record(f"{SITE}revisited", page(1, "/a.png"))
        + record(f"{SITE}moved", page(2, "/b.png"))
        + record(f"{SITE}open", page(3, "/c.png", "/d.png", "/e.png"))
        + b"".join(record(f"{SITE}{name}.png", picture(seed), "image/png") for seed, name in enumerate("abcde"))
        + record(f"{SITE}revisited", kind="revisit", **opted_out)
        + record(f"{SITE}moved", status="301 Moved Permanently", **opted_out)
        + record(f"{SITE}c.png", media_type="image/png", kind="revisit", **opted_out)
        + record(f"{SITE}d.png", status="301 Moved Permanently", **opted_out)
    )
    root = build_here([warc], tmp_path / "corpus")
    assert shown(root) == {f"{SITE}open": [digest(picture(4))]}
    assert pq.read_table(root / "work/dedup/00000.parquet")["rule"].to_pylist() == [
        "consent.noai",
        "consent.noai",
        None,
    ]
    assert pq.read_table(root / "work/decisions/00000.parquet")["rule"].to_pylist() == [*["consent.noai"] * 2, None]
    assert pq.read_table(root / "work/records/00000.parquet")["rule"].to_pylist()[-4:] == ["consent.noai"] * 4
