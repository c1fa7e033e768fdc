"""Rules on what images tell about the text after them, by the scores of `m3w train --score`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.rule import Key
from filters.word_lists import WordListError, file_digest

SCORES = Key("image_text.scores", "", 'Scores of m3w train --score; none: ""')
NO_LIMIT = -1e6
MIN_GAIN = Key(
    "image_text.min_gain", NO_LIMIT, "Minimum bits that an image tells about the text after it", low=NO_LIMIT
)
MIN_PAGE_GAIN = Key(
    "image_text.min_page_gain", NO_LIMIT, "Minimum bits that the images of a page tell about its text", low=NO_LIMIT
)
COLUMNS = ("url", "sha256", "gain")


@cache
def read(path: str) -> pa.Table:
    """The columns `COLUMNS` of a file of scores. Raises WordListError if it cannot be read or is none."""
    try:
        return pq.read_table(path, columns=list(COLUMNS)).cast(
            pa.schema([("url", pa.string()), ("sha256", pa.binary()), ("gain", pa.float64())])
        )
    except OSError as error:
        raise WordListError(f"scores {path}: {error.strerror or error}") from None
    except (pa.ArrowException, KeyError, ValueError):
        raise WordListError(f"{path} does not hold the scores of m3w train --score") from None


def digest(values: Mapping[str, Any]) -> list[Any]:
    """What the rules read of a recipe and its file of scores; empty without one."""
    path = values[SCORES.name]
    return [file_digest(path), values[MIN_GAIN.name], values[MIN_PAGE_GAIN.name]] if path else []


def pages_below(urls: Any, path: str, least: float) -> np.ndarray:
    """Whether the gain of each page (n, Arrow array of URLs) is below `least`; not if it has no score."""
    scores = read(path)
    pages = scores.filter(scores["sha256"].is_null())
    return _below(pages["gain"], pc.index_in(urls, pages["url"].combine_chunks()), least)


def references_below(pages: Any, contents: Any, path: str, least: float) -> np.ndarray:
    """Whether the gain of each image is below `least`, by the URL of its page and the first 16 bytes of its sha256 (n,
    Arrow arrays); not if it has no score."""
    scores = read(path)
    scores = scores.filter(pc.and_(scores["sha256"].is_valid(), pc.is_in(scores["url"], pages.unique())))
    known = _keys(scores["url"].combine_chunks(), pc.binary_slice(scores["sha256"].combine_chunks(), 0, 16))
    return _below(scores["gain"], pc.index_in(_keys(pages, contents.cast(pa.binary())), known), least)


def _keys(urls: Any, contents: Any) -> Any:
    return pc.binary_join_element_wise(urls.cast(pa.binary()), contents, b"\0")


def _below(gains: Any, rows: Any, least: float) -> np.ndarray:
    found: np.ndarray = np.asarray(pc.fill_null(pc.less(gains.combine_chunks().take(rows), least), False))
    return found
