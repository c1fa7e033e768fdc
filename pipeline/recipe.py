"""A recipe: everything that determines the contents of a corpus, as typed data read from one TOML file.

A preset is complete (pipeline/recipes/*.toml); a file with `extends = "web"` holds what differs from another recipe.
`--set section.key=value` changes single keys. The resolved recipe and its hash are recorded in what it produced. The
keys of rules come from the table of rules (filters.rules), the others are declared here.
"""

import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from filters import paragraph
from filters.language import IDENTIFIER
from filters.rule import Key
from filters.rules import keys as rule_keys
from filters.word_lists import LISTS
from pipeline.errors import BuildError
from shards.store import is_address, located

PRESETS = Path(__file__).parent / "recipes"
EXTRACTION = ("limits.", "extract.", "personal.", "video.", "image.max_bytes", "image.max_pixels", IDENTIFIER.name,
              *(key.name for key in LISTS))  # fmt: skip
"""Keys, or their sections, that change what a build reads from pages."""


class RecipeSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _setting(default: Any, what: str, **limits: Any) -> Any:
    """A key: its default, its meaning, and the limits of a number (ge, le)."""
    options: dict[str, Any] = {"default": default, "description": what, **limits}
    if isinstance(default, tuple):
        options["strict"] = False  # TOML's lists become tuples; all other types stay
    if isinstance(default, float):
        options["allow_inf_nan"] = False
    return Field(**options)


class ExtractSection(RecipeSection):
    """How pages become nodes; see pipeline.extract.ExtractOptions."""

    engine: Literal["openm3w", "trafilatura"] = _setting("openm3w", "Method that selects a page's main content")
    comments: bool = _setting(False, "Keep readers' comments")
    css_backgrounds: bool = _setting(False, "Keep background images of style attributes")
    max_image_width: int = _setting(1024, "Preferred width: the widest candidate up to this many pixels", ge=1)


class StorageSection(RecipeSection):
    """How images are decoded and stored; rules on them come from the table."""

    # JPEG's maximum side is 65,500 pixels
    max_side: int = _setting(512, "Maximum pixels of the longer side as stored", ge=1, le=65_500)
    quality: int = _setting(90, "JPEG quality as stored", ge=1, le=100)
    store: Literal["jpeg", "original"] = _setting("jpeg", "What is stored: a JPEG, or the original bytes")


class ImagesSection(StorageSection):
    """Where images stand in documents."""

    placement: Literal["dom", "clip"] = _setting(
        "dom", "Place images where the page has them (dom), or before the sentence they fit (clip, needs clip_model)"
    )


def _distinct(formats: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(formats)) < len(formats):
        raise ValueError("contains a format twice")
    return formats


Formats = Annotated[tuple[Literal["parquet", "tar"], ...], Field(min_length=1), AfterValidator(_distinct)]


class ClipsSection(RecipeSection):
    """Whether videos are images of their pages; see pipeline.images.video."""

    keep: bool = _setting(False, "Keep clips of video elements: up to 8 frames, 1 a second, as one image")


class WindowsSection(RecipeSection):
    """How documents are cut; see shards.windows."""

    policy: Literal["random", "tile"] = _setting("tile", "Lay windows around the images (tile), or draw them at random")
    tokens: int = _setting(256, "Maximum tokens of a window, including markers", ge=8, le=1_000_000)
    images: int = _setting(5, "Maximum images of a window", ge=1, le=1_000)
    min_images: int = _setting(1, "Minimum images of a window; 0: text without images is cut too", ge=0, le=1_000)
    draws: int = _setting(8, "Maximum windows per document with policy random", ge=1, le=1_000_000)
    cover: bool = _setting(False, "With policy random, draw on until every image is in a window")
    tokenizer: str = _setting("corpus", "corpus, a tokenizer.json, a GGUF file, or a Hugging Face name")
    # 300 entries cover all bytes and the special tokens
    vocabulary: int = _setting(8192, "Vocabulary size of the corpus' own tokenizer", ge=300, le=1_000_000)
    validation: float = _setting(0.05, "Share of sites held out", ge=0, le=1)
    formats: Formats = _setting(("parquet", "tar"), "Formats of windows/")
    shard_bytes: int = _setting(256_000_000, "Average bytes of a shard", ge=1)
    min_shards: int = _setting(1, "Minimum shards of a split that has as many windows", ge=1, le=100_000)


