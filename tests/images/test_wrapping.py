"""Damaged structure around complete pixels is decoded as browsers do; incomplete pixels are dropped."""

import io
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import ImageDropped, decode
from pipeline.images.header import EOI, SOS, jpeg_segments


def saved(format: str, **options) -> bytes:
    y, x = np.mgrid[:60, :80]
    pixels = np.stack([x * 3, y * 4, (x * y) % 256], 2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


BASELINE, PROGRESSIVE, PNG = saved("JPEG"), saved("JPEG", progressive=True), saved("PNG")


def verdict(data: bytes) -> str:
    try:
        decode(data)
    except ImageDropped as dropped:
        return dropped.rule_id
    return "decoded"


@pytest.mark.parametrize("jpeg", [BASELINE, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_jpeg_file_is_dropped_wherever_it_is_cut_but_in_its_last_marker(jpeg):
    assert {verdict(jpeg[:length]) for length in range(3, len(jpeg) - 2)} == {"image.undecodable"}
    assert decode(jpeg[:-1]).data == decode(jpeg[:-2]).data == decode(jpeg).data


def test_a_jpeg_file_cut_in_a_table_is_dropped_whatever_follows():
    cut = [start + 1 for code, start, _ in jpeg_segments(PROGRESSIVE) if code in (0xC4, SOS)]
    for tail in (b"\xff\xd9", bytes(400), b"<html>error</html>" * 20, b"\xff\xd9" * 200):
        assert {verdict(PROGRESSIVE[:length] + tail) for length in cut} == {"image.undecodable"}


@pytest.mark.parametrize("jpeg", [BASELINE, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize("stray", [b"\0", b"\r\n", b"garbage", b"\xff\0", b"\xff\xff\xff"])
def test_stray_bytes_before_a_segment_of_the_head_do_no_harm(jpeg, stray):
    heads = [start - 4 for code, start, _ in jpeg_segments(jpeg[: jpeg.index(b"\xff\xda") + 4]) if code != EOI]
    assert len(heads) > 5
    for at in heads[1:]:
        assert decode(jpeg[:at] + stray + jpeg[at:]).data == decode(jpeg).data
        assert decode(jpeg[:at] + stray + jpeg[at:-2]).data == decode(jpeg).data


def test_odd_values_are_those_that_libjpeg_puts_in_their_place_and_hide_no_damage():
    version = BASELINE.index(b"JFIF") + 5
    scan = next(end for code, _, end in jpeg_segments(BASELINE) if code == SOS)
    odd = bytearray(BASELINE)
    odd[version], odd[scan - 2] = 9, 40
    odd[2:2] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7"
    assert decode(bytes(odd)).data == decode(BASELINE).data
    assert verdict(bytes(odd[:-40])) == verdict(bytes(odd[:-40] + b"\xff\xd9")) == "image.undecodable"


@pytest.mark.parametrize("ending", [b"", b"\0", b"\0\0\0\0IEND", b"\0\0\0\0IEND\0\0", b"\0\0\x30\0IDATxxxx"])
def test_a_png_file_needs_its_pixels_but_not_its_end(ending):
    pixels = PNG[:-12]
    assert decode(pixels + ending).data == decode(PNG).data
    for short in (1, 4, 5, 30, len(pixels) - 60):
        assert verdict(pixels[:-short]) == "image.undecodable"


def test_a_png_file_that_lacks_one_of_its_idat_chunks_is_dropped():
    start = PNG.index(b"IDAT") - 4
    data = PNG[start + 8 : -16]

    def chunk(part: bytes) -> bytes:
        return len(part).to_bytes(4) + b"IDAT" + part + crc32(b"IDAT" + part).to_bytes(4)

    half = len(data) // 2
    assert decode(PNG[:start] + chunk(data[:half]) + chunk(data[half:])).data == decode(PNG).data
    assert verdict(PNG[:start] + chunk(data[:half])) == verdict(PNG[:start]) == "image.undecodable"
    assert verdict(PNG[:start] + chunk(data[:half]) + PNG[-12:]) == "image.undecodable"
