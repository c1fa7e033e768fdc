"""Clips of video elements: media items of their documents, if the recipe keeps them."""

import hashlib
import io
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import openm3w
from pipeline.build import build
from pipeline.engine.progress import Progress
from pipeline.export import export
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.pictures import small
from pipeline.miniweb.clips import draw_clip
from pipeline.miniweb.serve import Asked, Server
from pipeline.recipe import load
from pipeline.stages.fetch import Network
from shards.clips import frames_of, is_clip
from shards.readers import read_windows
from shards.tar import read_member
from shards.verify import verify
from tests.corpora import SMALL, build_here, digests
from tests.fetch.answers import ok
from tests.images.test_video import numbered
from tests.records import record
from tests.stages.test_folders import page, picture, shown

CLIP = draw_clip("moves to the left", random.Random(1), 0)
POSTER = picture(1)
SETTINGS = ("dedup.near_text=false", "windows.validation=0")


def with_video(seed: int, video: str) -> bytes:
    return page(seed, "/a.png", "V").replace(b"<img src='V'>", video.encode())


PAGES = (
    record("http://e.org/1", with_video(1, "<figure><video poster=/p.png controls><source src=/no.webm type=video/webm>"
                                           "<source src=/c.mp4 type=video/mp4><track src=/de.vtt>"
                                           "<track kind=captions src=/c.vtt>No video.</video>"
                                           "<figcaption>It moves.</figcaption></figure>")),
    record("http://e.org/2", with_video(2, "<video src=/gone.mp4 poster=/p.png></video>")),
    record("http://e.org/3", with_video(3, "<video src=/bad.mp4></video>")),
    record("http://e.org/4", with_video(4, "<video src=/long.mp4 title=long></video>")),
    record("http://e.org/5", with_video(5, "<video src=/bad.mp4 poster=/p.png></video>")),
    record("http://e.org/a.png", picture(2), "image/png"),
    record("http://e.org/p.png", POSTER, "image/png"),
)  # fmt: skip
CLIPS = (
    record("http://e.org/c.mp4", CLIP, "application/octet-stream"),
    record("http://e.org/bad.mp4", CLIP[:2000], "video/mp4"),
    record("http://e.org/long.mp4", numbered(40, 1), "video/mp4"),
    record("http://e.org/de.vtt", b"WEBVTT\n\n00:01.000 --> 00:02.000\nEs bewegt sich.", "text/vtt"),
    record("http://e.org/c.vtt", b"WEBVTT\n\n1\n00:01.000 --> 00:02.000\n<v Ann>It moves &amp; moves", "text/plain"),
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "a.warc.gz").write_bytes(b"".join((*PAGES, *CLIPS)))
    return build_here([folder / "a.warc.gz"], folder / "corpus",
                      [*SETTINGS, "video.keep=true", "video.max_seconds=30", "image.animated=true",
                       'image.formats=["png"]'])  # fmt: skip


def second_images(root: Path) -> dict[str, dict]:
    rows = pq.read_table(root / "documents/00000.parquet", columns=["url", "images"]).to_pylist()
    return {row["url"][-1]: ([image for image in row["images"] if image] + [{}, {}])[1] for row in rows}


def test_the_first_file_that_can_be_decoded_is_the_clip_else_the_poster(kept: Path) -> None:
    shown = second_images(kept)
    clip = shown["1"]
    assert (clip["format"], clip["fetched_url"], clip["caption"]) == ("video", "http://e.org/c.mp4", "It moves.")
    assert clip["alternatives"] == ["http://e.org/c.mp4", "http://e.org/p.png"]
    assert clip["sha256"] == hashlib.sha256(CLIP).digest() and (clip["width"], clip["height"]) == (160, 120)
    data = read_member(kept / "images" / clip["tar"], clip["offset"], clip["length"])
    assert len(frames_of(data)) == 8
    assert {shown[number]["sha256"] for number in "25"} == {hashlib.sha256(POSTER).digest()}
    assert shown["3"] == shown["4"] == {}


