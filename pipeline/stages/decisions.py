"""Stage decisions: which images are kept on which pages."""

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import image
from filters.image import TOO_COMMON, judge_references, rows_of, with_scores, with_similarity
from filters.scorers import named
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tasks import FileEntry
from pipeline.placement import assigned
from pipeline.recipe import Recipe
from pipeline.stages.schemas import DECISIONS, DISTINCT_IMAGES, SCORES
from pipeline.stages.similarities import similarity_column

PICTURE = pa.schema([DISTINCT_IMAGES.field(name) for name in ("content", "rule", *image.STORED)])
USE = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4"), ("index", "<u4")])
"""Reference `index` of page `row` of `part` uses this content."""


@dataclass(eq=False)
class DecideImages(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/decisions."""

    corpus: CorpusDirectory
    recipe: Recipe
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (part, the rule of each reference, null if kept)
            | "Judge" >> beam.Map(partial(_judge, self.corpus, self.recipe))
            | "Count copies"
            >> Join(
                partial(_uses, self.corpus),
                partial(_too_common, self.recipe.image.max_documents),
                self.partitions,
            )
            | "Write" >> beam.MapTuple(partial(_write, self.corpus, self.recipe))
        )


def _judge(corpus: CorpusDirectory, recipe: Recipe, part: int) -> tuple[int, pa.DictionaryArray]:
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
    return part, pa.array(verdicts, pa.string()).dictionary_encode()


def pictures_of(corpus: CorpusDirectory, references: pa.Table, scored: bool) -> pa.Table:
    """Columns `content`, `rule`, and what image rules read of each reference's image; null if it was not found."""
    owners = np.unique(references["owner"].drop_null()).tolist()
    known = (tables.read(corpus.part("distinct_images", owner), PICTURE.names) for owner in owners)
    found = rows_of(references["content"], known, PICTURE)
    if scored:
        scores = (tables.read(corpus.part("scores", owner)) for owner in owners)
        found = with_scores(found, rows_of(references["content"], scores, SCORES))
    return found


def _uses(corpus: CorpusDirectory, part: int, verdicts: pa.DictionaryArray) -> Block:
    kept = np.flatnonzero(np.asarray(verdicts.is_null()))
    references = tables.read(corpus.part("references", part), ["row", "content"]).take(pa.array(kept))
    block = joins.keyed(USE, references["content"].to_pylist())
    block["part"], block["row"], block["index"] = part, references["row"].to_numpy(), kept
    return block


def _too_common(most: int, rows: Block) -> Block:
    """References to images used by more than `most` pages; a page counts once, since its copies were dropped."""
    bounds = joins.groups(rows, ("high", "low"))
    counts = np.diff(bounds)
    return rows[np.repeat(counts > most, counts)][["part", "index"]] if len(rows) else rows


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


def _write(
    corpus: CorpusDirectory, recipe: Recipe, part: int, both: tuple[pa.DictionaryArray, Block]
) -> tuple[int, list[FileEntry]]:
    verdicts, common = both
    rules = verdicts.to_pylist()
    for index in common["index"].tolist() if len(common) else ():
        rules[index] = TOO_COMMON
    known = [name for name in DECISIONS.names if name not in ("rule", "sentence")]
    references = tables.read(corpus.part("references", part), known)
    sentences: list[int | None] = [None] * len(rules)
    if recipe.image.clip_model and recipe.image.placement == "clip":
        sentences = _sentences(corpus, part, np.asarray(references["row"]), np.array([rule is None for rule in rules]))
    table = references.append_column("rule", pa.array(rules, pa.string()))
    table = table.append_column("sentence", pa.array(sentences, pa.int32())).select(DECISIONS.names).cast(DECISIONS)
    return part, [tables.write(corpus, corpus.part("decisions", part), table)]
