"""Windows cut anew in every epoch from the documents of a corpus: an iterable dataset, with or without torch."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openm3w.corpus import Corpus
from openm3w.windows import Decode, Loading, Sample
from pipeline.inspect import finished
from shards.flat import DESCRIPTION
from shards.readers import draw_windows
from shards.store import parquet_source
from shards.tokenizer import Tokenizer
from shards.windows import RECIPE_KEYS, Window, WindowOptions

if TYPE_CHECKING:
    IterableDataset = object
else:
    try:
        from torch.utils.data import IterableDataset
    except ImportError:
        IterableDataset = object

BLOCK = 16_384
"""Documents that are shuffled together, at least: those of one row group, or of several small ones. A process keeps
one block in memory."""
POOL = 64
"""Documents whose windows are shuffled together. A pool belongs to one worker."""


class _RowGroup(NamedTuple):
    """A row group of documents/*.parquet, and those of its rows that have windows of the split."""

    path: Path
    number: int
    rows: np.ndarray


class DrawnWindows(Loading, IterableDataset):
    """Windows drawn anew in every epoch, as Flamingo does, from the documents of a split: an iterable dataset.

        windows = openm3w.DrawnWindows("corpus", split="train", seed=1)
        loader = torch.utils.data.DataLoader(windows, batch_size=8, num_workers=4, collate_fn=windows.collate)

    Samples and options are those of `openm3w.Windows`. Windows are drawn at random with the corpus' sizes and its
    tokenizer, whatever the policy of its recipe, by the function that cuts windows in a build; with the recipe's seed,
    epoch 0 gives the windows of a corpus with `windows.policy = "random"`. How many there are differs by epoch.

    Documents are dealt to ranks and, 64 by 64, to the worker processes of a DataLoader. `state_dict` and
    `load_state_dict` resume at any sample, with the same number of workers; torchdata's StatefulDataLoader calls them
    in its workers.
    """

    _beginning = (0, 0)  # the next pool, and the next window in it

    def __init__(
        self,
        corpus: Corpus | str | os.PathLike[str],
        split: str = "train",
        *,
        shuffle: bool = True,
        seed: int = 0,
        p_next: float = 0.0,
        image_size: int = 224,
        decode: Decode | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(
            corpus, split, shuffle=shuffle, seed=seed, p_next=p_next, image_size=image_size, decode=decode, rank=rank,
            world_size=world_size,
        )  # fmt: skip
        recipe = finished.open_corpus(self.corpus.root).recipe.windows
        keys = {name: getattr(recipe, name) for name in RECIPE_KEYS}
        self.options = replace(WindowOptions(**keys), policy="random")
        self._groups = list(_row_groups(self.corpus.files("documents"), split))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return finished.open_corpus(self.corpus.root).tokenizer()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_tokenizer"}

    def _from(self, position: Any) -> Iterator[Sample]:
        first, skipped = position
        for number, documents in self._pools(first):
            windows = self._cut(number, documents)
            for index in range(skipped if number == first else 0, len(windows)):
                window = windows[index]
                self._position = number, index + 1
                description = {name: getattr(window, name) for name in DESCRIPTION}
                places = [(image.tar, image.offset, image.length) for image in window.images]
                yield self._sample(description, window.input_ids, window.image_positions, places)
            self._position = number + 1, 0

    def _pools(self, first: int) -> Iterator[tuple[int, pa.Table]]:
        """The pools of this rank and worker, from number `first` on: documents in the order of the epoch."""
        worker, workers = _worker()
        number = seen = 0
        for index, block in enumerate(self._blocks()):
            count = sum(len(group.rows) for group in block)
            order = self._random(1, index).permutation(count) if self.shuffle else np.arange(count)
            mine = order[(self.rank - seen) % self.world_size :: self.world_size]
            seen += count
            table = None
            for start in range(0, len(mine), POOL):
                if number >= first and number % workers == worker:
                    table = _documents(block) if table is None else table
                    yield number, table.take(mine[start : start + POOL])
                number += 1

    def _blocks(self) -> Iterator[list[_RowGroup]]:
        groups = list(self._groups)
        if self.shuffle:
            groups = [groups[index] for index in self._random(0).permutation(len(groups))]
        block: list[_RowGroup] = []
        for group in groups:
            block.append(group)
            if sum(len(group.rows) for group in block) >= BLOCK:
                yield block
                block = []
        if block:
            yield block

    def _cut(self, number: int, documents: pa.Table) -> list[Window]:
        rows = documents.to_pylist()
        drawn = draw_windows(rows, self._tokenizer, self.options, seed=self.seed, epoch=self.epoch, split=self.split)
        windows = list(drawn)
        if self.shuffle:
            windows = [windows[index] for index in self._random(2, number).permutation(len(windows))]
        return windows

    def _random(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, *what])


def _row_groups(paths: Iterable[Path], split: str) -> Iterator[_RowGroup]:
    for path in paths:
        with pq.ParquetFile(parquet_source(path)) as file:
            for number in range(file.num_row_groups):
                splits = file.read_row_group(number, ["split"])["split"]
                rows = np.flatnonzero(pc.is_in(splits, pa.array([split, "mixed"])))
                if len(rows):
                    yield _RowGroup(path, number, rows)


def _documents(block: list[_RowGroup]) -> pa.Table:
    tables = []
    for group in block:
        with pq.ParquetFile(parquet_source(group.path)) as file:
            tables.append(file.read_row_group(group.number).take(group.rows))
    return pa.concat_tables(tables)


def _worker() -> tuple[int, int]:
    """The number of this worker process of a DataLoader, and how many it has; 0 and 1 outside of one."""
    data = sys.modules.get("torch.utils.data")
    information = data.get_worker_info() if data is not None else None
    return (0, 1) if information is None else (information.id, information.num_workers)
