"""Compose pages: their text and images, and the truth about them."""

import codecs
import random
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from pipeline.miniweb.markup import (
    FORMS,
    Block,
    Draft,
    Figure,
    Heading,
    Paragraph,
    Site,
    image_tag,
    page_html,
    reference,
)
from pipeline.miniweb.pictures import FORMATS, GROUNDS, draw_picture, encode
from pipeline.miniweb.web import Drawing, Mention, Node, PageTruth, Resource, Web
from pipeline.miniweb.words import CHOICES, ENGLISH, Grammar, Prose, fill

FIRST_CAPTURE = datetime(2026, 3, 2, 8, 0, 0, tzinfo=UTC)

SIZES = ((224, 224),) * 7 + ((160, 160), (256, 256), (240, 180), (180, 240), (288, 216), (320, 240))
KINDS_OF_FILE = ("jpeg",) * 12 + ("progressive", "progressive", "png", "png", "palette", "webp", "gif", "exif", "cmyk")
RARE_KINDS_OF_FILE = ("animated", "png16", "alpha", "exif", "cmyk", "webp")

# Encoding labels on the web and their meaning (WHATWG Encoding Standard, section 4.2).
CODECS = {"iso-8859-1": "cp1252", "windows-1252": "cp1252", "shift_jis": "cp932", "utf-16": "utf-16"}

# Number of words of each class that a site uses: sites differ in their topics.
SITE_WORDS = {"adjective": 14, "thing": 24, "person": 10, "verb": 16, "place": 12, "time": 12}


