"""Stage page_grams: how many 13-grams each page shares with benchmarks. It runs only if a recipe names an index of
them."""

from dataclasses import dataclass

import pyarrow as pa

from dedup import grams
from filters.rules import BENCHMARK_GRAMS, BENCHMARKS, KEPT_PASSAGES
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.judged import whole
from pipeline.stages.schemas import PAGE_GRAMS
from pipeline.stages.step import Build, Step


@dataclass(eq=False)
class CountGrams(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/page_grams."""

    corpus: CorpusDirectory
    index: str
    keep: str

    def work(self, task: Task) -> list[FileEntry]:
        pages = tables.read(self.corpus.part("pages", task.number), ["rule", "texts"])
        index = grams.read_index(self.index, self.keep)
        found = [grams.shared(whole(row["texts"]), index) if row["rule"] is None else None for row in pages.to_pylist()]
        table = pa.table({BENCHMARK_GRAMS.name: pa.array(found, BENCHMARK_GRAMS.type)}, schema=PAGE_GRAMS)
        return [tables.write(self.corpus, self.corpus.part("page_grams", task.number), table)]


def _files(build: Build) -> tuple[str, str]:
    values = build.recipe.values()
    return str(values[BENCHMARKS.name]), str(values[KEPT_PASSAGES.name])


SHARED_GRAMS = Step(
    "page_grams",
    ("pages",),
    lambda b: CountGrams(b.corpus, *_files(b)),
    lambda b: grams.digest(*_files(b)),
    wanted=lambda b: bool(_files(b)[0]),
)
