"""A recipe: everything that decides what a corpus holds, as typed data read from one TOML file.

A preset is complete as data (pipeline/recipes/*.toml). `--set section.key=value` changes single keys. The resolved
recipe and its hash are stamped on what it produced.
"""

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import tomli_w

from pipeline.errors import BuildError

PRESETS = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Limits:
    """What a page may cost before it is dropped. Bytes are those after decompression."""

    page_bytes: int = 20_000_000
    page_depth: int = 2_000
    record_seconds: float = 120.0


@dataclass(frozen=True)
class Extract:
    """How pages become nodes; see pipeline.extract.ExtractOptions."""

    engine: str = "openm3w"
    comments: bool = False
    css_backgrounds: bool = False
    max_image_width: int = 1024


@dataclass(frozen=True)
class TextRules:
    """Rules on a page's whole text; see filters.text. Shares are fractions of 1; a least of 0 or a share of 1 is no
    limit."""

    min_words: int = 20
    max_words: int = 100_000
    max_symbol_ratio: float = 0.1
    min_mean_word_length: float = 2.0
    max_mean_word_length: float = 15.0
    max_duplicate_lines: float = 0.3
    placeholder: bool = True


@dataclass(frozen=True)
class ImageRules:
    """Rules on one image (sides and pixels as fetched, in pixels; see filters.image) and how images are stored."""

    min_side: int = 64
    max_aspect: float = 3.0
    min_spread: float = 2.0
    formats: tuple[str, ...] = ()
    url_words: tuple[str, ...] = ()
    max_documents: int = 10
    max_pixels: int = 64_000_000
    max_bytes: int = 20_000_000
    max_side: int = 512
    quality: int = 90
    store: str = "jpeg"


@dataclass(frozen=True)
class Dedup:
    """Which copies go. `near_threshold` is the Jaccard similarity of word 5-grams from which two pages are the same. It
    is at least 0.8: fewer of the pairs that are less alike would share a band of MinHash and be compared at all, three
    of four at 0.75, one of five at 0.6 (see dedup.near)."""

    url: bool = True
    text: bool = True
    near_text: bool = True
    near_threshold: float = 0.8


@dataclass(frozen=True)
class Windows:
    """How documents are cut; see shards.windows. `validation` is the share of sites held out."""

    policy: str = "random"
    tokens: int = 256
    images: int = 5
    draws: int = 8
    tokenizer: str = "corpus"
    vocabulary: int = 8192
    validation: float = 0.05
    formats: tuple[str, ...] = ("parquet", "tar")
    shard_bytes: int = 256_000_000


@dataclass(frozen=True)
class Split:
    """`leak` keeps documents out of validation that share a picture with training documents."""

    leak: bool = True


