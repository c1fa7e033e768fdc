"""Stage pages: extract and measure each page record of a part."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from filters import consent, paragraph, personal
from filters.language import IDENTIFIER, identify
from filters.word_lists import LISTS, list_digest
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.journal import Journal
from pipeline.engine.run import EachTask
from pipeline.engine.tables import Rows, url_hash
from pipeline.engine.tasks import FileEntry, Task
from pipeline.extract import ExtractOptions, PageDropped, extract
from pipeline.extract.webvtt import is_captions
from pipeline.images.probe import probe
from pipeline.images.video import is_video
from pipeline.judged import content, whole
from pipeline.media_type import HTML, media_type, vague
from pipeline.recipe import Recipe
from pipeline.sources.given import KIND, document_of
from pipeline.sources.record import CONTENT_LENGTH, LAST_CHUNK, Record
from pipeline.stages.captions import Captions, has_captions
from pipeline.stages.parts import Input
from pipeline.stages.schemas import LINKS, PAGES, RECORDS
from pipeline.stages.step import Build
from pipeline.urls import site_of
from shards.records import Document, Node, Text, document_id


@dataclass(eq=False)
class ExtractPages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/records, work/links and work/pages."""

    corpus: CorpusDirectory
    input: Input
    recipe: Recipe

    @cached_property
    def values(self) -> dict[str, Any]:
        return self.recipe.values()

    def work(self, task: Task) -> list[FileEntry]:
        recipe = self.recipe
        options = extract_options(recipe)
        journal = Journal(self.corpus.journal("pages", task.number))
        source = self.input.parts.sources[self.input.part(task.number).source]
        records, links, pages = Rows(RECORDS), Rows(LINKS), Rows(PAGES)
        file_for = self.input.file_for(task.number)
        captions = Captions(recipe.limits.page_bytes)
        numbers: list[int] = []
        waiting: list[tuple[int, dict[str, Any], Document]] = []
        journal.begin(0)
        for record in self.input.read(task.number, recipe.body_bytes, journal.set_aside.__contains__):
            use, rule = use_of(record, recipe.video.keep)
            if use == "captions" and not captions.add(record):
                use, rule = None, "record.too_large"
            if use == "page":
                row, document = self._page(record, source.name, options, file_for)
                if document is not None and has_captions(document):
                    waiting.append((record.number, row, document))
                else:
                    numbers.append(record.number)
                    pages.add(row if document is None else row | self._content(document))
            if use == "link":
                links.add({name: getattr(record, name) for name in LINKS.names})
            records.add(
                {
                    **{name: getattr(record, name) for name in COPIED},
                    "bytes": len(record.body),
                    "use": use,
                    "sha256": hashlib.sha256(record.body).digest() if use == "image" else None,
                    **(probe(record.body, recipe.image.max_pixels, recipe.clip_seconds) if use == "image" else {}),
                    "rule": rule,
                }
            )
            # a worker may crash while reading the next record
            journal.begin(record.number + 1)
        for number, row, document in waiting:
            journal.begin(number)
            numbers.append(number)
            pages.add(row | self._content(captions.said(document)))
        journal.end()
        read = pages.table()
        if waiting:
            read = read.take(pa.array(np.argsort(numbers)))
        return [
            records.write(self.corpus, self.corpus.part("records", task.number)),
            links.write(self.corpus, self.corpus.part("links", task.number)),
            tables.write(self.corpus, self.corpus.part("pages", task.number), read),
        ]

    def _page(
        self, record: Record, source: str, options: ExtractOptions, file_for: Callable[[str, str], str | None] | None
    ) -> tuple[dict[str, Any], Document | None]:
        """What a row of work/pages says of a record, and the page's content, None if it is dropped."""
        rule = consent.refusal(record.headers, "")
        if rule is None and len(record.body) > self.recipe.limits.page_bytes:
            rule = "page.too_large"
        if rule is not None:
            return self._dropped(record, source, rule), None
        try:
            document = (
                document_of(record)
                if record.kind == KIND
                else extract(record.body, record.url, content_type=record.content_type or None, options=options)
            )
        except PageDropped as dropped:
            return self._dropped(record, source, dropped.rule), None
        if document is None:
            return self._dropped(record, source, "page.no_content"), None
        rule = consent.refusal(record.headers, document.metadata.robots)
        if rule is not None:
            return self._dropped(record, source, rule), None
        if file_for is not None:
            named = partial(file_for, record.url)
            document = replace(document, nodes=tuple(_with_file(node, named) for node in document.nodes))
        return self._dropped(record, source, None), document

    def _content(self, document: Document) -> dict[str, Any]:
        """Content and metrics of a page, personal data masked, as columns of work/pages."""
        counts = Counter[str]()
        if self.recipe.personal.mask:
            document, counts = masked(document)
        return _content(document, self.values) | {"masked": list(counts.items())}

    def _dropped(self, record: Record, source: str, rule: str | None) -> dict[str, Any]:
        place = {"file": source, "offset": record.offset, "length": record.length}
        capture = place | {"date": record.date, "truncated": record.truncated}
        key = url_hash(record.url)
        if rule is not None and rule.startswith("consent."):
            return {"url": record.url, "rule": rule, "bytes": 0, "url_hash": key}
        # a file of a folder has no capture date: its contents identify it
        doc_id = document_id(record.url, record.date or hashlib.sha256(record.body).hexdigest())
        return {
            "doc_id": doc_id,
            "url": record.url,
            "site": site_of(record.url),
            "capture": capture,
            "bytes": len(record.body),
            "rule": rule,
            "url_hash": key,
        }


