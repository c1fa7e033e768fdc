"""Decoding: the corner cases of each format, orientation, colour, and what is stored."""

import hashlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.images.decode import ImageDropped, ImageOptions, decode, perceptual_hash, render
from pipeline.images.header import read_header

DEFAULTS = ImageOptions()


def picture(width: int = 90, height: int = 70) -> Image.Image:
    """Something smooth with a different colour in each corner, so that no two orientations look alike."""
    corners = np.array([[[250, 20, 20], [20, 200, 20]], [[20, 20, 240], [250, 230, 30]]], np.uint8)
    return Image.fromarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR))


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def rendered(data: bytes) -> np.ndarray:
    """Our pixels as RGB, before they are stored as a JPEG."""
    return render(data, read_header(data), 512)[..., ::-1].astype(int)


def on_white(data: bytes) -> np.ndarray:
    """Pillow's idea of the first frame, before any lossy step of ours."""
    image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I"):
        return np.repeat((np.asarray(image) / 257).round()[..., None], 3, 2)
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return np.asarray(white.convert("RGB")).astype(int)


def rule_of(data: bytes, options: ImageOptions = DEFAULTS) -> str:
    with pytest.raises(ImageDropped) as dropped:
        decode(data, options)
    return dropped.value.rule_id


def test_what_is_stored_and_what_is_told():
    data = saved(picture(1200, 600), "PNG")
    image = decode(data)
    assert (image.format, image.width, image.height) == ("png", 512, 256)
    assert (image.original_width, image.original_height, image.frames) == (1200, 600, 1)
    assert image.sha256 == hashlib.sha256(data).digest()
    assert image.stored_sha256 == hashlib.sha256(image.data).digest()
    with Image.open(io.BytesIO(image.data)) as stored:
        assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", (512, 256))
    assert decode(data) == image


def test_a_picture_is_never_enlarged_and_no_side_vanishes():
    assert (decode(saved(picture(40, 30), "PNG")).width, decode(saved(picture(512, 1), "PNG")).height) == (40, 1)
    long = decode(saved(picture(5000, 2), "PNG"))
    assert (long.width, long.height) == (512, 1)


def test_original_bytes_are_kept_as_they_came():
    data = saved(picture(1200, 600), "PNG")
    image = decode(data, ImageOptions(store="original"))
    assert image.data == data
    assert image.stored_sha256 == image.sha256
    assert (image.width, image.height) == (1200, 600)


