"""Pages and other responses that must be dropped, each under exactly one rule."""

from dataclasses import replace

from pipeline.miniweb.bad_images import FAULTS
from pipeline.miniweb.compose import (
    Writing,
    compose,
    html_bytes,
    publish,
    stem_of,
    truth,
    write_other,
)
from pipeline.miniweb.markup import Figure, Heading, Paragraph, Site
from pipeline.miniweb.odd import Case, plain_utf8
from pipeline.miniweb.words import ENGLISH, Grammar, Prose

LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore"
    " magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo"
    " consequat.",
    "Duis aute irure dolor in reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur"
    " sint occaecat cupidatat non proident, sunt in culpa qui officia deserunt mollit anim id est laborum.",
)


def no_image(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A page of text only."""
    draft = compose(write, site, name, language, pictures=0, sentences=6)
    publish(write, draft, rule="page.no_image", case="no picture")


def no_image_left(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Text with images that must all be dropped."""
    draft = compose(write, site, name, language, pictures=0, sentences=6)
    draft.declared = "meta"
    for fault in ("tracking pixel", "absent", "icon"):
        extra = FAULTS[fault](write, site, f"{stem_of(draft.url)}-{fault.replace(' ', '-')}")
        draft.blocks.insert(-1, extra)
    publish(write, draft, rule="page.no_image_left", case="only bad pictures")


def too_few_words(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """An image with nine words, including the heading."""
    draft = compose(write, site, name, ENGLISH, pictures=1)
    shown = next(block for block in draft.blocks if isinstance(block, Figure))
    draft.title = "Drawing"
    words = Prose("A drawing for the members of our society.")
    draft.blocks = [Heading(1, Prose(draft.title)), replace(shown, caption=None, picture=None), Paragraph(words)]
    publish(write, draft, rule="text.too_few_words", case="under 10 words")


def placeholder(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Lorem ipsum around an image."""
    draft = compose(write, site, name, ENGLISH, pictures=1)
    shown = next(block for block in draft.blocks if isinstance(block, Figure))
    first, second = (Paragraph(Prose(text)) for text in LOREM)
    draft.title = "Lorem ipsum"
    heading = Heading(1, Prose(draft.title))
    draft.blocks = [heading, first, replace(shown, caption=None, picture=None), second]
    publish(write, draft, rule="text.placeholder", case="lorem ipsum")


def older_capture(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A URL captured twice with different text: the older capture is dropped."""
    newer = compose(write, site, name, language)
    older = compose(write, site, f"{name.rstrip('/')}-before{'/' if name.endswith('/') else ''}", language)
    older.url = newer.url
    publish(write, older, rule="dedup.url", case="older capture", days=-40, twin=newer.url)
    publish(write, newer, case="captured twice")


def same_capture(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The same record twice, as in overlapping files."""
    draft = compose(write, site, name, language)
    publish(write, draft)
    url, resource = write.web.captures[-1]
    write.web.captures.append((url, resource))
    again = truth(draft, resource.date, rule="dedup.same_capture", case="same record twice", twin=draft.url)
    write.web.truth.append(again)


def copy_url(url: str) -> str:
    """A URL for a copy of a page in the same folder, sorted after it."""
    if url.endswith("/"):
        return f"{url[:-1]}_print/"
    before, dot, ending = url.rpartition(".html")
    return f"{before}_print.html" if dot else f"{ending}_print"


def same_text(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A page and a copy under another URL, captured a day earlier."""
    draft = plain_utf8(write, site, name, language)
    publish(write, draft, case="has a copy")
    copy = replace(draft, url=copy_url(draft.url))
    publish(write, copy, rule="dedup.text", case="copy", days=-1, twin=draft.url)


def nearly_same_text(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A long page and a near copy under another URL, captured a day earlier: one word differs."""
    draft = compose(write, site, name, ENGLISH, pictures=4, sentences=4)
    draft.declared = "meta"
    publish(write, draft, case="has a near copy")
    last = draft.blocks[-1]
    assert isinstance(last, Paragraph)
    edited = Paragraph(Prose("Somebody " + last.words.text.partition(" ")[2]))
    copy = replace(draft, url=copy_url(draft.url), blocks=[*draft.blocks[:-1], edited])
    publish(write, copy, rule="dedup.near_text", case="near copy", days=-1, twin=draft.url)


def status(code: int) -> Case:
    """A complete page with a status other than 200."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        draft = compose(write, site, name, language, pictures=1)
        case = f"status {code}"
        write_other(write, draft.url, "record.status", status=code, body=html_bytes(draft), case=case, linked=site)

    return page


def redirect(code: int) -> Case:
    """A redirect to the site's home page."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        body = f'<html><body><a href="{site.root}/">Moved</a></body></html>\n'.encode()
        headers = (("Location", f"{site.root}/"),)
        write_other(
            write,
            f"{site.root}/{name}",
            "record.redirect",
            status=code,
            body=body,
            headers=headers,
            case=f"redirect {code}",
            linked=site,
        )

    return page


def media_type(name_of_type: str, body: bytes) -> Case:
    """A response with a media type that is not a page."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        url = f"{site.root}/{name}"
        write_other(write, url, "record.media_type", body=body, media_type=name_of_type, case=name_of_type, linked=site)

    return page


PDF = b"%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n"
ZIP = b"PK\x03\x04" + bytes(26)
FEED = b'<?xml version="1.0"?>\n<rss version="2.0"><channel><title>News</title></channel></rss>\n'


def opt_out(rule: str, *, headers: tuple[tuple[str, str], ...] = (), head: str = "") -> Case:
    """A page that opts out."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        draft = compose(write, site, name, language)
        draft.headers, draft.head = headers, head
        where = f"header {headers[0][0]}" if headers else "meta"
        publish(write, draft, rule=rule, case=f"opt-out by {where}")

    return page


def empty(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """An empty body."""
    write_other(write, f"{site.root}/{name}", "record.empty", case="empty body", linked=site)


def not_html(kind: str) -> Case:
    """A PDF or an archive labelled as HTML."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        url = f"{site.root}/{name}"
        body = PDF if kind == "PDF" else ZIP
        write_other(write, url, "page.not_html", body=body, case=f"{kind} as text/html", linked=site)

    return page


def no_content(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """An empty page that a script would fill."""
    script = f'<script src="{site.root}/static/site.js"></script>'
    body = f'<!DOCTYPE html><html><head><title></title></head><body><div id="root"></div>{script}</body></html>\n'
    write_other(write, f"{site.root}/{name}", "page.no_content", body=body.encode(), case="empty shell", linked=site)


DROPPED: tuple[Case, ...] = (
    no_image,
    no_image_left,
    too_few_words,
    placeholder,
    older_capture,
    same_capture,
    same_text,
    nearly_same_text,
    status(404),
    status(500),
    status(410),
    redirect(301),
    redirect(302),
    redirect(308),
    media_type("application/pdf", PDF),
    media_type("application/rss+xml", FEED),
    opt_out("consent.noai", headers=(("X-Robots-Tag", "noai"),)),
    opt_out("consent.noimageai", head='<meta name="robots" content="index, noimageai">\n'),
    opt_out("consent.noindex", head='<meta name="robots" content="noindex, follow">\n'),
    opt_out("consent.noml", headers=(("X-Robots-Tag", "noml"),)),
    opt_out("consent.tdm_reservation", headers=(("TDM-Reservation", "1"),)),
    opt_out("consent.tdm_reservation", head='<meta name="tdm-reservation" content="1">\n'),
    empty,
    not_html("PDF"),
    not_html("ZIP"),
    no_content,
)


def hostile_pages(write: Writing, site: Site) -> None:
    """A page of 2 MB (`page.too_large` with a lower limit), and one whose main content is nested in 100,000 elements
    (`page.too_deep`)."""
    large = plain_utf8(write, site, "hostile/large", ENGLISH)
    large.after = "<!-- " + "padding " * 250_000 + "-->\n"
    publish(write, large, rule="page.too_large", case="2 MB")
    nested = plain_utf8(write, site, "hostile/deep", ENGLISH)
    body = html_bytes(nested).replace(b"<h1>", b"<div>" * 100_000 + b"<h1>")
    publish(write, nested, rule="page.too_deep", case="100,000 nested elements", body=body)
