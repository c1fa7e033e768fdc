"""Classify the kind of a page (article, forum, product, ...). It comes first: main content depends on the kind.

A multinomial logistic regression over the whole page: the means of the block features, metadata (schema.org types,
og:type, generator, classes of the body), words of the URL, counts of tags, and a few phrases.
`tests/bench/fit_extraction.py` fits the coefficients (kinds.csv: one line per feature, one column per kind)."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from pipeline.extract.classifier import overall
from pipeline.extract.content import Columns
from pipeline.extract.features import NAMES as BLOCK_NAMES
from pipeline.extract.features import Matrix
from pipeline.extract.page import HIDDEN, NOSCRIPT, PAGE_KINDS, Page

COEFFICIENTS = Path(__file__).with_name("kinds.csv")

_TYPES = (
    *("article", "newsarticle", "blogposting", "product", "offer", "aggregaterating", "discussionforumposting"),
    *("qapage", "question", "answer", "comment", "itemlist", "collectionpage", "listitem", "breadcrumblist"),
    *("faqpage", "webpage", "techarticle", "howto", "recipe", "event", "localbusiness", "service", "videoobject"),
    *("organization", "person", "softwareapplication", "review"),
)
_PATTERNS = {
    "forum": r"forum|thread|topic|discuss|community|viewtopic|questions?|answers|/[tr]/|comments|boards?|phpbb|xenforo",
    "product": r"product|/p/|/dp/|shop|item|store|buy|\bsku|\bpdp?\b|woocommerce",
    "collection": r"collection|categor|/c/|shop|catalog|/all|browse|taxonomy",
    "listing": r"list|\btag|archive|page|blog/?$|news/?$|search|directory|jobs",
    "documentation": r"docs?\b|wiki|manual|guide|reference|\bapi\b|help|tutorial|learn|readthedocs|\bkb\b|support",
    "article": r"blog|post|news|article|stor(?:y|ies)|magazine|single",
    "service": r"service|solution|about|pricing|features|company|contact|platform|landing|home\b",
    "site": r"wordpress|drupal|wix|hugo|sphinx|website",
}
_COMPILED = tuple(re.compile(pattern) for pattern in _PATTERNS.values())
_TAGS = ("button", "form", "pre", "code", "time", "article", "table", "li", "figure", "details", "nav", "h2", "h3")
_PHRASES = (
    *("add to cart", "add to bag", "add to basket", "in stock", "free shipping", "sort by", "filter", "results"),
    *("showing", "free trial", "get started", "contact us", "request a demo", "learn more", "edit this page"),
    *("on this page", "table of contents", "previous", "permalink", "reply", "replies", "joined", "posts", "quote"),
    *("related products", "you may also like", "min read", "comments", "price", "reviews", "read more"),
)
_CURRENCIES = "$€£¥"
_PRICE = re.compile(rf"[{_CURRENCIES}]\s?\d")
_DATE = re.compile(r"/\d{4}/\d\d")
_NUMBER = re.compile(r"\d{5,}")
MAX_TEXT = 200_000  # characters of a page in which phrases are looked for

NAMES = (
    *(f"by length: {name}" for name in BLOCK_NAMES),
    *(f"by blocks: {name}" for name in BLOCK_NAMES),
    *(f"schema.org {name}" for name in _TYPES),
    *(f"{where} {name}" for where in ("path", "host", "names") for name in _PATTERNS),
    *("path segments", "root", "last segment", "hyphens", "dated", "numbered"),
    *(f"<{tag}>" for tag in _TAGS),
    *(f"says {phrase}" for phrase in _PHRASES),
    *("blocks", "characters", "paragraphs", "share of paragraphs", "short blocks", "images", "prices"),
)


def features(page: Page, url: str, columns: Columns, blocks: Matrix) -> Matrix:
    """An array [len(NAMES)] of float32: `blocks` are the features of its blocks [blocks, features]."""
    chars, shown = columns.chars, columns.state & (HIDDEN | NOSCRIPT) == 0
    if shown.any() and not shown.all():
        chars, blocks = chars[shown], blocks[shown]
    types, tags = page.head.types, page.tags
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}".lower()
    segments = [segment for segment in parts.path.split("/") if segment]
    last = segments[-1] if segments else ""
    text = "\n".join(block.text for block in page.blocks)[:MAX_TEXT].lower()
    prices = len(_PRICE.findall(text)) if any(sign in text for sign in _CURRENCIES) else 0
    long = chars > 140
    total = float(chars.sum()) + 1
    return np.concatenate(
        [
            overall(blocks, chars),
            blocks.mean(0),
            np.log1p([types.count(name) for name in _TYPES]) / 2,
            *([bool(found.search(where)) for found in _COMPILED] for where in (path, parts.netloc, page.head.names)),
            [len(segments) / 4, not segments, min(len(last), 80) / 40, last.count("-") / 5],
            [bool(_DATE.search(path)), bool(_NUMBER.search(path))],
            np.log1p([tags.count(tag) for tag in _TAGS]) / 3,
            [phrase in text for phrase in _PHRASES],
            [np.log1p(len(chars)) / 5, np.log1p(total) / 5, np.log1p(long.sum()) / 3, float(chars @ long) / total],
            [float((chars < 40).mean()), np.log1p(len(page.pictures)) / 3, np.log1p(prices) / 2],
        ],
        dtype=np.float32,
    )


@cache
def coefficients() -> tuple[Matrix, Matrix]:
    """An array [features, kinds] and the intercepts [kinds]."""
    header, intercepts, *lines = COEFFICIENTS.read_text("ascii").splitlines()
    rows = [line.rsplit(",", len(PAGE_KINDS)) for line in lines]
    if tuple(row[0] for row in rows) != NAMES or tuple(header.split(",")[1:]) != PAGE_KINDS:
        raise ValueError(f"{COEFFICIENTS}: other features than pipeline/extract/kind.py computes")
    return np.array([row[1:] for row in rows], np.float32), np.array(intercepts.split(",")[1:], np.float32)


def probabilities(features: Matrix) -> Matrix:
    """The probability of each of PAGE_KINDS, from the `features` of a page."""
    table, intercepts = coefficients()
    # numpy's own sum: BLAS may split the product among threads, and the last bits would depend on their number
    logits = (features[:, None] * table).sum(0, dtype=np.float64) + intercepts
    odds = np.exp(logits - logits.max())
    result: Matrix = (odds / odds.sum()).astype(np.float32)
    return result
