"""Pages for in-context learning: *names*, text whose names are invented anew on every page, and *cards*, pictures of a
few classes with names dealt anew on every page.

Both are bursty as Chan et al. 2022 (arXiv 2205.05055) describe: a name means something on its page only, so a language
model must look back to know it. On a page of cards only the pictures tell which name comes next."""

import random
from collections.abc import Callable
from dataclasses import replace

from pipeline.miniweb.compose import Writing, publish
from pipeline.miniweb.markup import Block, Draft, Figure, Paragraph, Site, image_tag, reference
from pipeline.miniweb.pictures import COLOURS, COUNTS, GROUNDS, SHAPES, draw_picture, encode
from pipeline.miniweb.web import Drawing
from pipeline.miniweb.words import ENGLISH, Prose, each
from shards.draws import hash64
from shards.invented import invented_name, invented_names

SIDE = 224
ATTRIBUTES = {"colour": len(COLOURS), "shape": len(SHAPES), "count": len(COUNTS), "ground": len(GROUNDS)}
HELD_OUT = 0.2
"""Share of the combinations of attributes that no card shows."""
TEMPLATES = (
    "This is a {}.",
    "Here is the {}.",
    "We call it {}.",
    "Name: {}",
    "A {} again.",
    "The next card shows a {}.",
    "{}",
)
PARAGRAPHS, REFRAIN_WORDS = 10, 110
FILLERS = each("the a and of with in on to by for from at under over near is was has had will this that every some no")


def combination(picture: Drawing) -> str:
    """The attributes of a drawing as one word, `colour-shape-count-ground`: the class of a card."""
    return "-".join((COLOURS[picture.colour], SHAPES[picture.shape], COUNTS[picture.count], GROUNDS[picture.ground]))


def held_out(picture: Drawing) -> bool:
    """Whether no page of cards shows this combination, in any web."""
    return hash64(f"card/{combination(picture)}") / 2**64 < HELD_OUT


def draw_card(rng: random.Random, unseen: bool = False, **fixed: int) -> Drawing:
    """A combination drawn uniformly among those of the pages, or among those held out; `fixed` attributes are given."""
    while True:
        picture = replace(draw_picture(rng, SIDE, SIDE), **fixed)
        if held_out(picture) == unseen:
            return picture


def deal(rng: random.Random) -> list[tuple[int, Drawing]]:
    """The cards of a page, each a class and what it shows: two to four combinations, or two values of one attribute
    with the rest free (a *concept*). Classes are balanced, in random order."""
    concept = rng.random() < 0.5
    classes = 2 if concept else rng.randint(2, 4)
    order = [number % classes for number in range(rng.randint(8, 12))]
    rng.shuffle(order)
    if concept:
        attribute = rng.choice(sorted(ATTRIBUTES))
        values = rng.sample(range(ATTRIBUTES[attribute]), 2)
        return [(number, draw_card(rng, False, **{attribute: values[number]})) for number in order]
    shown: list[Drawing] = []
    while len(shown) < classes:
        picture = draw_card(rng)
        shown += [picture] if picture not in shown else []
    return [(number, shown[number]) for number in order]


def cards_page(write: Writing, site: Site, name: str) -> None:
    """A page of 8 to 12 cards, each before its name. No word of it names an attribute."""
    rng = write.rng(site.host, name)
    draft = Draft(site, f"{site.root}/{name}", "en", "Cards", [])
    template = rng.choice(TEMPLATES)
    cards = deal(rng)
    names = invented_names(rng, 1 + max(number for number, _ in cards))
    for place, (number, picture) in enumerate(cards):
        url = f"{site.root}/img/{name.split('.')[0]}-{place + 1}.jpg"
        write.add(url, encode(picture, write.rng(url), "jpeg"), "image/jpeg")
        write.web.pictures[url] = picture
        html = image_tag("plain", {"main": reference("root", url, draft.url)}, "", SIDE, SIDE)
        draft.blocks += [Figure(html, url), Paragraph(Prose(template.format(names[number])))]
    publish(write, draft, case="cards")


def refrain(rng: random.Random) -> str:
    """3 to 40 words and invented names in no order, begun again until there are `REFRAIN_WORDS`."""
    words = [rng.choice(FILLERS) if rng.random() < 0.3 else invented_name(rng) for _ in range(rng.randint(3, 40))]
    return " ".join(words[number % len(words)] for number in range(REFRAIN_WORDS)) + "."


def named_prose(rng: random.Random) -> Callable[[random.Random], str]:
    """English sentences of a page whose people have invented names, and whose things have names of two to four invented
    words."""
    named = {
        "person": [invented_name(rng).capitalize() for _ in range(4)],
        "thing": [" ".join(invented_name(rng) for _ in range(rng.randint(2, 4))) for _ in range(4)],
    }
    lists = ENGLISH.lists | {kind: tuple(names) for kind, names in named.items()}
    return lambda rng: ENGLISH.prose(rng, 6, lists).text


def names_page(write: Writing, site: Site, name: str) -> None:
    """A long page of text below one picture, about things and people with invented names, or of refrains: a few words
    in no order, begun again and again. Windows without the picture are text for a language model."""
    rng = write.rng(site.host, name)
    draft = Draft(site, f"{site.root}/{name}", "en", "Names", [])
    url = f"{site.root}/img/{name.split('.')[0]}.jpg"
    picture = draw_card(rng)
    write.add(url, encode(picture, write.rng(url), "jpeg"), "image/jpeg")
    write.web.pictures[url] = picture
    figure = Figure(image_tag("plain", {"main": reference("root", url, draft.url)}, "", SIDE, SIDE), url)
    write_paragraph = refrain if rng.random() < 0.5 else named_prose(rng)
    words: list[Block] = [Paragraph(Prose(write_paragraph(rng))) for _ in range(PARAGRAPHS)]
    draft.blocks = [figure, *words]
    publish(write, draft, case="names")
