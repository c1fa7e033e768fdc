"""report.html: one file without scripts or network access that shows a corpus as a reader would see it."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup, escape

from filters import rules
from pipeline.inspect import plots
from pipeline.inspect.finished import Finished
from pipeline.inspect.funnel import LATER
from pipeline.inspect.pictures import SIDE, Pictures, StoredPlace, places
from pipeline.inspect.runs import Ranked, Run, latest_run
from pipeline.inspect.samples import (
    SampleDocument,
    SampleWindow,
    documents_by_id,
    harmless,
    paragraphs,
    sample_documents,
    sample_dropped,
    sample_windows,
    visible,
)
from shards.files import atomic
from shards.records import StoredImage, Text
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER

HERE = Path(__file__).parent
DOCUMENT_PICTURES, WINDOW_PICTURES = 40, 25
PICTURES = DOCUMENT_PICTURES + WINDOW_PICTURES
"""Maximum images in a report: at about 15 kB each it stays near a megabyte."""
DOCUMENTS = 4
"""Documents shown: fewer if they have more than DOCUMENT_PICTURES images together."""
WINDOWS = {"train": 3, "validation": 2}
NODES = 24
"""Nodes shown per document."""
RUN_PICTURES = 24
PER_RANKED = 2

TITLES = {
    "records": ("Records of the input", "records", "used"),
    "pages": ("Pages", "HTML pages", "documents"),
    "personal": ("Personal data in texts", "found", "not masked"),
    "paragraphs": ("Paragraphs of pages with main content", "paragraphs", "kept"),
    "words": ("Words of the pages' main content", "words", "in documents"),
    "pictures": ("Distinct images", "found", "stored"),
    "images": ("Image references of pages with main content", "in the markup", "kept"),
    "tokens": ("Text of documents", "tokens", "in windows"),
    "document_images": ("Images of documents", "references", "in windows"),
    "windows": ("Windows", "cut from documents", "written"),
}
TILES = {
    "tokens_per_window": "Tokens per window",
    "images_per_window": "Images per window",
    "image_token": "Position of images in a window (token)",
    "windows_per_document": "Windows per document",
    "images_per_document": "Images per document",
    "document_characters": "Text per document (characters)",
    "image_position": "Position of images in a document",
    "image_longest_side": "Longest side as fetched (pixels)",
    "image_aspect": "Aspect ratio (width to height)",
}
RANKINGS = {"formats": "Formats as fetched", "languages": "Languages", "hosts": "Hosts"}


def environment() -> jinja2.Environment:
    """Templates that escape every value not built by this package."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    made.filters |= {
        "visible": visible,
        "harmless": harmless,
        "is_web": is_web,
        "cut": cut,
        "marks": marks,
        "paragraphs": paragraphs,
    }
    return made


def is_web(url: str) -> bool:
    """Whether a URL may become a link: a valid http or https URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and visible(url) == url


def cut(text: str, limit: int) -> str:
    """The beginning of a text, cut at a space if one is near."""
    head = text[:limit]
    space = head.rfind(" ", limit - 60)
    return head[:space] if space > 0 else head


def marks(text: str) -> Markup:
    """A window's text with its end-of-chunk marks highlighted."""
    sign = Markup('<span class="eoc" title="end of chunk">¶</span>')
    return sign.join(escape(piece) for piece in text.split(EOC_MARKER))


def style() -> Markup:
    return Markup((HERE / "style.css").read_text())


def write_report(corpus: Finished, path: Path, funnel: dict[str, Any], figures: dict[str, Any]) -> None:
    """Write the report; deterministic. Raises OSError if `path` cannot be written."""
    pictures = Pictures(corpus, DOCUMENT_PICTURES)
    documents = shown_documents(sample_documents(corpus, DOCUMENTS), pictures)
    pictures.left = WINDOW_PICTURES
    windows = [window for split, count in WINDOWS.items() for window in sample_windows(corpus, split, count)]
    where = places(corpus, (image["stored_sha256"] for window in windows for image in window.images))
    run = shown_run(corpus, latest_run(corpus), pictures)
    page = (
        environment()
        .get_template("report.html")
        .render(
            name=corpus.root.resolve().name,
            style=style(),
            headline=headline(funnel, figures),
            funnel=funnel,
            levels=[shown_level(level) for level in funnel["levels"]],
            documents=documents,
            windows=[shown_window(window, where, pictures) for window in windows],
            dropped=list(sample_dropped(corpus).items()),
            explained=rules.EXPLAINED,
            tiles=[tile(title, figures[name]) for name, title in TILES.items()],
            metrics=metric_tiles(corpus, figures["metrics"]),
            rankings=[shown_ranking(title, figures[name]) for name, title in RANKINGS.items()],
            run=run,
            build=build_facts(corpus),
            recipe=corpus.recipe.toml(),
            shown_pictures=pictures.shown,
            side=SIDE,
            version=corpus.manifest["tool"]["version"],
        )
    )
    with atomic(path) as file:
        file.write(page.encode("utf-8", "replace"))


