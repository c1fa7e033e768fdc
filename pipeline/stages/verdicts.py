"""Stage verdicts: which paragraphs and pages the rules on text drop, by the metrics of work/pages."""

from dataclasses import dataclass

import pyarrow as pa

from filters import paragraph
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.judged import COLUMNS, MEASURED, METRICS, PARAGRAPH_COLUMNS, overlaid, verdicts
from pipeline.recipe import Recipe
from pipeline.stages.schemas import PAGES, VERDICTS


@dataclass(eq=False)
class JudgePages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/verdicts."""

    corpus: CorpusDirectory
    recipe: Recipe

    def work(self, task: Task) -> list[FileEntry]:
        values = self.recipe.values()
        more = PARAGRAPH_COLUMNS if paragraph.active(values, paragraph.RULES) else ()
        pages = tables.read(self.corpus.part("pages", task.number), [*COLUMNS, *METRICS, *more])
        for stage, (key, metric) in MEASURED.items():
            if values[key]:
                pages = pages.append_column(metric, tables.read(self.corpus.part(stage, task.number))[metric])
        if paragraph.active(values, paragraph.COPIES):
            pages = pages.append_column("repeats", tables.read(self.corpus.part("repeats", task.number))["repeats"])
        return [tables.write(self.corpus, self.corpus.part("verdicts", task.number), verdicts(pages, values))]


def judged(corpus: CorpusDirectory, part: int, columns: list[str]) -> pa.Table:
    """Columns of the pages of a part (n rows) as their verdicts leave them."""
    pages = tables.read(corpus.part("pages", part), [name for name in columns if name in PAGES.names])
    found = [name for name in columns if name in VERDICTS.names]
    return overlaid(pages, tables.read(corpus.part("verdicts", part), found)).select(columns)