# a list may be empty where it is so by default
CHOICES = {
    "extract.engine": ("openm3w", "trafilatura"),
    "image.formats": ("jpeg", "png", "webp", "gif", "bmp", "avif"),
    "image.store": ("jpeg", "original"),
    "windows.policy": ("random", "tile"),
    "windows.formats": ("parquet", "tar"),
}
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "limits.page_bytes": (1, math.inf),
    "limits.page_depth": (1, 10_000),
    "limits.record_seconds": (0.1, 86_400),
    "extract.max_image_width": (1, math.inf),
    "text.min_words": (0, math.inf),
    "text.max_words": (1, math.inf),
    "text.max_symbol_ratio": (0, math.inf),
    "text.min_mean_word_length": (0, math.inf),
    "text.max_mean_word_length": (1, math.inf),
    "text.max_duplicate_lines": (0, 1),
    "image.min_side": (0, math.inf),
    "image.max_aspect": (1, math.inf),
    "image.min_spread": (0, 255),
    "image.max_documents": (1, math.inf),
    "image.max_pixels": (1, math.inf),
    "image.max_bytes": (1, math.inf),
    "image.max_side": (1, 65_500),
    "image.quality": (1, 100),
    "dedup.near_threshold": (0.8, 1),
    "windows.tokens": (8, 1_000_000),
    "windows.images": (1, 1_000),
    "windows.draws": (1, 1_000_000),
    "windows.vocabulary": (300, 1_000_000),
    "windows.validation": (0, 1),
    "windows.shard_bytes": (1, math.inf),
}
"""The least and the greatest value of each number: 65,500 pixels is JPEG's side, 300 entries hold all bytes and the
special tokens."""


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe."""

    name: str = "web"
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    extract: Extract = field(default_factory=Extract)
    text: TextRules = field(default_factory=TextRules)
    image: ImageRules = field(default_factory=ImageRules)
    dedup: Dedup = field(default_factory=Dedup)
    windows: Windows = field(default_factory=Windows)
    split: Split = field(default_factory=Split)

    @property
    def body_bytes(self) -> int:
        """The most bytes that are read of a page or a picture, whichever may have more."""
        return max(self.limits.page_bytes, self.image.max_bytes)

    def table(self) -> dict[str, Any]:
        """As nested plain values, the way TOML and JSON write it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def toml(self) -> str:
        return tomli_w.dumps(self.table())

    def hash(self) -> str:
        """sha256 (hex) of the recipe without its name."""
        table = self.table()
        del table["name"]
        return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load(name_or_path: str, settings: Iterable[str] = ()) -> Recipe:
    """A preset's name or the path of a TOML file, with `section.key=value` settings on top.

    Raises BuildError for an unknown name, section or key, or a value of the wrong type or out of its range."""
    path = Path(name_or_path)
    if not name_or_path.endswith(".toml"):
        path = PRESETS / f"{name_or_path}.toml"
        if not path.exists():
            raise BuildError(
                f"no recipe is called {name_or_path!r}; there are {', '.join(presets())}, or give a .toml file"
            )
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise BuildError(f"recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"recipe {path} is not TOML: {error}") from None
    for setting in settings:
        _set(table, setting)
    return from_table(table)


def _set(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or (not dot and section != "seed"):
        raise BuildError(f"--set {setting}: write section.key=value, as in image.min_side=100")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    if dot:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise BuildError(f"--set {setting}: {section} is a value and has no keys")
        inner[name] = value
    else:
        table[section] = value


def from_table(table: dict[str, Any]) -> Recipe:
    """A recipe from nested plain values. Raises BuildError for what does not belong in one."""
    values: dict[str, Any] = {}
    fields = {item.name: item for item in dataclasses.fields(Recipe)}
    for section, content in table.items():
        if section not in fields:
            raise BuildError(f"a recipe has no section {section!r}; it has {', '.join(fields)}")
        kind = fields[section].type
        if dataclasses.is_dataclass(kind):
            if not isinstance(content, dict):
                raise BuildError(f"recipe section {section} must be a table")
            values[section] = _section(section, kind, content)
        else:
            values[section] = _typed(section, kind, content)
    return Recipe(**values)


def _section(section: str, kind: Any, content: dict[str, Any]) -> Any:
    fields = {item.name: item.type for item in dataclasses.fields(kind)}
    values = {}
    for name, value in content.items():
        if name not in fields:
            raise BuildError(f"recipe section {section} has no key {name!r}; it has {', '.join(fields)}")
        key = f"{section}.{name}"
        values[name] = _typed(key, fields[name], value)
        chosen = values[name] if isinstance(values[name], tuple) else (values[name],)
        if key in CHOICES and not (set(chosen) <= set(CHOICES[key]) and (chosen or getattr(kind, name) == ())):
            raise BuildError(f"{key} is one of {', '.join(CHOICES[key])}, not {value!r}")
    return kind(**values)


def _typed(key: str, kind: Any, value: Any) -> Any:
    if key in RANGES and type(value) in (int, float) and not RANGES[key][0] <= value <= RANGES[key][1]:
        low, high = RANGES[key]
        raise BuildError(f"{key} is {f'from {low} to {high}' if high < math.inf else f'at least {low}'}, not {value}")
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if isinstance(value, list | tuple):
            return tuple(_typed(key, inner, item) for item in value)
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind:
        return value
    name = "a list" if get_origin(kind) is tuple else {int: "a whole number", float: "a number", bool: "true or false"}
    expected = name if isinstance(name, str) else name.get(kind, "a text")
    raise BuildError(f"{key} must be {expected}, not {value!r}")
