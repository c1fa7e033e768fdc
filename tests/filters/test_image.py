"""Image rules at their limits, and in their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.image import MMC4_URL_WORDS, OBELICS_URL_WORDS, ImageRules, aspect, first_failure, url_words

GOOD = {"url": "https://a.example/cat.jpg", "format": "jpeg", "width": 640, "height": 480, "spread": 40.0}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"width": 64, "height": 64}, None),
        ({"width": 63, "height": 64}, "image.too_small"),
        ({"width": 64, "height": 63}, "image.too_small"),
        ({"width": 300, "height": 100}, None),
        ({"width": 301, "height": 100}, "image.aspect"),
        ({"width": 100, "height": 301}, "image.aspect"),
        ({"spread": 2.0}, None),
        ({"spread": 1.999}, "image.single_colour"),
        # the first rule in the order wins
        ({"width": 1, "height": 900, "spread": 0.0}, "image.too_small"),
        ({"width": 100, "height": 900, "spread": 0.0}, "image.aspect"),
        ({"url": "https://a.example/logo.gif", "format": "gif"}, None),
    ],
)
def test_default_rules_at_their_limits(change, rule):
    assert first_failure(ImageRules(), **GOOD | change) == rule


def test_rules_of_the_obelics_preset():
    rules = ImageRules(150, 2.0, 0.0, ("jpeg", "png", "webp"), OBELICS_URL_WORDS)
    assert first_failure(rules, **GOOD | {"spread": 0.0}) is None
    assert first_failure(rules, **GOOD | {"format": "gif"}) == "image.format"
    assert first_failure(rules, **GOOD | {"width": 149}) == "image.too_small"
    assert (
        first_failure(rules, **GOOD | {"url": "https://a.example/Site-LOGO.gif", "format": "gif"}) == "image.url_words"
    )


def test_url_words_are_the_papers():
    assert url_words("https://a.example/favicon.png", MMC4_URL_WORDS)
    assert url_words("https://a.example/favicon.png", ["Icon"])
    assert url_words("https://essex.example/a.png", OBELICS_URL_WORDS)
    assert not url_words("https://essex.example/a.png", MMC4_URL_WORDS)


def test_zero_leaves_a_rule_out():
    none = ImageRules(0, 0, 0)
    assert first_failure(none, url="", format="gif", width=1, height=999, spread=0.0) is None


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.floats(1, 10))
def test_aspect_does_not_depend_on_direction_or_scale(width, height, limit):
    assert aspect(width, height, limit) == aspect(height, width, limit) == aspect(8 * width, 8 * height, limit)
