"""Convert the bytes of an image from the web to the stored JPEG: upright, RGB on white, bounded.

The order keeps hostile files cheap: size in bytes, header, number of pixels, and only then a decoder. Decoding is
strict about pixels: a truncated or damaged file is dropped, where a browser would show half of it with grey below. It
is as lenient about everything else as browsers are. Colours are taken as sRGB, except CMYK, which needs its ICC
profile.
"""

import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ImageCms
from PIL import Image as PillowImage

from pipeline.images import svg, video
from pipeline.images.header import (
    TOO_LARGE,
    TOO_MANY_PIXELS,
    UNDECODABLE,
    Header,
    ImageDropped,
    jpeg_segments,
    png_chunks,
    read_header,
    reason,
    webp_chunks,
)
from pipeline.images.jpeg import rewrapped
from pipeline.images.looks import measured
from shards.clips import FORMAT, clip_of

__all__ = ["DecodedImage", "ImageDropped", "ImageOptions", "decode"]

# Workers are processes, one per core: threads within an image would only compete. OpenCV and Pillow have these two
# settings only per process; results do not depend on them.
cv2.setNumThreads(1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # files are judged by results

Pixels = NDArray[np.uint8]
"""Height x width (grey), height x width x 3 (BGR) or x 4 (BGR and alpha)."""


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Limits on an image and how it is stored.

    `max_side` is the longest stored side in pixels; `quality` is JPEG's, 1 to 100. With `store = "original"` the bytes
    are kept unchanged, and readers must apply their EXIF orientation; an SVG is stored as PNG. Video files that last up
    to `clip_seconds` become clips (shards.clips), whatever `store` says; 0: they are no images."""

    max_side: int = 512
    max_pixels: int = 64_000_000
    max_bytes: int = 20_000_000
    quality: int = 90
    store: Literal["jpeg", "original"] = "jpeg"
    clip_seconds: float = 0


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as stored, and the metrics for rules and deduplication.

    `format` is that of the source. All sizes are upright: `width` and `height` of the image in `data`, `original_*` of
    the source. `sha256` is the hash of the source, `stored_sha256` that of `data`. `phash` has 64 bits (see
    `perceptual_hash`); `spread` is 0 for a single colour and at most 127.5 (see `colour_spread`); `sharpness` and
    `text_lines` are those of pipeline.images.looks; `bytes` is the length of the source."""

    data: bytes
    format: str
    width: int
    height: int
    original_width: int
    original_height: int
    sha256: bytes
    stored_sha256: bytes
    phash: int
    spread: float
    frames: int
    bytes: int
    sharpness: float
    text_lines: float


def decode(data: bytes, options: ImageOptions = ImageOptions()) -> DecodedImage:
    """Decode the first frame of `data`, turn it upright on white, and scale it down to `options.max_side`.

    Never enlarges. Raises only ImageDropped, with one of image.too_large, image.not_an_image, image.unsupported,
    image.too_many_pixels, image.undecodable, video.too_long."""
    if len(data) > options.max_bytes:
        raise ImageDropped(TOO_LARGE, f"{len(data)} bytes, at most {options.max_bytes}")
    if options.clip_seconds and video.is_video(data):
        return _decoded_clip(data, options)
    header = read_header(data)
    check_pixels(header, options.max_pixels)
    pixels = render(data, header, options.max_side)
    height, width = pixels.shape[:2]
    original_width, original_height = header.width, header.height
    if header.orientation >= 5:
        original_width, original_height = original_height, original_width
    digest = hashlib.sha256(data).digest()
    if options.store == "original" and header.format != "svg":
        stored, stored_digest, width, height = data, digest, original_width, original_height
    else:
        if options.store == "original":
            encoded = cv2.imencode(".png", pixels)[1]  # readers decode pictures of pixels
        else:
            encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, options.quality])[1]
        stored = encoded.tobytes()
        stored_digest = hashlib.sha256(stored).digest()
    return DecodedImage(
        stored,
        header.format,
        width,
        height,
        original_width,
        original_height,
        digest,
        stored_digest,
        perceptual_hash(pixels),
        colour_spread(pixels),
        header.frames,
        len(data),
        **measured(pixels),
    )


