"""Schemas of the files that stages pass on under work/, one Parquet file per part. Hashes are truncated sha256
values."""

import pyarrow as pa

from filters import paragraph
from filters.image import LOOKS, SCORE_METRICS, SIMILARITY
from filters.rules import BENCHMARK_GRAMS, PAGE_METRICS
from filters.text import PERPLEXITY
from shards.records import CAPTURE, DOCUMENTS, IMAGE, METADATA_FIELDS, STORED, WINDOWS
from shards.windows import Held

RECORDS = pa.schema(
    [
        ("number", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("kind", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("status", pa.int16()),
        ("media_type", pa.string()),
        ("bytes", pa.int64()),
        ("use", pa.string()),
        ("sha256", pa.binary(32)),
        ("digest", pa.string()),
        ("truncated", pa.string()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("format", pa.string()),
        ("shorter_side", pa.int32()),
        ("spread", pa.float64()),
        ("unusable", pa.string()),
    ]
)
"""work/records: every record of the input. `use` is page, image, captions (of clips, if the recipe keeps them) or link
(a redirect or revisit: another name of its target), null for a dropped record; `sha256` is of an image's bytes.
`truncated` is not "" if the body may be incomplete: the value of WARC-Truncated, "last chunk" or "content-length". For
an image, what `pipeline.images.probe` finds in its bytes."""

LINKS = pa.schema([*(RECORDS.field(name) for name in ("number", "url", "date", "digest")), ("target", pa.string())])
"""work/links: the records of a part whose use is link, and the URL that each leads to."""

PAGE_IMAGE = pa.struct(
    [
        ("url", pa.string()),
        ("alternatives", pa.list_(pa.string())),
        ("alt", pa.string()),
        ("caption", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("within", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
    ]
)

PARAGRAPH = pa.struct([("node", pa.int32()), *((metric.name, metric.type) for metric in paragraph.METRICS)])

PAGES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("site", pa.string()),
        ("capture", CAPTURE),
        ("bytes", pa.int64()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("texts", pa.list_(pa.string())),
        ("images", pa.list_(PAGE_IMAGE)),
        ("inline_svg", pa.int32()),
        ("left_out", pa.map_(pa.string(), pa.int32())),
        ("masked", pa.map_(pa.string(), pa.int32())),
        ("metadata", pa.struct([(name, pa.string()) for name in METADATA_FIELDS])),
        *((metric.name, metric.type) for metric in PAGE_METRICS),
        ("listings", pa.list_(pa.string())),
        ("paragraphs", pa.list_(PARAGRAPH)),
        ("url_hash", pa.binary(16)),
        ("text_hash", pa.binary(16)),
        ("minhash", pa.binary()),
    ]
)
"""work/pages: every page record. `rule` says why it has no content; of a page that opted out only its URL, the URL's
hash and the rule are stored. `left_out`: number of images left out by extraction, by rule. `masked`: how often personal
data was masked, by rule. `paragraphs`: the metrics of each paragraph, null unless the recipe has rules on
paragraphs."""

REPEATS = pa.schema(
    [
        (
            "repeats",
            pa.list_(
                pa.struct([("node", pa.int32()), *((metric.name, metric.type) for metric in paragraph.COPY_METRICS)])
            ),
        )
    ]
)
"""work/repeats, row by row like work/pages: for each paragraph, on how many pages and sites it repeats. Only if the
recipe has rules on that."""

COUNTS = pa.map_(pa.string(), pa.int32())
VERDICTS = pa.schema(
    [
        ("rule", pa.string()),
        ("kept_paragraphs", pa.int32()),
        ("dropped", COUNTS),
        ("dropped_words", COUNTS),
        ("texts", PAGES.field("texts").type),
        *((metric.name, metric.type) for metric in PAGE_METRICS),
        *((name, PAGES.field(name).type) for name in ("text_hash", "minhash")),
    ]
)
"""work/verdicts, row by row like work/pages: the first rule that a page fails, of extraction or of its text; how many
of its paragraphs are kept, and how many paragraphs and words each rule dropped; what then differs from work/pages, null
if nothing was dropped."""

PAGE_SCORES = pa.schema([(PERPLEXITY.name, PERPLEXITY.type)])
"""work/page_scores, row by row like work/pages: null for a page without main content, or too short a text."""

PAGE_GRAMS = pa.schema([(BENCHMARK_GRAMS.name, BENCHMARK_GRAMS.type)])
"""work/page_grams, row by row like work/pages: null for a page without main content."""

DEDUP = pa.schema([("rule", pa.string()), ("survivor", pa.string()), ("cluster", pa.string())])
"""work/dedup, row by row like work/pages: the page's rule so far, now including duplicates; the doc_id of the page kept
instead; the near-duplicate cluster, named by its first page."""

PARAGRAPHS = pa.schema([("row", pa.int32()), ("keys", pa.list_(pa.uint64(), 4)), ("sketch", pa.uint64())])
"""work/paragraphs, for each distinct long paragraph of the pages that are kept so far: the page's row in work/pages,
and what nearly the same paragraphs have in common (`dedup.near.sketches`)."""

REFERENCES = pa.schema(
    [
        ("row", pa.int32()),
        ("node", pa.int32()),
        ("url", pa.string()),
        ("first", pa.bool_()),
        ("found", pa.bool_()),
        ("record_part", pa.int32()),
        ("record", pa.int32()),
        ("content", pa.binary(16)),
        ("owner", pa.int32()),
        ("rule", pa.string()),
        ("declared", pa.int32()),
        ("candidate", pa.int16()),
    ]
)
"""work/references: every image reference of a part's kept pages: page row, node index, its URL (of all that the page
offers, the first that was found and can be used), whether this is the corpus' first reference to that URL, which record
holds it, its content's hash and the part that stores it; if it was not found, whether nothing holds it or it opted out.
`declared` is the shorter side that the page declares, in CSS pixels, null if none; `candidate` is the URL's position
among those the page offers."""

MISSING = pa.schema([("urls", pa.list_(pa.string()))])
"""work/missing, and work/wanted before images are fetched: of each image on the open web that a part is the first to
need and that was not found in a usable form, the URLs that its page offers, best first."""

DISTINCT_IMAGES = pa.schema(
    [
        ("content", pa.binary(16)),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("spread", pa.float64()),
        *((metric.name, metric.type) for metric in LOOKS),
        *STORED,
    ]
)
"""work/distinct_images: each distinct image that a part stores, or the rule under which it was dropped."""

SCORES = pa.schema([("content", pa.binary(16)), *((metric.name, metric.type) for metric in SCORE_METRICS)])
"""work/scores: the scores of each image that a part stores, by content; null if no model was named."""

SIMILARITIES = pa.schema([(SIMILARITY.name, SIMILARITY.type), ("sentences", pa.list_(pa.float32()))])
"""work/similarities, row by row like work/references: the greatest similarity of an image and a sentence, and with
placement clip that of every sentence of the page; null if the image is not stored, or the page has no sentence."""

IMAGES = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "key", "status", "error_message")),
        *((name, pa.string()) for name in ("author", "licence", "page_url", "page_author", "page_licence")),
        *STORED,
    ]
)
"""images/*.parquet: one row per distinct URL, with img2dataset's column names. An image with several URLs is stored
once: their rows name the same tar and offset. `page_url` is the first page that shows the image, with the author and
licence that its markup names; `author` and `licence` are those that it names for this image ("" if none)."""

