"""Read the header of an image without decoding pixels.

All limits on an image can then be checked before memory is allocated: a PNG of 47 KB may declare 20,000 x 20,000
pixels, a GIF of 44 bytes 4 gigapixels.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image as PillowImage

from pipeline.images import svg
from pipeline.media_type import picture_format

NOT_AN_IMAGE = "image.not_an_image"
UNSUPPORTED = "image.unsupported"
UNDECODABLE = "image.undecodable"
TOO_MANY_PIXELS = "image.too_many_pixels"
TOO_LARGE = "image.too_large"

MAX_SEGMENTS = 65_536
"""Maximum JPEG segments, PNG or WebP chunks of a file. A PNG of 20 MB in the usual 8 KB of IDAT has 2,500; a hostile
one 1.6 million empty ones, which take seconds to skip."""


class ImageDropped(Exception):
    """An image that is dropped, with the id of the rule and the detail; with the format if that is not decoded."""

    def __init__(self, rule_id: str, detail: str, format: str | None = None) -> None:
        super().__init__(rule_id, detail, format)
        self.rule_id = rule_id
        self.detail = detail
        self.format = format

    def __str__(self) -> str:
        return f"{self.rule_id}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Header:
    """The declarations of a file: `width` and `height` in pixels as coded, before applying `orientation` (EXIF 2.3, tag
    0x0112, 1 to 8); `frames` of an animation; `scans` of a JPEG, each of which visits every pixel."""

    format: str
    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    scans: int = 1


def read_header(data: bytes) -> Header:
    """The format, size and orientation declared by `data`.

    Raises ImageDropped: image.not_an_image if `data` is not an image, image.unsupported if its format is not decoded
    (TIFF, HEIF, ICO, some SVG, ...), image.undecodable if the header is broken or the file truncated."""
    name = sniff(data)
    reader = _READERS.get(name)
    if reader is None:
        raise ImageDropped(UNSUPPORTED, f"{name} is not decoded", name)
    try:
        header = reader(data)
    except (struct.error, IndexError):
        raise ImageDropped(UNDECODABLE, f"the {name} header is cut off") from None
    if header.width <= 0 or header.height <= 0:
        raise ImageDropped(UNDECODABLE, f"{header.width} x {header.height} pixels")
    return header


_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)


def sniff(data: bytes) -> str:
    """The format whose signature `data` starts with, lower-case, whatever its label.

    Raises ImageDropped image.not_an_image for everything else; markup is SVG only if an svg tag but no html tag is near
    its start."""
    name = picture_format(data)
    if name is not None:
        return name
    if data[4:8] == b"ftyp":
        raise ImageDropped(NOT_AN_IMAGE, f"an ISO media file of brand {data[8:12]!r}")
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        if _SVG.search(start) and b"<html" not in start.lower():
            return "svg"
        raise ImageDropped(NOT_AN_IMAGE, "markup")
    raise ImageDropped(NOT_AN_IMAGE, f"begins with {data[:8]!r}" if data else "no bytes")


def exif_orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) of an EXIF block, with or without its `Exif\0\0` prefix; 1 if absent or broken."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for index in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * index)
            if tag == 0x0112:
                return value if kind == 3 and count == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# JPEG (ITU-T T.81, annex B)

SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
SOS, EOI = 0xDA, 0xD9
JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def jpeg_segments(data: bytes, start: int = 2) -> Iterator[tuple[int, int, int]]:
    """(marker code, start and end of its payload) of each segment in order, the end of the image (EOI) last.

    Entropy-coded data, restart markers and stray bytes between segments are skipped, as in libjpeg. Raises ImageDropped
    image.undecodable for more than MAX_SEGMENTS."""
    position = start
    for _ in range(MAX_SEGMENTS):
        match = JPEG_MARKER.search(data, position)
        if match is None:
            return
        code, position = match[1][0], match.end()
        if code == EOI:
            yield code, position, position
            return
        if code in (0x01, 0xD8):
            continue
        end = position + int.from_bytes(data[position : position + 2])
        yield code, position + 2, end
        position = max(end, position + 2)
    raise ImageDropped(UNDECODABLE, f"more than {MAX_SEGMENTS} segments")


def _jpeg(data: bytes) -> Header:
    width = height = 0
    orientation: int | None = None
    for code, start, end in jpeg_segments(data):
        if code in SOF and not width:
            height, width = struct.unpack_from(">HH", data, start + 1)
        elif code == 0xE1 and orientation is None and data.startswith(b"Exif\0\0", start):
            orientation = exif_orientation(data[start:end])
        elif code == SOS:
            return Header("jpeg", width, height, orientation or 1, scans=_jpeg_scans(data, start))
    raise ImageDropped(UNDECODABLE, "a JPEG file without image data")


def _jpeg_scans(data: bytes, first: int) -> int:
    """The number of scans, given the payload of the first."""
    # Counting the marker's bytes is a fast upper bound; segments are only parsed if it is high.
    bound = 1 + data.count(b"\xff\xda", first)
    return bound if bound <= 20 else 1 + sum(code == SOS for code, _, _ in jpeg_segments(data, first))


# PNG (ISO/IEC 15948)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start and end of its data) of each complete chunk, up to IEND or the end of the file.

    Raises ImageDropped image.undecodable for more than MAX_SEGMENTS."""
    position = 8
    for _ in range(MAX_SEGMENTS):
        if position + 12 > len(data):
            return
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            return
        yield kind, position + 8, end
        if kind == b"IEND":
            return
        position = end + 4
    raise ImageDropped(UNDECODABLE, f"more than {MAX_SEGMENTS} chunks")