def extract_options(recipe: Recipe) -> ExtractOptions:
    limits = recipe.limits
    return ExtractOptions(
        **recipe.extract.model_dump(),
        videos=recipe.video.keep,
        max_bytes=limits.page_bytes,
        max_depth=limits.page_depth,
    )


COPIED = (
    *("number", "offset", "length", "kind", "url", "date", "status", "media_type", "digest", "truncated"),
    "detail",
)


def use_of(record: Record, videos: bool) -> tuple[str | None, str | None]:
    """Like `classify`, but an image, link or captions whose headers opt out are dropped."""
    use, rule = classify(record, videos)
    if use in ("image", "link", "captions") and (refusal := consent.refusal(record.headers, "")) is not None:
        return None, refusal
    return use, rule


def classify(record: Record, videos: bool) -> tuple[str | None, str | None]:
    """The use of a record (page, image, link), or the rule under which it is dropped. With `videos`, those are images
    too, and their captions are used."""
    media = ("image/", "video/") if videos else ("image/",)
    if record.rule is not None:
        # a video that is too large is no loss, unless it is wanted: its media type says more
        known = record.media_type
        wanted = known in HTML or known.startswith(media) or vague(known)
        other = record.rule in ("record.too_large", "record.empty") and not wanted
        return None, "record.media_type" if other else record.rule
    if record.target:
        return "link", None
    if record.kind == KIND:
        return "page", None
    found = media_type(record.content_type, record.body, record.identified)
    if found in HTML:
        return "page", None
    if found.startswith(media) or (videos and is_video(record.body)):
        # a truncated page can be read, half an image cannot; decoding judges those that may be whole
        whole = record.truncated in ("", LAST_CHUNK, CONTENT_LENGTH)
        return ("image", None) if whole else (None, "record.truncated")
    if videos and is_captions(record.body):
        return "captions", None
    return None, "record.media_type"


def _with_file(node: Node, file_for: Callable[[str], str | None]) -> Node:
    """An image with the file of a mirror that stands for one of its URLs as its last alternative, and the file of its
    captions."""
    if isinstance(node, Text):
        return node
    files = [found for url in (node.url, *node.alternatives) if (found := file_for(url)) is not None]
    alternatives = tuple(dict.fromkeys((*node.alternatives, *files)))
    captions = (file_for(node.captions) if node.captions else None) or node.captions
    return replace(node, alternatives=alternatives, captions=captions)


def masked(document: Document) -> tuple[Document, Counter[str]]:
    """A page with placeholders for personal data in its texts, alt texts, captions and metadata, and how often each
    rule applied. URLs and the name of the author stay as they are."""
    found = Counter[str]()

    def put(text: str) -> str:
        changed, counts = personal.mask(text)
        found.update(counts)
        return changed

    nodes = tuple(
        Text(put(node.text)) if isinstance(node, Text) else replace(node, alt=put(node.alt), caption=put(node.caption))
        for node in document.nodes
    )
    told = {name: put(getattr(document.metadata, name)) for name in ("title", "site_name", "description")}
    listings = tuple(personal.mask(listing)[0] for listing in document.listings)
    return replace(document, nodes=nodes, metadata=replace(document.metadata, **told), listings=listings), found


def _content(document: Document, values: dict[str, Any]) -> dict[str, Any]:
    """Content and metrics of a page, as columns of work/pages."""
    nodes = document.nodes
    texts = [node.text if isinstance(node, Text) else None for node in nodes]
    language, score = identify(whole(texts), values[IDENTIFIER.name])
    language = language or document.metadata.language.partition("-")[0].lower()
    return {
        "texts": texts,
        "images": [None if isinstance(node, Text) else asdict(node) for node in nodes],
        "inline_svg": document.inline_svg,
        "left_out": list(document.left_out),
        "metadata": asdict(document.metadata),
        "pictures": sum(not isinstance(node, Text) for node in nodes),
        "language": language,
        "language_score": round(score, 4),
        "listings": list(document.listings) or None,
        "paragraphs": paragraph.measure(texts, language, values) if paragraph.active(values) else None,
        **content(texts, document.listings, language, values),
    }


def reads(build: Build) -> list[Any]:
    """What the rows of a page depend on, besides the versions of packages."""
    recipe, values = build.recipe, build.recipe.values()
    return [
        [build.input.parts.identity(), LINKS.names],
        [section.model_dump() for section in (recipe.limits, recipe.extract)],
        [recipe.image.max_bytes, recipe.image.max_pixels],
        [[key.name, list_digest(values[key.name])] for key in LISTS],
        [paragraph.active(values), recipe.personal.mask],
        *([recipe.video.model_dump()] if recipe.video.keep else []),
        *([[name, version(name)]] if (name := values[IDENTIFIER.name]) != IDENTIFIER.default else []),
    ]
