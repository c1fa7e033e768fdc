"""Stage verdicts: which images of which pages stay."""

from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa

from filters import image
from pipeline.jobs import packed, tables
from pipeline.jobs.corpus import Corpus
from pipeline.jobs.images import contents_of
from pipeline.jobs.packed import Block, Join
from pipeline.jobs.schemas import VERDICTS
from pipeline.jobs.stage import FileEntry
from pipeline.recipe import ImageRules

TOO_COMMON = "image.too_common"
USE = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4"), ("index", "<u4")])
"""Reference `index` of page `row` of `part` shows this content."""


@dataclass(eq=False)
class JudgeImages(beam.PTransform):
    """Input: part numbers. Output: (part, file entry) of work/verdicts."""

    corpus: Corpus
    rules: ImageRules

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (part, the rule of each reference, null where it stays)
            | "Judge" >> beam.Map(partial(_judge, self.corpus, self.rules))
            | "Count copies" >> Join(partial(_uses, self.corpus), partial(_too_common, self.rules.max_documents))
            | "Write" >> beam.MapTuple(partial(_write, self.corpus))
        )


def image_rules(rules: ImageRules) -> image.ImageRules:
    """What the rules on one picture read of a recipe."""
    return image.ImageRules(rules.min_side, rules.max_aspect, rules.min_spread, rules.formats, rules.url_words)


def _judge(corpus: Corpus, rules: ImageRules, part: int) -> tuple[int, pa.DictionaryArray]:
    contents = contents_of(corpus, part)
    judged = image_rules(rules)
    verdicts: list[str | None] = []
    shown: set[tuple[int, bytes]] = set()
    for reference in tables.read(corpus.part("references", part)).to_pylist():
        row, content = reference["row"], reference["content"]
        rule = contents[content]["rule"] if reference["found"] else reference["rule"]
        if rule is None:
            picture = contents[content]
            rule = image.first_failure(
                judged,
                url=reference["url"],
                format=picture["format"],
                width=picture["original_width"],
                height=picture["original_height"],
                spread=picture["spread"],
            )
        if rule is None and (row, content) in shown:
            rule = "image.repeated"
        if rule is None:
            shown.add((row, content))
        verdicts.append(rule)
    return part, pa.array(verdicts, pa.string()).dictionary_encode()


def _uses(corpus: Corpus, part: int, verdicts: pa.DictionaryArray) -> Block:
    kept = np.flatnonzero(np.asarray(verdicts.is_null()))
    references = tables.read(corpus.part("references", part), ["row", "content"]).take(pa.array(kept))
    block = np.zeros(len(kept), USE)
    if len(kept):
        key = packed.keys(references["content"].to_pylist())
        block["high"], block["low"] = key["high"], key["low"]
        block["row"], block["index"] = references["row"].to_numpy(), kept
    block["part"] = part
    return block


def _too_common(most: int, rows: Block) -> Block:
    """References to pictures that stand in more than `most` pages; a page shows a picture once, or the copy was
    dropped."""
    bounds = packed.groups(rows, ("high", "low"))
    counts = np.diff(bounds)
    return rows[np.repeat(counts > most, counts)][["part", "index"]] if len(rows) else rows


def _write(corpus: Corpus, part: int, both: tuple[pa.DictionaryArray, Block]) -> tuple[int, FileEntry]:
    verdicts, common = both
    rules = verdicts.to_pylist()
    for index in common["index"].tolist() if len(common) else ():
        rules[index] = TOO_COMMON
    references = tables.read(corpus.part("references", part), [name for name in VERDICTS.names if name != "rule"])
    table = references.append_column("rule", pa.array(rules, pa.string())).select(VERDICTS.names).cast(VERDICTS)
    return part, tables.write(corpus, corpus.part("verdicts", part), table)
