"""A finished corpus opened for reading, with its files as listed in its manifests."""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BuildError
from pipeline.judged import overlaid
from pipeline.recipe import Recipe, from_table
from pipeline.stages.schemas import PAGES, VERDICTS
from shards.errors import first_line
from shards.readers import read_windows
from shards.records import other_format
from shards.store import parquet_source
from shards.tokenizer import Tokenizer, load_tokenizer

STAGE_OF = {"records": "pages", "links": "pages", "missing": "references", "coverage": "windows", "runs": "windows"}
"""Folders of work/ whose files are listed in another stage's manifest."""


class ListedFile(NamedTuple):
    """A file listed in a manifest: `path` relative to the corpus, sha256 in hex. (Does not import Beam.)"""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Finished:
    """A corpus with a manifest."""

    root: Path
    manifest: dict[str, Any]
    recipe: Recipe

    def files(self, folder: str, suffix: str = ".parquet") -> list[ListedFile]:
        """Files of documents/, images/ or windows/, by name."""
        entries = (ListedFile(**entry) for entry in self.manifest["files"])
        return [entry for entry in entries if entry.path.startswith(f"{folder}/") and entry.path.endswith(suffix)]

    def windows(self, split: str) -> list[ListedFile]:
        """The shards of a split, as Parquet if the corpus has it, else as tar."""
        found = [self.files("windows", suffix) for suffix in (".parquet", ".tar")]
        return [entry for entry in found[0] or found[1] if entry.path.startswith(f"windows/{split}-")]

    @property
    def has_work(self) -> bool:
        return (self.root / "work/pages/manifest.json").exists()

    def work(self, folder: str) -> list[ListedFile]:
        """Files of a folder of work/, in the order of parts. Raises BuildError if they are missing or damaged."""
        manifest = read_json(self.root / "work" / STAGE_OF.get(folder, folder) / "manifest.json")
        entries = [ListedFile(**entry) for entry in manifest["files"]]
        return [entry for entry in entries if entry.path.startswith(f"work/{folder}/")]

    def table(self, entry: ListedFile, columns: Sequence[str] | None = None) -> pa.Table:
        """Read columns of a Parquet file. Raises BuildError, naming the file, if it is missing or damaged."""
        try:
            # for small files ten times as fast as pyarrow.parquet.read_table
            with pq.ParquetFile(parquet_source(self.path(entry))) as file:
                _complete(file, entry.path, columns or ())
                return file.read(None if columns is None else list(columns))
        except (OSError, pa.ArrowException) as error:
            raise damaged(entry.path, error) from None

    def known(self, entry: ListedFile, schema: pa.Schema) -> pa.Table:
        """The columns of `schema`; those that a corpus of an older version lacks are null."""
        try:
            with pq.ParquetFile(parquet_source(self.path(entry))) as file:
                there = set(file.schema_arrow.names)
        except (OSError, pa.ArrowException) as error:
            raise damaged(entry.path, error) from None
        table = self.table(entry, [name for name in schema.names if name in there])
        columns = [
            table[name] if name in there else pa.nulls(table.num_rows, schema.field(name).type) for name in schema.names
        ]
        return pa.table(columns, schema=schema)

    def pages(self, part: int, columns: Sequence[str]) -> pa.Table:
        """Columns of the pages of a part as their verdicts leave them; see work/verdicts."""
        changed = [name for name in columns if name in VERDICTS.names]
        pages = self.table(self.work("pages")[part], [name for name in columns if name in PAGES.names])
        return overlaid(pages, self.table(self.work("verdicts")[part], changed)).select(list(columns))

    def batches(self, entry: ListedFile, columns: Sequence[str], rows: int = 4096) -> Iterator[pa.RecordBatch]:
        """Like `table`, but at most `rows` rows at a time."""
        try:
            with pq.ParquetFile(parquet_source(self.path(entry))) as file:
                _complete(file, entry.path, columns)
                yield from file.iter_batches(rows, columns=list(columns))
        except (OSError, pa.ArrowException) as error:
            raise damaged(entry.path, error) from None

    def window_batches(self, split: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of all windows of a split; not `images`, which may hold many bytes."""
        for entry in self.windows(split):
            if entry.path.endswith(".parquet"):
                yield from self.batches(entry, columns)
                continue
            try:
                for row in read_windows([self.path(entry)], columns=list(columns)):
                    yield pa.RecordBatch.from_pylist([row])
            except ValueError as error:
                raise damaged(entry.path, error) from None

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the windows. Raises BuildError if it is missing or damaged."""
        try:
            return load_tokenizer(str(self.root / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception for some damage
            raise damaged("tokenizer.json", error) from None

    def path(self, entry: ListedFile) -> Path:
        return self.root / entry.path


def _complete(file: pq.ParquetFile, path: str, columns: Sequence[str]) -> None:
    """Raises BuildError if a file lacks one of the columns; pyarrow would leave it out silently."""
    names = set(file.schema_arrow.names)
    for column in columns:
        if column.partition(".")[0] not in names:
            raise BuildError(f"{path} has no column {column}: another version of m3w built this corpus; build it again")


def damaged(path: str, error: Exception) -> BuildError:
    reason = "it is missing" if isinstance(error, FileNotFoundError) else first_line(error)
    return BuildError(f"{path} cannot be read ({reason}): run m3w verify to list all damage")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises BuildError if it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BuildError(f"{path} is missing: part of work/ was deleted; the funnel cannot be rebuilt") from None
    except (OSError, ValueError) as error:
        raise BuildError(f"{path} cannot be read ({error})") from None


def open_corpus(root: Path) -> Finished:
    """Open a corpus. Raises BuildError if `root` is not a corpus or its build has not finished."""
    if not root.is_dir():
        raise BuildError(f"{root} is not a corpus: directory not found")
    if not (root / "manifest.json").is_file():
        if (root / "recipe.toml").exists():
            raise BuildError(f"the build of {root} has not finished: rerun its m3w build command to resume")
        raise BuildError(f"{root} is not a corpus: it has no manifest.json")
    manifest = read_json(root / "manifest.json")
    try:
        if (other := other_format(root, manifest)) is not None:
            raise BuildError(other)
        for entry in manifest["files"]:
            path = PurePosixPath(ListedFile(**entry).path)
            if path.is_absolute() or ".." in path.parts:
                raise BuildError(f"{root}/manifest.json names a file outside of the corpus: {path}")
        recipe = from_table(tomllib.loads((root / "recipe.toml").read_text()))
    except (AttributeError, KeyError, TypeError) as error:
        raise BuildError(f"{root}/manifest.json is not a corpus' manifest ({error!r})") from None
    except FileNotFoundError:
        raise BuildError(f"{root} has no recipe.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"{root}/recipe.toml is damaged ({error})") from None
    return Finished(root, manifest, recipe)
