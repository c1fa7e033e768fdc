"""The build, stage by stage, and what makes a directory a corpus: its manifest."""

import os
import platform
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam

import pipeline.recipe as recipes
from pipeline.errors import BuildError
from pipeline.fetch import Networks
from pipeline.fetch.client import user_agent
from pipeline.jobs import fetch, tables
from pipeline.jobs import parts as cutting
from pipeline.jobs.corpus import FORMAT_VERSION, Corpus, read_json, write_json
from pipeline.jobs.documents import AssignSplits, Census, CountSites, Split, WriteDocuments
from pipeline.jobs.fetch import OFFLINE, Network
from pipeline.jobs.images import IndexImages, StoreImages
from pipeline.jobs.pages import ExtractPages
from pipeline.jobs.progress import Progress
from pipeline.jobs.references import FindImages
from pipeline.jobs.runner import Runner
from pipeline.jobs.stage import FileEntry, Stage, Task, Work, run_join, run_stage, stage_key
from pipeline.jobs.text import JudgeText
from pipeline.jobs.verdicts import JudgeImages
from pipeline.jobs.windows import CutWindows, MakeTokenizer, WriteShard, deal, tokenizer_digest
from pipeline.recipe import Recipe
from pipeline.sources.folder import printable
from shards.files import atomic, remove

STAGES = ("pages", "records", "text", "references", "contents", "images", "verdicts", "split", "documents", "windows")
PAGE_PACKAGES = (
    *("openm3w", "ada-url", "beautifulsoup4", "brotli", "fastwarc", "lxml", "numpy", "py3langid"),
    *("pyarrow", "rensa", "tldextract", "trafilatura", "webencodings"),
)
PICTURE_PACKAGES = ("openm3w", "numpy", "opencv-python-headless", "pillow", "simplejpeg")
PACKAGES = tuple(sorted({*PAGE_PACKAGES, *PICTURE_PACKAGES, "apache-beam", "pyarrow", "tokenizers"}))
"""Packages whose version can change what a corpus holds; the manifest names them."""
WRITTEN = {
    "documents": re.compile(r"\d{5,}\.parquet"),
    "images": re.compile(r"\d{5,}\.(parquet|tar)"),
    "windows": re.compile(r"(train|validation)-\d{5,}\.(parquet|tar)"),
}
"""The names that stages give to the files of a corpus, by folder."""
OURS = {"recipe.toml", "manifest.json", "tokenizer.json", "documents", "images", "windows", "work", "runs", "warc"}


