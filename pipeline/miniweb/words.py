"""The words of the small web: sentences from small grammars, and captions that name what an image shows.

No word of a caption gives away an attribute that comes later: counts precede their nouns, and in languages with
inflection the attributes are listed uninflected."""

import random
import string
from dataclasses import dataclass, field

from pipeline.miniweb.pictures import COLOURS, COUNTS, GROUNDS, SHAPES
from pipeline.miniweb.web import Drawing

CHOICES = {"colour": len(COLOURS), "shape": len(SHAPES), "count": len(COUNTS), "ground": len(GROUNDS)}


@dataclass(frozen=True, slots=True)
class Named:
    """`text[start:stop]` names `attribute` of an image."""

    attribute: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph and the attribute words in it."""

    text: str
    named: tuple[Named, ...] = ()

    def then(self, other: "Prose", between: str = " ") -> "Prose":
        """Concatenate both."""
        shift = len(self.text) + len(between)
        later = (Named(n.attribute, n.start + shift, n.stop + shift) for n in other.named)
        return Prose(self.text + between + other.text, (*self.named, *later))


def fill(template: str, values: dict[str, str]) -> Prose:
    """Fill the fields of a template; fields named like an attribute, in any case or number, are marked.

    `{Count}` starts with a capital, `{shapes}` is the plural for all counts but one."""
    text = ""
    named = []
    for literal, name, _, _ in string.Formatter().parse(template):
        text += literal
        if name is None:
            continue
        attribute = "shape" if name == "shapes" else name.lower()
        value = values[attribute] if name[0].islower() else capital(values[attribute])
        if name == "shapes" and values["count"] != COUNTS[0]:
            value += "es" if value.endswith("s") else "s"
        if attribute in CHOICES:
            named.append(Named(attribute, len(text), len(text) + len(value)))
        text += value
    return Prose(text, tuple(named))


def each(text: str) -> tuple[str, ...]:
    """Split a list written as one string."""
    return tuple(text.split())


def capital(text: str) -> str:
    """Capitalize the first letter."""
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar. `captions` contain every attribute once, `repeats` some of them again.

    `sentences` have the fields person, verb, thing, place and time (and, with suffix 2, others of the same kind)."""

    code: str
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    counts: tuple[str, ...]
    grounds: tuple[str, ...]
    captions: tuple[str, ...]
    repeats: tuple[str, ...]
    title: str
    sentences: tuple[str, ...]
    lists: dict[str, tuple[str, ...]] = field(repr=False)
    encodings: tuple[str, ...] = ("utf-8",)
    between: str = " "

    def values(self, picture: Drawing) -> dict[str, str]:
        """The words for what an image shows."""
        return {
            "colour": self.colours[picture.colour],
            "shape": self.shapes[picture.shape],
            "count": self.counts[picture.count],
            "ground": self.grounds[picture.ground],
        }

    def caption(self, rng: random.Random, picture: Drawing) -> Prose:
        """One or more sentences that name every attribute once."""
        return fill(rng.choice(self.captions), self.values(picture))

    def repeat(self, rng: random.Random, picture: Drawing) -> Prose:
        """A sentence that names some attributes again."""
        slots = self.values(picture) | self.slots(rng, self.lists)
        return fill(rng.choice(self.repeats), slots)

    def slots(self, rng: random.Random, lists: dict[str, tuple[str, ...]]) -> dict[str, str]:
        """A value for every field of a sentence; fields of the same kind get different values."""
        slots: dict[str, str] = {}
        for kind in sorted(lists):
            first, second = rng.sample(lists[kind], 2)
            slots |= {kind: first, kind + "2": second}
        return slots

    def prose(self, rng: random.Random, sentences: int, lists: dict[str, tuple[str, ...]] | None = None) -> Prose:
        """`sentences` sentences unrelated to any image, with the words of `lists` (default: all)."""
        written = [
            fill(rng.choice(self.sentences), self.slots(rng, self.lists if lists is None else lists)).text
            for _ in range(sentences)
        ]
        return Prose(self.between.join(written))


