"""Stage windows: documents are cut into windows, their images by reference."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq

from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.recipe import Recipe
from pipeline.stages.runs import LONGEST_RUN, SPLITS, runs_of
from pipeline.stages.schemas import COVERAGE, CUTS
from shards.store import parquet_source
from shards.tokenizer import Tokenizer, load_tokenizer
from shards.windows import RECIPE_KEYS, Window, WindowOptions, document_windows
from shards.writers import window_columns


@dataclass(eq=False)
class CutWindows(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/windows, work/coverage and work/runs."""

    corpus: CorpusDirectory
    recipe: Recipe

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(str(self.corpus.root / "tokenizer.json"))

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "recipe": self.recipe}

    def work(self, task: Task) -> list[FileEntry]:
        recipe = self.recipe
        options = WindowOptions(**{name: getattr(recipe.windows, name) for name in RECIPE_KEYS})
        recipe_hash = recipe.hash()
        rows, coverage = tables.Rows(CUTS), tables.Rows(COVERAGE)
        for batch in pq.ParquetFile(parquet_source(self.corpus.part("documents", task.number))).iter_batches(256):
            for document in batch.to_pylist():
                for cut in document_windows(document, self._tokenizer, options, seed=recipe.seed, recipe=recipe_hash):
                    told = {"doc_id": document["doc_id"], "split": cut.split}
                    coverage.extend(told | {"rule": rule} | held._asdict() for rule, held in cut.coverage.items())
                    for rule, count in sorted(cut.dropped.items()):
                        rows.add(told | {"rule": rule, "count": count})
                    for window in cut.windows:
                        rows.add({"split": cut.split, "count": 1} | _window_row(window))
        cut = rows.table()
        limits = recipe.windows.shard_bytes, recipe.windows.min_shards
        runs = {split: runs_of(cut, split, *limits).value() for split in SPLITS}
        return [
            # a shard reads the row groups of its runs
            tables.write(self.corpus, self.corpus.part("windows", task.number), cut, row_group=LONGEST_RUN),
            tables.write_value(self.corpus, self.corpus.part("runs", task.number, "json"), runs),
            coverage.write(self.corpus, self.corpus.part("coverage", task.number)),
        ]


def _window_row(window: Window) -> dict[str, Any]:
    columns = window_columns(window)
    del columns["image_metadata"]
    images = [image.row() for image in window.images]
    return columns | {"images": images, "bytes": sum(image.length for image in window.images)}
