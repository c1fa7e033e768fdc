"""Images of coloured shapes, in many file formats."""

import io
import math
import random
import struct
import zlib
from itertools import combinations

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from pipeline.miniweb.web import Drawing

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "arrow")
COUNTS = ("one", "two", "three", "four")
GROUNDS = ("white", "black", "grey", "turquoise")

# Colours and grounds are disjoint, so that they are independent and a shape is always visible.
COLOUR_RGB = (
    (222, 16, 24),
    (255, 136, 0),
    (250, 226, 20),
    (20, 150, 50),
    (24, 60, 225),
    (128, 20, 160),
    (255, 130, 190),
    (120, 66, 20),
)
GROUND_RGB = ((255, 255, 255), (8, 8, 8), (140, 140, 140), (64, 224, 208))

OVERSAMPLING = 2
# Centres of the shapes as fractions of the sides, by count, and the largest radius that keeps them apart.
CENTRES = (
    ((0.5, 0.5),),
    ((0.27, 0.5), (0.73, 0.5)),
    ((0.27, 0.28), (0.73, 0.28), (0.5, 0.73)),
    ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
)
RADIUS = (0.36, 0.21, 0.20, 0.20)


def draw_picture(rng: random.Random, width: int, height: int) -> Drawing:
    """An image with each attribute drawn uniformly and independently."""
    return Drawing(
        colour=rng.randrange(len(COLOURS)),
        shape=rng.randrange(len(SHAPES)),
        count=rng.randrange(len(COUNTS)),
        ground=rng.randrange(len(GROUNDS)),
        width=width,
        height=height,
    )


def outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a shape of radius 1 around the origin, y pointing down."""
    if shape == "square":
        return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
    if shape == "triangle":
        return [(0.0, -1.0), (0.95, 0.75), (-0.95, 0.75)]
    if shape == "star":
        turns = [(k * math.pi / 5 - math.pi / 2, 1.0 if k % 2 == 0 else 0.42) for k in range(10)]
        return [(radius * math.cos(angle), radius * math.sin(angle)) for angle, radius in turns]
    if shape == "cross":
        a, b = 0.32, 0.95
        return [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
    if shape == "arrow":
        return [(-1.0, -0.28), (0.1, -0.28), (0.1, -0.8), (1.0, 0.0), (0.1, 0.8), (0.1, 0.28), (-1.0, 0.28)]
    if shape == "heart":
        angles = [k * 2 * math.pi / 40 for k in range(40)]
        return [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16 - 0.08,
            )
            for t in angles
        ]
    raise ValueError(f"{shape!r} has no corners")


def layout(picture: Drawing, rng: random.Random) -> list[list[tuple[float, float]]]:
    """The corners of each shape (of the bounding box for circles and rings), in units of the image's shorter side. No
    two shapes touch."""
    side = min(picture.width, picture.height)
    while True:
        shapes = []
        for x, y in CENTRES[picture.count]:
            radius = RADIUS[picture.count] * rng.uniform(0.78, 1.0)
            slack = 0.12 if picture.count == 0 else 0.035
            cx = picture.width / side * (x + rng.uniform(-slack, slack))
            cy = picture.height / side * (y + rng.uniform(-slack, slack))
            angle = rng.uniform(-0.3, 0.3)
            if SHAPES[picture.shape] in ("circle", "ring"):
                shapes.append([(cx - radius, cy - radius), (cx + radius, cy + radius)])
                continue
            cos, sin = math.cos(angle), math.sin(angle)
            corners = outline(SHAPES[picture.shape])
            shapes.append([(cx + radius * (u * cos - v * sin), cy + radius * (u * sin + v * cos)) for u, v in corners])
        if not any(touch(one, other) for one, other in combinations(shapes, 2)):
            return shapes


def touch(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> bool:
    """Whether their bounding boxes touch or nearly touch."""
    gap = 0.01
    return all(
        max(point[axis] for point in left) + gap > min(point[axis] for point in right)
        for axis in (0, 1)
        for left, right in ((one, other), (other, one))
    )


def draw(picture: Drawing, rng: random.Random, *, transparent: bool = False) -> Image.Image:
    """Draw the image as RGB, or as RGBA on a transparent ground. Places, sizes and angles of the shapes vary.

    The layout depends only on `rng`, so the same state draws the same arrangement at another size."""
    width, height = picture.width * OVERSAMPLING, picture.height * OVERSAMPLING
    ground = GROUND_RGB[picture.ground]
    image = (
        Image.new("RGBA", (width, height), (*ground, 0)) if transparent else Image.new("RGB", (width, height), ground)
    )
    ink = ImageDraw.Draw(image)
    side = min(width, height)
    fill = COLOUR_RGB[picture.colour]
    for corners in layout(picture, rng):
        scaled = [(round(x * side), round(y * side)) for x, y in corners]
        if SHAPES[picture.shape] == "circle":
            ink.ellipse(scaled, fill=fill)
        elif SHAPES[picture.shape] == "ring":
            ink.ellipse(scaled, outline=fill, width=round((scaled[1][0] - scaled[0][0]) / 2 * 0.38))
        else:
            ink.polygon(scaled, fill=fill)
    return image.reduce(OVERSAMPLING)


def png16(image: Image.Image) -> bytes:
    """An RGB image as PNG with 16 bits per channel, which Pillow reads but does not write."""
    pixels = (np.asarray(image.convert("RGB"), dtype=np.uint16) * 257).astype(">u2")
    rows = pixels.reshape(image.height, -1).view(np.uint8)
    raw = np.concatenate([np.zeros((image.height, 1), np.uint8), rows], axis=1).tobytes()

    return png_file(image.width, image.height, 16, zlib.compress(raw, 6))


def png_file(width: int, height: int, bit_depth: int, data: bytes) -> bytes:
    """A PNG of colour type RGB around a compressed stream (ISO/IEC 15948, section 5)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# How to rotate an upright image so that the EXIF orientation turns it back (Exif 2.3, tag 0x0112).
UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

FORMATS = {
    "jpeg": ("image/jpeg", "jpg"),
    "progressive": ("image/jpeg", "jpg"),
    "exif": ("image/jpeg", "jpg"),
    "cmyk": ("image/jpeg", "jpg"),
    "png": ("image/png", "png"),
    "palette": ("image/png", "png"),
    "alpha": ("image/png", "png"),
    "png16": ("image/png", "png"),
    "webp": ("image/webp", "webp"),
    "gif": ("image/gif", "gif"),
    "animated": ("image/gif", "gif"),
}
"""Media type and file extension, by format."""


def encode(picture: Drawing, rng: random.Random, kind: str) -> bytes:
    """Encode the image in one of `FORMATS`. Raises ValueError for `alpha` if the ground is not white."""
    out = io.BytesIO()
    if kind == "alpha":
        if GROUNDS[picture.ground] != "white":
            raise ValueError("a transparent ground shows white, and this picture's ground is another")
        draw(picture, rng, transparent=True).save(out, "PNG")
        return out.getvalue()
    image = draw(picture, rng)
    if kind == "jpeg":
        image.save(out, "JPEG", quality=85)
    elif kind == "progressive":
        image.save(out, "JPEG", quality=85, progressive=True)
    elif kind == "exif":
        orientation = rng.choice(sorted(UNDO_ORIENTATION))
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.transpose(UNDO_ORIENTATION[orientation]).save(out, "JPEG", quality=85, exif=exif)
    elif kind == "cmyk":
        image.convert("CMYK").save(out, "JPEG", quality=90)
    elif kind == "png":
        image.save(out, "PNG")
    elif kind == "palette":
        image.quantize(32).save(out, "PNG")
    elif kind == "png16":
        return png16(image)
    elif kind == "webp":
        image.save(out, "WEBP", quality=85, method=0)
    elif kind == "gif":
        image.quantize(32).save(out, "GIF")
    elif kind == "animated":
        # The truth describes the first frame.
        later = ImageOps.invert(image)
        image.quantize(32).save(out, "GIF", save_all=True, append_images=[later.quantize(32)], duration=400, loop=0)
    else:
        raise ValueError(f"no such kind of file: {kind!r}")
    return out.getvalue()


def banner(rng: random.Random) -> bytes:
    """A strip of 600 x 100 pixels in blocks of two colours: aspect 6."""
    return blocks(rng, 600, 100, 50)


def icon(rng: random.Random) -> bytes:
    """An image of 32 x 32 pixels."""
    return blocks(rng, 32, 32, 16)


def badge(rng: random.Random) -> bytes:
    """An image of 120 x 120 pixels, for logos and seals."""
    return blocks(rng, 120, 120, 24)


def blocks(rng: random.Random, width: int, height: int, step: int) -> bytes:
    """A PNG of squares in random colours."""
    image = Image.new("RGB", (width, height), (240, 240, 240))
    ink = ImageDraw.Draw(image)
    for x in range(0, width, step):
        for y in range(0, height, step):
            ink.rectangle([x, y, x + step - 1, y + step - 1], fill=rng.choice(COLOUR_RGB + GROUND_RGB))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def single_colour(rng: random.Random) -> bytes:
    """A PNG of 200 x 150 pixels in a single colour."""
    out = io.BytesIO()
    Image.new("RGB", (200, 150), rng.choice(COLOUR_RGB)).save(out, "PNG")
    return out.getvalue()


PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""A transparent GIF of one pixel."""
