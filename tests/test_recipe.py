"""Recipes: presets, settings, and what is refused."""

import math

import pytest

from pipeline.errors import BuildError
from pipeline.images.decode import _DECODERS
from pipeline.recipe import CHOICES, RANGES, Recipe, from_table, load, presets


def test_presets_are_complete_and_within_their_ranges() -> None:
    for name in presets():
        recipe = load(name)
        assert from_table(recipe.table()) == recipe
        assert recipe.hash() == from_table(recipe.table()).hash()


def test_every_number_has_a_range() -> None:
    def numbers(table: dict, before: str = "") -> list[str]:
        found = []
        for name, value in table.items():
            if isinstance(value, dict):
                found += numbers(value, f"{name}.")
            elif type(value) in (int, float):
                found.append(before + name)
        return found

    assert set(numbers(Recipe().table())) == RANGES.keys()


@pytest.mark.parametrize("key", sorted(RANGES))
def test_what_is_out_of_range_is_refused(key: str) -> None:
    low, high = RANGES[key]
    for value in (low - 1, high + 1) if high < math.inf else (low - 1,):
        with pytest.raises(BuildError, match=key):
            load("web", [f"{key}={value}"])


@pytest.mark.parametrize(
    "setting",
    ["text.max_symbol_ratio=nan", "windows.formats=['zip']", "windows.formats=[]", "windows.policy=all", "image.side=3",
     "image.formats=['jpeg', 'PNG']", "dedup.near_threshold=0.75",
     "picture.min_side=3", "seed.x=1", "name.x=1", "image=3", "image.min_side", "image.min_side=true", "seed=x"],
)  # fmt: skip
def test_what_does_not_belong_in_a_recipe(setting: str) -> None:
    with pytest.raises(BuildError):
        load("web", [setting])


def test_settings_change_single_keys() -> None:
    changed = load("web", ["image.min_side=100", "windows.formats=['tar']", "limits.record_seconds=3", "seed=4"])
    assert (changed.image.min_side, changed.windows.formats, changed.limits.record_seconds) == (100, ("tar",), 3.0)
    assert changed.seed == 4 and changed.hash() != load("web").hash()


def test_the_formats_of_pictures_are_those_that_are_decoded() -> None:
    assert set(CHOICES["image.formats"]) == _DECODERS.keys()
    assert load("web", ["image.formats=[]"]) == load("web")
    with pytest.raises(BuildError, match="jpeg, png, webp, gif, bmp, avif"):
        load("web", ["image.formats=['jpg']"])