def headline(funnel: dict[str, Any], figures: dict[str, Any]) -> list[tuple[str, int]]:
    kept = funnel["kept"]
    pages = next((level["in"] for level in funnel["levels"] if level["level"] == "pages"), None)
    return [
        *([("pages read", pages)] if pages is not None else []),
        ("documents", sum(kept["documents"].values())),
        ("images in them", kept["images"]),
        ("distinct images", figures["distinct_pictures"]),
        ("training windows", kept["windows"].get("train", 0)),
        ("validation windows", kept["windows"].get("validation", 0)),
    ]


def shown_level(level: dict[str, Any]) -> dict[str, Any]:
    """A level of the funnel with what is left after each rule, and widths in percent."""
    title, came_in, stayed = TITLES[level["level"]]
    left, rows = level["in"], []
    for row in level["rules"]:
        left -= row["count"]
        formats = ", ".join(f"{count:,} {name}" for name, count in row.get("formats", {}).items())
        rows.append(
            row
            | {"left": left, "why": ": ".join(filter(None, (rules.EXPLAINED.get(row["rule"], ""), formats)))}
            | {"share": percent(row["count"], level["in"]), "left_share": percent(left, level["in"])}
        )
    names = {
        "page": "pages",
        "image": "images",
        "link": "redirects and revisits",
        "leak": "left out as leaks",
        LATER: "of a later candidate",
    }
    parts = ", ".join(f"{count:,} {names.get(name, name)}" for name, count in level["out"].items())
    return {
        "title": title,
        "came_in": came_in,
        "stayed": stayed,
        "in": level["in"],
        "rows": rows,
        "left": left,
        "lost": level["in"] - left,
        "parts": parts if len(level["out"]) > 1 else "",
        "shares": [percent(count, level["in"]) for count in level["out"].values()],
    }


def percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 3) if whole else 0.0


def tile(title: str, figure: dict[str, Any]) -> dict[str, Any]:
    note = summary(figure)
    return {"title": title, "note": note, "plot": plots.histogram(figure["bins"], f"{title}: {note}")}


