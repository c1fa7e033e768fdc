"""The table of rules: everything that may be dropped, and why, in the order rules are applied.

The decisions, the funnel and its explanations, what-if, the report's histograms, the recipe's keys with their ranges
and defaults, and docs/recipes.md all come from this table. Rules with `fails` are judged by stored metrics; the others
are decided by the parser, the network, a join or the windows stage, and counted here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import gain, image, paragraph, personal, takedown, text
from filters.image import IMAGE_SET, MOST_IMAGES, PAGE_DROPPED, TOO_MANY_IMAGES
from filters.language import IDENTIFIER
from filters.rule import Key, Level, Metric, Rule
from filters.text import MASSIVE_TEXT, OBELICS, SHARES
from filters.word_lists import LISTS

ROBOTS_META = "robots meta element or X-Robots-Tag"
PAGE_BYTES = Key("limits.page_bytes", 20_000_000, "Maximum bytes of a page", low=1)
PAGE_DEPTH = Key("limits.page_depth", 2_000, "Maximum nesting depth of a page's elements", low=1, high=10_000)
RECORD_SECONDS = Key("limits.record_seconds", 120.0, "Maximum seconds per record", low=0.1, high=86_400)
IMAGE_BYTES = Key("image.max_bytes", 20_000_000, "Maximum bytes of an image", low=1)
BENCHMARKS = Key("page.benchmarks", "", 'Index of benchmark texts (m3w decontaminate-index --texts); none: ""')
KEPT_PASSAGES = Key("page.benchmarks_keep", "", 'Text file of passages of benchmark texts that may stay; none: ""')
LEAK_WORDS = Key("split.leak_paragraph_words", 30, "Words from which on a paragraph counts as text that is also in"
                 " training documents; 0: only whole texts count")  # fmt: skip
IMAGE_PIXELS = Key("image.max_pixels", 64_000_000, "Maximum pixels of an image", low=1)


def _unlicensed(licence: Any, accepted: tuple[str, ...]) -> Any:
    """Whether each licence (n, Arrow array) contains none of the accepted texts."""
    found = np.zeros(len(licence), bool)
    for part in accepted:
        found |= np.asarray(pc.match_substring(licence, part, ignore_case=True))
    return ~found & bool(accepted)


def _opt_outs(level: Level) -> tuple[Rule, ...]:
    said = (
        *((f"consent.{word}", f"opted out: {word}", ROBOTS_META) for word in ("noai", "noimageai", "noindex", "noml")),
        (
            "consent.tdm_reservation",
            "rights reserved (TDM Reservation Protocol)",
            "W3C TDM Reservation Protocol, 10 May 2024",
        ),
    )
    return tuple(Rule(id, level, what, source=source) for id, what, source in said)


RECORDS = (
    Rule("record.not_response", "record", "not an HTTP response (request, metadata, warcinfo)"),
    Rule("record.conversion", "record", "a converted copy without the page itself, such as the text in a WET file"),
    Rule("record.segment", "record", "a part of a capture whose other parts do not follow it in the file"),
    Rule("record.corrupt", "record", "bytes that are not a record"),
    Rule("record.truncated", "record", "truncated record or capture"),
    Rule("record.status", "record", "HTTP status other than 200"),
    Rule("record.redirect", "record", "a redirect that leads nowhere"),
    Rule("record.too_large", "record", "larger than the recipe's limit", keys=(PAGE_BYTES, IMAGE_BYTES)),
    Rule("record.empty", "record", "no bytes"),
    Rule("record.not_a_file", "record", "a link that leaves the folder or points to a folder, or not a regular file"),
    Rule("record.unreadable", "record", "a file that cannot be read"),
    Rule("record.media_type", "record", "neither a page nor an image"),
    *_opt_outs("record"),
    Rule("record.crashed", "record", "crashed its worker twice", keys=(RECORD_SECONDS,)),
)
PAGE_METRICS = (
    Metric("pictures", pa.int32(), "images in the main content", (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100)),
    Metric("language", pa.string(), "ISO 639-1 code of the language"),
    Metric("language_score", pa.float64(), "probability of the language; 0 if the page declares it", SHARES),
    *text.METRICS,
)
"""The metrics of pages with main content, as columns of work/pages."""
BENCHMARK_GRAMS = Metric("benchmark_grams", pa.int32(), "different 13-grams of words that are also in benchmark texts",
                         (0, 1, 2, 5, 10, 20, 50, 100, 1_000, 10_000))  # fmt: skip
BESIDE = (Metric("licence", pa.string(), "licence that the page names"), text.PERPLEXITY, BENCHMARK_GRAMS)
"""The metrics of pages that are elsewhere: in their metadata, in work/page_scores and work/page_grams."""
PAGES = (
    Rule("page.too_large", "page", "more bytes than the recipe's limit", keys=(PAGE_BYTES,)),
    Rule("page.too_deep", "page", "elements nested too deeply", keys=(PAGE_DEPTH,)),
    Rule("page.not_html", "page", "no HTML"),
    *_opt_outs("page"),
    Rule("page.no_content", "page", "no main content found"),
    Rule(
        "page.takedown",
        "page",
        "in the takedown list",
        metrics=("url",),
        fails=takedown.urls_listed,
        keys=(takedown.FILE,),
        model=takedown.FILE,
    ),
    Rule(
        "page.benchmark",
        "page",
        "holds text of a benchmark",
        metrics=(BENCHMARK_GRAMS.name,),
        fails=lambda grams, keep, most: grams > most,
        keys=(
            KEPT_PASSAGES,
            Key("page.max_benchmark_grams", 0, "Maximum different 13-grams that are also in benchmark texts"),
        ),
        model=BENCHMARKS,
        source="GPT-3 (Brown et al. 2020, arXiv 2005.14165), appendix C; see docs/dedup.md",
    ),
    Rule(
        "page.licence",
        "page",
        "names none of the accepted licences",
        metrics=("licence",),
        fails=_unlicensed,
        keys=(
            Key("page.licences", (), "Texts of which a page's licence must contain one (case-insensitive); empty: all"),
        ),
        source="our choice",
    ),
    Rule(
        "page.no_image",
        "page",
        "no image in the main content",
        metrics=("pictures",),
        fails=lambda pictures: pictures == 0,
        source="M3W (arXiv 2204.14198), A.1",
    ),
    Rule(
        "text.language",
        "page",
        "not in one of the accepted languages",
        metrics=("language", "language_score"),
        keys=(
            Key("text.languages", (), "ISO 639-1 codes of languages to keep; empty: all"),
            Key("text.min_language_score", 0.0, "Minimum probability of the language", high=1),
        ),
        fails=lambda language, score, kept, least: (
            (score < least) | (~np.asarray(pc.is_in(language, pa.array(kept, pa.string()))) if kept else False)
        ),
        model=IDENTIFIER,
        source=f"{OBELICS}, with fastText; {MASSIVE_TEXT}",
    ),
    *text.RULES,
    Rule(
        "page.gain",
        "page",
        "its images tell too little about its text according to a model",
        metrics=("url",),
        fails=gain.pages_below,
        keys=(gain.SCORES, gain.MIN_PAGE_GAIN),
        model=gain.SCORES,
        source="our choice; see docs/scores.md",
    ),
    Rule("dedup.same_capture", "page", "the same capture twice"),
    Rule(
        "dedup.known",
        "page",
        "its URL, its text or nearly the same text is in an earlier corpus",
        keys=(Key("dedup.known", (), "Earlier corpora: pages that one of them already holds are left out"),),
    ),
    Rule(
        "dedup.url",
        "page",
        "an older capture of a URL",
        keys=(Key("dedup.url", True, "Keep only the newest capture of a URL"),),
        source="OBELICS (arXiv 2306.16527), A.1",
    ),
    Rule(
        "dedup.text",
        "page",
        "the same text as another page",
        keys=(Key("dedup.text", True, "Drop pages with the same text as another page"),),
    ),
    Rule(
        "dedup.near_text",
        "page",
        "nearly the same text as another page",
        keys=(
            Key("dedup.near_text", True, "Drop pages with nearly the same text as another page"),
            # bands miss more pairs the less similar they are: one of five at 0.75, three of four at 0.6
            Key(
                "dedup.near_threshold",
                0.8,
                "Jaccard similarity of word 5-grams at which pages count as nearly the same",
                low=0.8,
                high=1,
            ),
        ),
        source="MinHash (Broder 1997), 16 bands of 8; see docs/dedup.md",
    ),
    Rule(
        TOO_MANY_IMAGES,
        "page",
        "too many images",
        keys=(MOST_IMAGES,),
        source="OBELICS (arXiv 2306.16527), A.1, table 3",
    ),
    Rule(
        IMAGE_SET,
        "page",
        "an older page with the same images",
        keys=(Key("dedup.image_set", False, "Of pages with the same set of image URLs, keep only the newest"),),
        source="OBELICS (arXiv 2306.16527), A.1, step 11",
    ),
    Rule("page.no_image_left", "page", "none of its images was kept", source="M3W (arXiv 2204.14198), A.1"),
)
EXTRACTION = (
    Rule("image.placeholder", "reference", "no URL of its own, or embedded and no larger than an icon"),
    Rule("image.hidden", "reference", "hidden on the page"),
    Rule("image.icon", "reference", "declared as small as an icon or a tracking pixel, or an avatar"),
    Rule("image.outside", "reference", "outside the main content"),
    Rule(PAGE_DROPPED, "reference", "its page was dropped"),
)
"""Images left out by extraction or dropped with their page."""
NOT_HAD = (
    Rule("image.not_fetched", "reference", "not in the input and not fetched"),
    *_opt_outs("reference"),
    Rule("consent.ai_txt", "reference", "its host's ai.txt opts out"),
    Rule("robots.disallow", "reference", "disallowed by its host's robots.txt", source="RFC 9309"),
    Rule("robots.unreachable", "reference", "its host's robots.txt was not available", source="RFC 9309"),
)
DECODING = (
    Rule("image.too_large", "image", "more bytes than the recipe's limit", keys=(IMAGE_BYTES,)),
    Rule("image.not_an_image", "image", "not an image"),
    Rule("image.unsupported", "image", "an unsupported image format"),
    Rule("image.too_many_pixels", "image", "more pixels than the recipe's limit", keys=(IMAGE_PIXELS,)),
    Rule("image.undecodable", "image", "damaged: cannot be decoded"),
    Rule(
        "video.too_long",
        "image",
        "a video that lasts longer than the recipe's limit",
        keys=(Key("video.max_seconds", 60.0, "Maximum seconds of a video", low=1, high=86_400),),
        source="our choice; Flamingo's clips last 22 s on average (arXiv 2204.14198)",
    ),
    Rule("image.not_stored", "image", "not stored in the corpus that is the input"),
    Rule("image.takedown", "image", "in the takedown list", keys=(takedown.FILE,), model=takedown.FILE),
    Rule("record.crashed", "image", "crashed its worker twice", keys=(RECORD_SECONDS,)),
)
DOCUMENTS = (
    Rule("split.leak", "document", "held out, but its text or an image is also in training documents",
         keys=(Key("split.leak", True, "Leave such documents out of validation"),
               LEAK_WORDS,
               Key("split.leak_near", 4, "Bits by which perceptual hashes of images that count as the same may differ",
                   low=0, high=8))),
    Rule("window.no_image", "document", "no image near enough for a window"),
    Rule("window.no_tied_text", "document", "too little text beside its images"),
    Rule("window.image_run", "document", "in a run of images without a word between them"),
    Rule("window.cut", "document", "only in windows that the next image cuts off"),
    Rule("window.not_drawn", "document", "near an image, but in no window that was drawn"),
    Rule("window.no_room", "document", "near an image, but windows beside it are full"),
)  # fmt: skip
"""For text and images of kept documents."""
WINDOWS = (
    Rule("split.leak", "window", "a held-out part of a book whose text or image is also in training documents"),
    Rule("window.no_image", "window", "fewer images than windows.min_images"),
    Rule("window.no_tied_text", "window", "too little text beside its images"),
    Rule("window.image_run", "window", "a run of images without a word between them"),
    Rule("window.cut", "window", "the next image cuts off too much of it"),
)
RULES: tuple[Rule, ...] = (
    *RECORDS,
    *personal.RULES,
    *paragraph.RULES,
    *PAGES,
    *EXTRACTION,
    *NOT_HAD,
    *DECODING,
    *image.RULES,
    *DOCUMENTS,
    *WINDOWS,
)


def of(*wanted: Level) -> tuple[Rule, ...]:
    """The rules of some levels, in order."""
    return tuple(rule for rule in RULES if rule.level in wanted)


def explained(*wanted: Level) -> dict[str, str]:
    """The explanations of the rules of some levels, by id, in order."""
    return {rule.id: rule.what for rule in of(*wanted)}


def levels(id: str) -> set[Level]:
    """The levels at which a rule drops something."""
    return {rule.level for rule in RULES if rule.id == id}


def keys() -> dict[str, Key]:
    """The recipe's keys that belong to rules, by name, in order."""
    found = (key for rule in RULES for key in (*rule.keys, *((rule.model,) if rule.model else ())))
    return {key.name: key for key in found}


