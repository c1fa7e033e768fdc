"""Videos as clips: frames a second apart, decoded in a process with limits; hostile files are dropped by a rule."""

import io
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import video
from pipeline.images.decode import DecodedImage, ImageDropped, ImageOptions, decode
from pipeline.images.probe import probe
from pipeline.miniweb.clips import draw_clip, video_file
from shards.clips import frames_of, is_clip

OPTIONS = ImageOptions(clip_seconds=60)


def numbered(count: int, rate: float, codec: str = "mp4v", ending: str = "mp4", side: int = 96) -> bytes:
    """A video whose frame n has a grey of 2 * n."""
    return video_file([np.full((side, side, 3), 2 * n, np.uint8) for n in range(count)], rate, codec, ending)


def frames(clip: DecodedImage) -> list[np.ndarray]:
    return [cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR) for frame in frames_of(clip.data)]


def rule_of(data: bytes, options: ImageOptions = OPTIONS) -> str:
    with pytest.raises(ImageDropped) as dropped:
        decode(data, options)
    assert dropped.value.detail
    return dropped.value.rule_id


@pytest.mark.parametrize(("codec", "ending"), [("mp4v", "mp4"), ("MJPG", "avi"), ("VP80", "webm")])
def test_a_frame_a_second_up_to_eight(codec: str, ending: str) -> None:
    clip = decode(numbered(100, 10, codec, ending), OPTIONS)
    shown = [float(frame.mean()) / 2 for frame in frames(clip)]
    assert np.abs(np.array(shown) - np.arange(0, 80, 10)).max() < 2
    assert (clip.format, clip.frames, clip.width, clip.height) == ("video", 8, 96, 96)


def test_a_clip_is_one_item_that_shows_its_first_frame_to_all_who_know_jpeg() -> None:
    assert len(frames(decode(numbered(25, 10), OPTIONS))) == 3
    clip = decode(draw_clip("moves to the left", random.Random(1), 0), OPTIONS)
    assert is_clip(clip.data) and not is_clip(frames_of(clip.data)[0])
    assert decode(draw_clip("moves to the left", random.Random(1), 0), OPTIONS).data == clip.data
    with Image.open(io.BytesIO(clip.data)) as image:
        assert image.n_frames == 8 and image.size == (160, 120)  # type: ignore[attr-defined]
        image.seek(7)
        last = np.asarray(image.convert("RGB"))[..., ::-1].astype(int)
    assert np.abs(last - frames(clip)[7]).max() <= 4
    assert decode(clip.data).format == "jpeg" and frames_of(b"anything") == [b"anything"]
    for damaged in (clip.data[:-50], clip.data[:600], clip.data.replace(b"MPF\0II", b"MPF\0xx")):
        with pytest.raises(ValueError, match="a clip"):
            frames_of(damaged)


def test_a_movement_and_its_reverse_do_not_look_alike() -> None:
    left, right = (decode(draw_clip(f"moves to the {way}", random.Random(1), 0), OPTIONS) for way in ("left", "right"))
    assert (left.phash ^ right.phash).bit_count() > 8


def test_large_frames_are_scaled_down_and_larger_ones_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    large = numbered(10, 10, side=640)
    clip = decode(large, OPTIONS)
    assert (clip.width, clip.original_width, frames(clip)[0].shape) == (512, 640, (512, 512, 3))
    monkeypatch.setattr(video, "MAX_PIXELS", 600 * 600)
    assert rule_of(large) == "image.too_many_pixels"
    assert probe(large, 10**6, 60)["unusable"] == "image.too_many_pixels"


def test_what_is_too_long_too_large_or_not_asked_for() -> None:
    data = numbered(100, 10)
    assert rule_of(data, ImageOptions(clip_seconds=9)) == "video.too_long"
    assert rule_of(data, ImageOptions(clip_seconds=60, max_bytes=1000)) == "image.too_large"
    assert rule_of(data, ImageOptions()) == "image.not_an_image"
    assert probe(data, 10**6)["unusable"] == "image.not_an_image"
    assert probe(data, 10**6, 60) == {"format": "video", "shorter_side": 96, "spread": None, "unusable": None}


def test_other_files_that_a_video_names_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(numbered(20, 10))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{tmp_path}/secret.mp4\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {tmp_path}/secret.mp4\n".encode()
    for text in (playlist, concat):
        with pytest.raises(ImageDropped) as dropped:
            video.read(text, 512, 60)
        assert dropped.value.rule_id == "image.undecodable"


@pytest.mark.parametrize("said", ["import time; time.sleep(60)", "import os; os.abort()", "bytearray(1 << 40)"])
def test_a_decoder_that_hangs_or_dies_is_a_damaged_video(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "decoder.py"
    program.write_text(said)
    monkeypatch.setattr(video, "DECODER", program)
    monkeypatch.setattr(video, "SECONDS", 0.5)
    assert rule_of(numbered(5, 10)) == "image.undecodable"


WHOLE = numbered(12, 10, "MJPG", "avi"), numbered(12, 10)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_damage_is_dropped_or_leaves_frames(whole: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(12, len(whole)))
    put = draw.draw(st.binary(max_size=200))
    damaged = whole[:start] + put + (whole[start + len(put) :] if draw.draw(st.booleans()) else b"")
    try:
        assert 1 <= len(frames_of(decode(damaged, OPTIONS).data)) <= 8
    except ImageDropped as dropped:
        assert dropped.rule_id in ("image.undecodable", "image.too_many_pixels", "video.too_long")
