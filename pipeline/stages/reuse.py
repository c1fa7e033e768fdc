"""A corpus as the input of another build: its pages and images are used again, whatever the new recipe keeps of them.

The files of its stages are linked into the new directory, so that stages whose keys are the same are complete. The
image files are also linked into work/reused, from which the stage distinct_images takes images without decoding them.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import Stage, stage_key
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json
from pipeline.recipe import Recipe, StorageSection, read_again
from pipeline.sources.source import Part, SourceEntry
from pipeline.stages.parts import Input, Parts
from pipeline.stages.schemas import DISTINCT_IMAGES
from pipeline.stages.step import Build, Step
from shards.store import RemotePath, located

NOT_STORED = "image.not_stored"
LINKED = (".parquet", ".json", ".tar")
FOLDERS = ("work", "documents", "images", "windows")
OWN = frozenset(("reused", "generations"))
"""Folders of work/ that say something of the one corpus they are in."""


def is_corpus(path: Path) -> bool:
    """Whether an input is a corpus. Raises BuildError if it is one whose build has not finished, without WARC files."""
    recipe, finished = (path / "recipe.toml").is_file(), (path / "manifest.json").is_file()
    if recipe and not finished and (path / "work").is_dir() and not (path / "warc").is_dir():
        raise BuildError(f"the build of {path} has not finished: rerun its m3w build command to resume")
    return recipe and finished


def take_over(source: Path, corpus: CorpusDirectory, before: Recipe, recipe: Recipe) -> Input:
    """Link the files of the corpus at `source` into a new directory, unless that is done, and return its input, which
    cannot be read.

    Raises BuildError if work/ was deleted, or the recipe needs other bytes of images than those stored."""
    if not (source / "work/pages/manifest.json").is_file():
        raise BuildError(f"{source}: work/ was deleted, and its pages with it: build from its input")
    for name in StorageSection.model_fields:
        if getattr(before.image, name) != getattr(recipe.image, name):
            raise BuildError(
                f"the images of {source} must be decoded again (image.{name} differs): build from its input"
            )
    done = corpus.work("reused/done.json")
    if not done.exists():
        for folder in FOLDERS:
            for path in sorted((source / folder).rglob("*")):
                if path.suffix in LINKED and path.is_file() and OWN.isdisjoint(path.parts):
                    _link(path, corpus.root / path.relative_to(source))
        for folder, suffix in (("images", ".tar"), ("work/distinct_images", ".parquet")):
            for path in sorted((source / folder).glob(f"*{suffix}")):
                _link(path, corpus.work("reused") / path.name)
        write_json(done, {})
    saved = read_json(corpus.work("parts.json"))
    entries = tuple(SourceEntry(**entry) for entry in saved["sources"])
    return Input(Parts(entries, tuple(Part(**part) for part in saved["parts"]), saved["base_url"]), ())


def _link(path: Path, target: Path) -> None:
    """Writers replace files and never change them, so both corpora can share them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another file system
        shutil.copyfile(path, target)


def stored(corpus: CorpusDirectory, part: int, contents: Sequence[bytes]) -> dict[bytes, dict[str, Any]] | None:
    """The rows of DISTINCT_IMAGES of some contents in the corpus that is the input; None if the input is another."""
    folder = corpus.work("reused")
    if not folder.is_dir():
        return None
    found: dict[bytes, dict[str, Any]] = {}
    own = f"{part:05d}.parquet"
    wanted = pa.array(contents, DISTINCT_IMAGES.field("content").type)
    # an image is mostly stored by the same part as before
    for path in sorted(folder.glob("*.parquet"), key=lambda path: (path.name != own, path.name)):
        if len(found) == len(contents):
            break
        if pc.any(pc.is_in(tables.read(path, ["content"])["content"], wanted)).as_py():
            rows = tables.read(path)
            found |= {row["content"]: row for row in rows.filter(pc.is_in(rows["content"], wanted)).to_pylist()}
    return found


def corpus_among(inputs: Sequence[str]) -> Path | None:
    """The corpus that is the input, if it is one. Raises BuildError if there are others beside it."""
    corpora = [located(text) for text in inputs if is_corpus(located(text))]
    if corpora and isinstance(corpora[0], RemotePath):
        raise BuildError(f"{corpora[0]}: a corpus as input must be a local directory: copy it first")
    if corpora and len(inputs) > 1:
        raise BuildError(f"{corpora[0]} is a corpus: give it as the only input")
    return corpora[0] if corpora else None


def check_pages(source: Path, before: Recipe, build: Build, pages: Step) -> None:
    """Raises BuildError if the pages of the corpus at `source`, built with the recipe `before`, cannot be used."""
    key = stage_key(pages.name, [], pages.reads(build), packages=pages.packages)
    if read_json(build.corpus.work("pages/manifest.json"))["key"] != key:
        differ = read_again(before, build.recipe)
        what = f"{', '.join(differ)} differ" if differ else "another version of m3w or of a package built it"
        raise BuildError(f"the pages of {source} must be extracted again ({what}): build from its input")
    if Stage(pages.name, key, ()).finished(build.corpus) is None:
        raise BuildError(f"the pages of {source} are damaged (m3w verify names the files): build from its input")