def _decoded_clip(data: bytes, options: ImageOptions) -> DecodedImage:
    """A video file as a clip. Its perceptual hash is that of its frames side by side: clips that only differ in the
    direction of a movement are not alike. The looks are those of the middle frame."""
    clip = video.read(data, options.max_side, options.clip_seconds)
    quality = [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    stored = clip_of([cv2.imencode(".jpg", frame, quality)[1].tobytes() for frame in clip.frames])
    height, width = clip.frames[0].shape[:2]
    return DecodedImage(
        stored,
        FORMAT,
        width,
        height,
        clip.width,
        clip.height,
        hashlib.sha256(data).digest(),
        hashlib.sha256(stored).digest(),
        perceptual_hash(np.concatenate(clip.frames, axis=1)),
        max(map(colour_spread, clip.frames)),
        len(clip.frames),
        len(data),
        **measured(clip.frames[len(clip.frames) // 2]),
    )


def render(data: bytes, header: Header, max_side: int) -> Pixels:
    """The first frame as height x width x 3 (BGR): upright, on white, its longer side at most `max_side`.

    Raises ImageDropped image.undecodable. Memory is as declared in the header: see `check_pixels`."""
    try:
        pixels = _shrink(_DECODERS[header.format](data, header, max_side), header, max_side)
    except (cv2.error, ValueError) as error:
        raise ImageDropped(UNDECODABLE, f"{header.format}: {error}") from None
    return _upright(pixels, header.orientation)


def check_pixels(header: Header, max_pixels: int) -> None:
    """Raise ImageDropped image.too_many_pixels if an image has more pixels, or more passes over them, than allowed.

    A progressive JPEG of a few KB can require thousands of passes over all its pixels. Encoders write about ten; twenty
    over the largest allowed image, or more over a smaller one, are accepted."""
    pixels = header.width * header.height
    if pixels > max_pixels or pixels * header.scans > 20 * max_pixels:
        scans = f" in {header.scans} scans" if header.scans > 1 else ""
        raise ImageDropped(TOO_MANY_PIXELS, f"{header.width} x {header.height}{scans}")


def _jpeg(data: bytes, header: Header, max_side: int) -> Pixels:
    # libjpeg can halve, quarter or eighth while decoding, at a fraction of the time. One and a half times the target
    # size is left to the area mean: closer to it, the image would differ visibly from one resized in one step.
    longest = max(header.width, header.height)
    factor = next((factor for factor in (8, 4, 2) if longest >= 1.5 * factor * max_side), 1)
    height, width = -(-header.height // factor), -(-header.width // factor)
    try:
        colours = simplejpeg.decode_jpeg_header(data, strict=False)[2]
    except (KeyError, ValueError):
        return _pillow(data, header, max_side)  # a subsampling that TurboJPEG has no name for, or a broken header
    colourspace = "CMYK" if colours in ("CMYK", "YCCK") else "BGR"

    def decoded(data: bytes, strict: bool = True) -> Pixels:
        # Strict: libjpeg's warnings are errors. Accurate DCT and smooth chroma, as in browsers and Pillow.
        return simplejpeg.decode_jpeg(data, colourspace, False, False, height, width, strict=strict)

    try:
        pixels = decoded(data)
    except ValueError:
        data = rewrapped(data)
        try:
            pixels = decoded(data)
        except ValueError as error:
            # an unusual order of scans, which all browsers accept
            if not str(error).startswith("Inconsistent progression"):
                raise
            pixels = decoded(data, strict=False)
    if colourspace == "CMYK":
        return _from_cmyk(_resize(pixels, header, max_side), data)
    return pixels


def _from_cmyk(pixels: Pixels, data: bytes) -> Pixels:
    """BGR from CMYK as stored in JPEG files: inverted, 255 is no ink."""
    if profile := _jpeg_profile(data):
        image = PillowImage.fromarray(255 - pixels, "CMYK")
        try:
            converted = ImageCms.profileToProfile(
                image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            return np.asarray(converted)[..., ::-1]
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a profile that is broken or for another colour space counts as none
    ink, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((ink * black + 127) // 255).astype(np.uint8)[..., ::-1]


def _jpeg_profile(data: bytes) -> bytes:
    """The ICC profile of a JPEG file (ICC.1:2010, annex B.4), empty if there is none."""
    parts = {}
    for code, start, end in jpeg_segments(data):
        if code == 0xE2 and data.startswith(b"ICC_PROFILE\0", start) and end > start + 14:
            parts[data[start + 12 : start + 13]] = data[start + 14 : end]
        elif code == 0xDA:
            break
    return b"".join(parts[number] for number in sorted(parts))


def check_checksums(data: bytes) -> bool:
    """Whether a PNG file has its end. Raises ImageDropped image.undecodable if a chunk that defines pixels is
    damaged."""
    kind = b""
    for kind, start, end in png_chunks(data):
        if kind in _PIXELS and zlib.crc32(data[start - 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ImageDropped(UNDECODABLE, f"png: the checksum of {kind.decode()} at byte {start} is wrong")
    return kind == b"IEND"


_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_IEND = b"\0\0\0\0IEND\xaeB`\x82"


def _png(data: bytes, header: Header, max_side: int) -> Pixels:
    # Only chunks that define pixels reach the decoder: no compressed text or profile to inflate, no gamma, no
    # animation. libpng checks the checksums too, but only reports them on standard error.
    ended = check_checksums(data)
    kept = [data[:8]]
    depth = data[24]
    transparent_grey = None
    for kind, start, end in png_chunks(data):
        if kind in _PIXELS:
            kept.append(data[start - 8 : end + 4])
        if kind == b"tRNS" and end - start == 2:
            transparent_grey = int.from_bytes(data[start:end]) & (1 << depth) - 1
    if not ended:
        kept.append(_IEND)  # browsers do not need it; libpng reports whether the pixels before it are complete
    pixels = _opencv(b"".join(kept), header.width, header.height)
    if pixels.ndim == 2 and transparent_grey is not None:
        # OpenCV supports transparency only in palettes and colours. It has scaled levels of 1, 2 and 4 bits to 8.
        level = transparent_grey * (255 // ((1 << depth) - 1)) if depth < 8 else transparent_grey
        pixels[pixels == level] = np.iinfo(pixels.dtype).max
    return _eight_bits(pixels)


def _webp(data: bytes, header: Header, max_side: int) -> Pixels:
    start, end = next(((start, end) for kind, start, end in webp_chunks(data) if kind == b"ANMF"), (0, 0))
    if not start:
        return _opencv(data, header.width, header.height)
    # Only the first frame, as a file of its own: libwebp's animation decoder would hold three copies of the canvas.
    left, top, width, height = (int.from_bytes(data[start + i : start + i + 3], "little") for i in (0, 3, 6, 9))
    left, top, width, height = 2 * left, 2 * top, width + 1, height + 1
    if left + width > header.width or top + height > header.height:
        raise ValueError("a frame outside its canvas")
    body = b"WEBPVP8X\x0a\0\0\0\x10\0\0\0" + data[start + 6 : start + 12] + data[start + 16 : end]
    frame: Pixels = _opencv(b"RIFF" + len(body).to_bytes(4, "little") + body, width, height)
    if (width, height) == (header.width, header.height):
        return frame
    canvas = np.zeros((header.height, header.width, 4), np.uint8)
    canvas[top : top + height, left : left + width] = (
        frame if frame.shape[2] == 4 else cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA)
    )
    return canvas


def _svg(data: bytes, header: Header, max_side: int) -> Pixels:
    png = svg.png(data, *_size(header, max_side))
    rendered = read_header(png)
    return _opencv(png, rendered.width, rendered.height)


def _opencv(data: bytes, width: int, height: int) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.shape[:2] != (height, width):
        raise ValueError("damaged")
    return pixels


def _eight_bits(pixels: NDArray[Any]) -> Pixels:
    return cv2.convertScaleAbs(pixels, alpha=255 / 65535) if pixels.dtype == np.uint16 else pixels  # type: ignore[return-value]


def _pillow(data: bytes, header: Header, max_side: int) -> Pixels:
    try:
        with PillowImage.open(io.BytesIO(data), formats=(header.format.upper(),)) as image:
            if image.size != (header.width, header.height):
                raise ValueError(f"{image.size} against {header.width} x {header.height} pixels")
            image.load()
            transparent = image.has_transparency_data
            mode, code = ("RGBA", cv2.COLOR_RGBA2BGRA) if transparent else ("RGB", cv2.COLOR_RGB2BGR)
            pixels = np.empty((header.height, header.width, len(mode)), np.uint8)
            # In strips: each of the copies by crop, convert and asarray would otherwise have the size of the image.
            rows = max(1, 1_000_000 // header.width)
            for top in range(0, header.height, rows):
                strip = image.crop((0, top, header.width, min(header.height, top + rows))).convert(mode)
                cv2.cvtColor(np.asarray(strip), code, dst=pixels[top : top + rows])
            return pixels
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers raise anything for a broken file
        raise ValueError(reason(error)) from None


_DECODERS = {"svg": _svg, "jpeg": _jpeg, "png": _png, "webp": _webp, "gif": _pillow, "bmp": _pillow, "avif": _pillow}


def _shrink(pixels: Pixels, header: Header, max_side: int) -> Pixels:
    """BGR on white, scaled so that the longer side of the header's size is at most `max_side`."""
    if pixels.ndim == 2:
        return cv2.cvtColor(_resize(pixels, header, max_side), cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    if pixels.shape[2] == 3:
        return _resize(pixels, header, max_side)
    if cv2.minMaxLoc(cv2.extractChannel(pixels, 3))[0] == 255:
        return _resize(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), header, max_side)  # type: ignore[arg-type]
    # Means of colours weighted by opacity, so that white is added only to the few remaining pixels.
    weighted = cv2.cvtColor(pixels, cv2.COLOR_RGBA2mRGBA)
    small = _resize(weighted, header, max_side)  # type: ignore[arg-type]
    white = cv2.cvtColor(255 - small[..., 3], cv2.COLOR_GRAY2BGR)
    return cv2.add(cv2.cvtColor(small, cv2.COLOR_BGRA2BGR), white)  # type: ignore[return-value]


def _resize(pixels: Pixels, header: Header, max_side: int) -> Pixels:
    size = _size(header, max_side)
    if pixels.shape[1::-1] == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _size(header: Header, max_side: int) -> tuple[int, int]:
    """Width and height whose longer side is at most `max_side`."""
    scale = min(1.0, max_side / max(header.width, header.height))
    return max(1, round(header.width * scale)), max(1, round(header.height * scale))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (EXIF 2.3, table 6)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def perceptual_hash(pixels: Pixels) -> int:
    """64 bits that change little under scaling and recompression: compare by Hamming distance.

    The DCT hash of pHash (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", 3.2.1):
    luminance at 32 x 32, its DCT, the 8 x 8 coefficients after the lowest row and column, one bit each for being above
    their median. The area mean replaces the paper's 7 x 7 mean filter. The first bit is the highest."""
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    # Rounded, so that arithmetic noise is not a pattern in an image without one.
    coefficients = np.round(cv2.dct(grey.astype(np.float32))[1:9, 1:9], 2)
    return int.from_bytes(np.packbits(coefficients > np.median(coefficients)).tobytes())


def colour_spread(pixels: Pixels) -> float:
    """The largest standard deviation of a channel, 0 to 127.5, rounded to 3 decimals; 0 is a single colour."""
    return round(float(cv2.meanStdDev(pixels)[1].max()), 3)
