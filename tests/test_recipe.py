"""Recipes: presets, settings, and what is refused."""

import json
import math
import pickle
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
import tomli_w

from pipeline.errors import BuildError
from pipeline.images.decode import _DECODERS
from pipeline.recipe import PRESETS, Recipe, about, from_table, hashes, load, presets, settings


def test_presets_are_complete_and_within_their_ranges() -> None:
    for name in presets():
        recipe = load(name)
        assert tomllib.loads((PRESETS / f"{name}.toml").read_text()) == recipe.table()
        assert from_table(recipe.table()) == recipe
        assert recipe.hash() == from_table(recipe.table()).hash()


def test_a_preset_has_a_line_about_it() -> None:
    for name in presets():
        assert 40 < len(about(name)) <= 110 and about(name).endswith(".")


def test_a_new_key_changes_no_hash(tmp_path: Path) -> None:
    """Recipes of older corpora lack newer keys. First versions hashed all keys."""
    table = load("web", ["image.min_side=100"]).table()
    del table["paragraph"], table["image"]["benchmark_bits"]
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(table))
    del table["name"]
    first = sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    assert hashes(tmp_path / "recipe.toml") == {load("web", ["image.min_side=100"]).hash(), first}
    expected = sha256(json.dumps({"image.min_side": 100}).encode()).hexdigest()
    assert load("web", ["image.min_side=100"]).hash() == expected != load("web").hash()


NUMBERS = {name: key for name, key in settings().items() if type(key.default) in (int, float)}


def test_settings_are_all_keys_and_their_defaults() -> None:
    assert Recipe().values() == {name: key.default for name, key in settings().items()}
    assert all(key.what for key in settings().values())


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_what_is_out_of_range_is_refused(key: str) -> None:
    low, high = NUMBERS[key].low, NUMBERS[key].high
    load("web", [f"{key}={low}", *([f"{key}={high}"] if high < math.inf else [])])
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


def test_a_format_named_twice_is_refused() -> None:
    with pytest.raises(BuildError, match=r"^windows\.formats contains a format twice: "):
        load("web", ["windows.formats=['tar', 'tar']"])


def test_settings_change_single_keys() -> None:
    changed = load("web", ["image.min_side=100", "windows.formats=['tar']", "limits.record_seconds=3", "seed=4"])
    assert (changed.image.min_side, changed.windows.formats, changed.limits.record_seconds) == (100, ("tar",), 3.0)
    assert changed.seed == 4 and changed.hash() != load("web").hash()


def test_the_formats_of_pictures_are_those_that_are_decoded() -> None:
    assert set(settings()["image.formats"].choices) == _DECODERS.keys()
    assert load("web", ["image.formats=[]"]) == load("web")
    with pytest.raises(BuildError, match="jpeg, png, webp, gif, bmp, avif"):
        load("web", ["image.formats=['jpg']"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("image.min_sid=3", "the recipe has no key image.min_sid; did you mean image.min_side?"),
        ("text.min_word=3", "the recipe has no key text.min_word; did you mean text.min_words?"),
        ("txt.min_words=3", "the recipe has no section txt; did you mean text?"),
        ("image.near_text=true", "the recipe has no key image.near_text; did you mean dedup.near_text?"),
        ("sed.x=1", "the recipe has no section sed; did you mean seed?"),
        ("image.qqqqqq=1", "the recipe has no key image.qqqqqq"),
        ("min_words=3", "--set min_words=3: write section.key=value; did you mean text.min_words?"),
        ("sed=3", "--set sed=3: write section.key=value; did you mean seed?"),
        ("qqqqqq", "--set qqqqqq: write section.key=value, as in image.min_side=100"),
        ("text.min_words=-1", "text.min_words must be at least 0, not -1"),
        ("dedup.near_threshold=0.7", "dedup.near_threshold must be from 0.8 to 1, not 0.7"),
        ("image.min_side=true", "image.min_side must be a whole number, not True"),
        ("windows.policy=all", "windows.policy must be one of random, tile, not 'all'"),
        ("image.url_words=[3]", "image.url_words must be a list of texts, not 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(BuildError) as raised:
        load("web", [setting])
    assert str(raised.value) == message


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    """Keys of the file replace those of what it extends; a path is relative to the file."""
    (tmp_path / "strict.toml").write_text('extends = "web"\nseed = 3\n[image]\nmin_side = 100\nmax_aspect = 2.0\n')
    (tmp_path / "stricter.toml").write_text('extends = "strict.toml"\n[image]\nmin_side = 150\n')
    stricter = load(str(tmp_path / "stricter.toml"), ["text.min_words=30"])
    settings = ["image.min_side=150", "image.max_aspect=2.0", "seed=3", "text.min_words=30"]
    assert stricter.hash() == load("web", settings).hash()
    assert stricter.name == "stricter"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "wob"', "unknown recipe 'wob'; did you mean web?; the presets are"),
        ("extends = 3", "extends must be the name of a preset or a .toml file, not 3"),
        ('extends = "my.toml"', "my.toml extends itself"),
        ('extends = "missing.toml"', "missing.toml: No such file or directory"),
        ('extends = "web"\n[image]\nmin_sid = 3', "the recipe has no key image.min_sid; did you mean image.min_side?"),
        ('extends = "web"\nimage = 3', "recipe section image must be a table, not 3"),
        ('extend = "web"', "the recipe has no key extend; did you mean extends?"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(BuildError) as raised:
        load(str(tmp_path / "my.toml"))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_recipe_survives_being_sent_to_a_worker() -> None:
    recipe = load("web", ["image.min_side=100"])
    assert pickle.loads(pickle.dumps(recipe)) == recipe