def _of_rules(name: str, base: type[RecipeSection] = RecipeSection) -> type[RecipeSection]:
    """A section with its keys from the table of rules."""
    fields: dict[str, Any] = {}
    for key in rule_keys().values():
        section, _, field = key.name.partition(".")
        if section == name:
            fields[field] = (_type(key), _setting(key.default, key.what, **_limits(key)))
    title = name.title().replace("_", "")
    return create_model(f"{title}Section", __base__=base, __module__=__name__, **fields)


def _type(key: Key) -> Any:
    if isinstance(key.default, tuple):
        return GenericAlias(tuple, (Literal[key.choices] if key.choices else str, ...))
    return Literal[key.choices] if key.choices else type(key.default)


def _limits(key: Key) -> dict[str, float]:
    if type(key.default) not in (int, float):
        return {}
    return {"ge": key.low} | ({"le": key.high} if key.high < math.inf else {})


# their fields are data that type checkers cannot see
if TYPE_CHECKING:
    LimitsSection = Any
    PageSection = Any
    PersonalSection = Any
    TextSection = Any
    ParagraphSection = Any
    ImageSection = Any
    DedupSection = Any
    SplitSection = Any
    ImageTextSection = Any
    VideoSection = Any
else:
    LimitsSection = _of_rules("limits")
    PageSection = _of_rules("page")
    PersonalSection = _of_rules("personal")
    TextSection = _of_rules("text")
    ParagraphSection = _of_rules("paragraph")
    ImageSection = _of_rules("image", ImagesSection)
    DedupSection = _of_rules("dedup")
    SplitSection = _of_rules("split")
    ImageTextSection = _of_rules("image_text")
    VideoSection = _of_rules("video", ClipsSection)


class Recipe(RecipeSection):
    """A resolved recipe."""

    name: str = _setting("web", "Name of the recipe")
    seed: int = _setting(0, "Seed of every random choice", ge=0, le=2**63 - 1)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    extract: ExtractSection = Field(default_factory=ExtractSection)
    page: PageSection = Field(default_factory=PageSection)
    personal: PersonalSection = Field(default_factory=PersonalSection)
    text: TextSection = Field(default_factory=TextSection)
    paragraph: ParagraphSection = Field(default_factory=ParagraphSection)
    image: ImageSection = Field(default_factory=ImageSection)
    video: VideoSection = Field(default_factory=VideoSection)
    dedup: DedupSection = Field(default_factory=DedupSection)
    windows: WindowsSection = Field(default_factory=WindowsSection)
    split: SplitSection = Field(default_factory=SplitSection)
    image_text: ImageTextSection = Field(default_factory=ImageTextSection)

    @property
    def body_bytes(self) -> int:
        """The larger of the byte limits of pages and images."""
        return int(max(self.limits.page_bytes, self.image.max_bytes))

    @property
    def clip_seconds(self) -> float:
        """Longest video that is decoded; 0 if none is."""
        return float(self.video.max_seconds) if self.video.keep else 0.0

    def values(self) -> dict[str, Any]:
        """Every value by `section.key`."""
        return {
            f"{section}.{name}" if isinstance(content, BaseModel) else section: value
            for section, content in self
            for name, value in (content if isinstance(content, BaseModel) else [("", content)])
        }

    def table(self) -> dict[str, Any]:
        """As nested plain values, as in TOML and JSON."""
        return self.model_dump(mode="json")

    def toml(self) -> str:
        return tomli_w.dumps(self.table())

    def hash(self) -> str:
        """sha256 (hex) of the keys that differ from their defaults, without the name: a key that is new in a version
        changes no hash."""
        defaults = Recipe().values()
        return digest({key: value for key, value in self.values().items() if value != defaults[key] and key != "name"})


def digest(table: dict[str, Any]) -> str:
    """sha256 (hex) of plain values."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def hashes(path: Path) -> set[str]:
    """The hashes that the manifest of a corpus may have for its recipe.toml: `Recipe.hash`, and that of all its keys,
    as first versions wrote it.

    Raises BuildError if it is not a recipe."""
    table = _read(str(path), Path())
    return {from_table(table).hash(), digest({key: value for key, value in table.items() if key != "name"})}


def settings() -> dict[str, Key]:
    """Every key of a recipe, in order."""
    found = {}
    for section, outer in Recipe.model_fields.items():
        kind: Any = outer.default_factory
        inner = {section: outer} if kind is None else {f"{section}.{n}": f for n, f in kind.model_fields.items()}
        for name, field in inner.items():
            low, high = (
                next((getattr(limit, end) for limit in field.metadata if hasattr(limit, end)), default)
                for end, default in (("ge", 0), ("le", math.inf))
            )
            found[name] = Key(name, field.default, field.description or "", low, high, _choices(field.annotation))
    return found


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a Literal, or of one within a tuple."""
    inside = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is Literal:
        return inside
    return _choices(inside[0]) if inside else ()


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_again(before: Recipe, after: Recipe) -> list[str]:
    """The keys in which a recipe differs so that it cannot use the pages and images of a corpus built by another."""
    old, new = before.values(), after.values()
    images = tuple(f"image.{name}" for name in StorageSection.model_fields)
    rules = ("paragraph.",) if paragraph.active(old) != paragraph.active(new) else ()
    return [
        name for name, value in new.items() if value != old[name] and name.startswith((*EXTRACTION, *images, *rules))
    ]


