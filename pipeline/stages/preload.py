"""Imported once by the process that forks workers, so that workers share its memory."""

import cv2
import pyarrow.dataset
import pyarrow.parquet

from filters.language import identify
from pipeline.stages import (
    counts,
    decisions,
    dedup,
    documents,
    fetch,
    images,
    pages,
    references,
    scores,
    shards,
    site_counts,
    split,
    tokenizer,
    verdicts,
    windows,
)

__all__ = ["counts", "decisions", "dedup", "documents", "fetch", "images", "pages", "pyarrow", "references", "scores"]
__all__ += ["shards", "site_counts", "split", "tokenizer", "verdicts", "windows"]

cv2.setNumThreads(1)  # the parallelism is the number of workers
identify("loads the model")
