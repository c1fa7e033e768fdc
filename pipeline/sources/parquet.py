"""Documents of OBELICS and OmniCorpus: Parquet files with parallel lists of texts and of URLs of images."""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BuildError
from pipeline.sources.given import NotADocument, document_record
from pipeline.sources.record import Record
from pipeline.sources.reread import RereadFile
from pipeline.sources.source import Part, SourceEntry, part_bytes
from pipeline.sources.warc import sha256_of

END_OF_DOCUMENT = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"
"""What OBELICS puts in place of "read more" links, as a paragraph; its trainers replace it by an end of sequence."""
LISTS = ("texts", "images", "metadata", "general_metadata")


@dataclass(frozen=True)
class ParquetDocuments(RereadFile):
    """A Parquet file of documents; its parts are runs of row groups."""

    kind: ClassVar[str]

    def cut(self, name: str, total: int) -> tuple[SourceEntry, Sequence[tuple[int, int, int]]]:
        size = part_bytes(total)
        bounds: list[tuple[int, int, int]] = []
        start = weight = 0
        try:
            with pq.ParquetFile(self.path) as file:
                groups = file.metadata.num_row_groups
                for group in range(groups):
                    row_group = file.metadata.row_group(group)
                    weight += sum(row_group.column(n).total_compressed_size for n in range(row_group.num_columns))
                    if weight >= size or group == groups - 1:
                        bounds.append((start, group + 1, weight))
                        start, weight = group + 1, 0
        except (OSError, pa.ArrowException) as error:
            raise BuildError(f"{self.path}: not a readable Parquet file ({error})") from None
        if not bounds:
            raise BuildError(f"{self.path}: no documents")
        return SourceEntry(name, self.kind, self.amount(), sha256_of(self.path)), bounds

    def read(self, part: Part, root_url: str, limit: int, skip: Callable[[int], bool]) -> Iterator[Record]:
        number = 0
        with pq.ParquetFile(self.path) as file:
            row = sum(file.metadata.row_group(group).num_rows for group in range(part.start))
            for group in range(part.start, part.stop):
                try:
                    for batch in file.iter_batches(64, row_groups=[group], columns=list(LISTS)):
                        for columns in batch.to_pylist():
                            yield self._record(number, row, columns, limit, skip)
                            number, row = number + 1, row + 1
                except (OSError, pa.ArrowException) as error:
                    yield Record(
                        number, row, 0, "file", rule="record.corrupt", detail=f"row group {group}: {error}"[:300]
                    )
                    number += 1

    def _record(
        self, number: int, row: int, columns: dict[str, Any], limit: int, skip: Callable[[int], bool]
    ) -> Record:
        if skip(number):
            return Record(number, row, 0, "file", rule="record.crashed")
        try:
            url, alts = self._told(columns)
            record = document_record(number, row, url, _nodes(columns["texts"], columns["images"], alts))
        except (NotADocument, ValueError, KeyError, TypeError, AttributeError) as error:
            return Record(number, row, 0, "file", rule="record.corrupt", detail=str(error)[:300])
        if len(record.body) > limit:
            return Record(number, row, 0, "file", record.url, rule="record.too_large", detail=f"over {limit} bytes")
        return record

    @abstractmethod
    def _told(self, columns: dict[str, Any]) -> tuple[str, list[str]]:
        """The URL of a document, and the alt text of each node."""


def _nodes(texts: list[str | None], images: list[str | None], alts: list[str]) -> Iterator[str | tuple[str, str]]:
    if len(texts) != len(images):
        raise NotADocument(f"{len(texts)} texts but {len(images)} images")
    for index, (text, image) in enumerate(zip(texts, images, strict=True)):
        if image is not None:
            yield image, alts[index] if index < len(alts) else ""
        elif text is not None:
            yield "\n\n".join(part for part in text.split("\n\n") if part.strip() != END_OF_DOCUMENT)


class Obelics(ParquetDocuments):
    """OBELICS: `metadata` and `general_metadata` are JSON."""

    kind: ClassVar[str] = "obelics"

    @classmethod
    def at(cls, path: Path) -> "Obelics | None":
        return cls(path) if _is_json(path) is True else None

    def _told(self, columns: dict[str, Any]) -> tuple[str, list[str]]:
        metadata = json.loads(columns["metadata"] or "[]")
        alts = [str((told or {}).get("alt_text") or "") for told in metadata]
        url = json.loads(columns["general_metadata"] or "{}").get("url")
        return url or next(told["document_url"] for told in [*metadata, {"document_url": ""}] if told), alts


class Omnicorpus(ParquetDocuments):
    """OmniCorpus-CC: `general_metadata` is a struct."""

    kind: ClassVar[str] = "omnicorpus"

    @classmethod
    def at(cls, path: Path) -> "Omnicorpus | None":
        return cls(path) if _is_json(path) is False else None

    def _told(self, columns: dict[str, Any]) -> tuple[str, list[str]]:
        return columns["general_metadata"]["url"] or "", []


def _is_json(path: Path) -> bool | None:
    """Whether the metadata of a file of documents is JSON; None if it is not such a file."""
    if path.suffix != ".parquet" or not path.is_file():
        return None
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return None
    if not set(LISTS) <= set(schema.names):
        return None
    return not pa.types.is_struct(schema.field("general_metadata").type)
