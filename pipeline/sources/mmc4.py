"""Documents of MMC4: JSON lines (.jsonl, .jsonl.zip), or open_flamingo's tar of JSON files with images in base64."""

import base64
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from pipeline.sources.given import STORED, NotADocument, document_record
from pipeline.sources.record import Record
from pipeline.sources.reread import OnePartFile
from pipeline.sources.source import Part
from pipeline.urls import resolve

LONGEST = 256 << 20
"""Maximum bytes of a document with its images."""


@dataclass(frozen=True)
class Mmc4(OnePartFile):
    """A file of MMC4, always one part. A document is followed by those of its images that are in the file."""

    kind: ClassVar[str] = "mmc4"

    @classmethod
    def at(cls, path: Path) -> "Mmc4 | None":
        if not path.is_file() or not path.name.endswith((".jsonl", ".jsonl.zip", ".tar")):
            return None
        try:
            first = next(_lines(path), b"")
        except (OSError, tarfile.TarError, zipfile.BadZipFile):
            return None
        return cls(path) if first is not None and b'"text_list"' in first else None

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        number = 0
        try:
            for line, data in enumerate(_lines(self.path)):
                for record in self._records(number, line, data, limit):
                    skipped = Record(record.number, line, 0, "file", record.url, rule="record.crashed")
                    yield skipped if skip(record.number) else record
                    number += 1
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            yield Record(number, 0, 0, "file", rule="record.corrupt", detail=str(error)[:300])

    def _records(self, number: int, line: int, data: bytes | None, limit: int) -> Iterator[Record]:
        if data is None:
            yield Record(number, line, 0, "file", rule="record.too_large", detail=f"over {LONGEST} bytes")
            return
        try:
            value = json.loads(data)
            images = [_Picture.of(told) for told in value["image_info"]]
            record = document_record(number, line, value["url"], _nodes(value["text_list"], images))
        except (NotADocument, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            yield Record(number, line, 0, "file", rule="record.corrupt", detail=str(error)[:300])
            return
        if len(record.body) > limit:
            yield Record(number, line, 0, "file", record.url, rule="record.too_large", detail=f"over {limit} bytes")
        else:
            yield record
        held = [image for image in images if image.data]
        for index, image in enumerate(held, number + 1):
            yield image.record(index, line, limit)


@dataclass(frozen=True)
class _Picture:
    url: str
    sentence: int
    data: str

    @staticmethod
    def of(told: dict[str, Any]) -> "_Picture":
        return _Picture(str(told.get("raw_url") or ""), int(told["matched_text_index"]), told.get("image_base64") or "")

    def record(self, number: int, line: int, limit: int) -> Record:
        url = self.url if self.url.startswith(STORED) else resolve(self.url, "") or ""
        try:
            body = base64.b64decode(self.data, validate=True)
        except ValueError as error:
            return Record(number, line, 0, "file", url, rule="record.corrupt", detail=str(error)[:300])
        if len(body) > limit:
            return Record(number, line, 0, "file", url, rule="record.too_large", detail=f"over {limit} bytes")
        return Record(number, line, 0, "file", url, status=200, body=body)


def _nodes(sentences: list[str], images: list[_Picture]) -> Iterator[str | tuple[str, str]]:
    """An image stands before its sentence; sentences between two images are one text."""
    at: dict[int, list[_Picture]] = {}
    for image in images:
        at.setdefault(min(max(image.sentence, 0), len(sentences)), []).append(image)
    waiting: list[str] = []
    for index in range(len(sentences) + 1):
        if index in at:
            yield " ".join(waiting)
            waiting = []
            yield from ((image.url, "") for image in at[index])
        waiting += sentences[index : index + 1]
    yield " ".join(waiting)


def _lines(path: Path) -> Iterator[bytes | None]:
    """The JSON of each document; None for one that is longer than `LONGEST`."""
    if path.suffix == ".tar":
        yield from _members(path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                with archive.open(name) as file:
                    yield from _of_file(file)
    else:
        with path.open("rb") as file:
            yield from _of_file(file)


def _members(path: Path) -> Iterator[bytes | None]:
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined] # tarfile keeps every header it has read
            if member.isfile() and member.name.endswith(".json"):
                file = archive.extractfile(member)
                yield file.read() if file is not None and member.size <= LONGEST else None


def _of_file(file: IO[bytes]) -> Iterator[bytes | None]:
    while line := file.readline(LONGEST):
        whole = line.endswith(b"\n") or len(line) < LONGEST
        while not whole:
            more = file.readline(LONGEST)
            whole = more.endswith(b"\n") or len(more) < LONGEST
            line = b""
        if line.strip() or not line:
            yield line or None