PLACES = (
    "in the kitchen",
    "near the river",
    "behind the school",
    "at the market",
    "under the roof",
    "on the island",
    "in the café",
    "at the station",
    "beside the mill",
    "in our workshop",
    "on the second floor",
    "at the harbour",
    "along the canal",
    "in the cellar",
    "outside the museum",
    "across the street",
    "by the window",
    "at the farm",
    "inside the tower",
    "near the old bakery",
)
TIMES = (
    "in the morning",
    "last winter",
    "on Monday",
    "before lunch",
    "after the storm",
    "during the fair",
    "in April",
    "at midnight",
    "all summer",
    "on a rainy day",
    "last week",
    "in the autumn",
    "after school",
    "before the concert",
    "on Sunday",
    "for the first time",
    "in July",
    "at the end of the year",
    "every evening",
    "without a word",
)


def english_lists() -> dict[str, tuple[str, ...]]:
    """The open word classes of the English pages, without colours, shapes or numbers."""
    adjectives = each(
        "old new small large broken heavy light wooden paper quiet famous simple strange clean dusty borrowed lost"
        " early painted folded printed patient clever narrow"
    )
    nouns = each(
        "kite lamp boat basket letter clock ladder bottle carpet drum engine fence garden hammer jacket kettle library"
        " map needle oven pencil quilt radio saddle table umbrella violin wagon album button candle desk feather glove"
        " helmet journal magnet notebook parcel ribbon stamp teapot vase whistle bridge camera curtain drawer"
    )
    return {
        "adjective": adjectives,
        "thing": nouns,
        "person": each(
            "Ada Ben Clara David Edith Frank Greta Henry Irene Jonas Karin Louis Marta Nils Olga Peter Rosa Simon Tilda"
            " Victor Wanda Yusuf Zoe Arthur"
        ),
        "verb": each(
            "found kept repaired carried washed measured copied showed described opened packed sold bought lifted"
            " covered cleaned finished forgot moved studied painted collected followed saved"
        ),
        "place": PLACES,
        "time": TIMES,
    }


ENGLISH = Grammar(
    code="en",
    colours=COLOURS,
    shapes=SHAPES,
    counts=COUNTS,
    grounds=GROUNDS,
    captions=(
        "{Count} {colour} {shapes} on a {ground} ground.",
        "On a {ground} ground, {count} {colour} {shapes}.",
        "Drawn in {colour} on {ground} paper: {count} {shapes}.",
        "This picture shows {count} {shapes} in {colour}, and the ground is {ground}.",
        "A drawing in {colour} and {ground} with {count} {shapes} in it.",
    ),
    repeats=(
        "{person} calls it the {colour} {shape} card.",
        "{person} {verb} the {colour} paper for it {time}.",
        "The {shape} was cut out {place} {time}.",
        "{person} likes {colour} on {ground} best.",
        "Every {shape} here is {colour}, says {person}.",
    ),
    title="The {adjective} {thing} {place}",
    sentences=(
        "{Person} {verb} the {adjective} {thing} {place} {time}.",
        "{Time} {person} {verb} the {adjective} {thing} {place}.",
        "The {thing} that {person} {verb} {time} is still {place}.",
        "When {person} {verb} the {thing}, {person2} {verb2} the {adjective} {thing2} {place}.",
        "Nobody {place} had seen the {adjective} {thing} before {person} {verb} it {time}.",
        "“It is my {adjective} {thing},” said {person} {place}.",
        "{Person} & {person2} {verb} the {thing} {time} – with the {adjective} {thing2}.",
        "{Person}’s {thing} stood {place} {time}, beside the {adjective} {thing2}.",
        "{Place} {person} {verb} another {thing} for {person2}, who {verb2} it {time}.",
    ),
    lists=english_lists(),
    encodings=("utf-8", "utf-8", "utf-8", "utf-8", "windows-1252", "utf-16"),
)