def metric_tiles(corpus: Finished, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """A histogram of each metric, with the thresholds of the rules that read it."""
    values, known = corpus.recipe.values(), rules.metrics()
    tiles = []
    for name, figure in figures.items():
        keys = [key.name for rule in rules.RULES if name in rule.metrics for key in rule.keys]
        limits = ", ".join(f"{key} = {values[key]}" for key in dict.fromkeys(keys))
        what = known[name].what
        tiles.append(tile(f"{what[0].upper()}{what[1:]}", figure) | {"limits": limits})
    return tiles


def summary(figure: dict[str, Any]) -> str:
    """Median, mean and range as text."""
    if not figure["count"]:
        return "none"
    low, high = f"{figure['min']:,}", f"{figure['max']:,}"
    return f"median {figure['median']:,}, mean {figure['mean']:,}, from {low} to {high}"


def shown_ranking(title: str, figure: dict[str, Any]) -> dict[str, Any]:
    rows = list(figure["rows"])
    most = max((row["count"] for row in rows), default=1)
    shown = [row | {"share": percent(row["count"], most)} for row in rows]
    if figure["others"]:  # a bar for all of them together would hide the others
        shown.append({"name": f"{figure['distinct'] - len(rows):,} others", "count": figure["others"], "share": None})
    return {"title": title, "note": f"{figure['distinct']:,} different", "rows": shown}


def shown_documents(documents: Sequence[SampleDocument], pictures: Pictures) -> list[dict[str, Any]]:
    """Documents with all their images, leaving out those that have too many; the first is always shown."""
    shown: list[dict[str, Any]] = []
    for document in documents:
        images = sum(not isinstance(node, Text) for node in document.nodes[:NODES])
        if not shown or images <= pictures.left:
            shown.append(shown_document(document, pictures, NODES))
    return shown


def shown_document(document: SampleDocument, pictures: Pictures, most: int) -> dict[str, Any]:
    """A document with its first `most` images; the others become placeholders."""
    nodes: list[dict[str, Any]] = []
    given = 0
    for node in document.nodes[:NODES]:
        if isinstance(node, Text):
            nodes.append({"text": node.text})
            continue
        given += 1
        place = StoredPlace(node.tar, node.offset, node.length) if given <= most else None
        nodes.append(shown_image(node.row(), pictures.uri(place)))
    return vars(document) | {"nodes": nodes, "more": len(document.nodes) - len(nodes)}


def shown_window(window: SampleWindow, where: dict[bytes, StoredPlace], pictures: Pictures) -> dict[str, Any]:
    images = [shown_image(image, pictures.uri(where.get(image["stored_sha256"]))) for image in window.images]
    return vars(window) | {"images": images}


def shown_image(image: dict[str, Any], src: str | None) -> dict[str, Any]:
    """Sizes are as stored; the note adds size and format as fetched if they differ."""
    note = ""
    if image.get("original_width") and image["original_width"] != image["width"]:
        note = f", fetched as {image['format']} {image['original_width']}×{image['original_height']}"
    return {"src": src, "width": image["width"], "height": image["height"], "alt": image["alt"] or "", "note": note}


def shown_run(corpus: Finished, run: Run | None, pictures: Pictures) -> dict[str, Any] | None:
    """A run with the documents whose images say most and least about the text. A run of an earlier version of the
    corpus has no headline."""
    if run is None:
        return None
    manifest = hashlib.sha256((corpus.root / "manifest.json").read_bytes()).hexdigest()
    stale = run.manifest not in ("", manifest)
    pictures.left += RUN_PICTURES
    known = documents_by_id(corpus, {ranked.doc_id for ranked in [*run.best, *run.worst]})
    shown = []
    for title, ranked in (
        ("Documents whose images tell most about the text", run.best),
        ("Documents whose images tell least about the text", run.worst),
    ):
        documents = [shown_ranked(entry, known[entry.doc_id], pictures) for entry in ranked if entry.doc_id in known]
        if documents:
            shown.append((title, documents))
    where = places(corpus, (digest for digest, _ in run.captions))
    captions = [(pictures.uri(where.get(digest)), text) for digest, text in run.captions]
    return vars(run) | {"documents": shown, "captions": [entry for entry in captions if entry[0]], "stale": stale}


def shown_ranked(ranked: Ranked, document: SampleDocument, pictures: Pictures) -> tuple[str, dict[str, Any]]:
    """What a document's images tell, and the document; for a part of a book, the beginning of the part."""
    note = f"{ranked.gain:+.3f} bits per token over {ranked.tokens:,} tokens"
    part = ranked.part
    if part is None:
        return note, shown_document(document, pictures, PER_RANKED)
    known = {node.stored_sha256: node for node in document.nodes if not isinstance(node, Text)}
    nodes: list[Text | StoredImage] = []
    for number, text in enumerate(part.text.replace(EOC_MARKER, " ").split(IMAGE_MARKER)):
        if 0 < number <= len(part.images) and part.images[number - 1] in known:
            nodes.append(known[part.images[number - 1]])
        if text.strip():
            nodes.append(Text(text.strip()))
    shown = shown_document(replace(document, nodes=nodes), pictures, PER_RANKED)
    return f"{note}, of the book's part that begins at token {part.start:,}", shown


def build_facts(corpus: Finished) -> list[tuple[str, str]]:
    manifest = corpus.manifest
    split = manifest["split"]
    return [
        ("input", ", ".join(source["name"] for source in manifest["input"])),
        ("recipe", f"{corpus.recipe.name} ({manifest['recipe'][:12]})"),
        ("split", f"by {split['unit']}, {split['sites']} sites"),
        ("tokenizer", manifest["tokenizer"][:12]),
        ("built with", ", ".join(f"{name} {number}" for name, number in manifest["packages"].items())),
        ("on", f"Python {manifest['python']}, {manifest['machine']}"),
        ("files", f"{len(manifest['files']):,}, {sum(entry['bytes'] for entry in manifest['files']):,} bytes"),
    ]