def about(preset: str) -> str:
    """The first line of a preset's file, which describes it."""
    return (PRESETS / f"{preset}.toml").read_text("utf-8").partition("\n")[0].removeprefix("# ")


def load(name_or_path: str, settings: Iterable[str] = ()) -> Recipe:
    """Load a preset by name or a TOML file by path, then apply `section.key=value` settings.

    Raises BuildError for an unknown name, section or key, or a value of the wrong type or out of range."""
    table = _read(name_or_path, Path())
    for setting in settings:
        _set(table, setting)
    return from_table(table)


def _read(name_or_path: str, folder: Path, inner: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table of a preset or file, with what it extends. A path is relative to `folder`; `inner` are the files that
    extend this one."""
    path = located(name_or_path) if is_address(name_or_path) else folder / name_or_path
    if not name_or_path.endswith(".toml"):
        path = PRESETS / f"{name_or_path}.toml"
        if name_or_path not in presets():
            raise BuildError(
                f"unknown recipe {name_or_path!r}{nearest(name_or_path, presets())}; the presets are"
                f" {', '.join(presets())}, or give a .toml file"
            )
    if path.resolve() in inner:
        raise BuildError(f"recipe {path} extends itself")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BuildError(f"recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"recipe {path} is not TOML: {error}") from None
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise BuildError(f"recipe {path}: extends must be the name of a preset or a .toml file, not {base!r}")
    extended = _read(base, path.parent, (*inner, path.resolve())) | {"name": path.stem}
    for section, content in table.items():
        inherited: Any = extended.get(section)
        both = isinstance(content, dict) and isinstance(inherited, dict)
        extended[section] = {**inherited, **content} if both else content
    return extended


def _set(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or (not dot and section != "seed"):
        meant = nearest(section, settings()) or ", as in image.min_side=100"
        raise BuildError(f"--set {setting}: write section.key=value{meant}")
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
    """A recipe from nested plain values. Raises BuildError for invalid keys or values."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise BuildError(_message(error.errors(include_url=False)[0])) from None


def _message(error: ErrorDetails) -> str:
    """The problem in one line."""
    known = settings()
    place = [str(step) for step in error["loc"] if isinstance(step, str)]
    name, value = ".".join(place[:2]), error["input"]
    if error["type"] == "extra_forbidden":
        kind = "key" if len(place) > 1 or not isinstance(value, dict) else "section"
        names = known if len(place) > 1 else [*known, *Recipe.model_fields, "extends"]
        return f"the recipe has no {kind} {name}{nearest(name, names)}"
    if name not in known:
        return f"recipe section {name} must be a table, not {value!r}"
    key = known[name]
    if error["type"] == "value_error":
        return f"{name} {error['ctx']['error']}: {value!r}"
    if key.choices:
        return f"{name} must be one of {', '.join(choice or repr(choice) for choice in key.choices)}, not {value!r}"
    if error["type"] in ("greater_than_equal", "less_than_equal", "finite_number"):
        limits = f"from {key.low} to {key.high}" if key.high < math.inf else f"at least {key.low}"
        return f"{name} must be {limits}, not {value!r}"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", tuple: "a list of texts"}
    return f"{name} must be {kinds.get(type(key.default), 'a text')}, not {value!r}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A "did you mean" question for the closest known name, also compared by its last part in any section."""
    names = list(known)
    found = difflib.get_close_matches(name, names, 1, 0.7)
    if not found:
        by_end = {full.rpartition(".")[2]: full for full in names}
        ends = difflib.get_close_matches(name.rpartition(".")[2], list(by_end), 1, 0.6)
        found = [by_end[end] for end in ends]
    return f"; did you mean {found[0]}?" if found else ""
