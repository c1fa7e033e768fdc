"""Run by confined.py: a video file on standard input to frames on standard output: a line of JSON, then BGR pixels.

The arguments are the longest side, the longest duration in seconds, the number of frames and the pixels of a frame."""

import io
import json
import sys
from math import floor
from typing import Any

import cv2

SECONDS, MEMORY = 20, 2 << 30
FILES = 0
"""So a file that names others cannot open them."""
cv2.setNumThreads(1)


def main(arguments: list[str]) -> int:
    side, longest, count, pixels = int(arguments[0]), float(arguments[1]), int(arguments[2]), int(arguments[3])
    data = sys.stdin.buffer.read()
    capture = cv2.VideoCapture(io.BytesIO(data), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])  # type: ignore[call-overload]
    width, height, rate, number = (
        capture.get(name)
        for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)
    )
    if not capture.isOpened() or width <= 0 or height <= 0:
        return dropped("image.undecodable", "no video in it that can be decoded")
    if width * height > pixels:
        return dropped("image.too_many_pixels", f"{width:.0f} x {height:.0f}")
    if rate > 0 and number / rate > longest:
        return dropped("video.too_long", f"{number / rate:.0f} s")
    try:
        frames = list(taken(capture, rate if rate > 0 else 25.0, count))
    except (cv2.error, MemoryError, ValueError) as error:
        return dropped("image.undecodable", str(error)[:100])
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        return dropped("image.undecodable", "no frame" if not frames else "frames of several sizes")
    height, width = frames[0].shape[:2]
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = [frame if scale == 1 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    told = {"shape": [len(small), size[1], size[0]], "width": width, "height": height}
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + b"".join(frame.tobytes() for frame in small))
    return 0


def taken(capture: Any, rate: float, count: int) -> Any:
    """The first frame, and the first of each further second after it, at most `count`."""
    begin = due = None
    number = 0
    while count and capture.grab():
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or number / rate
        number += 1
        begin = at if begin is None else begin
        if due is None or at - begin >= due - 1e-3:
            yield capture.retrieve()[1]
            due, count = floor(at - begin + 1e-3) + 1, count - 1


def dropped(rule: str, detail: str) -> int:
    print(json.dumps({"rule": rule, "detail": detail}))
    return 0