@dataclass
class Build:
    """One build: an input, a recipe, and the directory it goes to."""

    corpus: Corpus
    recipe: Recipe
    input: cutting.Input
    runner: Runner
    progress: Progress
    network: Network = OFFLINE
    files: dict[str, list[FileEntry]] = field(default_factory=dict)

    def run(self) -> None:
        """Runs every stage that is not complete yet, then writes the manifest.

        From the first such stage on there is none: files that it names are written anew."""
        recipe, corpus = self.recipe, self.corpus
        corpus.prepare(list(STAGES))
        (corpus.root / "windows").mkdir(exist_ok=True)
        tasks = tuple(Task(part.number, part.weight) for part in self.input.parts.parts)
        limits, image = recipe.limits.model_dump(), recipe.image.model_dump()

        pages = stage_key(
            "pages",
            self.input.parts.identity(),
            [limits, recipe.extract.model_dump(), recipe.text.model_dump(), image["max_bytes"]],
            packages=PAGE_PACKAGES,
        )
        self._tasks("pages", pages, tasks, ExtractPages(corpus, self.input, recipe))

        text = stage_key("text", pages, recipe.dedup.model_dump())
        self._join("text", text, JudgeText(corpus, recipe.dedup))

        parts, links = len(tasks), self._has_links()
        fetched = self._fetch(text, links)
        references = stage_key("references", text, [entry.sha256 for entry in fetched])
        self._join("references", references, FindImages(corpus, links, parts=parts, lists=len(fetched)))
        if self.network.fetch and not self.network.open and (count := fetch.count_missing(corpus, range(parts))):
            self.progress.note(
                f"{count} pictures on the web are not in the input: --contact URL fetches them, --no-fetch leaves them"
            )

        stored = {name: image[name] for name in ("max_pixels", "max_bytes", "max_side", "quality", "store")}
        contents = stage_key("contents", references, stored, packages=PICTURE_PACKAGES)
        self._tasks("contents", contents, tasks, StoreImages(corpus, self.input, recipe))

        index = stage_key("images", contents)
        self._tasks("images", index, tasks, IndexImages(corpus))

        verdicts = stage_key("verdicts", contents, image)
        self._join("verdicts", verdicts, JudgeImages(corpus, recipe))

        split = Split(recipe.seed, recipe.windows.validation, recipe.split.leak)
        splits = stage_key("split", verdicts, asdict(split))
        census = self._split(splits, split)

        documents = stage_key("documents", splits)
        self._tasks("documents", documents, tasks, WriteDocuments(corpus))

        windows_recipe = recipe.windows.model_dump()
        named = recipe.windows.tokenizer
        digest = tokenizer_digest(named)
        tokenizer = stage_key("tokenizer", documents, named, digest, recipe.seed, packages=("tokenizers",))
        total = sum(entry.bytes for entry in self.files["documents"])
        self._tasks("tokenizer", tokenizer, (Task(0, total),), MakeTokenizer(corpus, recipe, len(tasks)))

        windows = stage_key("windows", tokenizer, windows_recipe, recipe.hash())
        self._tasks("windows", windows, tasks, CutWindows(corpus, recipe))

        shards = stage_key("shards", windows, windows_recipe)
        dealt = tuple(deal(corpus, len(tasks), recipe.seed, recipe.windows.shard_bytes))
        self._tasks("shards", shards, dealt, WriteShard(corpus, recipe.windows.formats))
        self._manifest(census)

    def _tasks(self, name: str, key: str, tasks: tuple[Task, ...], work: Work) -> None:
        stage, patience = Stage(name, key, tasks), self.recipe.limits.record_seconds
        self._unfinish(stage)
        self.files[name] = run_stage(self.corpus, self.runner, self.progress, stage, work, patience)

    def _join(self, name: str, key: str, transform: beam.PTransform) -> None:
        tasks = tuple(Task(part.number, part.weight) for part in self.input.parts.parts)
        stage = Stage(name, key, tasks)
        self._unfinish(stage)
        self.files[name] = run_join(self.corpus, self.runner, self.progress, stage, transform)

    def _unfinish(self, stage: Stage) -> None:
        """Removes the manifest where a stage is about to be run."""
        manifest = self.corpus.root / "manifest.json"
        if manifest.exists() and stage.finished(self.corpus) is None:
            remove(manifest)

    def _fetch(self, text: str, links: bool) -> list[FileEntry]:
        """The tables of the pictures fetched from the network; without one, what an earlier run fetched."""
        corpus, network = self.corpus, self.network
        if not network.open:
            return fetch.read_result(corpus)
        wanted = stage_key("wanted", text)
        self._join("wanted", wanted, FindImages(corpus, links, "wanted"))
        lists = tasks = fetch.write_lists(corpus, range(len(self.input.parts.parts)))
        key = stage_key("fetched", wanted, fetch.attempt_of(corpus, wanted, network.retry_failed))
        work = fetch.FetchImages(corpus, network, self.recipe.image.max_bytes, key[:8], len(lists))
        files: list[FileEntry] = []
        for turn in range(fetch.HOSTS):
            if not any(task.weight for task in tasks):
                break
            name = f"fetched-{turn}" if turn else "fetched"
            self._tasks(name, stage_key(name, key), tasks, work)
            files += self.files[name]
            tasks = fetch.write_further_lists(corpus, tasks)
        fetch.write_result(corpus, len(lists), files)
        return files

    def _has_links(self) -> bool:
        return any(
            "link" in tables.read(self.corpus.part("records", part.number), ["use"])["use"].unique().to_pylist()
            for part in self.input.parts.parts
        )

    def _split(self, key: str, split: Split) -> Census:
        """Counts the sites, which decides the unit of the split, then assigns every document."""
        path = self.corpus.work("split/census.json")
        saved = read_json(path)
        if saved is None or saved["key"] != key:
            with self.runner.pipeline(0) as pipeline:
                _ = (
                    pipeline
                    | "Parts" >> beam.Create([part.number for part in self.input.parts.parts])
                    | "Census" >> CountSites(self.corpus, split)
                    | "Save" >> beam.Map(lambda census: write_json(path, {"key": key, "census": asdict(census)}))
                )
            saved = read_json(path)
        census = Census(**saved["census"])
        self._join("split", key, AssignSplits(self.corpus, replace(split, unit=census.unit)))
        return census

    def _manifest(self, census: Census) -> None:
        kept = [*self.files["documents"], *self.files["contents"], *self.files["images"]]
        kept += [*self.files["tokenizer"], *self.files["shards"]]
        files = sorted((entry for entry in kept if not entry.path.startswith("work/")), key=lambda entry: entry.path)
        tokenizer = self.files["tokenizer"][0].sha256
        named = {entry.path for entry in files}
        for folder, written in WRITTEN.items():
            for path in sorted((self.corpus.root / folder).iterdir()):
                if written.fullmatch(path.name) and self.corpus.relative(path) not in named:
                    path.unlink()
        write_json(
            self.corpus.root / "manifest.json",
            {
                "format": FORMAT_VERSION,
                "tool": {"name": "openm3w", "version": version("openm3w")},
                "packages": {name: version(name) for name in PACKAGES},
                "python": platform.python_version(),
                "machine": platform.machine(),
                "recipe": self.recipe.hash(),
                "tokenizer": tokenizer,
                "input": [asdict(source) for source in self.input.parts.sources],
                "split": asdict(census) | {"unit": census.unit},
                "parts": len(self.input.parts.parts),
                "stages": {
                    name: {"files": len(files), "bytes": sum(entry.bytes for entry in files)}
                    for name, files in self.files.items()
                },
                "files": [asdict(entry) for entry in files],
            },
        )


