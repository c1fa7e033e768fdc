"""Stage scores: model scores of each distinct image. It runs only if a recipe names a model."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.scorers import BATCH, SCORERS, Scorer, named, score
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.images.decode import decode
from pipeline.recipe import Recipe
from pipeline.stages.images import image_options
from pipeline.stages.schemas import SCORES
from pipeline.stages.step import Build, Step
from shards.tar import read_member


@dataclass(eq=False)
class ScoreImages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/scores."""

    corpus: CorpusDirectory
    recipe: Recipe

    @cached_property
    def _scorers(self) -> list[Scorer]:
        return [SCORERS[name].load() for name in named(self.recipe.values())]

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "recipe": self.recipe}

    def work(self, task: Task) -> list[FileEntry]:
        columns = ["content", "rule", "tar", "offset", "length"]
        rows = tables.read(self.corpus.part("distinct_images", task.number), columns)
        stored = rows.filter(pc.is_null(rows["rule"]))
        batches: list[pa.Table] = []
        for start in range(0, stored.num_rows, BATCH):
            batch = stored.slice(start, BATCH)
            scores = score(self._scorers, [self._picture(row) for row in batch.to_pylist()])
            found = {"content": batch["content"]} | {name: pa.array(column) for name, column in scores.items()}
            nothing = {name: pa.nulls(batch.num_rows, SCORES.field(name).type) for name in SCORES.names}
            batches.append(pa.table(nothing | found, schema=SCORES))
        table = pa.concat_tables([*batches, SCORES.empty_table()]).combine_chunks()
        return [tables.write(self.corpus, self.corpus.part("scores", task.number), table)]

    def _picture(self, row: dict[str, Any]) -> bytes:
        """A stored image as JPEG, upright and on white, whatever format the recipe stores."""
        data = read_member(self.corpus.root / "images" / row["tar"], row["offset"], row["length"])
        if self.recipe.image.store == "jpeg":
            return data
        return decode(data, replace(image_options(self.recipe.image), store="jpeg")).data


def scorer_packages(recipe: Recipe) -> tuple[str, ...]:
    """Packages of the models named by a recipe."""
    return tuple(package for name in named(recipe.values()) for package in SCORERS[name].packages)


def score_images(build: Build) -> None:
    """Score every distinct image with the models named by the recipe, if any."""
    models, packages = named(build.recipe.values()), scorer_packages(build.recipe)
    if models:
        scores = ScoreImages(build.corpus, build.recipe)
        build.run_step(Step("scores", ("distinct_images",), lambda b: scores, lambda b: models, packages))
