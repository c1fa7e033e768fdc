"""Copies of images over all pages: images of too many pages, and pages with the same images.

The stage decisions and what-if use the same functions, so that what-if gives what a build gives."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from dedup import uses
from dedup.exact import COPY, NO_REFUSAL, PAGE, first_of_each
from filters.image import ALIKE_BITS, BYTES_LIMIT, COMMON, LOOK_LIMIT, URL_LIMIT
from pipeline.sources.record import seconds


def limits(values: Mapping[str, Any]) -> uses.UseLimits:
    """How many pages may use an image, by a recipe's values."""
    return uses.UseLimits(*(values[key.name] for key in (URL_LIMIT, BYTES_LIMIT, LOOK_LIMIT, ALIKE_BITS)))


def _kept(verdicts: np.ndarray) -> np.ndarray:
    kept: np.ndarray = verdicts == None  # noqa: E711
    return kept


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _keys(hashes: Iterable[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), uses.KEY)


def images_used(references: pa.Table, phashes: np.ndarray, verdicts: np.ndarray, most: uses.UseLimits) -> uses.Images:
    """The images of kept references: of n rows with `url` and `content`, perceptual hashes, and rules (objects).
    URLs are left out if there is no limit on them."""
    kept = _kept(verdicts)
    references = references.select(["url", "content"]).filter(pa.array(kept))
    urls = references["url"].to_pylist() if most.url < uses.NO_LIMIT else []
    return uses.Images(_keys(map(_hash, urls)), _keys(references["content"].to_pylist()), phashes[kept])


def without_common(verdicts: np.ndarray, images: uses.Images, found: np.ndarray, most: uses.UseLimits) -> np.ndarray:
    """The rules of references (n, objects), those on images of many pages included. `images` are those of the kept
    ones, `found` what `uses.exceeding` says to their part."""
    rules = np.array([*(rule.id for rule in COMMON), None], object)
    verdicts = verdicts.copy()
    verdicts[_kept(verdicts)] = rules[uses.too_common(images, found, most)]
    return verdicts


def image_sets(references: pa.Table, verdicts: np.ndarray, part: int, pages: pa.Table) -> np.ndarray:
    """The pages of a part as rows (PAGE, sorted) by the set of URLs of their kept images, newest first. References
    have `row` and `url`, and rules (n, objects); pages `doc_id` and `capture`."""
    shown = references.select(["row", "url"]).filter(pa.array(_kept(verdicts))).to_pylist()
    sets = {row: {image["url"] for image in group} for row, group in groupby(shown, key=lambda image: image["row"])}
    rows = np.zeros(len(sets), PAGE)
    keys = _keys(_hash("\n".join(sorted(urls))) for urls in sets.values())
    found = pages.take(pa.array(list(sets), pa.int64())).to_pylist()
    ids = _keys(bytes.fromhex(page["doc_id"]) for page in found)
    rows["high"], rows["low"], rows["refusal"] = keys["high"], keys["low"], NO_REFUSAL
    rows["id_high"], rows["id_low"], rows["part"], rows["row"] = ids["high"], ids["low"], part, list(sets)
    dates = np.array([seconds(page["capture"]["date"]) for page in found], np.uint64)
    rows["age"] = np.iinfo(np.uint64).max - dates
    return np.sort(rows)


def same_sets(rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """All pages of a part that are dropped (COPY) for the set of their images: `rows` are its pages (PAGE, sorted), of
    which only the first of each set took part in the comparison of all parts, which dropped `found` (COPY)."""
    first = first_of_each(rows[["high", "low"]])
    ids = rows[["id_high", "id_low"]].copy()
    place = {row: index for index, row in enumerate(rows["row"].tolist())}
    for copy in found:
        ids[place[int(copy["row"])]] = (copy["id_high"], copy["id_low"])
    dropped = (first != np.arange(len(rows))) | np.isin(rows["row"], found["row"])
    copies = np.zeros(int(dropped.sum()), COPY)
    for name in ("part", "row", "refusal"):
        copies[name] = rows[name][dropped]
    for name in ("id_high", "id_low"):
        copies[name] = ids[name][first[dropped]]
    return copies


def survivors_of(copies: np.ndarray) -> dict[int, str]:
    """The doc_id of the page that is kept instead of each dropped row."""
    ids = np.stack([copies["id_high"], copies["id_low"]], 1)
    return {row: id.tobytes().hex() for row, id in zip(copies["row"].tolist(), ids, strict=True)}
