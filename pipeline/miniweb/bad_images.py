"""Images that must be dropped, each under its rule, and the kept pages around them."""

import zlib
from collections.abc import Callable
from html import escape

from pipeline.miniweb import pictures
from pipeline.miniweb.compose import Writing, compose, publish, stem_of, write_other
from pipeline.miniweb.markup import Draft, Figure, Site
from pipeline.miniweb.odd import Case
from pipeline.miniweb.words import Grammar

Fault = Callable[[Writing, Site, str], Figure]
"""Publishes something under a name and returns the figure that refers to it."""


def figure(url: str, rule: str) -> Figure:
    """A plain image element."""
    return Figure(f'<img src="{escape(url)}" alt="Bad">', url, rule=rule)


def served(
    rule: str,
    ending: str,
    media_type: str,
    body: Callable[[Writing, str], bytes],
    headers: tuple[tuple[str, str], ...] = (),
) -> Fault:
    """A fault in a response with status 200."""

    def fault(write: Writing, site: Site, name: str) -> Figure:
        url = f"{site.root}/extra/{name}.{ending}"
        write.add(url, body(write, url), media_type, headers=headers)
        return figure(url, rule)

    return fault


def absent(write: Writing, site: Site, name: str) -> Figure:
    """An image that was not captured."""
    return figure(f"{site.root}/extra/{name}-absent.jpg", "image.not_fetched")


def answered_404(write: Writing, site: Site, name: str) -> Figure:
    """An image for which the server answers 404."""
    url = f"{site.root}/extra/{name}-404.jpg"
    write_other(write, url, "record.status", status=404, body=b"<h1>Not found</h1>\n", case="picture that is not there")
    return figure(url, "image.not_fetched")


def lying_html(write: Writing, url: str) -> bytes:
    """HTML labelled as an image."""
    return b"<!DOCTYPE html><html><body><p>Please log in to see this picture.</p></body></html>\n"


def cut_png(write: Writing, url: str) -> bytes:
    """A PNG truncated in its first compressed block."""
    return pictures.banner(write.rng(url))[:60]


def whole_jpeg(write: Writing, url: str) -> bytes:
    """A valid JPEG."""
    rng = write.rng(url)
    return pictures.encode(pictures.draw_picture(rng, 224, 224), rng, "jpeg")


def cut_jpeg(write: Writing, url: str) -> bytes:
    """A JPEG truncated before its first scan."""
    whole = whole_jpeg(write, url)
    return whole[: whole.index(b"\xff\xda")]


def bomb(write: Writing, url: str) -> bytes:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    return pictures.png_file(20_000, 20_000, 8, zlib.compress(bytes(100_000), 6))


FAULTS: dict[str, Fault] = {
    "absent": absent,
    "404": answered_404,
    "opted out": served("consent.noimageai", "jpg", "image/jpeg", whole_jpeg, headers=(("X-Robots-Tag", "noimageai"),)),
    "HTML as image/png": served("image.not_an_image", "png", "image/png", lying_html),
    "cut PNG": served("image.undecodable", "png", "image/png", cut_png),
    "cut JPEG": served("image.undecodable", "jpg", "image/jpeg", cut_jpeg),
    "bomb": served("image.too_many_pixels", "png", "image/png", bomb),
    "tracking pixel": served("image.too_small", "gif", "image/gif", lambda write, url: pictures.PIXEL),
    "icon": served("image.too_small", "png", "image/png", lambda write, url: pictures.icon(write.rng(url))),
    "banner": served("image.aspect", "png", "image/png", lambda write, url: pictures.banner(write.rng(url))),
    "single colour": served(
        "image.single_colour", "png", "image/png", lambda write, url: pictures.single_colour(write.rng(url))
    ),
}


def insert(draft: Draft, extra: Figure, place: int) -> None:
    """Insert a figure between two blocks of the main content, not before the second."""
    draft.blocks.insert(2 + place % (len(draft.blocks) - 1), extra)


def with_fault(name_of_fault: str) -> Case:
    """A kept page with one more image, which must be dropped."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        draft = compose(write, site, name, language)
        extra = FAULTS[name_of_fault](write, site, stem_of(draft.url))
        insert(draft, extra, write.rng(draft.url, "fault").randrange(100))
        publish(write, draft, case=f"bad picture: {name_of_fault}")

    return page


def repeated_url(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The first image again at the end, under the same URL."""
    draft = compose(write, site, name, language, form="plain")
    first = next(block for block in draft.blocks if isinstance(block, Figure))
    draft.blocks.insert(-1, figure(first.url, "image.repeated"))
    publish(write, draft, case="picture repeated under its URL")


def repeated_content(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The first image again at the end, under another URL with the same bytes."""
    draft = compose(write, site, name, language, form="plain")
    first = next(block for block in draft.blocks if isinstance(block, Figure))
    url = f"{site.root}/extra/{stem_of(first.url)}-copy.jpg"
    resource = write.web.resources[first.url]
    write.add(url, resource.body, resource.header("Content-Type"))
    write.web.pictures[url] = write.web.pictures[first.url]
    draft.blocks.insert(-1, figure(url, "image.repeated"))
    publish(write, draft, case="picture repeated under another URL")


WITH_BAD_IMAGES: tuple[Case, ...] = (*(with_fault(name) for name in FAULTS), repeated_url, repeated_content)
