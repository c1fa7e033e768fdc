"""A clip as one media item: a JPEG file of several frames, the Multi-Picture Format of cameras (CIPA DC-007).

Whatever takes an image takes a clip: it has one hash, one row in the index and one `<image>`, and readers that know
JPEG only show its first frame. `frames_of` tells it from an image by a comment at its start."""

import struct
from collections.abc import Sequence

COMMENT = b"clip: 1 frame/s"
FORMAT = "video"
"""The format of a clip in images/ and documents/, whatever its container was."""
HEAD = 1024
"""Bytes in which the comment and the index of frames of a clip are."""
_SIZES = 0xB002  # the tag of the index: 16 bytes for each frame, of which 4 to 7 are its length
_BEGIN, _JFIF, _INDEX, _COMMENT = b"\xff\xd8", b"\xff\xe0", b"\xff\xe2", b"\xff\xfe"
_ENTRIES = 50  # bytes of the index before the entries of frames


def clip_of(frames: Sequence[bytes]) -> bytes:
    """The media item of frames, each a JPEG file.

    Pillow 12.3 writes wrong lengths for more than two frames (MpoImagePlugin), so the index is written here."""
    first, *others = frames
    start = 4 + int.from_bytes(first[4:6]) if first[2:4] == _JFIF else 2
    head = first[:start] + _segment(_COMMENT, COMMENT)
    length = len(_segment(_INDEX, b"MPF\0" + bytes(_ENTRIES + 16 * len(frames))))
    begin = len(head) + 8  # places are counted from the index
    place, entries = len(head) + length + len(first) - start, b""
    entries += struct.pack("<IIIHH", 0x030000, place, 0, 0, 0)  # the first is the baseline image
    for frame in others:
        entries += struct.pack("<IIIHH", 0, len(frame), place - begin, 0, 0)
        place += len(frame)
    fields = (0xB000, 7, 4, int.from_bytes(b"0100", "little")), (0xB001, 4, 1, len(frames))
    directory = b"".join(struct.pack("<HHII", *field) for field in (*fields, (_SIZES, 7, len(entries), _ENTRIES)))
    index = b"II*\0" + struct.pack("<IH", 8, 3) + directory + bytes(4) + entries
    return b"".join((head, _segment(_INDEX, b"MPF\0" + index), first[start:], *others))


def _segment(marker: bytes, content: bytes) -> bytes:
    return marker + struct.pack(">H", len(content) + 2) + content


def is_clip(data: bytes) -> bool:
    """Whether the bytes of a media item are a clip, not an image."""
    return data[:2] == _BEGIN and COMMENT in data[:HEAD] and b"MPF\0" in data[:HEAD]


def frames_of(data: bytes) -> list[bytes]:
    """The JPEG files of a clip's frames, a second apart; those of an image are itself.

    Raises ValueError if the clip is damaged."""
    if not is_clip(data):
        return [data]
    index = data.index(b"MPF\0") - 4  # of its segment, which is no part of the first frame
    try:
        sizes = _sizes(data[index + 8 :])
    except (struct.error, ValueError, KeyError):
        raise ValueError("a clip with a damaged index of frames") from None
    frames, start = [], 0
    for size in sizes:
        frames.append(data[start : start + size])
        start += size
    if start != len(data) or not all(frame[:2] == _BEGIN for frame in frames):
        raise ValueError("a clip whose frames are not those of its index")
    end = index + 2 + int.from_bytes(data[index + 2 : index + 4])
    return [frames[0][:index] + frames[0][end:], *frames[1:]]


def _sizes(index: bytes) -> list[int]:
    """Bytes of each frame, from the index of a Multi-Picture file: a TIFF directory."""
    order = {b"II": "<", b"MM": ">"}[index[:2]]
    (directory,) = struct.unpack_from(order + "I", index, 4)
    (entries,) = struct.unpack_from(order + "H", index, directory)
    for entry in range(entries):
        tag, _, length, place = struct.unpack_from(order + "HHII", index, directory + 2 + 12 * entry)
        if tag == _SIZES:
            return [struct.unpack_from(order + "I", index, place + 16 * frame + 4)[0] for frame in range(length // 16)]
    raise ValueError("no frames")
