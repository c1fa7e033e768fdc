"""Stages distinct_images and images: each distinct image is decoded and stored once, then every URL gets its row in the
index."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from filters.image import TAKEN_DOWN
from filters.takedown import FILE, listed, read
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.journal import Journal
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.extract import embedded
from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.images.looks import MEASURES, measured_again
from pipeline.recipe import Recipe
from pipeline.stages import fetch, reuse
from pipeline.stages.pages import extract_options
from pipeline.stages.parts import Input
from pipeline.stages.schemas import DISTINCT_IMAGES, IMAGES
from shards.files import atomic
from shards.records import EMBEDDED
from shards.tar import TarWriter, read_member
from shards.writers import image_extension


class Place(NamedTuple):
    """Where an image is read: in or as a record of a part."""

    embedded: bool
    part: int
    record: int
    url: str


@dataclass(eq=False)
class StoreImages(EachTask):
    """Input: tasks, one per part. Output: (part, files): images/P.tar and work/distinct_images."""

    corpus: CorpusDirectory
    input: Input
    recipe: Recipe

    def work(self, task: Task) -> list[FileEntry]:
        rows = tables.Rows(DISTINCT_IMAGES)
        path = self.corpus.part("images", task.number, "tar")
        places = self._places(task.number)
        known = reuse.stored(self.corpus, task.number, list(places))
        images = self._decoded(task.number, places) if known is None else self._reused(places, known)
        with atomic(path) as output:
            tar = TarWriter(output)  # type: ignore[arg-type]
            stored = 0
            for row, data in images:
                if data:
                    name = f"{task.number:05d}{stored:06d}.{image_extension(data)}"
                    row |= {"tar": path.name, "offset": tar.add(name, data), "length": len(data)}
                    stored += 1
                rows.add(row)
            tar.close()
        return [
            FileEntry(self.corpus.relative(path), stored, output.size, output.sha256),
            rows.write(self.corpus, self.corpus.part("distinct_images", task.number)),
        ]

    def _decoded(self, part: int, places: dict[bytes, Place]) -> Iterator[tuple[dict[str, Any], bytes]]:
        """A row of DISTINCT_IMAGES for each image of the input, and its bytes as stored, empty if it was dropped."""
        options = image_options(self.recipe)
        journal = Journal(self.corpus.journal("distinct_images", part))
        for number, (content, body) in enumerate(self._bodies(places)):
            row: dict[str, Any] = {"content": content}
            if self._taken_down(content, places[content].url):
                yield row | {"rule": TAKEN_DOWN}, b""
                continue
            if number in journal.set_aside:
                yield row | {"rule": "record.crashed"}, b""
                continue
            journal.begin(number)
            try:
                image = decode(body, options)
            except ImageDropped as dropped:
                yield row | {"rule": dropped.rule_id, "detail": dropped.detail[:200], "format": dropped.format}, b""
            else:
                yield row | {column: getattr(image, column) for column in DECODED}, image.data
        journal.end()

    def _reused(
        self, places: dict[bytes, Place], known: dict[bytes, dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Like `_decoded`, from the corpus that is the input."""
        for content, place in places.items():
            row = known.get(content) or {"content": content, "rule": reuse.NOT_STORED}
            if self._taken_down(content, place.url):
                yield {"content": content, "rule": TAKEN_DOWN}, b""
            elif row["rule"] is not None:
                yield row, b""
            else:
                data = read_member(self.corpus.work("reused") / row["tar"], row["offset"], row["length"])
                yield row if MEASURES[0] in row else row | measured_again(data), data

    def _taken_down(self, content: bytes, url: str) -> bool:
        path = self.recipe.values()[FILE.name]
        return bool(path) and (content in read(path).contents or listed(url, read(path)))

    def _places(self, part: int) -> dict[bytes, Place]:
        """Where each image that a part stores is read, in input order."""
        columns = ["found", "record_part", "record", "content", "owner", "url"]
        places: dict[bytes, Place] = {}
        for row in tables.read(self.corpus.part("references", part), columns).to_pylist():
            if row["found"] and row["owner"] == part:
                # of several captures with the same content the first is read
                place = Place(row["url"].startswith(EMBEDDED), row["record_part"], row["record"], row["url"])
                places[row["content"]] = min(place, places.get(row["content"], place))
        return dict(sorted(places.items(), key=lambda item: (item[1], item[0])))

    def _bodies(self, places: dict[bytes, Place]) -> Iterator[tuple[bytes, bytes]]:
        """(content hash, bytes) of each image, in input order."""
        wanted: dict[int, dict[int, bytes]] = {}
        inside_pages: dict[int, dict[int, list[bytes]]] = {}
        for content, place in places.items():
            if place.embedded:
                inside_pages.setdefault(place.part, {}).setdefault(place.record, []).append(content)
            else:
                wanted.setdefault(place.part, {})[place.record] = content
        for record_part, records in wanted.items():
            yield from self._read(record_part, records)
        for record_part, pages in inside_pages.items():
            yield from self._read_embedded(record_part, pages)

    def _read_embedded(self, part: int, wanted: dict[int, list[bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Images embedded in pages: the pages are read again, so that work/ holds no copy of them."""
        options = extract_options(self.recipe)
        for number, body in self.input.bodies(part, wanted, partial(self._offsets, part), self.recipe.body_bytes):
            left = dict.fromkeys(wanted[number])
            for image in embedded(body, options):
                content = sha256(image).digest()[:16]
                if content in left:
                    del left[content]
                    yield content, image
            # if only the HTTP header named the charset, the page may read differently
            yield from ((content, b"") for content in left)

    def _read(self, part: int, wanted: dict[int, bytes]) -> Iterator[tuple[bytes, bytes]]:
        if part >= len(self.input.parts.parts):
            rows = fetch.fetched(self.corpus, part - len(self.input.parts.parts), ["tar", "offset", "length"])
            for number, content in wanted.items():
                path = self.corpus.work("fetched") / rows[number]["tar"]
                yield content, read_member(path, rows[number]["offset"], rows[number]["length"])
            return
        limit = self.recipe.body_bytes  # the same limit as in stage pages, to find the same records
        for number, body in self.input.bodies(part, wanted, partial(self._offsets, part), limit):
            yield wanted[number], body

    def _offsets(self, part: int) -> dict[int, int]:
        """The offset of each record of a part, by its number."""
        table = tables.read(self.corpus.part("records", part), ["number", "offset"])
        return dict(zip(table["number"].to_pylist(), table["offset"].to_pylist(), strict=True))


DECODED = (
    "sha256",
    "stored_sha256",
    "phash",
    "spread",
    "width",
    "height",
    "original_width",
    "original_height",
    "format",
    "bytes",
    "frames",
    *MEASURES,
)


def image_options(recipe: Recipe) -> ImageOptions:
    rules = recipe.image
    return ImageOptions(
        rules.max_side, rules.max_pixels, rules.max_bytes, rules.quality, rules.store, recipe.clip_seconds
    )


def contents_of(corpus: CorpusDirectory, part: int, columns: list[str] | None = None) -> dict[bytes, dict[str, Any]]:
    """Rows of work/distinct_images for every image referenced by a part, by content hash."""
    references = tables.read(corpus.part("references", part), ["content", "owner"])
    found = {}
    for owner in np.unique(references["owner"].drop_null()).tolist():
        wanted = references["content"].filter(pc.equal(references["owner"], owner)).combine_chunks()
        rows = tables.read(corpus.part("distinct_images", owner), columns)
        for row in rows.filter(pc.is_in(rows["content"], wanted)).to_pylist():
            found[row["content"]] = row
    return found


@dataclass(eq=False)
class IndexImages(EachTask):
    """Input: tasks, one per part. Output: (part, files): images/P.parquet, a row for each URL that this part is the
    first to need."""

    corpus: CorpusDirectory

    def work(self, task: Task) -> list[FileEntry]:
        contents = contents_of(self.corpus, task.number)
        rows = tables.Rows(IMAGES)
        number = 0
        references = tables.read(self.corpus.part("references", task.number)).to_pylist()
        asked = fetch.failures(self.corpus, (row["url"] for row in references if row["first"] and not row["found"]))
        pages = tables.read(self.corpus.part("pages", task.number), ["url", "metadata", "images"])
        at, page = -1, dict[str, Any]()
        for reference in references:
            if not reference["first"]:
                continue
            row = {"url": reference["url"], "key": f"{task.number:05d}{number:06d}"}
            if reference["row"] != at:
                at = reference["row"]
                (page,) = pages.slice(at, 1).to_pylist()
            row |= {"page_url": page["url"]}
            row |= {f"page_{name}": page["metadata"][name] for name in ("author", "licence")}
            image = page["images"][reference["node"]]
            row |= {name: image.get(name) or "" for name in ("author", "licence")}
            number += 1
            if not reference["found"]:
                status, error = asked.get(reference["url"], ("not_fetched", reference["rule"]))
                row |= {"status": status, "error_message": error}
            else:
                content = contents[reference["content"]]
                dropped = content["rule"] is not None
                row |= {name: content[name] for name in IMAGES.names if name in content}
                row |= {"status": "failed_to_resize" if dropped else "success", "error_message": content["rule"]}
            rows.add(row)
        return [rows.write(self.corpus, self.corpus.part("images", task.number))]
