"""Of the URLs a page offers for one image, the first that leads to something usable counts."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import build
from pipeline.engine.progress import Progress
from pipeline.images.probe import probe
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.miniweb.serve import Asked, Server
from pipeline.recipe import load
from pipeline.stages.fetch import Network
from tests.corpora import SMALL, build_here, digests
from tests.fetch.answers import ok
from tests.records import record
from tests.stages.test_folders import digest, page, picture, shown

JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(2000)
ERROR = b"<!DOCTYPE html><html><title>404</title><p>There is no such image.</p></html>"


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def offering(seed: int, *offers: tuple[str, str]) -> bytes:
    body = page(seed, *(f"NUMBER{number}" for number in range(len(offers))))
    for number, (first, second) in enumerate(offers):
        shown = b"<picture><source srcset='%s'><img src='%s'></picture>" % (first.encode(), second.encode())
        body = body.replace(b"<img src='NUMBER%d'>" % number, shown)
    return body


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_file_is_usable_if_it_can_be_decoded_whatever_follows_it(format: str) -> None:
    data = saved(Image.open(io.BytesIO(picture(1))).resize((200, 100)), format)
    usable = {"format": format.lower(), "shorter_side": 100, "unusable": None}
    for whole in (data, data + b"\0\0"):
        assert usable.items() <= probe(whole, 20_000).items()
    assert probe(data, 19_999)["unusable"] == "image.too_many_pixels"
    for share in (3, 6, 9):
        assert probe(data[: len(data) * share // 10], 20_000)["unusable"] == "image.undecodable"


def test_damage_before_an_intact_end_is_found_where_it_shows() -> None:
    image = Image.open(io.BytesIO(picture(1))).resize((600, 400))
    for format in ("PNG", "JPEG"):
        data = saved(image, format, **({"quality": 95} if format == "JPEG" else {}))
        half = len(data) // 2
        assert probe(data, 10**6)["unusable"] is None
        damaged = [data[:half] + bytes(600) + data[half + 600 :], data[:half] + b"\xff\x03" + data[half + 2 :]]
        damaged += [data[:200] + data[200:].replace(b"\r", b"").replace(b"\n", b"\r\n")]
        for found in damaged:
            assert probe(found, 10**6)["unusable"] == "image.undecodable"


def test_an_svg_file_is_usable_if_it_has_its_end() -> None:
    data = b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="70"><g/></svg>'
    usable = {"format": "svg", "shorter_side": 70, "unusable": None}
    for whole in (data, data + b"\n", data + b"<!-- end -->"):
        assert usable.items() <= probe(whole, 20_000).items()
    assert probe(data[:-9], 20_000)["unusable"] == "image.undecodable"


def test_a_cut_jpeg_file_with_a_thumbnail_is_no_whole_one() -> None:
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9".encode("latin-1") * 3
    data = saved(Image.open(io.BytesIO(picture(1))), "JPEG", exif=exif)
    assert data.index(b"\xff\xd9") < 200
    assert probe(data, 10**6)["unusable"] is None
    assert probe(data[:-300], 10**6)["unusable"] == "image.undecodable"


def test_the_next_candidate_of_the_input_stands_in(tmp_path: Path) -> None:
    first = {
        "unsupported": JXL,
        "cut": picture(1)[:-300],
        "error": ERROR,
        "tiny": saved(Image.new("RGB", (160, 20), "red"), "PNG"),
        "bomb": saved(Image.new("1", (9000, 9000)), "PNG"),
        "even": saved(Image.new("RGB", (300, 200), "grey"), "PNG"),
        "good": picture(5),
    }
    names = list(first)
    records = [record("http://e.org/p", offering(1, *((f"/{name}", f"/{name}.png") for name in names)))]
    records += [record(f"http://e.org/{name}", body, "image/png") for name, body in first.items()]
    records += [record(f"http://e.org/{name}.png", picture(9 + at), "image/png") for at, name in enumerate(names)]
    records += [
        record(
            "http://e.org/q",
            offering(2, ("/tiny", "/cut"), ("/moved", "/moved.png"), ("/twice", "/good"), ("/x", "/y")),
            headers="Content-Length: 99999\r\n",
        )
    ]
    records += [record(f"http://e.org/{name}", body, "image/x") for name, body in (("x", JXL), ("y", b"II*\0" + JXL))]
    records += [record("http://e.org/twice", picture(31)[:-300], "image/png")]
    records += [record("http://e.org/twice", picture(31), "image/png", date="2025-01-01T00:00:00Z")]
    records += [record("http://e.org/moved", status="302 Found", headers="Location: /cut\r\n")]
    records += [record("http://e.org/moved.png", picture(30), "image/png")]
    warc = tmp_path / "a.warc.gz"
    warc.write_bytes(b"".join(records))
    corpora = [build_here([warc], tmp_path / str(n), workers=n, settings=["dedup.near_text=false"]) for n in (1, 2)]
    assert digests(corpora[0]) == digests(corpora[1])
    expected = [digest(picture(9 + at)) for at in range(6)] + [digest(picture(5))]
    assert shown(corpora[0]) == {
        "http://e.org/p": expected,
        "http://e.org/q": [digest(picture(30)), digest(picture(31))],
    }
    documents = pq.read_table(corpora[0] / "documents/00000.parquet").to_pylist()
    marks = {row["url"]: row["capture"]["truncated"] for row in documents}
    assert marks == {"http://e.org/p": "", "http://e.org/q": "content-length"}
    levels = {level["level"]: level for level in funnel(open_corpus(corpora[0]))["levels"]}
    assert levels["images"]["out"] == {"kept": 2, "later candidate": 7}
    assert levels["images"]["rules"] == [
        {"rule": "image.unsupported", "count": 1},
        {"rule": "image.too_small", "count": 1},
    ]
    assert levels["pictures"]["rules"][0] == {"rule": "image.unsupported", "count": 1, "formats": {"jxl": 1}}


def test_the_next_candidate_is_asked_for_where_the_first_is_unusable(tmp_path: Path) -> None:
    bodies = {
        "/whole.png": picture(1),
        "/tiny.png": saved(Image.new("RGB", (9, 9)), "PNG"),
        "/b.png": picture(2),
        "/c.jxl": JXL,
        "/c.png": picture(3),
        "/d.png": picture(4)[:-300],
        "/closed/d.png": picture(4),
        "/robots.txt": b"User-agent: *\nDisallow: /closed/\n",
    }
    asked = []

    def answer(request: Asked) -> bytes:
        asked.append(request.target)
        if request.target == "/busy.png":
            return b"HTTP/1.1 503 Busy\r\nRetry-After: 99999\r\nContent-Length: 0\r\n\r\n"
        body = bodies.get(asked[-1])
        return ok(body) if body is not None else b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    with Server(["127.0.0.1", "127.0.0.2"], 0, answer) as server:
        site, other, busy = (f"http://{host}:{server.port}" for host in ("127.0.0.1", "localhost", "127.0.0.2"))
        warc = tmp_path / "a.warc.gz"
        offers = [("/cut.png", "/whole.png"), ("/tiny.png", "/b.png"), ("/c.jxl", f"{other}/c.png")]
        never = [(f"{busy}/busy.png", f"{site}/gone.png"), ("/gone.png", f"{busy}/never.png")]
        body = offering(1, *offers, ("/d.png", "/closed/d.png"), *never)
        warc.write_bytes(record(f"{site}/p", body) + record(f"{site}/cut.png", picture(1)[:-300], "image/png"))
        network = Network(allow_private=("127.0.0.0/30",))
        options = ["--direct_num_workers=1"]
        build([str(warc)], tmp_path / "c", load("web", SMALL), "file:///", options, Progress(io.StringIO()), network)
    assert shown(tmp_path / "c") == {f"{site}/p": [digest(picture(seed)) for seed in (1, 2, 3)]}
    assert sorted(path for path in asked if "png" in path or "jxl" in path) == sorted(
        ["/whole.png", "/tiny.png", "/b.png", "/c.jxl", "/c.png", "/d.png", "/busy.png", "/gone.png"]
    )
    rows = pq.read_table(tmp_path / "c/work/decisions/00000.parquet").to_pylist()
    assert [row["rule"] for row in rows] == [None, None, None, "image.undecodable", *["image.not_fetched"] * 2]
    assert [row["candidate"] for row in rows] == [1, 1, 1, 0, 0, 0]


def test_what_could_be_fetched_is_counted_once(tmp_path: Path) -> None:
    """Of an image that two pages show, one counts; those that are no web addresses, or found, do not."""
    site = tmp_path / "site"
    site.mkdir()
    away = "https://pictures.example"
    (site / "a.html").write_bytes(page(1, "1.png", f"{away}/2.png", f"{away}/3.png"))
    (site / "b.html").write_bytes(page(2, "1.png", f"{away}/2.png", "missing.png"))
    (site / "1.png").write_bytes(picture(1))
    for network, said in ((Network(), True), (Network(fetch=False), False)):
        progress = io.StringIO()
        recipe, root = load("web", [*SMALL, "dedup.near_text=false"]), tmp_path / f"corpus-{said}"
        build([str(site)], root, recipe, "file:///", ["--direct_num_workers=1"], Progress(progress), network)
        assert ("2 images on the web are not in the input: fetch with --contact URL" in progress.getvalue()) == said
