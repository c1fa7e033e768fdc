"""Image-text pairs to train on beside the windows: tars in img2dataset's webdataset layout, as `m3w export` writes."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from shards.records import Text
from shards.stream import token_stream
from shards.tar import Member, read_member
from shards.tokenizer import Tokenizer
from train_min import TrainError
from train_min.data.windows import WindowArrays, collect

PAIR_TOKENS = 64
"""Flamingo trains pairs at 32 or 64 tokens."""
PICTURE_ENDINGS = ("jpg", "jpeg", "png", "webp", "gif")


def pair_windows(
    folder: Path, tokenizer: Tokenizer, left_out: set[bytes]
) -> tuple[WindowArrays, dict[bytes, dict[str, Any]]]:
    """Read image-text pairs (KEY.jpg and KEY.txt in *.tar) as windows `<image>TEXT<EOC>`, and where each image is
    stored. Raises TrainError if there are none."""
    places: dict[bytes, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for name, picture, fetched, text, place in read_pairs(folder):
        digest = hashlib.sha256(picture).digest()
        if digest in left_out or fetched in left_out:
            continue
        places[digest] = place
        ids = token_stream([digest, Text(text)], tokenizer).ids[:PAIR_TOKENS]
        rows.append(
            {
                "window_id": name, "doc_id": name, "url": "", "site": "", "language": "", "token_start": 0,
                "input_ids": ids, "hashes": [(digest, fetched or digest)],
            }
        )  # fmt: skip
    if not rows:
        raise TrainError(f"{folder} holds no tar of pairs (KEY.jpg, KEY.txt): make one with m3w export --to pairs")
    return collect(rows, tokenizer), places


def read_pairs(folder: Path) -> Iterator[tuple[str, bytes, bytes, str, dict[str, Any]]]:
    """Yield the name, image, hash as fetched (from KEY.json, empty if missing), text and place of each pair in the tars
    of `folder`. Raises TrainError for a damaged tar."""
    for tar in sorted(folder.glob("*.tar")):
        try:
            for key, parts in groupby(tar_members(tar), lambda member: member.name.partition(".")[0]):
                pair = {member.name.partition(".")[2]: member for member in parts}
                picture = next((pair[ending] for ending in PICTURE_ENDINGS if ending in pair), None)
                if picture is None or "txt" not in pair:
                    continue
                text = read_member(tar, pair["txt"].offset, pair["txt"].length).decode("utf-8", "replace")
                fetched = b""
                if "json" in pair:
                    told = json.loads(read_member(tar, pair["json"].offset, pair["json"].length))
                    fetched = bytes.fromhex(told.get("sha256") or "")
                # absolute, so that `read_picture` finds it from any corpus
                place: dict[str, Any] = {"url": "", "alt": text, "tar": str(tar.resolve())}
                place |= {"offset": picture.offset, "length": picture.length}
                yield f"{tar.stem}-{key}", read_member(tar, picture.offset, picture.length), fetched, text, place
        except (ValueError, TypeError, AttributeError, tarfile.TarError) as error:
            raise TrainError(f"{tar} is damaged ({error}): export the pairs again") from None


def tar_members(path: Path) -> Iterator[Member]:
    """Yield the files of a tar. Raises tarfile.TarError, also for a damaged end, which tarfile ignores."""
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            if member.isfile():
                yield Member(member.name, member.offset_data, member.size)
        file = archive.fileobj
        assert file is not None
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"neither a member nor the end of the archive at byte {archive.offset}")
