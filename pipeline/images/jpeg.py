"""JPEG files with damaged structure whose pixels may be complete (ITU-T T.81, annex B).

Browsers skip stray bytes between segments and do not need the end of the image. They also show what they have of a
truncated file, so a file without its end is accepted only if all its scans are complete."""

from collections.abc import Iterator, Sequence

from pipeline.images.header import EOI, JPEG_MARKER, SOF, SOS, jpeg_segments

APP0, APP14, PROGRESSIVE = 0xE0, 0xEE, (0xC2, 0xCA)
Segment = tuple[int, int, int]
"""Marker code, start and end of the payload."""


def rewrapped(data: bytes) -> bytes:
    """The segments and scans of a JPEG file with nothing between them, then the end of the image.

    Values that libjpeg warns about are replaced by those it uses. Raises ValueError if the file is truncated in a
    segment or before its last scan; the decoder checks whether scans are complete. Raises ImageDropped like
    `jpeg_segments`."""
    segments = list(jpeg_segments(data))
    code, frame = next(((code, data[start:end]) for code, start, end in segments if code in SOF), (0, b""))
    if segments[-1][0] != EOI:
        if segments[-1][2] > len(data):
            raise ValueError("cut off inside a segment")
        scans = [data[start:end] for code, start, end in segments if code == SOS]
        if not _complete(frame[6::3], scans, code in PROGRESSIVE):
            raise ValueError("cut off before its last scan")
    return b"".join(_pieces(data, segments, len(frame[6::3]), code in PROGRESSIVE))


def _pieces(data: bytes, segments: Sequence[Segment], components: int, progressive: bool) -> Iterator[bytes]:
    yield b"\xff\xd8"
    for code, start, end in segments:
        if code == EOI:
            break
        payload = data[start:end]
        if code == APP0 and payload.startswith(b"JFIF\0"):
            payload = payload[:5] + b"\1" + payload[6:]  # the version
        elif code == APP14 and payload.startswith(b"Adobe") and payload[11:12] > b"\0":
            payload = payload[:11] + (b"\2" if components == 4 else b"\1") + payload[12:]  # the colour transform
        elif code == SOS and not progressive:
            payload = payload[:-3] + b"\0\x3f\0"  # coefficients 0 to 63
        yield bytes((0xFF, code)) + data[start - 2 : start] + payload
        if code == SOS:
            marker = JPEG_MARKER.search(data, end)
            yield data[end : marker.start() if marker else len(data)]
    yield bytes((0xFF, EOI))


def _complete(components: bytes, scans: Sequence[bytes], progressive: bool) -> bool:
    """Whether `scans` (payloads of SOS) cover every bit of every coefficient of the components with these ids."""
    missing = {(component, index) for component in components for index in range(64)}
    for scan in scans:
        first, last, bits = scan[-3:] if progressive else b"\0\x3f\0"
        if bits & 15 == 0:
            missing -= {(component, index) for component in scan[1:-3:2] for index in range(first, last + 1)}
    return not missing
