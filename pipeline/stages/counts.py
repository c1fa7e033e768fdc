"""Stage counts: what the dataset card and its funnel say of each part, so that the main process reads only sums.

A name (a host, a language, a licence) is told by the first part that has it, with the documents and images of all."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from dedup.exact import first_of_each
from pipeline import card
from pipeline.counts import count
from pipeline.engine import joins, tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.joins import Block, Join
from pipeline.engine.tables import short_hash
from pipeline.engine.tasks import FileEntry

NAMED = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("index", "<u4"), ("documents", "<i8"), ("images", "<i8")]
)
"""Name `index` of `part` has so many documents and images in this part."""


class PartNames(NamedTuple):
    """The names of a part, and how many documents and images state something."""

    names: card.Names
    stated: Counter[str]


@dataclass(eq=False)
class CountParts(beam.PTransform):
    """Input: part numbers. Output: (part, files): work/counts, a value of `card.Told`."""

    corpus: CorpusDirectory
    partitions: int

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        return (
            parts
            # Output: (part, PartNames)
            | "Names" >> beam.Map(partial(_named, self.corpus))
            | "Add up" >> Join(_emit, _first, self.partitions)
            | "Count" >> beam.MapTuple(partial(_write, self.corpus))
        )


def _read(corpus: CorpusDirectory, part: int, folder: str, columns: list[str]) -> pa.Table:
    return tables.read(corpus.part(folder, part), columns)


def _named(corpus: CorpusDirectory, part: int) -> tuple[int, PartNames]:
    names, stated = card.named(partial(_read, corpus, part))
    return part, PartNames(names, stated)


def _emit(part: int, state: PartNames) -> Block:
    block = joins.keyed(NAMED, (short_hash(f"{kind} {name}") for kind, name in state.names))
    block["part"], block["index"] = part, np.arange(len(block))
    for column, name in enumerate(("documents", "images")):
        block[name] = [counts[column] for counts in state.names.values()]
    return block


def _first(rows: Block) -> Block:
    """The first row of each name, with the sums of all its rows."""
    first = first_of_each(rows[["high", "low"]])
    told = np.flatnonzero(first == np.arange(len(rows)))
    found = rows[told].copy()
    for name in ("documents", "images"):
        found[name] = np.add.reduceat(rows[name], told) if len(told) else rows[name]
    return found


def _write(corpus: CorpusDirectory, part: int, both: tuple[PartNames, Block]) -> tuple[int, list[FileEntry]]:
    state, own = both
    keys = list(state.names)
    names = {keys[row["index"]]: (int(row["documents"]), int(row["images"])) for row in (own if keys else ())}
    told = card.Told(count(partial(_read, corpus, part)), state.stated, card.most_of(names))
    return part, [tables.write_value(corpus, corpus.part("counts", part, "json"), told.value())]
