"""The build: its stages in order, each with the stages it follows, and a loop that runs them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import apache_beam as beam

from filters.scorers import named
from pipeline.claim import check_input, claim
from pipeline.engine.corpus import Corpus
from pipeline.engine.progress import Progress
from pipeline.engine.run import Engine
from pipeline.engine.runner import Runner
from pipeline.engine.tasks import FileEntry, Stage, Task, stage_key
from pipeline.errors import BuildError
from pipeline.fetch import Networks
from pipeline.fetch.client import user_agent
from pipeline.manifest import PAGE_PACKAGES, PICTURE_PACKAGES, scorer_packages, write_manifest
from pipeline.recipe import Recipe
from pipeline.stages import fetch, parts, shards
from pipeline.stages.decisions import DecideImages
from pipeline.stages.dedup import FindCopies
from pipeline.stages.documents import WriteDocuments
from pipeline.stages.fetch import OFFLINE, FetchImages, Network
from pipeline.stages.images import IndexImages, StoreImages
from pipeline.stages.pages import ExtractPages
from pipeline.stages.references import FindImages, has_links
from pipeline.stages.scores import ScoreImages
from pipeline.stages.shards import WriteShards
from pipeline.stages.split import AssignSplits, CountSites, Split, read_site_counts
from pipeline.stages.tokenizer import MakeTokenizer, tokenizer_digest
from pipeline.stages.windows import CutWindows
from shards.files import atomic, remove


@dataclass
class Build:
    """An input, a recipe, and the directory that the corpus goes to; `keys` and `files` of the stages so far."""

    corpus: Corpus
    recipe: Recipe
    input: parts.Input
    engine: Engine
    network: Network = OFFLINE
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[FileEntry]] = field(default_factory=dict)

    @property
    def part_tasks(self) -> tuple[Task, ...]:
        return tuple(Task(part.number, part.weight) for part in self.input.parts.parts)

    @property
    def split(self) -> Split:
        return Split(self.recipe.seed, self.recipe.windows.validation, self.recipe.split.leak)

    def run(self) -> None:
        """Runs every stage that is not complete yet, then writes the manifest."""
        self.corpus.prepare(("records", "documents", "images", "coverage"))
        for step in STAGES:
            if isinstance(step, Step):
                self.run_step(step)
            else:
                step(self)
        write_manifest(self.corpus, self.recipe, self.input.parts, self.files)

    def run_step(self, step: "Step") -> None:
        """From the first stage that is not complete on there is no manifest: files that it names are written again."""
        key = stage_key(step.name, [self.keys[name] for name in step.after], step.reads(self), packages=step.packages)
        stage = Stage(step.name, key, step.tasks(self))
        manifest = self.corpus.root / "manifest.json"
        if manifest.exists() and stage.finished(self.corpus) is None:
            remove(manifest)
        transform = step.transform(self)
        if step.join:
            files = self.engine.run_join(stage, transform, len(self.input.parts.parts))
        else:
            files = self.engine.run_tasks(stage, transform)
        self.keys[step.name], self.files[step.name] = key, files


@dataclass(frozen=True)
class Step:
    """A stage in the table below.

    Its result depends on the stages `after` which it comes, on what it `reads` besides, and on versions of `packages`.
    A join takes the numbers of all parts at once; every other stage takes its `tasks`, one a part if not said
    otherwise."""

    name: str
    after: tuple[str, ...]
    transform: Callable[[Build], beam.PTransform]
    reads: Callable[[Build], Any] = lambda build: None
    packages: tuple[str, ...] = ()
    tasks: Callable[[Build], tuple[Task, ...]] = lambda build: build.part_tasks
    join: bool = False


def fetch_missing(build: Build) -> None:
    """Asks the network for pictures that the input does not hold, host by host; without a network, takes what an
    earlier run fetched."""
    corpus, network = build.corpus, build.network
    if not network.open:
        build.files["fetched"] = fetch.read_result(corpus)
        return
    build.run_step(WANTED)
    wanted = build.keys["wanted"]
    tasks = fetch.write_lists(corpus, range(len(build.part_tasks)))
    attempt, lists = fetch.attempt_of(corpus, wanted, network.retry_failed), len(tasks)
    run = stage_key("fetched", wanted, attempt)[:8]
    files: list[FileEntry] = []
    for turn in range(fetch.HOSTS):
        if not any(task.weight for task in tasks):
            break
        name = f"fetched-{turn}" if turn else "fetched"
        transform = FetchImages(corpus, network, build.recipe.image.max_bytes, run, lists)
        build.run_step(
            Step(name, ("wanted",), lambda build: transform, lambda build: attempt, tasks=lambda build: tasks)  # noqa: B023
        )
        files += build.files[name]
        tasks = fetch.write_further_lists(corpus, tasks)
    fetch.write_result(corpus, lists, files)
    build.files["fetched"] = files


def note_missing(build: Build) -> None:
    """Says how many pictures could be fetched, where nobody said whether they should be."""
    if build.network.fetch and not build.network.open:
        count = fetch.count_missing(build.corpus, range(len(build.part_tasks)))
        if count:
            build.engine.progress.note(
                f"{count} pictures on the web are not in the input: --contact URL fetches them, --no-fetch leaves them"
            )


def score_images(build: Build) -> None:
    """Where the recipe names models, has them score every distinct picture."""
    models, packages = named(build.recipe.values()), scorer_packages(build.recipe)
    if models:
        scores = ScoreImages(build.corpus, build.recipe)
        build.run_step(Step("scores", ("distinct_images",), lambda b: scores, lambda b: models, packages))


WANTED = Step(
    "wanted", ("dedup",), lambda b: FindImages(b.corpus, has_links(b.corpus, b.part_tasks), "wanted"), join=True
)
STORED = ("max_pixels", "max_bytes", "max_side", "quality", "store")
STAGES: tuple[Step | Callable[[Build], None], ...] = (
    Step(
        "pages",
        (),
        lambda b: ExtractPages(b.corpus, b.input, b.recipe),
        lambda b: [
            b.input.parts.identity(),
            [section.model_dump() for section in (b.recipe.limits, b.recipe.extract, b.recipe.text)],
            b.recipe.image.max_bytes,
        ],
        PAGE_PACKAGES,
    ),
    Step(
        "dedup",
        ("pages",),
        lambda b: FindCopies(b.corpus, b.recipe.dedup),
        lambda b: b.recipe.dedup.model_dump(),
        join=True,
    ),
    fetch_missing,
    Step(
        "references",
        ("dedup",),
        lambda b: FindImages(
            b.corpus, has_links(b.corpus, b.part_tasks), parts=len(b.part_tasks), lists=len(b.files["fetched"])
        ),
        lambda b: [entry.sha256 for entry in b.files["fetched"]],
        join=True,
    ),
    note_missing,
    Step(
        "distinct_images",
        ("references",),
        lambda b: StoreImages(b.corpus, b.input, b.recipe),
        lambda b: {name: getattr(b.recipe.image, name) for name in STORED},
        PICTURE_PACKAGES,
    ),
    Step("images", ("distinct_images",), lambda b: IndexImages(b.corpus)),
    score_images,
    Step(
        "decisions",
        ("distinct_images",),
        lambda b: DecideImages(b.corpus, b.recipe),
        lambda b: [b.recipe.image.model_dump(), b.keys.get("scores")],
        join=True,
    ),
    Step(
        "site_counts",
        ("decisions",),
        lambda b: CountSites(b.corpus, b.split),
        lambda b: asdict(b.split),
        tasks=lambda b: (Task(0, 1),),
        join=True,
    ),
    Step(
        "split",
        ("site_counts",),
        lambda b: AssignSplits(b.corpus, replace(b.split, unit=read_site_counts(b.corpus).unit)),
        join=True,
    ),
    Step("documents", ("split",), lambda b: WriteDocuments(b.corpus)),
    Step(
        "tokenizer",
        ("documents",),
        lambda b: MakeTokenizer(b.corpus, b.recipe, len(b.part_tasks)),
        lambda b: [b.recipe.windows.tokenizer, tokenizer_digest(b.recipe.windows.tokenizer), b.recipe.seed],
        ("tokenizers",),
        tasks=lambda b: (Task(0, sum(entry.bytes for entry in b.files["documents"])),),
    ),
    Step(
        "windows",
        ("tokenizer",),
        lambda b: CutWindows(b.corpus, b.recipe),
        lambda b: [b.recipe.windows.model_dump(), b.recipe.hash()],
    ),
    Step(
        "shards",
        ("windows",),
        lambda b: WriteShards(b.corpus, b.recipe.windows.formats),
        tasks=lambda b: shards.assign_shards(b.corpus, len(b.part_tasks), b.recipe.seed, b.recipe.windows.shard_bytes),
    ),
)
"""The stages in the order in which they run."""


def build(
    inputs: Sequence[str],
    root: Path,
    recipe: Recipe,
    base_url: str,
    beam_options: list[str],
    progress: Progress,
    network: Network = OFFLINE,
) -> Corpus:
    """Builds a corpus at `root`, or resumes one that was begun.

    Raises BuildError for everything that is wrong outside of this program."""
    user_agent(network.contact)
    Networks.parse(network.allow_private)
    if not inputs:
        raise BuildError("no input: name WARC files or folders of HTML")
    paths = parts.resolve(inputs)
    corpus = Corpus(root.resolve())
    claim(corpus, recipe, paths)
    with corpus.locked():
        for left_over in corpus.root.rglob(".*.tmp"):  # of a writer that was killed
            left_over.unlink()
        log, cores = corpus.work("worker.log"), os.cpu_count() or 1
        with Runner.from_options(beam_options, log, cores, "pipeline.stages.preload") as runner:
            if runner.remote or not runner.workers:
                progress.note(
                    "limits.record_seconds acts on worker processes of this machine alone: there are none here"
                )
            cut = parts.cut(corpus, paths, base_url)
            check_input(corpus, cut)
            with atomic(corpus.root / "recipe.toml") as file:
                file.write(recipe.toml().encode())
            Build(corpus, recipe, cut, Engine(corpus, runner, progress, recipe.limits.record_seconds), network).run()
    return corpus