DECISIONS = pa.schema(
    [
        *(("row", pa.int32()), ("node", pa.int32()), ("rule", pa.string())),
        *(("content", pa.binary(16)), ("url", pa.string()), ("candidate", pa.int16())),
        *(("sentence", pa.int32()), ("survivor", pa.string())),
    ]
)
"""work/decisions, row by row like work/references: the first image rule that a reference fails, with placement clip
the sentence of the page before which a kept image is placed, and the doc_id of the page with the same images that is
kept instead of its page."""

SPLIT = pa.schema([("rule", pa.string()), ("split", pa.string()), ("held_out", DOCUMENTS.field("held_out").type)])
"""work/split, row by row like work/pages: the page's final rule (null: it becomes a document), its split, and its
held-out node ranges."""

CUTS = pa.schema(
    [
        ("split", pa.string()),
        ("rule", pa.string()),
        ("count", pa.int32()),
        ("bytes", pa.int64()),
        *((name, WINDOWS.field(name).type) for name in WINDOWS.names if name not in ("images", "image_metadata")),
        ("images", pa.list_(IMAGE)),
    ]
)
"""work/windows: the windows of a part, in the order of its documents, their images by reference (`bytes` is their total
size). A row with a rule stands for `count` dropped windows of one document."""

COVERAGE = pa.schema(
    [
        ("doc_id", pa.string()),
        ("split", pa.string()),
        ("rule", pa.string()),
        *((name, pa.int32()) for name in Held._fields),
    ]
)
"""work/coverage: for each document, or each part of a split one, the text tokens and images that are in some window
(`rule` is null) and that a rule keeps out of all of them; a row per rule."""