def build(
    inputs: Sequence[str],
    root: Path,
    recipe: Recipe,
    base_url: str,
    beam_options: list[str],
    progress: Progress,
    network: Network = OFFLINE,
) -> Corpus:
    """Builds a corpus at `root`, or goes on with one that was begun.

    Raises BuildError for everything that is wrong outside of this program."""
    user_agent(network.contact)
    Networks.parse(network.allow_private)
    if not inputs:
        raise BuildError("no input: name WARC files or folders of HTML")
    paths = cutting.resolve(inputs)
    corpus = Corpus(root.resolve())
    claim(corpus, recipe, paths)
    with corpus.locked():
        for left_over in corpus.root.rglob(".*.tmp"):  # of a writer that was killed
            left_over.unlink()
        runner = Runner.from_options(beam_options, corpus.work("worker.log"), os.cpu_count() or 1)
        runner.warm()
        if runner.remote or not runner.workers:
            progress.note("limits.record_seconds acts on worker processes of this machine alone: there are none here")
        try:
            cut = cutting.cut(corpus, paths, base_url)
            _same_input(corpus, cut)
            with atomic(corpus.root / "recipe.toml") as file:
                file.write(recipe.toml().encode())
            Build(corpus, recipe, cut, runner, progress, network).run()
        finally:
            runner.close()
    return corpus


def claim(corpus: Corpus, recipe: Recipe, paths: list[Path]) -> None:
    """Makes the directory ours, or raises BuildError where it is something else's or another recipe's."""
    root = corpus.root
    if printable(str(root)) != str(root):
        raise BuildError(f"{printable(str(root))}: pyarrow opens no path that is not UTF-8: choose another -o")
    own = {root / "warc", root / "work" / "warc"}  # what lists were crawled and downloaded into
    if any(path == root or (root in path.parents and own.isdisjoint(path.parents)) for path in paths):
        raise BuildError(f"{root} holds the input itself: choose another -o")
    try:
        if root.exists() and not root.is_dir():
            raise BuildError(f"{root} is a file: choose another -o")
        if root.is_dir() and any(root.iterdir()):
            _check_recipe(root, recipe)
        corpus.work("lock").parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{root}: {error.strerror}") from None


def _check_recipe(root: Path, recipe: Recipe) -> None:
    try:
        before = recipes.from_table(tomllib.loads((root / "recipe.toml").read_text()))
    except FileNotFoundError:
        others = sorted(path.name for path in root.iterdir() if path.name not in OURS)
        if others:
            raise BuildError(f"{root} holds something else ({others[0]}): choose an empty or new directory") from None
        return
    except (BuildError, tomllib.TOMLDecodeError):
        raise BuildError(f"{root} is a corpus of another version of openm3w: choose another -o") from None
    manifest = read_json(root / "manifest.json")
    if manifest is not None and manifest.get("format") != FORMAT_VERSION:
        raise BuildError(f"{root} is a corpus of another version of openm3w: choose another -o")
    if before.hash() != recipe.hash():
        changed = sorted(_flat(before.table()).items() ^ _flat(recipe.table()).items())
        raise BuildError(
            f"{root} was built with another recipe ({changed[0][0]} differs): choose another -o, or remove it first"
        )


def _flat(table: dict[str, Any]) -> dict[str, str]:
    return {
        f"{section}.{key}": str(value)
        for section, content in table.items()
        if isinstance(content, dict)
        for key, value in content.items()
    } | {"seed": str(table["seed"])}


def _same_input(corpus: Corpus, cut: cutting.Input) -> None:
    """Raises BuildError where the directory was begun with another input."""
    path = corpus.work("input.json")
    names = [[source.name, source.kind, source.size, source.identity] for source in cut.parts.sources]
    before = read_json(path)
    if before is not None and before != names:
        raise BuildError(f"{corpus.root} was built from another input: choose another -o, or remove it first")
    write_json(path, names)
