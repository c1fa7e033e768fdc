"""Pages of cards and of names: what makes a page a task that only its pictures solve."""

import re

import pytest

from pipeline.miniweb import Web, generate
from pipeline.miniweb.cards import ATTRIBUTES, combination, held_out
from pipeline.miniweb.pictures import COLOURS, COUNTS, GROUNDS, SHAPES
from pipeline.miniweb.web import PageTruth

WORDS = {*COLOURS, *SHAPES, *COUNTS, *GROUNDS}


@pytest.fixture(scope="module")
def bursty() -> Web:
    return generate(0, seed=1, names=8, cards=60)


def shown(page: PageTruth) -> list[tuple[str, str]]:
    """URL and text of each picture."""
    nodes = [value for _, value in page.nodes]
    return list(zip(nodes[::2], nodes[1::2], strict=True))


def test_a_page_of_cards_names_its_classes_consistently_and_nothing_else(bursty: Web) -> None:
    pages = [page for page in bursty.truth if page.case == "cards"]
    concepts = 0
    for page in pages:
        cards = shown(page)
        assert 8 <= len(cards) <= 12
        assert not WORDS & set(re.findall(r"\w+", " ".join(text for _, text in cards).lower()))
        said: dict[str, set[str]] = {}
        for url, text in cards:
            said.setdefault(text, set()).add(combination(bursty.pictures[url]))
        assert 2 <= len(said) <= 4
        if all(len(seen) == 1 for seen in said.values()):
            assert len(set.union(*said.values())) == len(said)
            continue
        concepts += 1
        one, two = ([bursty.pictures[url] for url, text in cards if text == name] for name in said)
        deciding = [
            name
            for name in ATTRIBUTES
            if len({getattr(card, name) for card in one}) == len({getattr(card, name) for card in two}) == 1
            and getattr(one[0], name) != getattr(two[0], name)
        ]
        assert deciding
    assert 15 < concepts < 45
    assert len({text for page in pages for _, text in shown(page)}) > 120, "names are dealt anew on every page"


def test_no_card_shows_a_combination_that_is_held_out(bursty: Web) -> None:
    assert not any(map(held_out, bursty.pictures.values()))
    ordinary = generate(120, seed=5).pictures.values()
    assert 0.1 < sum(map(held_out, ordinary)) / len(ordinary) < 0.3


def test_pages_of_names_say_their_names_again(bursty: Web) -> None:
    for page in (page for page in bursty.truth if page.case == "names"):
        (_, url), (_, text) = page.nodes
        assert url in bursty.pictures
        words = re.findall(r"\w+", text.lower())
        assert len(words) > 300 and len(set(words)) < 0.5 * len(words)


def test_other_pages_stay_as_they_are() -> None:
    plain, more = generate(120, seed=5), generate(120, seed=5, names=1, cards=1)
    bodies = {url: resource.body for url, resource in more.resources.items()}
    assert all(bodies[url] == resource.body for url, resource in plain.resources.items())
