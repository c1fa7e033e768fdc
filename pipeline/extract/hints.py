"""What the class, id and role of an element say about its part in the page, as bits."""

import re

UNLIKELY, MAYBE, POSITIVE, NEGATIVE, CAPTION, COMMENT, AVATAR, SHARE, COOKIE, NAVIGATION, RELATED = (
    1 << n for n in range(11)
)

_PATTERNS = (
    # the first four are the lists of mozilla/readability (Readability.js, REGEXPS)
    (
        UNLIKELY,
        r"-ad-|ai2html|banner|breadcrumb|combx|comment|community|cover-wrap|disqus|extra|footer|gdpr|header|legends"
        r"|menu|related|remark|replies|rss|shoutbox|sidebar|skyscraper|social|sponsor|supplemental|ad-break|agegate"
        r"|pagination|pager|popup|yom-remote|cookie|consent|newsletter|subscribe|role:(?:menu|menubar|complementary"
        r"|navigation|alert|alertdialog|dialog|search|banner|contentinfo)",
    ),
    (MAYBE, r"and|article|body|column|content|main|mathjax|shadow"),
    (POSITIVE, r"article|body|content|entry|hentry|h-entry|main|page|pagination|post|text|blog|story"),
    (
        NEGATIVE,
        r"-ad-|hidden|^hid$| hid$| hid |^hid |banner|combx|comment|com-|contact|footer|gdpr|masthead|media|meta"
        r"|outbrain|promo|related|scroll|share|shoutbox|sidebar|skyscraper|sponsor|shopping|tags|widget",
    ),
    (CAPTION, r"caption|(?:^|[\s_-])credit"),
    (COMMENT, r"comment|disqus|respond|replies"),
    (AVATAR, r"avatar|gravatar|author-?(?:image|photo|pic|img)|userpic|profile-?(?:image|photo|pic|img)|byline"),
    (SHARE, r"shar(?:e|ing)|social|addtoany|sociable|jp-relatedposts"),
    (COOKIE, r"cookie|consent|gdpr|onetrust|privacy-?(?:banner|notice)"),
    (NAVIGATION, r"(?:^|[\s_-])(?:nav|navbar|navigation|navbox|menu|toc|breadcrumbs?)(?:$|[\s_-])|role:navigation"),
    (
        RELATED,
        r"related|recommend|read-?more|more-?(?:stories|articles|posts)|also-?like|outbrain|taboola|trending|popular",
    ),
)
_BITS = tuple((bit, re.compile(pattern, re.I)) for bit, pattern in _PATTERNS)
MAX_LABEL = 500


class Hints(dict[str, int]):
    """Bits by label (class, id and role in one string), computed once per label."""

    def __missing__(self, label: str) -> int:
        text = label[:MAX_LABEL]
        bits = 0
        for bit, pattern in _BITS:
            if pattern.search(text):
                bits |= bit
        self[label] = bits
        return bits


def names(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())
