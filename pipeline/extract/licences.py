"""Licences and authors that the markup states for single images: in a figure, in an ImageObject of schema.org
(microdata or JSON-LD). What it states elsewhere is of the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.extract.images import sizes_of_one
from pipeline.extract.runs import one_line
from pipeline.urls import resolve

LICENCE = ("license", "acquirelicensepage")
AUTHOR = ("creator", "author", "credittext", "copyrightholder", "copyrightnotice")
"""Properties of an ImageObject in lower case, most telling first. A page where a licence can be acquired counts as one:
it shows that the image is not free."""
URLS = ("contenturl", "url")
STATED = frozenset((*LICENCE, *AUTHOR, *URLS))
NESTED = ("image", "associatedMedia", "primaryImageOfPage")
LEVELS = 12
"""Elements around an image or a statement among which a figure or an ImageObject is looked for."""
MOST = 200
"""Statements of a page, and images of its JSON-LD, that are read."""
COMPARED = 10
"""URLs of JSON-LD up to which they are compared with other sizes of the page's images."""
LONGEST = 1000


class Terms(NamedTuple):
    """A licence (a URL, or text) and an author; "" if not stated."""

    licence: str = ""
    author: str = ""


@dataclass(slots=True)
class Statements:
    """What is stated while a page is read: (element around it, property in lower case, value), the elements that are an
    ImageObject, and terms by URL (as written) of JSON-LD."""

    said: list[tuple[int, str, str]] = field(default_factory=list)
    objects: set[int] = field(default_factory=set)
    by_url: dict[str, Terms] = field(default_factory=dict)
    by_element: dict[int, Terms] = field(default_factory=dict)
    resolved: dict[str, Terms] = field(default_factory=dict)
    """`by_url` with absolute URLs; filled when it is first needed, after the page was read."""

    def say(self, element: int, name: str, value: str) -> None:
        if value.strip() and len(self.said) < MOST:
            self.said.append((element, name, one_line(value[:LONGEST])))

    def item(self, element: int, attributes: Mapping[str, str]) -> None:
        """An element with itemprop; only values in attributes are read."""
        value = attributes.get("content") or attributes.get("href") or attributes.get("src") or ""
        for name in STATED.intersection(attributes["itemprop"].lower().split()):
            self.say(element, name, value)

    def data(self, node: Mapping[str, Any]) -> None:
        """A thing of JSON-LD: itself, or its images."""
        nested = [node, *(thing for name in NESTED for thing in _several(node.get(name)))]
        for thing in nested:
            if isinstance(thing, dict) and "imageobject" in str(thing.get("@type", "")).lower():
                stated = {name.lower(): value for name, value in thing.items()}
                terms = Terms(_first(stated, LICENCE), _first(stated, AUTHOR))
                for url in (stated.get(name) for name in URLS) if any(terms) else ():
                    if isinstance(url, str) and len(self.by_url) < MOST:
                        self.by_url.setdefault(url[:2000], terms)

    def settle(self, parents: Sequence[int], tags: Sequence[str]) -> Iterator[str]:
        """Give each statement to the figure or ImageObject around it; yields the licences that are the page's."""
        stated: dict[int, dict[str, str]] = {}
        for element, name, value in self.said:
            holder = next((up for up in around(element, parents) if tags[up] == "figure" or up in self.objects), -1)
            if holder >= 0:
                stated.setdefault(holder, {}).setdefault(name, value)
            elif name == "license":
                yield value
        for holder, found in stated.items():
            terms = Terms(_first(found, LICENCE), _first(found, AUTHOR))
            if any(terms):
                self.by_element[holder] = terms
                self.by_url.update((found[name], terms) for name in URLS if name in found and holder in self.objects)

    def of(self, element: int, urls: Sequence[str], parents: Sequence[int], base: str) -> Terms:
        """The terms of an image inside an element, at some absolute URLs."""
        terms = None
        if self.by_element:
            terms = next((self.by_element[up] for up in around(element, parents) if up in self.by_element), None)
        if terms is None and self.by_url:
            if not self.resolved:
                self.resolved = {resolve(url, base) or url: terms for url, terms in self.by_url.items()}
            terms = next((self.resolved[url] for url in urls if url in self.resolved), None)
            if terms is None and len(self.resolved) <= COMPARED:
                alike = (known for known in self.resolved if any(sizes_of_one(known, url) for url in urls[:COMPARED]))
                terms = self.resolved.get(next(alike, ""))
        if terms is None:
            return Terms()
        licence = terms.licence
        return terms._replace(licence=(licence if " " in licence else resolve(licence, base)) or licence)


def around(element: int, parents: Sequence[int]) -> Iterator[int]:
    """An element and those around it, innermost first."""
    for _ in range(LEVELS):
        if element < 0:
            return
        yield element
        element = parents[element]


def _several(value: object) -> list[Any]:
    return value[:MOST] if isinstance(value, list) else [value]


def _first(stated: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of some properties that has a value: a text, a thing with a name or an address, or several."""
    for name in names:
        texts = []
        for value in _several(stated.get(name))[:20]:
            if isinstance(value, dict):
                keys = ("name", "url", "@id") if name in AUTHOR else ("url", "@id", "name")
                value = next((value[key] for key in keys if isinstance(value.get(key), str)), None)
            if isinstance(value, str) and value.strip():
                texts.append(one_line(value[:LONGEST].encode("utf-16", "surrogatepass").decode("utf-16", "replace")))
        if texts:
            return texts[0] if name in LICENCE else ", ".join(texts)[:LONGEST]
    return ""