PALETTE_AND_CLEAR = "palette with a transparent colour"
MODES = {
    "PNG": ["1", "L", "LA", "P", PALETTE_AND_CLEAR, "RGB", "RGBA", "16 bit"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["1", "L", "P", PALETTE_AND_CLEAR],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "AVIF": ["RGB", "RGBA"],
    "JPEG": ["L", "RGB"],
}


@pytest.mark.parametrize(("format", "mode"), [(format, mode) for format, modes in MODES.items() for mode in modes])
def test_modes_are_the_pixels_pillow_sees_on_white(format, mode):
    options: dict = {"lossless": True} if format == "WEBP" else {}
    if mode == "16 bit":
        image = Image.fromarray(np.arange(0, 63_000, 10, dtype=np.uint16).reshape(70, 90))
    elif mode == PALETTE_AND_CLEAR:
        image, options = picture().quantize(16), {"transparency": 3}
    else:
        image = picture().convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = saved(image, format, **options)
    assert np.abs(rendered(data) - on_white(data)).max() <= 1
    assert decode(data).format == format.lower()


def test_pngsuite_is_the_pixels_pillow_sees_on_white(shared):
    paths = sorted((shared / "data/images/pngsuite").rglob("*.png"))
    assert len(paths) >= 60
    for path in paths:
        data = path.read_bytes()
        assert np.abs(rendered(data) - on_white(data)).max() <= 1, path.name


def png(width: int, height: int, depth: int, colour: int, rows: bytes, **chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind.encode() + data + struct.pack(">I", zlib.crc32(kind.encode() + data))
        for kind, data in parts.items()
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_a_png_is_white(depth):
    top = (1 << depth) - 1
    row = bytes([0]) + (b"\0\0" * 64 if depth == 16 else bytes(64 * depth // 8))
    black = png(64, 2, depth, 0, row * 2)
    assert rendered(black).max() == 0
    assert rendered(png(64, 2, depth, 0, row * 2, tRNS=b"\0\0")).min() == 255
    assert rendered(png(64, 2, depth, 0, row * 2, tRNS=struct.pack(">H", top))).max() == 0


def test_gamma_text_and_profile_chunks_do_not_touch_pixels():
    rows = (b"\0" + bytes(range(0, 192))) * 64
    plain = rendered(png(64, 64, 8, 2, rows))
    assert (rendered(png(64, 64, 8, 2, rows, gAMA=struct.pack(">I", 100_000))) == plain).all()
    bomb = zlib.compress(bytes(10**8), 9)
    assert (rendered(png(64, 64, 8, 2, rows, zTXt=b"a\0\0" + bomb, iCCP=b"a\0\0" + bomb)) == plain).all()


@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
def test_exif_orientations_are_one_picture(shared, name):
    folder = shared / "data/images/exif-orientation"
    images = [decode((folder / f"{name}_{n}.jpg").read_bytes()) for n in range(9)]
    expected = (512, 341) if name == "Landscape" else (341, 512)
    assert {(image.width, image.height) for image in images} == {expected}
    assert {max(i.original_width, i.original_height) for i in images} == {1800}
    pixels = [np.asarray(Image.open(io.BytesIO(image.data))).astype(int) for image in images]
    for other, image in zip(pixels[1:], images[1:], strict=True):
        # The files differ by themselves: a number is drawn into each.
        assert np.abs(other - pixels[0]).mean() < 4
        assert (image.phash ^ images[0].phash).bit_count() <= 6


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_each_format_is_undone(format, orientation):
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture()
    turned = upright.transpose(inverse[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(turned, format, exif=exif, quality=95)
    assert read_header(data).orientation == orientation
    image = decode(data)
    assert (image.width, image.height, image.original_width, image.original_height) == (90, 70, 90, 70)
    assert np.abs(rendered(data) - np.asarray(upright)).mean() < 4


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(format):
    frames = [picture(), Image.new("RGB", (90, 70), "black"), Image.new("RGB", (90, 70), "red")]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
    assert decode(data).frames == 3
    assert (rendered(data) == on_white(data)).all()


def test_the_first_frame_of_an_animated_webp_lies_where_its_canvas_says():
    clear = Image.new("RGBA", (80, 60))
    square = clear.copy()
    square.paste((200, 0, 0, 255), (20, 10, 60, 50))
    data = saved(square, "WEBP", save_all=True, append_images=[clear], lossless=True, minimize_size=True)
    assert b"ANMF" in data
    assert (rendered(data) == on_white(data)).all()


@pytest.mark.parametrize("transform", ["CMYK", "YCCK"])
def test_inks_are_mixed_as_pillow_mixes_them(transform):
    inks = picture(600, 400).convert("CMYK")
    black = Image.linear_gradient("L").resize(inks.size)
    inks = Image.merge("CMYK", (*inks.split()[:3], black))
    data = saved(inks, "JPEG", quality=95)
    if transform == "YCCK":
        # Pillow writes plain CMYK only; the Adobe marker tells how to read it.
        at = data.index(b"Adobe") + 11
        assert data[at] == 0
        data = data[:at] + b"\x02" + data[at + 1 :]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((512, 341), Image.Resampling.BOX)).astype(
        int
    )
    assert np.abs(rendered(data) - expected).mean() < 3


@pytest.mark.parametrize("factors", [0x14, 0x42, 0x24])
def test_subsampling_without_a_name(factors):
    data = bytearray(saved(picture(64, 64), "JPEG", subsampling=2))
    data[data.index(b"\xff\xc0") + 11] = factors
    # The factors are not those the data was made with: what is decoded is short of blocks or has some left.
    expected = Image.open(io.BytesIO(data))
    try:
        expected.load()
    except OSError:
        assert rule_of(bytes(data)) == "image.undecodable"
    else:
        assert np.abs(rendered(bytes(data)) - np.asarray(expected)).max() == 0


def test_a_broken_profile_is_as_good_as_none():
    inks = picture().convert("CMYK")
    plain = saved(inks, "JPEG", quality=95)
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (b"x" * 200, rgb_profile):
        assert (rendered(saved(inks, "JPEG", quality=95, icc_profile=profile)) == rendered(plain)).all()


def test_perceptual_hash_survives_scaling_and_recompression_and_tells_pictures_apart():
    rng = np.random.default_rng(3)
    hashes = []
    for _ in range(8):
        pixels = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
        image = Image.fromarray(pixels)
        variants = [saved(image, "PNG"), saved(image.resize((300, 225)), "JPEG", quality=50), saved(image, "WEBP")]
        values = [decode(data).phash for data in variants]
        assert max((value ^ values[0]).bit_count() for value in values) <= 8
        hashes.append(values[0])
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) > 12


def test_a_single_colour_has_no_hash_and_no_spread():
    image = decode(saved(Image.new("RGB", (300, 200), (200, 30, 90)), "JPEG"))
    assert (image.phash, image.spread) == (0, 0.0)
    assert perceptual_hash(np.full((10, 10, 3), 255, np.uint8)) == 0
    assert decode(saved(picture(), "PNG")).spread > 50


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "image.not_an_image"),
        (b"<!doctype html><html><body>404 <svg></svg></body></html>", "image.not_an_image"),
        (b"\xef\xbb\xbf\n <html>", "image.not_an_image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image.undecodable"),
        (b"<SVG >", "image.undecodable"),
        (b"%PDF-1.7", "image.not_an_image"),
        (b"GIF", "image.not_an_image"),
        (b"II*\0" + bytes(100), "image.unsupported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image.unsupported"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41mp42", "image.not_an_image"),
        (b"\xff\xd8\xff", "image.undecodable"),
        (b"\x89PNG\r\n\x1a\n", "image.undecodable"),
        (b"RIFF\x04\0\0\0WEBP", "image.undecodable"),
        (b"BM", "image.undecodable"),
    ],
)
def test_rules_for_what_is_no_picture(data, rule):
    assert rule_of(data) == rule


def test_limits_are_told_apart():
    data = saved(picture(200, 100), "PNG")
    assert rule_of(data, ImageOptions(max_bytes=len(data) - 1)) == "image.too_large"
    assert rule_of(data, ImageOptions(max_pixels=19_999)) == "image.too_many_pixels"
    assert decode(data, ImageOptions(max_bytes=len(data), max_pixels=20_000)).width == 200


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF"])
def test_a_file_that_is_cut_off_is_dropped_wherever_it_is_cut(format):
    data = saved(picture(300, 200), format)
    for share in (0.02, 0.2, 0.5, 0.9):
        assert rule_of(data[: int(len(data) * share)]) in ("image.undecodable", "image.not_an_image")
    assert rule_of(data[: len(data) * 9 // 10]) == "image.undecodable"


def test_bytes_after_the_end_do_no_harm():
    for format in ("JPEG", "PNG", "GIF", "WEBP"):
        data = saved(picture(), format)
        assert decode(data + b"trailing" * 1000).data == decode(data).data


def test_orientation_of_avif_is_undone():
    # libavif keeps it as the boxes irot and imir, outside of EXIF.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture().transpose(Image.Transpose.ROTATE_90)
    data = saved(turned, "AVIF", exif=exif, quality=95)
    assert b"irot" in data
    assert (decode(data).width, decode(data).height) == (90, 70)
    assert np.abs(rendered(data) - np.asarray(picture())).mean() < 4
