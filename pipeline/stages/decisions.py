"""Stage decisions: which images are kept on which pages."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import uses
from dedup.exact import COPY, copies, first_of_each
from dedup.uses import Images, UseLimits
from filters import image
from filters.image import judge_references, rows_of, with_scores, with_similarity
from filters.scorers import named
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.image_copies import image_sets, images_used, limits, same_sets, survivors_of, without_common
from pipeline.placement import assigned
from pipeline.recipe import Recipe
from pipeline.stages.schemas import DECISIONS, DISTINCT_IMAGES, SCORES
from pipeline.stages.similarities import similarity_column

PICTURE = pa.schema([DISTINCT_IMAGES.field(name) for name in ("content", "rule", *image.STORED)])


@dataclass(frozen=True)
class Judged:
    """The state of a part: the rule of each reference (n; null if kept), the perceptual hashes of their images, and
    the pages dropped for the set of their images (COPY)."""

    rules: pa.DictionaryArray
    phashes: np.ndarray
    copies: np.ndarray

    def verdicts(self) -> np.ndarray:
        """The rules as objects."""
        return np.array([*self.rules.to_pylist(), None], object)[:-1]


@dataclass(eq=False)
class DecideImages(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/decisions."""

    corpus: CorpusDirectory
    recipe: Recipe
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        corpus, most = self.corpus, limits(self.recipe.values())
        # Output: (part, Judged)
        state = parts | "Judge" >> beam.Map(partial(_judge, corpus, self.recipe))
        if most.any():
            counted = Join(partial(_uses, corpus, most), partial(uses.exceeding, limits=most), self.partitions)
            joined = state | "Count copies" >> counted
            state = joined | "Common" >> beam.MapTuple(partial(_without_common, corpus, most))
        if self.recipe.dedup.image_set:
            joined = state | "Image sets" >> Join(
                partial(_firsts, corpus), partial(copies, refused_only=False), self.partitions
            )
            state = joined | "Same sets" >> beam.MapTuple(partial(_without_copies, corpus))
        return state | "Write" >> beam.MapTuple(partial(_write, corpus, self.recipe))


def _judge(corpus: CorpusDirectory, recipe: Recipe, part: int) -> tuple[int, Judged]:
    references = tables.read(corpus.part("references", part))
    pictures = pictures_of(corpus, references, bool(named(recipe.values())))
    before = pc.if_else(references["found"], pictures["rule"], references["rule"]).to_pylist()
    pages = tables.read(corpus.part("pages", part), ["url"])["url"]
    shown = references.select(["row", "node", "content", "url", "declared"])
    shown = shown.append_column("page_url", pages.take(references["row"]))
    for name in pictures.column_names[2:]:
        shown = shown.append_column(name, pictures[name])
    if recipe.image.clip_model:
        shown = with_similarity(shown, similarity_column(corpus, part))
    verdicts = judge_references(shown, recipe.values(), np.array([*before, None], object)[:-1])
    phashes = np.asarray(pc.fill_null(pictures["phash"], 0))
    return part, Judged(pa.array(verdicts, pa.string()).dictionary_encode(), phashes, np.zeros(0, COPY))


def pictures_of(corpus: CorpusDirectory, references: pa.Table, scored: bool) -> pa.Table:
    """Columns `content`, `rule`, and what image rules read of each reference's image; null if it was not found."""
    owners = np.unique(references["owner"].drop_null()).tolist()
    known = (tables.read(corpus.part("distinct_images", owner), PICTURE.names) for owner in owners)
    found = rows_of(references["content"], known, PICTURE)
    if scored:
        scores = (tables.read(corpus.part("scores", owner)) for owner in owners)
        found = with_scores(found, rows_of(references["content"], scores, SCORES))
    return found


def _images(corpus: CorpusDirectory, most: UseLimits, part: int, state: Judged) -> Images:
    references = tables.read(corpus.part("references", part), ["url", "content"])
    return images_used(references, state.phashes, state.verdicts(), most)


def _uses(corpus: CorpusDirectory, most: UseLimits, part: int, state: Judged) -> Block:
    return uses.counted(_images(corpus, most, part, state), part, most)


def _without_common(
    corpus: CorpusDirectory, most: UseLimits, part: int, both: tuple[Judged, Block]
) -> tuple[int, Judged]:
    state, found = both
    if not len(found):  # the result of an empty join has no fields
        return part, state
    verdicts = without_common(state.verdicts(), _images(corpus, most, part, state), found, most)
    return part, replace(state, rules=pa.array(verdicts, pa.string()).dictionary_encode())


def _sets(corpus: CorpusDirectory, part: int, state: Judged) -> Block:
    references = tables.read(corpus.part("references", part), ["row", "url"])
    pages = tables.read(corpus.part("pages", part), ["doc_id", "capture"])
    return image_sets(references, state.verdicts(), part, pages)


def _firsts(corpus: CorpusDirectory, part: int, state: Judged) -> Block:
    """The first page of each set of images in a part: those of a million pages cost a row for each part."""
    rows = _sets(corpus, part, state)
    return rows[np.unique(first_of_each(rows[["high", "low"]]))]


def _without_copies(corpus: CorpusDirectory, part: int, both: tuple[Judged, Block]) -> tuple[int, Judged]:
    state, found = both
    dropped = same_sets(_sets(corpus, part, state), found if len(found) else np.zeros(0, COPY))
    verdicts, row = state.verdicts(), np.asarray(tables.read(corpus.part("references", part), ["row"])["row"])
    verdicts[np.asarray(state.rules.is_null()) & np.isin(row, dropped["row"])] = image.PAGE_DROPPED
    return part, replace(state, rules=pa.array(verdicts, pa.string()).dictionary_encode(), copies=dropped)


def _sentences(corpus: CorpusDirectory, part: int, row: np.ndarray, kept: np.ndarray) -> list[int | None]:
    """The sentence before which each kept reference of a part (n) is placed."""
    matrix = tables.read(corpus.part("similarities", part), ["sentences"])["sentences"].to_pylist()
    found: list[int | None] = [None] * len(row)
    for _, group in groupby(np.flatnonzero(kept).tolist(), key=lambda index: row[index]):
        images = [index for index in group if matrix[index] is not None]
        if images:
            sentences = assigned(np.array([matrix[index] for index in images])).tolist()
            for index, sentence in zip(images, sentences, strict=True):
                found[index] = sentence
    return found


def _write(corpus: CorpusDirectory, recipe: Recipe, part: int, state: Judged) -> tuple[int, list[FileEntry]]:
    known = [name for name in DECISIONS.names if name not in ("rule", "sentence", "survivor")]
    references = tables.read(corpus.part("references", part), known)
    row, kept = np.asarray(references["row"]), np.asarray(state.rules.is_null())
    sentences: list[int | None] = [None] * len(row)
    if recipe.image.clip_model and recipe.image.placement == "clip":
        sentences = _sentences(corpus, part, row, kept)
    survivors = survivors_of(state.copies)
    added = {
        "rule": state.rules,
        "sentence": pa.array(sentences, pa.int32()),
        "survivor": pa.array([survivors.get(page) for page in row.tolist()], pa.string()),
    }
    for name, column in added.items():
        references = references.append_column(name, column)
    table = references.select(DECISIONS.names).cast(DECISIONS)
    return part, [tables.write(corpus, corpus.part("decisions", part), table)]
