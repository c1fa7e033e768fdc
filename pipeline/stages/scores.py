"""Stages page_scores and scores: model scores of each page's text and of each distinct image. They run only if a recipe
names a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters import models
from filters.models import Perplexity, language_model
from filters.scorers import BATCH, DECIMALS, Scorer, digests, load, named, packages, score
from filters.text import PERPLEXITY, PERPLEXITY_MODEL
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.images.decode import decode
from pipeline.judged import whole
from pipeline.recipe import Recipe
from pipeline.stages.images import image_options
from pipeline.stages.schemas import PAGE_SCORES, SCORES
from pipeline.stages.step import Build, Step
from shards.clips import frames_of
from shards.tar import read_member


@dataclass(eq=False)
class ScoreImages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/scores."""

    corpus: CorpusDirectory
    recipe: Recipe

    @cached_property
    def _scorers(self) -> list[Scorer]:
        return [load(name, self.recipe.image.clip_model) for name in named(self.recipe.values())]

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "recipe": self.recipe}

    def work(self, task: Task) -> list[FileEntry]:
        columns = ["content", "rule", "tar", "offset", "length"]
        rows = tables.read(self.corpus.part("distinct_images", task.number), columns)
        stored = rows.filter(pc.is_null(rows["rule"]))
        batches: list[pa.Table] = []
        for start in range(0, stored.num_rows, BATCH):
            batch = stored.slice(start, BATCH)
            scores = score(self._scorers, [as_jpeg(self.corpus, self.recipe, row) for row in batch.to_pylist()])
            found = {"content": batch["content"]} | {name: pa.array(column) for name, column in scores.items()}
            nothing = {name: pa.nulls(batch.num_rows, SCORES.field(name).type) for name in SCORES.names}
            batches.append(pa.table(nothing | found, schema=SCORES))
        table = pa.concat_tables([*batches, SCORES.empty_table()]).combine_chunks()
        return [tables.write(self.corpus, self.corpus.part("scores", task.number), table)]


def as_jpeg(corpus: CorpusDirectory, recipe: Recipe, row: dict[str, Any]) -> bytes:
    """A stored image as JPEG, upright and on white, whatever format the recipe stores; the middle frame of a clip."""
    frames = frames_of(read_member(corpus.root / "images" / row["tar"], row["offset"], row["length"]))
    data = frames[len(frames) // 2]
    return data if recipe.image.store == "jpeg" else decode(data, replace(image_options(recipe), store="jpeg")).data


def scorer_packages(recipe: Recipe) -> tuple[str, ...]:
    """Packages of the models named by a recipe."""
    found = (packages(name, recipe.image.clip_model) for name in named(recipe.values()))
    return tuple(dict.fromkeys(package for of_model in found for package in of_model))


IMAGE_SCORES = Step(
    "scores",
    ("distinct_images",),
    lambda b: ScoreImages(b.corpus, b.recipe),
    lambda b: [digests(b.recipe.values()), versions(scorer_packages(b.recipe))],
    wanted=lambda b: bool(named(b.recipe.values())),
)


@dataclass(eq=False)
class ScorePages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/page_scores."""

    corpus: CorpusDirectory
    model: str

    @cached_property
    def _perplexity(self) -> Perplexity:
        return language_model(self.model)

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "model": self.model}

    def work(self, task: Task) -> list[FileEntry]:
        pages = tables.read(self.corpus.part("pages", task.number), ["rule", "texts"])
        found = []
        for row in pages.to_pylist():
            score = self._perplexity(whole(row["texts"])) if row["rule"] is None else None
            found.append(None if score is None else round(score, DECIMALS))
        table = pa.table({PERPLEXITY.name: pa.array(found, PERPLEXITY.type)}, schema=PAGE_SCORES)
        return [tables.write(self.corpus, self.corpus.part("page_scores", task.number), table)]


def _page_model(build: Build) -> str:
    return str(build.recipe.values()[PERPLEXITY_MODEL.name])


def _page_packages(model: str) -> tuple[str, ...]:
    return ("kenlm",) if model.endswith(models.KENLM) else ("torch", "transformers")


def versions(packages: Sequence[str]) -> list[tuple[str, str]]:
    """Packages with their installed versions, on which a stage's result depends."""
    return [(package, version(package)) for package in packages]


TEXT_SCORES = Step(
    "page_scores",
    ("pages",),
    lambda b: ScorePages(b.corpus, _page_model(b)),
    lambda b: [models.digest(_page_model(b)), versions(_page_packages(_page_model(b)))],
    wanted=lambda b: bool(_page_model(b)),
)
