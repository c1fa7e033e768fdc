"""Stage similarities: how similar each image of a page is to its text, by a CLIP model. It runs only if a recipe names
one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from filters.image import CLIP_MODEL
from filters.models import Clip, clip_digest
from filters.scorers import BATCH, DECIMALS
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.run import EachTask
from pipeline.engine.tasks import FileEntry, Task
from pipeline.placement import sentences
from pipeline.recipe import Recipe
from pipeline.stages.images import contents_of
from pipeline.stages.kept import kept_nodes
from pipeline.stages.schemas import SIMILARITIES
from pipeline.stages.scores import as_jpeg, versions
from pipeline.stages.step import Build, Step
from pipeline.stages.verdicts import judged

NEAR = 3
"""Sentences before and after an image that count as its neighbours."""


@dataclass(eq=False)
class CompareImages(EachTask):
    """Input: tasks, one per part. Output: (part, files): work/similarities."""

    corpus: CorpusDirectory
    recipe: Recipe

    @cached_property
    def _clip(self) -> Clip:
        return Clip(self.recipe.values()[CLIP_MODEL.name])

    def __getstate__(self) -> dict[str, Any]:
        return {"corpus": self.corpus, "recipe": self.recipe}

    def work(self, task: Task) -> list[FileEntry]:
        references = tables.read(self.corpus.part("references", task.number), ["row", "node", "found", "content"])
        images = self._images(task.number)
        pages = judged(self.corpus, task.number, ["texts", "images"])
        rows = tables.Rows(SIMILARITIES)
        for row, group in groupby(references.to_pylist(), key=lambda reference: reference["row"]):
            page = pages.slice(row, 1).to_pylist()[0]
            for similarity in self._similarities(page, list(group), images):
                rows.add(similarity)
        return [rows.write(self.corpus, self.corpus.part("similarities", task.number))]

    def _images(self, part: int) -> dict[bytes, np.ndarray]:
        """The vector (d) of each stored image that a part's pages use, batch by batch in the order of contents."""
        rows = contents_of(self.corpus, part, ["content", "rule", "tar", "offset", "length"])
        stored = [row for _, row in sorted(rows.items()) if row["rule"] is None]
        found: dict[bytes, np.ndarray] = {}
        for start in range(0, len(stored), BATCH):
            batch = stored[start : start + BATCH]
            vectors = self._clip.images([as_jpeg(self.corpus, self.recipe, row) for row in batch])
            found |= zip((row["content"] for row in batch), vectors, strict=True)
        return found

    def _similarities(
        self, page: dict[str, Any], references: Sequence[dict[str, Any]], images: dict[bytes, np.ndarray]
    ) -> list[dict[str, Any]]:
        """A row of SIMILARITIES for each image reference of a page."""
        every = self.recipe.image.placement == "clip"
        whole = "".join(text for text in kept_nodes(page["texts"], page["images"], ())[0] if text is not None)
        compared: list[list[str]] = [
            [] if not reference["found"] else sentences(whole) if every else _near(page["texts"], reference["node"])
            for reference in references
        ]
        known = list(dict.fromkeys(sentence for near in compared for sentence in near))
        vectors = np.concatenate(
            [self._clip.texts(known[start : start + BATCH]) for start in range(0, len(known), BATCH)]
        ) if known else np.zeros((0, 0))  # fmt: skip
        place = {sentence: number for number, sentence in enumerate(known)}
        found: list[dict[str, Any]] = []
        for reference, near in zip(references, compared, strict=True):
            vector = images.get(reference["content"])
            if vector is None or not near:
                found.append({"similarity": None, "sentences": None})
                continue
            values = np.round(vectors[[place[sentence] for sentence in near]] @ vector, DECIMALS)
            found.append({"similarity": float(values.max()), "sentences": values.tolist() if every else None})
        return found


def _near(texts: Sequence[str | None], node: int) -> list[str]:
    """The last sentences before a node, and the first after it."""
    before = next((text for text in reversed(texts[:node]) if text), "")
    after = next((text for text in texts[node + 1 :] if text), "")
    return [*sentences(before)[-NEAR:], *sentences(after)[:NEAR]]


def _model(build: Build) -> str:
    return str(build.recipe.values()[CLIP_MODEL.name])


SIMILARITY = Step(
    "similarities",
    ("distinct_images",),
    lambda b: CompareImages(b.corpus, b.recipe),
    lambda b: [clip_digest(_model(b)), b.recipe.image.placement, versions(("open_clip_torch", "torch"))],
    wanted=lambda b: bool(_model(b)),
)


def similarity_column(corpus: CorpusDirectory, part: int) -> pa.ChunkedArray:
    """The similarity of each reference of a part; null if it was not found, or stands in no text."""
    return tables.read(corpus.part("similarities", part), ["similarity"])["similarity"]
