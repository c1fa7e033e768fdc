"""Rules on a picture's numbers and on its URL: plain functions, true where the picture is to be dropped.

Sizes are those of the source, upright, in pixels: a banner of 3,000 x 100 stored at 512 x 17 fails for its shape, not
for its height. OBELICS' and MINT-1T's upper limit of 20,000 pixels a side needs no rule: with at most 64 million pixels
and an aspect of at most 2 no side is longer than 11,314.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOO_SMALL = "image.too_small"
ASPECT = "image.aspect"
SINGLE_COLOUR = "image.single_colour"
FORMAT = "image.format"
URL_WORDS = "image.url_words"

OBELICS_URL_WORDS = ("logo", "button", "icon", "plugin", "widget", "porn", "xxx", "sex")
"""Laurençon et al. 2023 (arXiv 2306.16527), appendix A.1."""

MMC4_URL_WORDS = ("logo", "button", "icon", "plugin", "widget")
"""Zhu et al. 2023 (arXiv 2304.06939), section 2."""


@dataclass(frozen=True, slots=True)
class ImageRules:
    """The limits of a recipe; a value of 0 or () leaves its rule out.

    The defaults are M3W's (Flamingo, arXiv 2204.14198, A.1): a side below 64 pixels, one side over 3 times the other,
    a single colour. For the last the paper gives no threshold. Ours, a `min_spread` of 2 of 127.5, lies between what a
    single colour becomes in a camera or a scanner (Gaussian noise of 3 of 255 has 1.9) and the least that shows
    something (one black hair line across 800 x 600 white pixels has 6.2); of 880 pictures of documentation sites and
    books the lowest had 4.7, a photograph of the dust on a sensor.

    `formats` are names as in images/*.parquet (jpeg, png, webp, ...); `url_words` are found in upper and lower case."""

    min_side: int = 64
    max_aspect: float = 3.0
    min_spread: float = 2.0
    formats: Sequence[str] = ()
    url_words: Sequence[str] = ()


def too_small(width: int, height: int, min_side: int) -> bool:
    """The shorter side has less than `min_side` pixels."""
    return min(width, height) < min_side


def aspect(width: int, height: int, max_aspect: float) -> bool:
    """The longer side is more than `max_aspect` times the shorter one, in either direction."""
    return max_aspect > 0 and max(width, height) > max_aspect * min(width, height)


def single_colour(spread: float, min_spread: float) -> bool:
    """No channel of the stored picture has a standard deviation of `min_spread` (0 to 127.5)."""
    return spread < min_spread


def other_format(format: str, formats: Sequence[str]) -> bool:
    """The source is not in one of `formats`."""
    return bool(formats) and format not in formats


def url_words(url: str, words: Sequence[str]) -> bool:
    """The URL holds one of `words`, anywhere, in upper or lower case, as the papers' code has it."""
    lower = url.lower()
    return any(word.lower() in lower for word in words)


def first_failure(rules: ImageRules, *, url: str, format: str, width: int, height: int, spread: float) -> str | None:
    """The id of the first rule that a picture fails: URL, format, size, shape, colour. None where it passes all."""
    if url_words(url, rules.url_words):
        return URL_WORDS
    if other_format(format, rules.formats):
        return FORMAT
    if too_small(width, height, rules.min_side):
        return TOO_SMALL
    if aspect(width, height, rules.max_aspect):
        return ASPECT
    if single_colour(spread, rules.min_spread):
        return SINGLE_COLOUR
    return None
