"""The build: its stages in order, each with the stages it depends on."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dedup import benchmarks
from filters import gain, takedown
from pipeline.claim import claim, note, nothing_left
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.progress import Progress
from pipeline.engine.run import Engine
from pipeline.engine.runner import Runner
from pipeline.engine.tasks import Task
from pipeline.errors import BuildError
from pipeline.fetch import Networks
from pipeline.fetch.client import user_agent
from pipeline.manifest import PAGE_PACKAGES, PICTURE_PACKAGES, write_manifest
from pipeline.recipe import Recipe, StorageSection, load
from pipeline.stages import index, known, pages, parts
from pipeline.stages.counts import CountParts
from pipeline.stages.decisions import DecideImages
from pipeline.stages.dedup import FindCopies
from pipeline.stages.documents import WriteDocuments
from pipeline.stages.fetch import OFFLINE, Network
from pipeline.stages.held_out import Split, read_site_counts
from pipeline.stages.images import IndexImages, StoreImages
from pipeline.stages.missing import fetch_missing, finding, note_missing
from pipeline.stages.page_grams import SHARED_GRAMS
from pipeline.stages.pages import ExtractPages
from pipeline.stages.paragraphs import LONG_PARAGRAPHS
from pipeline.stages.repeats import REPEATED
from pipeline.stages.reuse import check_pages, corpus_among, take_over
from pipeline.stages.runs import LONGEST_RUN
from pipeline.stages.schemas import DISTINCT_IMAGES, REFERENCES
from pipeline.stages.scores import IMAGE_SCORES, TEXT_SCORES
from pipeline.stages.shards import WriteShards, assign_shards
from pipeline.stages.similarities import SIMILARITY
from pipeline.stages.site_counts import CountSites
from pipeline.stages.split import AssignSplits
from pipeline.stages.step import Build, Step
from pipeline.stages.tokenizer import MakeTokenizer, tokenizer_digest
from pipeline.stages.verdicts import JudgePages
from pipeline.stages.windows import CutWindows
from shards.store import RemotePath

# fmt: off
PAGES = Step("pages", (), lambda b: ExtractPages(b.corpus, b.input, b.recipe), pages.reads,
             (*PAGE_PACKAGES, *PICTURE_PACKAGES))
STAGES: tuple[Step | Callable[[Build], None], ...] = (
    PAGES,
    TEXT_SCORES,
    SHARED_GRAMS,
    REPEATED,
    Step("verdicts", ("pages",), lambda b: JudgePages(b.corpus, b.recipe),
         lambda b: [[b.recipe.text.model_dump(), b.recipe.paragraph.model_dump()], b.recipe.page.licences,
                    b.keys.get("page_scores"), takedown.digest(b.recipe.values()), *gain.digest(b.recipe.values()),
                    *(b.keys[name] for name in ("repeats",) if name in b.keys),
                    *((b.keys["page_grams"], b.recipe.page.max_benchmark_grams) if b.recipe.page.benchmarks else ())]),
    Step("dedup", ("verdicts",), lambda b: FindCopies(b.corpus, b.recipe.dedup, len(b.part_tasks), b.partitions),
         lambda b: known.reads(b.recipe.dedup), join=True),
    LONG_PARAGRAPHS,
    fetch_missing,
    # images
    Step("references", ("dedup",), finding,
         lambda b: [REFERENCES.names, [entry.sha256 for entry in b.files["fetched"]]], join=True, waits=True),
    Step("distinct_images", ("references",), lambda b: StoreImages(b.corpus, b.input, b.recipe),
         lambda b: [DISTINCT_IMAGES.names, b.recipe.image.model_dump(include=set(StorageSection.model_fields)),
                    takedown.digest(b.recipe.values())], PICTURE_PACKAGES),
    Step("images", ("distinct_images",), lambda b: IndexImages(b.corpus)),
    IMAGE_SCORES,
    SIMILARITY,
    Step("decisions", ("distinct_images",), lambda b: DecideImages(b.corpus, b.recipe, b.partitions),
         lambda b: [b.recipe.image.model_dump(), b.recipe.page.max_images, b.recipe.dedup.image_set,
                    [b.keys.get(name) for name in ("scores", "similarities")], takedown.digest(b.recipe.values()),
                    benchmarks.digest(b.recipe.image.benchmarks, b.recipe.image.benchmarks_keep),
                    *gain.digest(b.recipe.values())], join=True),
    Step("site_counts", ("decisions",),
         lambda b: CountSites(b.corpus, Split.of(b.recipe), len(b.part_tasks), b.partitions),
         lambda b: [asdict(Split.of(b.recipe)), b.keys.get("paragraphs")], tasks=lambda b: (Task(0, 1),), join=True),
    note_missing,
    # documents
    Step("split", ("site_counts",),
         lambda b: AssignSplits(b.corpus, Split.of(b.recipe).decided(read_site_counts(b.corpus)), b.partitions),
         join=True, waits=True),
    Step("documents", ("split",), lambda b: WriteDocuments(b.corpus)),
    Step("tokenizer", ("documents",), lambda b: MakeTokenizer(b.corpus, b.recipe, len(b.part_tasks)),
         lambda b: [b.recipe.windows.tokenizer, tokenizer_digest(b.recipe.windows.tokenizer), b.recipe.seed],
         ("tokenizers",), tasks=lambda b: (Task(0, 1),)),
    # windows
    Step("windows", ("tokenizer",), lambda b: CutWindows(b.corpus, b.recipe),
         lambda b: [b.recipe.windows.model_dump(), b.recipe.hash(), LONGEST_RUN]),
    Step("counts", ("windows",), lambda b: CountParts(b.corpus, b.partitions), join=True),
    Step("shards", ("windows",), lambda b: WriteShards(b.corpus, b.recipe.windows.formats),
         tasks=lambda b: assign_shards(b.corpus, len(b.part_tasks), b.recipe.seed, b.recipe.windows.shard_bytes,
                                       b.recipe.windows.min_shards), waits=True),
)
# fmt: on
"""The stages in execution order. On a cluster, those up to one that waits or to a function are one job."""


def build(
    inputs: Sequence[str],
    root: Path,
    recipe: Recipe,
    base_url: str,
    beam_options: list[str],
    progress: Progress,
    network: Network = OFFLINE,
) -> CorpusDirectory:
    """Build a corpus at `root`, or resume one.

    Raises BuildError for every error outside of this program."""
    user_agent(network.contact)
    Networks.parse(network.allow_private)
    if not inputs:
        raise BuildError("no input: give WARC files or folders of HTML")
    source = corpus_among(inputs)
    if isinstance(root, RemotePath) and (source or network.open):
        what = "a corpus as input" if source else "--contact and --allow-private"
        raise BuildError(f"-o {root}: {what} needs a local output directory: copy it to the store when it is finished")
    paths = [source.resolve()] if source else parts.resolve(inputs, progress.note)
    corpus = CorpusDirectory(root.resolve())
    with nothing_left(corpus.root):
        changed = claim(corpus, recipe, paths)
        if changed:
            progress.note(f"changed since the last build: {', '.join(changed)}")
        log, cores = corpus.scratch("worker.log"), os.cpu_count() or 1
        with (
            Runner.from_options(beam_options, log, cores, "pipeline.stages.preload") as runner,  # before any thread
            corpus.locked(progress.note) as corpus,
        ):
            if runner.remote or not runner.workers:
                progress.note("limits.record_seconds has no effect: it needs worker processes on this machine")
            engine = Engine(corpus, runner, progress, recipe.limits.record_seconds)
            if source:
                before = load(str(source / "recipe.toml"))
                cut = take_over(source, corpus, before, recipe)
                run = Build(corpus, recipe, cut, engine, replace(network, fetch=False))
                check_pages(source, before, run, PAGES)
            else:
                cut = parts.cut(corpus, paths, base_url, index.Workers(engine))
                run = Build(corpus, recipe, cut, engine, network)
            note(corpus, recipe, cut)
            run.run(STAGES)
            write_manifest(corpus, recipe, cut.parts, run.files)
    return corpus
