"""Stage paragraphs: what long paragraphs are compared by, so that the split finds those that are nearly the same on
both sides. It runs only if the recipe wants that."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedup.near import KEYS, sketches
from filters import paragraph
from filters.rules import LEAK_WORDS
from filters.words import words_of
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.judged import folded
from pipeline.stages.schemas import PARAGRAPHS
from pipeline.stages.step import Build, Step
from pipeline.stages.verdicts import judged


@dataclass(eq=False)
class SketchParagraphs(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/paragraphs."""

    corpus: CorpusDirectory
    words: int

    def work(self, task: Task) -> list[FileEntry]:
        kept = np.flatnonzero(
            np.asarray(tables.read(self.corpus.part("dedup", task.number), ["rule"])["rule"].is_null())
        )
        texts = judged(self.corpus, task.number, ["texts"])["texts"].take(pa.array(kept))
        rows: list[int] = []
        long: list[str] = []
        for row, page in zip(kept.tolist(), texts, strict=True):
            found = long_paragraphs(page.as_py(), self.words)
            rows += [row] * len(found)
            long += found
        keys, sketch = sketches(long)
        columns = [
            pa.array(rows, pa.int32()),
            pa.FixedSizeListArray.from_arrays(pa.array(keys.reshape(-1), pa.uint64()), KEYS),
            pa.array(sketch, pa.uint64()),
        ]
        table = pa.table(columns, schema=PARAGRAPHS)
        return [tables.write(self.corpus, self.corpus.part("paragraphs", task.number), table)]


def long_paragraphs(texts: Iterable[str | None], words: int) -> list[str]:
    """The distinct paragraphs of texts that have at least so many words, as they are compared."""
    pieces = (piece for text in texts if text is not None for piece in paragraph.split(text))
    return list(dict.fromkeys(folded(piece) for piece in pieces if words_of(piece).number >= words))


def _words(build: Build) -> int:
    return int(build.recipe.values()[LEAK_WORDS.name])


LONG_PARAGRAPHS = Step(
    "paragraphs",
    ("dedup",),
    lambda b: SketchParagraphs(b.corpus, _words(b)),
    _words,
    wanted=lambda b: b.recipe.split.leak and _words(b) > 0,
)
