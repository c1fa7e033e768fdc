"""`m3w build --dry-run`: what a build would read, and its expected time and disk space. Nothing is written."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.claim import may_claim
from pipeline.display import duration
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.runner import Runner
from pipeline.recipe import Recipe
from pipeline.sources.source import Part
from pipeline.stages import parts
from pipeline.stages.pages import use_of

SAMPLE = 256 << 20
"""Larger inputs are estimated from a sample of parts of about this many bytes."""
START, PER_MB, PER_ITEM = 4.0, 0.37, 0.003
"""Seconds before anything is read (assumed), and worker seconds per MB of input and per page or image. The latter two
solve two builds measured with 2 workers on 2 cores (docs/results/build.md): three sites, 99 MB with 433 pages and 761
images, in 24.0 s; and miniweb's 800 pages, 17.7 MB with 990 pages and 4,156 images, in 15 s."""
DISK = (1.1, 2.9)
"""Final and peak bytes on disk per byte of images in the input: measured on the same two inputs; the first has large
images, which are scaled down."""


@dataclass(frozen=True)
class Forecast:
    """Contents of an input. `records`, `pages`, `images` and `image_bytes` are counts if `sampled` (bytes read) equals
    `bytes`, else estimates. `workers` is None on a cluster."""

    parts: int
    bytes: int
    sampled: int
    records: int
    pages: int
    images: int
    image_bytes: int
    workers: int | None

    @property
    def seconds(self) -> float | None:
        """Seconds of the whole build on this machine without fetching; None on a cluster."""
        if self.workers is None:
            return None
        return START + (PER_MB * self.bytes / 1e6 + PER_ITEM * (self.pages + self.images)) / self.workers

    def lines(self) -> list[str]:
        about = "" if self.sampled == self.bytes else "about "
        low, high = (_size(share * self.image_bytes) for share in DISK)
        how = "counted" if not about else f"estimated from {_size(self.sampled)} of {_size(self.bytes)}"
        time = "not estimated for a cluster"
        if self.seconds is not None:
            time = f"about {duration(self.seconds)} with {self.workers} worker{'s' * (self.workers != 1)}"
        return [
            f"parts    {self.parts:,}",
            f"records  {about}{self.records:,} ({how})",
            f"pages    {about}{self.pages:,}",
            f"images   {about}{self.images:,} in the input ({_size(self.image_bytes)}); plus fetched ones",
            f"time     {time}",
            f"disk     about {low} to {high}",
        ]


def dry_run(inputs: Sequence[str], root: Path, recipe: Recipe, base_url: str, beam_options: list[str]) -> Forecast:
    """Read an input, or a sample of it. Raises the same BuildError as the start of a build."""
    paths = parts.resolve(inputs)
    corpus = CorpusDirectory(root.resolve())
    may_claim(corpus, recipe, paths)
    runner = Runner.from_options(beam_options, corpus.scratch("worker.log"), os.cpu_count() or 1, "")
    cut = parts.cut(None, paths, base_url)
    every = cut.parts.parts
    chosen = _sample(every)
    records = pages = images = image_bytes = 0
    for part in chosen:
        for record in cut.read(part.number, recipe.body_bytes):
            use, _ = use_of(record, recipe.video.keep)
            records += 1
            pages += use == "page"
            images += use == "image"
            image_bytes += len(record.body) if use == "image" else 0
    total, sampled = (sum(part.weight for part in some) for some in (every, chosen))
    scale = total / max(1, sampled)
    return Forecast(
        parts=len(every),
        bytes=total,
        sampled=sampled,
        records=round(records * scale),
        pages=round(pages * scale),
        images=round(images * scale),
        image_bytes=round(image_bytes * scale),
        workers=None if runner.remote else max(1, min(runner.workers, len(every))),
    )


def _sample(every: Sequence[Part]) -> list[Part]:
    """All parts of a small input, else some at equal distances."""
    count = min(len(every), max(1, len(every) * SAMPLE // max(1, sum(part.weight for part in every))))
    return [every[number * len(every) // count] for number in range(count)]


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
