"""The manifest of a corpus, written last; it makes a directory a corpus. Before it the dataset card and Croissant."""

import platform
import re
from dataclasses import asdict
from importlib.metadata import version
from operator import itemgetter
from typing import Any

from filters.rules import not_applied
from pipeline import card, croissant
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import FileEntry
from pipeline.inspect.finished import Finished
from pipeline.json_files import write_json
from pipeline.recipe import Recipe
from pipeline.stages.held_out import read_site_counts
from pipeline.stages.parts import Parts
from pipeline.stages.scores import scorer_packages
from shards.files import atomic
from shards.records import FORMAT_VERSION

PAGE_PACKAGES = (
    *("openm3w", "ada-url", "brotli", "chardet", "fastwarc", "lxml", "numpy"),
    *("phonenumbers", "py3langid"),
    *("pyarrow", "tldextract", "trafilatura", "webencodings"),
)
PICTURE_PACKAGES = ("openm3w", "numpy", "opencv-python-headless", "pillow", "resvg_py", "simplejpeg")
PACKAGES = tuple(sorted({*PAGE_PACKAGES, *PICTURE_PACKAGES, "apache-beam", "pyarrow", "tokenizers"}))
"""Packages whose version can change the contents of a corpus; recorded in the manifest."""
WRITTEN = {
    "documents": re.compile(r"\d{5,}\.parquet"),
    "images": re.compile(r"\d{5,}\.(parquet|tar)"),
    "windows": re.compile(r"(train|validation)-\d{5,}\.(parquet|tar)"),
}
"""The prefixes of a corpus' files, by folder."""


def write_manifest(corpus: CorpusDirectory, recipe: Recipe, parts: Parts, stages: dict[str, list[FileEntry]]) -> None:
    """Write manifest.json after deleting what killed writers left, and files of earlier builds that it does not list.

    Raises BuildError if a newer build owns the corpus."""
    corpus.check_owner()
    corpus.sweep()
    kept = [
        entry for name in ("documents", "distinct_images", "images", "tokenizer", "shards") for entry in stages[name]
    ]
    files = sorted((entry for entry in kept if not entry.path.startswith("work/")), key=lambda entry: entry.path)
    named = {entry.path for entry in files}
    for folder, written in WRITTEN.items():
        for path in sorted((corpus.root / folder).iterdir()):
            if written.fullmatch(path.name) and corpus.relative(path) not in named:
                path.unlink()
    manifest = _manifest(corpus, recipe, parts, stages) | {"files": [asdict(entry) for entry in files]}
    told = card.Told.sum(tables.values(corpus, "counts", len(parts.parts)))
    finished = Finished(corpus.root, manifest, recipe)
    texts = {card.NAME: card.card(finished, told), croissant.NAME: croissant.croissant(finished, card.TITLE)}
    for name, data in texts.items():
        with atomic(corpus.root / name) as file:
            file.write(data)
        manifest["files"].append(asdict(FileEntry(name, 0, file.size, file.sha256)))
    write_json(corpus.root / "manifest.json", manifest | {"files": sorted(manifest["files"], key=itemgetter("path"))})


def _manifest(
    corpus: CorpusDirectory, recipe: Recipe, parts: Parts, stages: dict[str, list[FileEntry]]
) -> dict[str, Any]:
    """The manifest without its files."""
    counts = read_site_counts(corpus)
    return {
        "format": FORMAT_VERSION,
        "tool": {"name": "openm3w", "version": version("openm3w")},
        "packages": {name: version(name) for name in sorted({*PACKAGES, *scorer_packages(recipe)})},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "recipe": recipe.hash(),
        "not_applied": not_applied(recipe.values()),
        "tokenizer": stages["tokenizer"][0].sha256,
        "input": [asdict(source) for source in parts.sources],
        "split": asdict(counts),
        "parts": len(parts.parts),
        "stages": {
            name: {"files": len(entries), "bytes": sum(entry.bytes for entry in entries)}
            for name, entries in stages.items()
        },
    }
