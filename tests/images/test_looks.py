"""Sharpness and lines of text, on drawn images."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pipeline.images.decode import decode
from pipeline.images.looks import measured


def pattern(side: int = 300) -> np.ndarray:
    """Coloured blocks of 20 pixels."""
    blocks = np.random.default_rng(0).integers(0, 256, (side // 20, side // 20, 3), np.uint8)
    return cv2.resize(blocks, (side, side), interpolation=cv2.INTER_NEAREST)


def banner(width: int, height: int, size: int) -> np.ndarray:
    """Lines of text on one colour."""
    image = Image.new("RGB", (width, height), (20, 40, 120))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for top in range(6, height - size, int(1.5 * size)):
        draw.text((8, top), "Order today and save: free shipping for all members", (255, 255, 255), font)
    return np.asarray(image)


@pytest.mark.parametrize("side", [100, 300, 1000])
def test_blur_lowers_sharpness_at_any_size(side: int) -> None:
    sharp = pattern(side)
    found = [
        measured(cv2.GaussianBlur(sharp, (0, 0), share * side))["sharpness"] if share else measured(sharp)["sharpness"]
        for share in (0, 0.005, 0.01, 0.02)
    ]
    assert found == sorted(found, reverse=True) and found[0] > 300 and found[-1] < 30


@pytest.mark.parametrize(("width", "height", "size"), [(728, 90, 16), (300, 250, 24), (970, 250, 30)])
def test_text_is_found_and_shapes_are_not(width: int, height: int, size: int) -> None:
    assert measured(banner(width, height, size))["text_lines"] > 0.25
    assert measured(pattern())["text_lines"] < 0.05
    assert measured(np.full((90, 728, 3), 90, np.uint8)) == {"sharpness": 0.0, "text_lines": 0.0}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 600), (600, 1), (3, 3), (2000, 2)])
def test_any_size_is_measured(width: int, height: int) -> None:
    found = measured(np.zeros((height, width, 3), np.uint8))
    assert found == {"sharpness": 0.0, "text_lines": 0.0}


def test_a_decoded_image_has_them() -> None:
    data = cv2.imencode(".png", banner(728, 90, 16))[1].tobytes()
    image = decode(data)
    assert image.bytes == len(data) and image.frames == 1
    assert image.text_lines > 0.25 and image.sharpness > 300
