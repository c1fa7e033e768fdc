"""Check that a directory may hold this corpus: it must be empty, or started with the same input and recipe.

The keys of the recipe on windows and the split may change: stages that do not depend on them keep their files."""

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pipeline.recipe as recipes
from dedup import benchmarks, grams
from dedup.benchmarks import BenchmarkError
from filters import gain, language, takedown, word_lists
from filters.models import ModelError
from filters.scorers import check
from filters.word_lists import WordListError
from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.json_files import read_json, write_json
from pipeline.recipe import Recipe
from pipeline.sources.folder import printable
from pipeline.stages.known import known_files
from pipeline.stages.parts import Input
from shards.files import atomic
from shards.records import other_format
from shards.store import RemotePath

CHANGEABLE = ("windows.", "split.")
OURS = {
    *("README.md", "croissant.json", "recipe.toml", "manifest.json", "tokenizer.json"),
    *("documents", "images", "windows", "work", "runs", "warc"),
}


@contextmanager
def nothing_left(root: Path) -> Iterator[None]:
    """Remove the directory again if it is new and the build is refused before `note` writes its recipe."""
    new = not root.exists()
    try:
        yield
    except BuildError:
        if new and not isinstance(root, RemotePath) and not (root / "recipe.toml").exists():
            shutil.rmtree(root, ignore_errors=True)
        raise


def claim(corpus: CorpusDirectory, recipe: Recipe, paths: list[Path]) -> list[str]:
    """Claim the directory and return like `may_claim`. Raises BuildError like it."""
    changed = may_claim(corpus, recipe, paths)
    try:
        corpus.work("lock").parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{corpus.root}: {error.strerror}") from None
    return changed


def may_claim(corpus: CorpusDirectory, recipe: Recipe, paths: list[Path]) -> list[str]:
    """The keys of the recipe that changed since the directory's last build.

    Raises BuildError if the directory holds something else or was built with a recipe that differs in other keys than
    CHANGEABLE ones, or if a model, a word list or an earlier corpus named by the recipe is missing."""
    try:
        check(recipe.values())
        language.check(recipe.text.identifier)
        benchmarks.digest(recipe.image.benchmarks, recipe.image.benchmarks_keep)
        grams.digest(recipe.page.benchmarks, recipe.page.benchmarks_keep)
        word_lists.check(recipe.values())
        if recipe.page.takedown:
            takedown.read(recipe.page.takedown)
        if recipe.image_text.scores:
            gain.read(recipe.image_text.scores)
    except (ModelError, WordListError, BenchmarkError) as error:
        raise BuildError(str(error)) from None
    known_files(recipe.dedup.known)
    root = corpus.root
    if printable(str(root)) != str(root):
        raise BuildError(f"{printable(str(root))}: pyarrow cannot open paths that are not UTF-8: choose another -o")
    own = {root / "warc", root / "work" / "warc"}  # downloads and crawls of list inputs
    if any(path == root or (root in path.parents and own.isdisjoint(path.parents)) for path in paths):
        raise BuildError(f"{root} contains the input: choose another -o")
    try:
        if root.exists() and not root.is_dir():
            raise BuildError(f"{root} is a file: choose another -o")
        if root.is_dir() and any(root.iterdir()):
            return _changed_keys(root, recipe)
    except OSError as error:
        raise BuildError(f"{root}: {error.strerror}") from None
    return []


def _changed_keys(root: Path, recipe: Recipe) -> list[str]:
    manifest = read_json(root / "manifest.json")
    try:
        if manifest is not None and (other := other_format(root, manifest)) is not None:
            raise BuildError(other)
    except (AttributeError, KeyError, TypeError) as error:
        raise BuildError(f"{root}/manifest.json is not a corpus' manifest ({error!r}): choose another -o") from None
    try:
        before = recipes.from_table(tomllib.loads((root / "recipe.toml").read_text()))
    except FileNotFoundError:
        others = sorted(path.name for path in root.iterdir() if path.name not in OURS)
        if others:
            raise BuildError(f"{root} is not a corpus: it holds {others[0]}; choose a new or empty directory") from None
        return []
    except (BuildError, tomllib.TOMLDecodeError) as error:
        raise BuildError(f"{root}/recipe.toml is not a recipe of this version ({error}): choose another -o") from None
    was, now = before.values(), recipe.values()
    changed = sorted(key for key in now if key != "name" and now[key] != was[key])
    refused = [key for key in changed if not key.startswith(CHANGEABLE)]
    if refused:
        raise BuildError(
            f"{root} was built with another recipe ({refused[0]} differs): choose another -o, or delete it first"
        )
    return changed


def note(corpus: CorpusDirectory, recipe: Recipe, cut: Input) -> None:
    """Write down the input and the recipe. Raises BuildError if the directory was started with another input."""
    path = corpus.work("input.json")
    names = [[source.name, source.kind, source.size, source.identity] for source in cut.parts.sources]
    before = read_json(path)
    if before is not None and before != names:
        raise BuildError(f"{corpus.root} was built from another input: choose another -o, or delete it first")
    write_json(path, names)
    with atomic(corpus.root / "recipe.toml") as file:
        file.write(recipe.toml().encode())