def _png(data: bytes) -> Header:
    width = height = 0
    orientation = frames = 1
    for kind, start, end in png_chunks(data):
        if not width:
            if kind != b"IHDR" or end - start != 13:
                raise ImageDropped(UNDECODABLE, "a PNG file that does not begin with IHDR")
            width, height = struct.unpack_from(">II", data, start)
            if not width:
                break
        elif kind == b"eXIf":
            orientation = exif_orientation(data[start:end])
        elif kind == b"acTL" and end - start == 8:
            frames = max(1, int.from_bytes(data[start : start + 4]))
    if not width:
        raise ImageDropped(UNDECODABLE, "a PNG file without a header")
    return Header("png", width, height, orientation, frames)


# GIF (GIF89a specification)


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_table(flags)
    frames = 0
    try:
        while data[position] != 0x3B:
            if data[position] == 0x2C:
                left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, position + 1)
                if not frames:
                    width, height = max(width, left + columns), max(height, top + rows)
                frames += 1
                position = _gif_blocks(data, position + 11 + _gif_table(flags))
            elif data[position] == 0x21:
                position = _gif_blocks(data, position + 2)
            else:
                break
    except (IndexError, struct.error):
        # A truncated animation still has its first frame; the decoder finds out whether that is complete.
        if not frames:
            raise
    if not frames:
        raise ImageDropped(UNDECODABLE, "a GIF file without image data")
    return Header("gif", width, height, frames=frames)


def _gif_table(flags: int) -> int:
    """Bytes of the colour table declared by a packed field."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(data: bytes, position: int) -> int:
    """The position after the sub-blocks that start at `position`."""
    while size := data[position]:
        position += 1 + size
    return position + 1


# WebP (RFC 9649)


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(FourCC, start and end of its data) of each chunk.

    Raises ImageDropped image.undecodable if the file is shorter than declared or has more than MAX_SEGMENTS."""
    position = 12
    stop = 8 + int.from_bytes(data[4:8], "little")
    for _ in range(MAX_SEGMENTS):
        if position + 8 > stop:
            return
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if end > min(stop, len(data)):
            raise ImageDropped(UNDECODABLE, "the WebP file is cut off")
        yield data[position : position + 4], position + 8, end
        position = end + (end & 1)
    raise ImageDropped(UNDECODABLE, f"more than {MAX_SEGMENTS} chunks")


def _webp(data: bytes) -> Header:
    width = height = 0
    orientation, frames = 1, 0
    for kind, start, end in webp_chunks(data):
        if kind == b"VP8X":
            width = 1 + int.from_bytes(data[start + 4 : start + 7], "little")
            height = 1 + int.from_bytes(data[start + 7 : start + 10], "little")
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation = exif_orientation(data[start:end])
        elif kind == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, start + 6))
        elif kind == b"VP8L" and not width:
            (bits,) = struct.unpack_from("<I", data, start + 1)
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return Header("webp", width, height, orientation, max(1, frames))


# BMP and AVIF


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return Header("bmp", width, abs(height))


def _avif(data: bytes) -> Header:
    try:
        # Opening only parses boxes; libavif decodes on load.
        with PillowImage.open(io.BytesIO(data), formats=("AVIF",)) as image:
            orientation = exif_orientation(image.info.get("exif", b""))  # also derived from irot and imir
            return Header("avif", *image.size, orientation, getattr(image, "n_frames", 1))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise anything for a broken file
        raise ImageDropped(UNDECODABLE, reason(error)) from None


def reason(error: Exception) -> str:
    """An exception's message without memory addresses, which some of Pillow's contain, so that it is the same in every
    process."""
    return f"{type(error).__name__}: " + re.sub(r"<\S+ object at 0x[0-9a-f]+>", "", str(error))


def _svg(data: bytes) -> Header:
    if obstacle := svg.obstacle(data):
        raise ImageDropped(UNSUPPORTED, f"svg with {obstacle} is not decoded", "svg")
    return Header("svg", *svg.size(data))


_READERS = {"svg": _svg, "jpeg": _jpeg, "png": _png, "gif": _gif, "webp": _webp, "bmp": _bmp, "avif": _avif}
FORMATS = tuple(_READERS)
"""The formats that are decoded."""
