"""Hostile files: dropped under a rule or decoded, with bounded memory, and never another exception."""

import functools
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.images.header import Header, exif_orientation, read_header

RULES = {
    "image.too_large",
    "image.not_an_image",
    "image.unsupported",
    "image.too_many_pixels",
    "image.undecodable",
}


def verdict(data: bytes) -> str | None:
    """The rule that drops `data`, None if it is decoded. Any other exception fails the test."""
    try:
        image = decode(data, ImageOptions(max_pixels=4_000_000))
    except ImageDropped as dropped:
        assert dropped.rule_id in RULES
        assert " at 0x" not in dropped.detail, "a memory address differs from run to run"
        return dropped.rule_id
    with Image.open(io.BytesIO(image.data)) as stored:
        assert stored.size == (image.width, image.height)
    return None


@functools.cache
def sample(format: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 4), np.uint8)
    options: dict = {}
    image = Image.fromarray(pixels)
    if format in ("GIF", "WEBP"):
        options = {"save_all": True, "append_images": [image.rotate(180)]}
    if format in ("JPEG", "BMP"):
        image = image.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, format, **options, **({"exif": exif} if format in ("JPEG", "PNG", "WEBP") else {}))
    return file.getvalue()


FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"]
MAGIC = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"BM",
    b"\0\0\0\x18ftypavif",
    b"<",
]


@given(st.sampled_from(MAGIC), st.binary(max_size=400))
def test_random_bytes(magic, rest):
    verdict(magic + rest)


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(data=st.data())
def test_flipped_bits(format, data):
    damaged = bytearray(sample(format))
    # Most of the structure lies in the first bytes.
    where = st.integers(0, 120) | st.integers(0, len(damaged) - 1)
    for position, bit in data.draw(st.lists(st.tuples(where, st.integers(0, 7)), min_size=1, max_size=4)):
        damaged[position] ^= 1 << bit
    verdict(bytes(damaged))


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(data=st.data())
def test_pieces_cut_out_and_repeated(format, data):
    whole = sample(format)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    verdict(whole[:start] + whole[end:])
    verdict(whole[:end] + whole[start:])


@given(st.binary(max_size=300))
def test_any_exif_has_an_orientation(data):
    for prefix in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= exif_orientation(prefix + data) <= 8


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that declare, or ask for, far more than their size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(20_001)) for _ in range(20_000)) + rows.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    square = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    jpeg = io.BytesIO()
    Image.new("L", (7900, 7900)).save(jpeg, "JPEG", progressive=True, quality=5)
    scans = jpeg.getvalue()
    last = scans[scans.rindex(b"\xff\xda") : -2]
    return {
        "png": square,
        "gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"," + bytes(4) + b"\xff\xff\xff\xff\0\2\0;",
        "gif frame": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b"," + bytes(4) + b"\xff\xff\xff\xff\0\2\0;",
        "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff" * 2,
        "bmp": b"BM" + bytes(12) + struct.pack("<Iii", 40, 100_000, -100_000) + bytes(100),
        "scans": scans[:-2] + last * 100 + scans[-2:],
    }


@pytest.mark.parametrize("name", ["png", "gif", "gif frame", "webp", "bmp", "scans"])
def test_bombs_are_dropped_by_their_header(name):
    with pytest.raises(ImageDropped) as dropped:
        decode(bombs()[name])
    assert dropped.value.rule_id == "image.too_many_pixels"


def test_endless_segments_are_dropped():
    png, jpeg = sample("PNG"), sample("JPEG")
    empty = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    for data in (png[:33] + empty * 70_000 + png[33:], jpeg[:2] + b"\xff\xe5\0\2" * 70_000 + jpeg[2:]):
        assert verdict(data) == "image.undecodable"
    # Linear time: this took minutes with a marker pattern that tries every run of fill bytes from each of its starts.
    assert verdict(b"\xff\xd8" + b"\xff" * 5_000_000) == "image.undecodable"


def test_marker_bytes_inside_a_jpeg_segment_are_no_scans():
    jpeg = sample("JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + b"\xff\xda" * 30_000
    start = jpeg.index(b"\xff\xda")
    assert read_header(jpeg[:start] + comment + jpeg[start:]) == Header("jpeg", 56, 40, orientation=6)


MEASURE = """
import sys
from pathlib import Path
from pipeline.images.decode import ImageDropped, decode
for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes())
    except ImageDropped:
        pass
# Not getrusage: its maximum includes that of the process this one was forked from.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(*paths: object) -> int:
    """Peak resident memory, in MiB, of a separate process that decodes the files."""
    run = subprocess.run([sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return int(run.stdout) // 1024


def test_memory_for_the_hostile_set_and_the_bombs(shared, tmp_path):
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    assert peak(*tmp_path.iterdir(), *(shared / "data/images/undecodable").iterdir()) < 400


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_memory_for_the_largest_picture_allowed(format, tmp_path):
    image = Image.new("RGBA" if format != "GIF" else "P", (8000, 8000))
    options = {"lossless": True, "quality": 0, "method": 0} if format == "WEBP" else {}
    image.save(tmp_path / "largest", format, **options)
    # 64 million pixels with opacity are 244 MiB; a second copy is what it takes to weigh colours by it.
    assert peak(tmp_path / "largest") < 800