def not_applied(values: Mapping[str, Any]) -> list[str]:
    """The keys of the models and word lists that the recipe leaves empty, so that their rules are not applied.

    A rule on one that has to be given by path counts only if the recipe has a threshold for it."""
    found = (
        rule.model.name
        for rule in RULES
        if rule.model
        and not rule.applied(values)
        and rule.model is not takedown.FILE
        and (rule.model not in BY_PATH or any(values[key.name] != key.default for key in rule.keys))
    )
    return list(dict.fromkeys(found))


def metrics() -> dict[str, Metric]:
    """The stored metrics, by name."""
    paragraphs = (*paragraph.METRICS, *paragraph.COPY_METRICS)
    return {
        metric.name: metric
        for metric in (
            *PAGE_METRICS,
            *BESIDE,
            *paragraphs,
            *image.METRICS,
            *image.SCORE_METRICS,
            image.SIMILARITY,
        )
    }


BY_PATH = (*LISTS, text.PERPLEXITY_MODEL, image.QUALITY_MODEL, image.CLIP_MODEL, gain.SCORES, BENCHMARKS)
"""The keys of lists, models and scores that a recipe names by path."""
PAGES_JUDGED = tuple(rule for rule in PAGES if rule.fails is not None)
"""The rules on pages that stored metrics decide."""
EXPLAINED = dict(reversed({rule.id: rule.what for rule in reversed(RULES)}.items()))
"""The explanation of each rule, in order; if a rule has several levels, that of the first."""
