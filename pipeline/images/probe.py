"""Check whether an image is usable before it is decoded to be stored.

Header and end are enough for most. Pixels are only decoded if the end is missing, if there are signs of damage, or if
the file is so small that it may be a single colour."""

import re

import pyarrow as pa

from filters import image
from pipeline.images import video
from pipeline.images.decode import ImageOptions, check_checksums, check_pixels, colour_spread, render
from pipeline.images.header import SOS, Header, ImageDropped, jpeg_segments, read_header
from shards.clips import FORMAT

SIDE = 64
"""The longest side, in pixels, at which a file is decoded here: JPEG is fastest at small sizes."""
NO_MARKER = re.compile(rb"\xff[\x01-\xc3\xc5-\xcf\xd8\xdc\xde\xdf\xf0-\xfd]")
"""A marker that does not occur between the first scan and the end (ITU-T T.81, B.2.1)."""
HOLE = bytes(32)
PLAIN_BYTES, PLAIN_SHARE = 4_000, 0.03
"""Files of a single colour have fewer bytes, or fewer bytes per pixel (JPEG of quality 95: 0.028)."""


def probe(data: bytes, max_pixels: int, clip_seconds: float = 0) -> dict[str, str | int | float | None]:
    """`format` and `shorter_side` (pixels) of an image, its `spread` if it may be a single colour (see
    `colour_spread`), and the rule under which decoding would drop it (`unusable`). Of a clip of up to `clip_seconds`,
    the first frame is decoded.

    Damage before an intact end is found in PNG, which has checksums, and in JPEG where it shows (`_looks_damaged`)."""
    spread = None
    try:
        if clip_seconds and video.is_video(data):
            clip = video.read(data, SIDE, clip_seconds, 1)
            shorter = min(clip.width, clip.height)
            return {"format": FORMAT, "shorter_side": shorter, "spread": None, "unusable": None}
        header = read_header(data)
        check_pixels(header, max_pixels)
        shorter = min(header.width, header.height)
        plain = len(data) < max(PLAIN_BYTES, PLAIN_SHARE * header.width * header.height)
        # icons fail for their size, whatever they show; an SVG takes a process of its own
        doubtful = not _has_end(data, header) or (header.format == "jpeg" and _looks_damaged(data))
        if (plain and shorter >= SIDE and header.format != "svg") or doubtful:
            spread = colour_spread(render(data, header, SIDE))
    except ImageDropped as dropped:
        return {"format": None, "shorter_side": None, "spread": None, "unusable": dropped.rule_id}
    return {"format": header.format, "shorter_side": shorter, "spread": spread, "unusable": None}


COLUMNS = pa.schema(
    [("format", pa.string()), ("shorter_side", pa.int32()), ("spread", pa.float64()), ("unusable", pa.string())]
)
"""The columns of `probe`'s results."""


def is_usable(data: bytes) -> bool:
    """Whether a build would use an image if the page offers others (`filters.image.usable`)."""
    found = pa.Table.from_pylist([probe(data, ImageOptions().max_pixels)], COLUMNS)
    return bool(image.usable(found)[0])


def _looks_damaged(data: bytes) -> bool:
    """Whether a JPEG file shows what no encoder writes into coded pixels: other markers, a run of zero bytes (a hole in
    a download; rare elsewhere), or line feeds that all follow a carriage return (a transfer as text)."""
    scan = next(start for code, start, _ in jpeg_segments(data) if code == SOS)
    if NO_MARKER.search(data, scan, max(scan, data.rfind(b"\xff\xd9"))) or data.find(HOLE, scan) >= 0:
        return True
    feeds = data.count(b"\n", scan)
    return feeds >= 16 and data.count(b"\r\n", scan) == feeds


def _has_end(data: bytes, header: Header) -> bool:
    match header.format:
        case "jpeg":
            scan = next(start for code, start, _ in jpeg_segments(data) if code == SOS)
            return data.rfind(b"\xff\xd9") > scan  # an earlier one ends a thumbnail
        case "png":
            return check_checksums(data)
        case "gif":
            return data.endswith(b";")
        case "webp":
            return True  # a file shorter than declared fails at its header
        case "svg":
            return data.rstrip().endswith(b"svg>")
        case "avif":
            return _boxes_end(data) <= len(data)
    return False


def _boxes_end(data: bytes) -> int:
    """The end of the last top-level box of an ISO media file (ISO/IEC 14496-12, 4.2)."""
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16])
        if size < 8:  # 0: to the end of the file
            break
        position += size
    return position