def test_what_is_said_in_a_clip_follows_it(kept: Path) -> None:
    rows = pq.read_table(kept / "documents/00000.parquet", columns=["url", "texts", "images"]).to_pylist()
    first = next(row for row in rows if row["url"] == "http://e.org/1")
    place = next(place for place, image in enumerate(first["images"]) if image and image["format"] == "video")
    assert first["texts"][place + 1].startswith("It moves & moves\n\nIt moves.")
    assert not any("bewegt" in (text or "") for row in rows for text in row["texts"])
    levels = {level["level"]: level for level in funnel(open_corpus(kept))["levels"]}
    assert levels["records"]["out"]["captions"] == 2
    pages = pq.read_table(kept / "work/pages/00000.parquet", columns=["url"])["url"].to_pylist()
    assert pages == [f"http://e.org/{number}" for number in "12345"]  # whether or not a page waits for captions


def test_a_video_that_cannot_be_kept_is_counted_under_its_rule(kept: Path) -> None:
    levels = {level["level"]: level for level in funnel(open_corpus(kept))["levels"]}
    for level in levels.values():
        out = sum(level["out"].values()) if isinstance(level["out"], dict) else level["out"]
        assert level["in"] == out + sum(rule["count"] for rule in level["rules"])
    rules = {row["rule"]: row["count"] for row in levels["images"]["rules"]}
    assert rules == {"image.undecodable": 1, "video.too_long": 1}
    assert "record.media_type" not in {row["rule"] for row in levels["records"]["rules"]}


def test_windows_hold_a_clip_as_one_item_that_readers_and_verify_take(kept: Path) -> None:
    manifest = openm3w.open_corpus(kept).manifest
    assert verify(kept, manifest).problems == []
    for kind in ("parquet", "tar"):
        windows = list(read_windows(sorted((kept / "windows").glob(f"train-*.{kind}"))))
        found = [data for row in windows for data in row["images"] if is_clip(data)]
        assert len(found) == 1 and len(frames_of(found[0])) == 8
        assert all(len(row["images"]) == len(row["image_positions"]) for row in windows)
    assert {image.shape for sample in openm3w.Windows(kept) for image in sample["pixels"]} == {(3, 224, 224)}
    row = small(found[0])
    assert row is not None and openm3w.pixels(row).shape == (3, 224, 224)


def test_an_export_says_that_its_readers_see_the_first_frame(kept: Path, tmp_path: Path) -> None:
    for name in ("webdataset", "openflamingo"):
        said: list[str] = []
        export(kept, name, tmp_path / name, said.append)
        assert said[1:] == [f"{name} has images only: its readers see the first frame of each clip (1 in this corpus)"]


@pytest.mark.slow
def test_the_network_is_asked_for_the_poster_and_not_for_the_video(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: Asked) -> bytes:
        asked.append(request.target)
        return ok(POSTER)

    with Server(["127.0.0.1"], 0, answer) as server:
        site, warc = f"http://127.0.0.1:{server.port}", tmp_path / "a.warc.gz"
        warc.write_bytes(
            record(f"{site}/1", page(1, "V").replace(b"<img src='V'>", b"<video src=/v.mp4 poster=/p.png>"))
        )
        recipe = load("web", [*SMALL, *SETTINGS, "video.keep=true"])
        network = Network(allow_private=("127.0.0.0/30",))
        options = ["--direct_num_workers=1"]
        build([str(warc)], tmp_path / "corpus", recipe, "file:///", options, Progress(io.StringIO()), network)
    assert "/p.png" in asked and "/v.mp4" not in asked
    assert hashlib.sha256(POSTER).digest().hex() in shown(tmp_path / "corpus")[f"{site}/1"]


@pytest.mark.slow
def test_without_the_switch_videos_change_nothing(tmp_path: Path) -> None:
    roots = []
    for name, records in (("with", (*PAGES, *CLIPS)), ("without", PAGES)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.warc.gz").write_bytes(b"".join(records))
        roots.append(build_here([tmp_path / name / "a.warc.gz"], tmp_path / f"{name}-corpus", SETTINGS))
    assert digests(roots[0]) == digests(roots[1])
    assert second_images(roots[0])["1"]["url"] == "http://e.org/p.png"
    levels = {level["level"]: level for level in funnel(open_corpus(roots[0]))["levels"]}
    assert {"rule": "record.media_type", "count": 5}.items() <= levels["records"]["rules"][0].items()
