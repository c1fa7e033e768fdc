"""Images in img2dataset's layout, beside a table that names them by URL: a tar of KEY.jpg and KEY.json."""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.sources.given import STORED
from pipeline.sources.record import Record
from pipeline.sources.reread import OnePartFile
from pipeline.sources.source import Part
from pipeline.urls import resolve

LONGEST_JSON = 1 << 20


@dataclass(frozen=True)
class ImageTar(OnePartFile):
    """A tar of images, always one part. Two members of one key are an image and its JSON, whose `url` names it."""

    kind: ClassVar[str] = "images"

    @classmethod
    def at(cls, path: Path) -> "ImageTar | None":
        if path.suffix != ".tar" or not path.is_file():
            return None
        try:
            with tarfile.open(path, "r:"):
                return cls(path)
        except (OSError, tarfile.TarError):
            return None

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        number = 0
        try:
            with tarfile.open(self.path, "r:") as archive:
                for image, told in _samples(archive):
                    yield self._record(archive, number, image, told, limit, skip)
                    number += 1
        except (OSError, tarfile.TarError) as error:
            yield Record(number, 0, 0, "file", rule="record.corrupt", detail=str(error)[:300])

    def _record(
        self,
        archive: tarfile.TarFile,
        number: int,
        image: tarfile.TarInfo,
        told: tarfile.TarInfo | None,
        limit: int,
        skip: Callable[[int], bool],
    ) -> Record:
        place = (number, image.offset_data, image.size, "file")
        if skip(number):
            return Record(*place, rule="record.crashed")
        url = _url(archive, told)
        if url is None:
            return Record(*place, rule="record.corrupt", detail=f"{image.name[:200]}: no JSON with its URL")
        if image.size > limit:
            return Record(*place, url, rule="record.too_large", detail=f"over {limit} bytes")
        file = archive.extractfile(image)
        return Record(*place, url, status=200, body=b"" if file is None else file.read())


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarInfo | None]]:
    """(image, JSON) of each key; members of a key follow each other."""
    key, image, told = "", None, None
    for member in archive:
        archive.members = []  # type: ignore[attr-defined] # tarfile keeps every header it has read
        stem, _, ending = member.name.rpartition(".")
        if not member.isfile() or ending == "txt":
            continue
        if stem != key:
            if image is not None:
                yield image, told
            key, image, told = stem, None, None
        if ending == "json":
            told = member
        else:
            image = member
    if image is not None:
        yield image, told


def _url(archive: tarfile.TarFile, told: tarfile.TarInfo | None) -> str | None:
    file = archive.extractfile(told) if told is not None and told.size <= LONGEST_JSON else None
    if file is None:
        return None
    try:
        url: str = json.loads(file.read())["url"]
        return url if url.startswith(STORED) else resolve(url, "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
