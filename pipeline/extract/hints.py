"""The role of an element in the page according to its class, id and role, as bits."""

import re
from functools import lru_cache

# Patterns for single words of a label, in lower case. The first four are mozilla/readability's lists (Readability.js,
# REGEXPS).
_PATTERNS = {
    "UNLIKELY": (
        r"^ads?$|ai2html|banner|breadcrumb|combx|comment|community|disqus|extra|footer|gdpr|header|legends"
        r"|menu|related|remark|replies|rss|shoutbox|sidebar|skyscraper|social|sponsor|supplemental|agegate"
        r"|pagination|pager|popup|remote|cookie|consent|newsletter|subscribe"
    ),
    "MAYBE": r"and|article|body|column|content|main|mathjax|shadow",
    "POSITIVE": r"article|body|content|entry|main|page|pagination|post|text|blog|story",
    "NEGATIVE": (
        r"^ads?$|hidden|^hid$|banner|combx|comment|com$|contact|footer|gdpr|masthead|media|meta"
        r"|outbrain|promo|related|scroll|share|shoutbox|sidebar|skyscraper|sponsor|shopping|tags|widget"
    ),
    "CAPTION": r"caption|^credits?$",
    "COMMENT": r"comment|disqus|^respond|^repl(?:y|ies)",
    "AVATAR": r"avatar|userpic|^mugshot|^headshot|byline",
    "SHARE": r"^shar(?:e|ing)|social|addtoany|sociable|^tweet|^facebook|^twitter|^like",
    "COOKIE": r"cookie|consent|gdpr|onetrust|privacy",
    "NAVIGATION": r"^nav|nav$|menu|breadcrumb|pagination|^pager|^toc$|^topbar|^crumb",
    "RELATED": (
        r"related|recommend|^more$|^also|outbrain|taboola|trending|popular|^recent|^similar|^suggest|^upsell|^teaser"
    ),
    "HEADER": r"^header|masthead|^banner|^topper|^hero",
    "FOOTER": r"^foot(?:er)?$|copyright|colophon|contentinfo|^bottom",
    "SIDEBAR": r"sidebar|^aside|^rail|complementary|^side$|^sidenav|widget",
    "ADVERTISEMENT": r"^ads?$|advert|sponsor|^promo|^dfp|banner|^cta$|^campaign",
    "META": r"^meta|^date|^time|publish|^posted|^info|^tags?$|^categor|^author|^bio|^topic|^label",
    "FORM": r"^form|^search|^login|^signin|^signup|^subscri|newsletter|^modal|^popup|^overlay|^dialog|^alert|^notice",
    "ARTICLE": r"article|^story|^post|^entry|hentry|^blog|^news",
    "MAIN": r"^main|^content|^body|^text|^page|^wrapper|^container",
    "PROSE": r"^prose|^markdown|^richtext|^rte|^wysiwyg|^paragraph|^copy|^descri|^summary|^excerpt|^intro|^lead|^lede",
    "PRODUCT": r"product|^price|^cart|^shop|^sku|^spec|^feature|^detail|^variant",
    "REVIEW": r"^review|^rating|^testimonial|^ugc|^stars?$|bazaarvoice|yotpo|trustpilot|^faq|^qa$",
    "THREAD": r"thread|^message|^forum|^topic|^question|^answer|^discussion|^reply|^user",
    "LIST": r"^list|^grid|^card|^item|^tile|^carousel|^slide|^swiper|^gallery|^row|^col",
    "TAB": r"^tabs?$|^accordion|^collaps|^panel|^faq|^expand|^toggle",
    "DOCUMENTATION": r"^doc|^wiki|^code|^highlight|^api|^section|^mw|^sphinx|^step|^recipe|^ingredient|^instruction",
    "NUMBERING": r"^pagenum|^pageno$|^pagebreak|^lineno|^sitesub$|^contentsub$",
    "BUTTON": r"^btn|^button|^link|^action|^icon",
}
_BITS = {name: 1 << n for n, name in enumerate(_PATTERNS)}
NAMES = (*_PATTERNS, "HIDDEN_CLASS")
COUNT = len(NAMES)
UNLIKELY, MAYBE, POSITIVE, NEGATIVE = (_BITS[name] for name in ("UNLIKELY", "MAYBE", "POSITIVE", "NEGATIVE"))
CAPTION, COMMENT, AVATAR, SHARE = (_BITS[name] for name in ("CAPTION", "COMMENT", "AVATAR", "SHARE"))
COOKIE, NAVIGATION, RELATED = (_BITS[name] for name in ("COOKIE", "NAVIGATION", "RELATED"))
ANSWER = COMMENT | _BITS["THREAD"]
TAB, FORM = _BITS["TAB"], _BITS["FORM"]
NUMBERING = _BITS["NUMBERING"]  # of printed pages, of lines of a listing; MediaWiki's lines under its titles
HIDDEN_CLASS = 1 << len(_PATTERNS)

ROLES = {
    **dict.fromkeys(("menu", "menubar", "navigation", "tablist"), UNLIKELY | NAVIGATION),
    **dict.fromkeys(("alert", "alertdialog", "dialog", "search"), UNLIKELY | _BITS["FORM"]),
    "complementary": UNLIKELY | _BITS["SIDEBAR"],
    "banner": UNLIKELY | _BITS["HEADER"],
    "contentinfo": UNLIKELY | _BITS["FOOTER"],
    "doc-pagebreak": _BITS["NUMBERING"],
    "main": _BITS["MAIN"],
    "article": _BITS["ARTICLE"],
}
_COMPILED = tuple((_BITS[name], re.compile(pattern)) for name, pattern in _PATTERNS.items())
_ANY = re.compile("|".join(_PATTERNS.values()))
_HIDDEN = frozenset(
    (
        *("visually-hidden", "visuallyhidden", "sr-only", "screen-reader", "screen-reader-text", "screen-reader-only"),
        *("hidden", "hide", "d-none", "is-hidden", "u-hidden", "offscreen", "print-only", "a11y-hidden"),
        "display-none",
    )
)
_IN_HIDDEN = frozenset(word for name in _HIDDEN for word in re.findall("[a-z]+", name))
_MAYBE_HIDDEN = HIDDEN_CLASS << 1  # of a word that occurs in _HIDDEN
MAX_LABEL = 500


class _Letters(dict[int, str]):
    """Lower case for the letters a to z, a space for all else, as str.translate takes it."""

    def __missing__(self, code: int) -> str:
        return " "


_LETTERS = _Letters({code: chr(code).lower() for code in range(128) if chr(code).isalpha()})


@lru_cache(maxsize=50_000)
def bits(label: str) -> int:
    """The bits of an element whose class, or id, is `label`; a role has those of ROLES."""
    found = 0
    for word in label[:MAX_LABEL].translate(_LETTERS).split():
        found |= _word(word)
    if found & _MAYBE_HIDDEN:
        found ^= _MAYBE_HIDDEN
        if not _HIDDEN.isdisjoint(label[:MAX_LABEL].lower().split()):
            found |= HIDDEN_CLASS
    return found


@lru_cache(maxsize=50_000)
def _word(word: str) -> int:
    found = _MAYBE_HIDDEN if word in _IN_HIDDEN else 0
    if _ANY.search(word):
        for bit, pattern in _COMPILED:
            if pattern.search(word):
                found |= bit
    return found


def names(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())
