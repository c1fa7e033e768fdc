"""Clips: up to 8 frames of a video file, a second apart, decoded by OpenCV's FFmpeg in a separate process with limits
on time and memory (video_decoder.py)."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.images.header import UNDECODABLE, ImageDropped
from shards.clips import FORMAT

CONFINED, DECODER = (Path(__file__).with_name(name) for name in ("confined.py", "video_decoder.py"))
SECONDS = 60
"""A decoder is killed after this many seconds; it may use 20 seconds of CPU time (video_decoder.py)."""
FRAMES = 8
"""Flamingo (Alayrac et al. 2022, arXiv 2204.14198): 8 frames, 1 a second."""
MAX_PIXELS = 4096 * 2304
"""Of a frame. A decoder holds some 20 of them."""
FILE = re.compile(r"\.(?:mp4|m4v|mov|webm|mkv|ogv|avi)(?:$|[?#])", re.IGNORECASE)
"""The end of the URL of a video file."""
_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}


class DecodedVideo(NamedTuple):
    """`frames` (BGR, height x width x 3), scaled down; `width` and `height` of the source in pixels, upright."""

    frames: list[NDArray[np.uint8]]
    width: int
    height: int


def is_video(data: bytes) -> bool:
    """Whether a file starts with the signature of MP4 or QuickTime, WebM or Matroska, Ogg, or AVI."""
    if data[4:8] == b"ftyp":
        return data[8:12] not in _BRANDS
    return data.startswith((b"\x1a\x45\xdf\xa3", b"OggS\0")) or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")


def read(data: bytes, max_side: int, max_seconds: float, frames: int = FRAMES) -> DecodedVideo:
    """Decode the first frame of each of the first seconds, at most `frames`, the longer side at most `max_side`.

    Raises ImageDropped: video.too_long if the file declares more than `max_seconds`, image.too_many_pixels,
    image.undecodable."""
    limits = (max_side, max_seconds, frames, MAX_PIXELS)
    command = [sys.executable, "-I", str(CONFINED), str(DECODER), *map(str, limits)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "OPENCV_FFMPEG_LOGLEVEL": "-8", "OPENCV_LOG_LEVEL": "SILENT"}
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, cwd="/", env=environment)
    except subprocess.TimeoutExpired:
        raise ImageDropped(UNDECODABLE, "video: not decoded in time", FORMAT) from None
    if done.returncode:
        raise ImageDropped(UNDECODABLE, "video: not decoded", FORMAT)
    line, _, pixels = done.stdout.partition(b"\n")
    told = json.loads(line)
    if "rule" in told:
        raise ImageDropped(told["rule"], f"video: {told['detail']}", FORMAT)
    count, height, width = told["shape"]
    shown = np.frombuffer(pixels, np.uint8).reshape(count, height, width, 3)
    return DecodedVideo(list(shown), told["width"], told["height"])