@dataclass(slots=True)
class Writing:
    """The web under construction. `seconds` is the offset of the next capture from `FIRST_CAPTURE`."""

    seed: int
    web: Web
    seconds: int = 0
    pages: dict[str, list[str]] = field(default_factory=dict)
    drawn: dict[str, list[str]] = field(default_factory=dict)

    def rng(self, *names: object) -> random.Random:
        """A generator seeded by the web's seed and these names."""
        return random.Random("/".join(map(str, (self.seed, *names))))

    def date(self, days: int = 0) -> str:
        """The date of a capture; each call is a second later."""
        self.seconds += 1
        return (FIRST_CAPTURE + timedelta(days=days, seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def add(
        self,
        url: str,
        body: bytes,
        media_type: str,
        *,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        days: int = 0,
    ) -> str:
        """Capture a response and return its date."""
        date = self.date(days)
        self.web.captures.append((url, Resource(status, (("Content-Type", media_type), *headers), body, date)))
        return date


def site_lists(write: Writing, site: Site) -> dict[str, tuple[str, ...]]:
    """The words used by the English pages of a site."""
    rng = write.rng(site.host, "words")
    return {kind: tuple(rng.sample(words, SITE_WORDS[kind])) for kind, words in sorted(ENGLISH.lists.items())}


def prose(write: Writing, site: Site, language: Grammar, rng: random.Random, sentences: int) -> Prose:
    """Sentences with the site's words."""
    return language.prose(rng, sentences, site_lists(write, site) if language is ENGLISH else None)


def show_picture(
    write: Writing, draft: Draft, language: Grammar, name: str, rng: random.Random, **wanted: str
) -> tuple[Drawing, Figure]:
    """Draw an image, publish it under every URL the page offers, and mark it up.

    wanted: `kind` of file (a key of `FORMATS`), `form` of markup (one of `FORMS`), `how` references are written."""
    site = draft.site
    width, height = rng.choice(SIZES)
    form = wanted.get("form") or (site.lazy if rng.random() < 0.7 else rng.choice(FORMS))
    kind = wanted.get("kind") or rng.choice(KINDS_OF_FILE if rng.random() < 0.95 else RARE_KINDS_OF_FILE)
    if kind == "exif":
        width, height = 240, 180
    if form == "link":
        width, height = 320, 240
    picture = draw_picture(rng, width, height)
    if kind == "alpha" and GROUNDS[picture.ground] != "white":
        kind = "png"

    # Alternative text also names what the image shows; it must never enter the text.
    alt = "Drawing: " + language.caption(write.rng(site.host, name, "alt"), picture).text

    def publish(label: str, scale: int, kind: str) -> str:
        media_type, ending = FORMATS[kind]
        size = Drawing(picture.colour, picture.shape, picture.count, picture.ground, width // scale, height // scale)
        url = site.root + image_path(site, f"{name}{label}", ending, size)
        write.add(url, encode(size, write.rng(site.host, name, "drawing"), kind), media_type)
        write.web.pictures[url] = size
        return url

    if form == "link":
        urls = {"main": publish("", 2, kind), "full": publish("-full", 1, kind)}
    else:
        urls = {"main": publish("", 1, kind)}
    if form in ("srcset", "data-srcset"):
        urls["small"] = publish("-small", 2, kind)
    if form == "picture":
        urls["webp"] = publish("-webp", 1, "webp")
    write.drawn.setdefault(site.host, []).append(urls["main"])
    how = wanted.get("how") or rng.choice(("absolute", "scheme", "root", "relative"))
    refs = {role: reference(how, url, draft.base_url) for role, url in urls.items()}
    html = image_tag(form, refs, alt, width, height)
    others = tuple(url for role, url in urls.items() if role != "main")
    return picture, Figure(html, urls["main"], others)


def image_path(site: Site, name: str, ending: str, size: Drawing) -> str:
    """A path in the style of the site: file names, names with commas, or queries."""
    # Sites served from a folder have files behind their URLs, and files have no queries.
    style = sum(site.host.encode()) % 4 if not urlsplit(site.root).path else 0
    if style == 1:
        return f"/cdn/w_{size.width},h_{size.height}/{name}.{ending}"
    if style == 2:
        return f"/image.php?id={name}&w={size.width}"
    if style == 3:
        return f"/wp-content/uploads/2025/11/{name}-{size.width}x{size.height}.{ending}"
    return f"/img/{name}.{ending}"


def compose(
    write: Writing,
    site: Site,
    name: str,
    language: Grammar,
    *,
    pictures: int | None = None,
    sentences: int = 1,
    base: str = "",
    **wanted: str,
) -> Draft:
    """A page in the site's style with images in its text. `sentences` sets the length of paragraphs, `base` the URL of
    a base element; `wanted` is passed to `show_picture`."""
    rng = write.rng(site.host, name)
    lists = site_lists(write, site) if language is ENGLISH else language.lists
    slots = language.slots(rng, lists)
    title = fill(language.title, slots).text
    draft = Draft(site, f"{site.root}/{name}", language.code, title, [Heading(1, Prose(title))])
    draft.base = base
    stem = re.sub(r"\W+", "-", name).strip("-")
    count = pictures if pictures is not None else rng.choice((4, 5) if site.kind == "gallery" else (2, 3, 3, 4))
    draft.encoding = rng.choice(language.encodings)
    draft.declared = rng.choice(
        ("header", "meta", "http-equiv", "both", "bom" if draft.encoding == "utf-8" else "meta")
    )
    # A few pages put the words before the image.
    before = site.kind == "documentation" and rng.random() < 0.3
    text = partial(language.prose, rng, lists=lists)
    blocks = draft.blocks
    if site.kind != "forum":
        blocks.append(Paragraph(text(sentences + 1)))
    for index in range(count):
        picture, figure = show_picture(write, draft, language, f"{stem}-{index + 1}", rng, **wanted)
        caption = language.caption(rng, picture)
        repeat = language.repeat(rng, picture) if rng.random() < 0.5 else None
        more = text(sentences)
        if repeat is not None:
            more = repeat if sentences == 1 else repeat.then(more, language.between)
        figure = replace(figure, picture=index)
        if site.kind == "article":
            blocks += [replace(figure, caption=caption), Paragraph(more, index)]
        elif site.kind == "gallery":
            blocks += [figure, Paragraph(caption, index), Paragraph(more, index)]
        elif site.kind == "forum":
            blocks += [
                Heading(3, Prose(slots["person"] if index % 2 else slots["person2"])),
                Paragraph(text(sentences)),
                figure,
                Paragraph(caption.then(more, language.between), index),
            ]
        elif before:
            blocks += [Paragraph(caption.then(more, language.between), index), figure]
        else:
            if site.kind == "documentation":
                heading = language.slots(rng, lists)
                blocks += [Heading(2, Prose(f"{index + 1}. {heading['thing']}")), Paragraph(text(1))]
            blocks += [figure, Paragraph(caption.then(more, language.between), index)]
    blocks.append(Paragraph(text(sentences)))
    return draft


def html_bytes(draft: Draft) -> bytes:
    """The page in its encoding; missing characters become character references."""
    text = page_html(draft)
    if draft.declared == "bom":
        return codecs.BOM_UTF8 + text.encode()
    return text.encode(CODECS.get(draft.encoding, draft.encoding), "xmlcharrefreplace")


def content_type(draft: Draft) -> str:
    """The Content-Type header."""
    if draft.content_type:
        return draft.content_type
    return f"text/html; charset={draft.encoding}" if draft.declared in ("header", "both") else "text/html"


def truth(draft: Draft, date: str, *, rule: str | None = None, case: str = "", twin: str | None = None) -> PageTruth:
    """The expected outcome for the page."""
    extracted, _ = nodes_of(draft.blocks, dropped=True)
    nodes, mentions = nodes_of(draft.blocks, dropped=False)
    figures = [block for block in draft.blocks if isinstance(block, Figure)]
    return PageTruth(
        url=draft.url,
        date=date,
        language=draft.language,
        rule=rule,
        nodes=nodes,
        extracted=extracted,
        dropped=tuple((figure.url, figure.rule) for figure in figures if figure.rule is not None),
        alternatives={figure.url: figure.alternatives for figure in figures if figure.alternatives},
        mentions=mentions,
        case=case,
        twin=twin,
    )


def nodes_of(blocks: list[Block], *, dropped: bool) -> tuple[tuple[Node, ...], tuple[Mention, ...]]:
    """The nodes of a page with or without its dropped images, and the mentions in them."""
    nodes: list[Node] = []
    places: dict[int, int] = {}
    found: list[tuple[int | None, str, int, int, int]] = []

    def say(words: Prose, picture: int | None) -> None:
        if nodes and nodes[-1][0] == "text":
            shift = len(nodes[-1][1]) + 2
            nodes[-1] = ("text", f"{nodes[-1][1]}\n\n{words.text}")
        else:
            shift = 0
            nodes.append(("text", words.text))
        found.extend((picture, n.attribute, len(nodes) - 1, n.start + shift, n.stop + shift) for n in words.named)

    for block in blocks:
        if isinstance(block, Figure):
            if dropped or block.rule is None:
                if block.picture is not None:
                    places[block.picture] = len(nodes)
                nodes.append(("image", block.url))
            if block.caption is not None:
                say(block.caption, block.picture)
        else:
            say(block.words, block.picture if isinstance(block, Paragraph) else None)
    seen = set()
    mentions = []
    for picture, attribute, node, start, stop in found:
        first = (picture, attribute) not in seen
        seen.add((picture, attribute))
        place = None if picture is None else places.get(picture)
        word = nodes[node][1][start:stop]
        mentions.append(Mention(attribute, word, CHOICES[attribute], node, start, stop, place, first))
    return tuple(nodes), tuple(mentions)


def publish(
    write: Writing,
    draft: Draft,
    *,
    rule: str | None = None,
    case: str = "",
    days: int = 0,
    body: bytes | None = None,
    twin: str | None = None,
) -> None:
    """Capture the page, or `body` instead of its rendering, and record its truth."""
    content = html_bytes(draft) if body is None else body
    date = write.add(draft.url, content, content_type(draft), headers=draft.headers, days=days)
    write.web.truth.append(truth(draft, date, rule=rule, case=case, twin=twin))
    if draft.url not in write.pages.setdefault(draft.site.host, []):
        write.pages[draft.site.host].append(draft.url)


def write_other(
    write: Writing,
    url: str,
    rule: str,
    *,
    body: bytes = b"",
    media_type: str = "text/html",
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
    case: str = "",
    linked: Site | None = None,
) -> None:
    """Capture a response that is not a page or must not be kept, and record its rule. The home page of the site
    `linked` links to it."""
    date = write.add(url, body, media_type, status=status, headers=headers)
    write.web.truth.append(PageTruth(url, date, rule=rule, case=case))
    if linked is not None:
        write.pages.setdefault(linked.host, []).append(url)


def stem_of(url: str) -> str:
    """Letters and digits of a URL's path, to derive names from it."""
    return re.sub(r"\W+", "-", urlsplit(url).path + urlsplit(url).query).strip("-")
