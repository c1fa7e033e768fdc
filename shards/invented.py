"""Invented names: words of one to three syllables that mean nothing, for pages and prompts whose names must be new."""

from typing import Protocol

ONSETS = (
    "b",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "dr",
    "kl",
    "pr",
    "st",
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
CODAS = ("", "", "", "l", "n", "r", "s", "m")


class Generator(Protocol):
    """`random.Random`, or anything that draws like it."""

    def choice(self, values: tuple[str, ...]) -> str: ...
    def randint(self, low: int, high: int) -> int: ...


def invented_name(rng: Generator) -> str:
    """A name of one to three syllables in small letters."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randint(1, 3)))


def invented_names(rng: Generator, count: int) -> list[str]:
    """`count` different names, none of which begins another: what follows then never depends on which was meant."""
    names: list[str] = []
    while len(names) < count:
        name = invented_name(rng)
        if not any(name.startswith(other) or other.startswith(name) for other in names):
            names.append(name)
    return names
