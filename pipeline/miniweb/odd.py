"""Pages that must be kept despite an oddity."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from html import escape

from pipeline.miniweb.compose import Writing, compose, html_bytes, publish, stem_of, write_other
from pipeline.miniweb.markup import Draft, Figure, Site
from pipeline.miniweb.pictures import FORMATS
from pipeline.miniweb.words import Grammar

Case = Callable[[Writing, Site, str, Grammar], None]
"""Writes a page of a site with this name and language."""


def edit_figures(draft: Draft, edit: Callable[[Figure], Figure]) -> None:
    """Change every figure of the page."""
    draft.blocks = [edit(block) if isinstance(block, Figure) else block for block in draft.blocks]


def header_wrong(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The server's default charset is wrong: the bytes are valid UTF-8, as the page declares."""
    draft = compose(write, site, name, language)
    draft.encoding, draft.declared = "utf-8", "meta"
    draft.content_type = "text/html; charset=iso-8859-1"
    publish(write, draft, case="charset: header wrong, meta right")


def meta_utf16(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A readable meta element cannot mean UTF-16: the HTML standard then uses UTF-8."""
    draft = compose(write, site, name, language)
    draft.encoding, draft.declared = "utf-8", "meta"
    body = html_bytes(draft).replace(b'<meta charset="utf-8">', b'<meta charset="utf-16">')
    publish(write, draft, case="charset: meta says utf-16, bytes are utf-8", body=body)


def meta_wrong(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The header is right and takes precedence over the meta element."""
    draft = compose(write, site, name, language)
    draft.encoding, draft.declared = "utf-8", "both"
    body = html_bytes(draft).replace(b'<meta charset="utf-8">', b'<meta charset="windows-1251">')
    publish(write, draft, case="charset: header right, meta wrong", body=body)


def undeclared(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """UTF-8 without any declaration."""
    draft = compose(write, site, name, language)
    draft.encoding, draft.declared = "utf-8", "none"
    publish(write, draft, case="charset: not declared, utf-8")


def base_element(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Relative references are resolved against the base element, not the page's URL."""
    draft = compose(write, site, name, language, base=f"{site.root}/elsewhere/deep/", how="relative")
    publish(write, draft, case="base element")


def redirected(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Every image is behind two redirects."""
    draft = compose(write, site, name, language, form="plain", how="absolute", kind="jpeg")

    def behind(figure: Figure) -> Figure:
        first = f"{site.root}/go/{stem_of(figure.url)}"
        second = f"{first}/again"
        write_other(write, first, "record.redirect", status=301, headers=(("Location", second),))
        write_other(write, second, "record.redirect", status=302, headers=(("Location", figure.url),))
        write.web.pictures[first] = write.web.pictures[figure.url]
        return replace(figure, url=first, html=figure.html.replace(escape(figure.url), first))

    edit_figures(draft, behind)
    publish(write, draft, case="pictures behind redirects")


def revisited(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The page's image URLs were captured only after the same bytes came from other URLs: revisit records."""
    draft = compose(write, site, name, language, form="plain", how="absolute", kind="jpeg")
    resources = dict(write.web.captures)

    def again(figure: Figure) -> Figure:
        url = f"{site.root}/mirror/{stem_of(figure.url)}.jpg"
        write.add(url, resources[figure.url].body, "image/jpeg")
        write.web.pictures[url] = write.web.pictures[figure.url]
        return replace(figure, url=url, html=figure.html.replace(escape(figure.url), url))

    edit_figures(draft, again)
    publish(write, draft, case="pictures in revisit records")


def best_missing(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Only the smaller image of a srcset is available."""
    draft = compose(write, site, name, language, form="srcset", kind="jpeg")
    gone = set()

    def smaller(figure: Figure) -> Figure:
        gone.add(figure.url)
        return replace(figure, url=figure.alternatives[0], alternatives=(figure.url,))

    edit_figures(draft, smaller)
    write.web.captures = [capture for capture in write.web.captures if capture[0] not in gone]
    write.drawn[site.host] = [url for url in write.drawn[site.host] if url not in gone]
    for url in sorted(gone):
        del write.web.pictures[url]
    publish(write, draft, case="best candidate of srcset missing")


def in_main(draft: Draft, edit: Callable[[str], str]) -> bytes:
    """The page with its main content edited as HTML."""
    text = html_bytes(draft).decode()
    start, stop = text.index("<h1>"), text.index('<div class="share-buttons')
    return (text[:start] + edit(text[start:stop]) + text[stop:]).encode()


def plain_utf8(write: Writing, site: Site, name: str, language: Grammar, kind: str = "") -> Draft:
    """A page in declared UTF-8, of this kind if given."""
    draft = compose(write, replace(site, kind=kind or site.kind), name, language)
    draft.encoding, draft.declared = "utf-8", "meta"
    return draft


def nul_bytes(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """NUL characters in text are ignored (HTML standard, 13.2.6.4.7)."""
    draft = plain_utf8(write, site, name, language)
    body = in_main(draft, lambda html: re.sub(r"<p>[^<]+</p>", lambda p: p[0].replace(" ", " \0"), html))
    publish(write, draft, case="NUL bytes", body=body)


def unclosed(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """No paragraph and no list item is closed."""
    draft = plain_utf8(write, site, name, language, "blog")
    publish(write, draft, case="unclosed elements", body=html_bytes(draft).replace(b"</p>", b"").replace(b"</li>", b""))


def misnested(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Inline elements overlap."""
    draft = plain_utf8(write, site, name, language)
    body = in_main(draft, lambda html: re.sub(r"<p>([^<]+)</p>", r"<p><b><i>\1</b></i></p>", html))
    publish(write, draft, case="misnested elements", body=body)


def truncated(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """The page ends within a tag after its main content."""
    draft = plain_utf8(write, site, name, language)
    body = html_bytes(draft)
    publish(write, draft, case="truncated HTML", body=body[: body.index(b'class="sidebar') - 4])


def shouting(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Element names in capitals, attributes without quotes or with spaces around equals signs."""
    draft = plain_utf8(write, site, name, language)

    def shout(html: str) -> str:
        html = re.sub(r"<(/?)(p|h\d|div|figure|figcaption|img)\b", lambda tag: f"<{tag[1]}{tag[2].upper()}", html)
        return re.sub(r' (width|height)="(\d+)"', r" \1 = \2", html)

    publish(write, draft, case="capitals and missing quotes", body=in_main(draft, shout))


def deep(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """1,000 nested elements after the main content; browsers keep 512."""
    draft = plain_utf8(write, site, name, language)
    draft.after = "<div>" * 1000 + "</div>" * 1000 + "\n"
    publish(write, draft, case="1,000 nested elements behind the main content")


def decoys(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Images in comments, scripts and templates do not count."""
    draft = plain_utf8(write, site, name, language)
    image = '<img src="/no/such/decoy.jpg" alt="Decoy">'
    decoy = f"<!-- {image} --><script>document.write('{image}')</script><template>{image}</template>"
    body = in_main(draft, lambda html: html.replace("</p>\n", f"</p>\n{decoy}\n", 1))
    publish(write, draft, case="pictures in comment, script and template", body=body)


def gzipped(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Content-Encoding: gzip."""
    draft = compose(write, site, name, language)
    draft.headers = (("Content-Encoding", "gzip"),)
    publish(write, draft, case="content encoding gzip", body=gzip.compress(html_bytes(draft), 6, mtime=0))


def chunked(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """Transfer-Encoding: chunked."""
    draft = compose(write, site, name, language)
    draft.headers = (("Transfer-Encoding", "chunked"),)
    publish(write, draft, case="transfer encoding chunked")


def long_page(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """More text and images than a window holds."""
    publish(write, compose(write, site, name, language, pictures=9, sentences=4), case="long page")


def file_kind(kind: str) -> Case:
    """A page whose images are all files of one format."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        publish(write, compose(write, site, name, language, kind=kind), case=f"pictures as {kind}")

    return page


def turned(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """EXIF orientations, already applied to the width and height in the truth."""
    publish(write, compose(write, site, name, language, pictures=7, kind="exif"), case="EXIF orientations")


KEPT: tuple[Case, ...] = (
    header_wrong,
    meta_utf16,
    meta_wrong,
    undeclared,
    base_element,
    redirected,
    revisited,
    best_missing,
    nul_bytes,
    unclosed,
    misnested,
    truncated,
    shouting,
    deep,
    decoys,
    gzipped,
    chunked,
    long_page,
    *(file_kind(kind) for kind in FORMATS if kind not in ("jpeg", "exif")),
    turned,
)
