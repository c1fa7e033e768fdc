"""What an image looks like, as metrics for rules: how sharp it is, and how much of it is lines of text."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SHARPNESS_SIDE, TEXT_SIDE = 320, 512
"""The longest side, in pixels, at which each is measured: blur counts at the size at which models see an image (320 in
Flamingo), and text of 10 pixels can still be recognised at 512."""
CONTRAST = 48
"""The least difference of neighbouring pixels, of 255, at the edge of a letter."""
LINE_GAP = 9
"""The width of the gaps between letters, in pixels, that are closed."""
LOWEST, SHARE_OF_HEIGHT, LONG = 6, 0.4, 2
"""A line of text has at least 6 pixels of height, at most 0.4 of the image's, and twice as many of width."""
FILLED = 0.5
"""The least share of a line's box that is letters and closed gaps."""
MEASURES = ("sharpness", "text_lines")


def measured(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """`MEASURES` of an image (height x width x 3, BGR)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return {"sharpness": sharpness(grey), "text_lines": text_lines(grey)}


def measured_again(data: bytes) -> dict[str, float]:
    """`MEASURES` of an image as stored, for corpora that lack them."""
    return measured(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))  # type: ignore[arg-type]


def sharpness(grey: NDArray[Any]) -> float:
    """The variance of the Laplacian (Pech-Pacheco et al. 2000, ICPR), rounded to 1 decimal: low if there are no sharp
    edges."""
    return round(float(cv2.Laplacian(_within(grey, SHARPNESS_SIDE), cv2.CV_64F).var()), 1)


def text_lines(grey: NDArray[Any]) -> float:
    """The share of the area inside boxes that look like lines of text, 0 to 1, rounded to 3 decimals: letters are
    joined to lines across small gaps, and in a line the brightness changes often."""
    grey = _within(grey, TEXT_SIDE)
    height, width = grey.shape
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > CONTRAST
    joined = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, LINE_GAP), np.uint8))
    joined = cv2.morphologyEx(joined, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    boxes = cv2.connectedComponentsWithStats(joined, connectivity=8)[2][1:]
    tall, wide = boxes[:, cv2.CC_STAT_HEIGHT], boxes[:, cv2.CC_STAT_WIDTH]
    like = (tall >= LOWEST) & (tall <= SHARE_OF_HEIGHT * height) & (wide >= LONG * tall)
    like &= boxes[:, cv2.CC_STAT_AREA] >= FILLED * tall * wide
    area = sum(w * h for x, y, w, h, _ in boxes[like].tolist() if _changes(grey[y : y + h, x : x + w]) * h >= w)
    return round(area / (height * width), 3)


def _changes(box: NDArray[Any]) -> float:
    """Changes between dark and bright from left to right, per row in the middle half of a box."""
    height = len(box)
    threshold = cv2.threshold(box, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0]
    bright = box[height // 4 : 3 * height // 4] > threshold
    return float((bright[:, 1:] != bright[:, :-1]).sum(axis=1).mean())


def _within(grey: NDArray[Any], side: int) -> NDArray[Any]:
    """Scaled down until its longest side is at most `side`."""
    height, width = grey.shape
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return grey
    return cv2.resize(grey, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
