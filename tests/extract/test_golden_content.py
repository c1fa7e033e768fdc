"""Main content: what is kept of a page, and trafilatura as the engine."""

import PIL.Image
import pyarrow.parquet as pq
import pytest

from pipeline.extract import ExtractOptions, extract, hints
from shards.records import Image, Text
from tests.corpora import build_here
from tests.extract.pages import (
    AFTER,
    BEFORE,
    FOOTER,
    MENU,
    MIDDLE,
    ROOT,
    STORY,
    URL,
    document,
    page,
    text,
)

RELATED = (
    '<div class="related-posts"><h3>You may also like</h3><ul>'
    '<li><a href="/1">Ten lamps that changed the coast</a></li><li><a href="/2">The fog horn of Hals</a></li>'
    '<li><a href="/3">What sailors read</a></li></ul></div>'
)
COMMENTS = (
    '<section id="comments"><h3>2 comments</h3><ol class="comment-list"><li class="comment"><p>My grandfather was '
    "a keeper, and he told the very same story every Christmas.</p></li></ol></section>"
)
COOKIES = (
    '<div id="cookie-consent" role="dialog"><p>We use cookies to improve your experience.</p>'
    "<button>Accept</button></div>"
)
SHARE = '<div class="share-buttons"><a href="#">Share on Facebook</a> <a href="#">Tweet this</a></div>'


@pytest.mark.parametrize(
    ("boilerplate", "words"),
    [
        (MENU, "Home"),
        (RELATED, "fog horn"),
        (COMMENTS, "grandfather"),
        (COOKIES, "cookies"),
        (SHARE, "Facebook"),
        (FOOTER, "rights"),
    ],
    ids=["navigation", "related", "comments", "cookies", "share", "footer"],
)
@pytest.mark.parametrize("first", [True, False])
def test_boilerplate_is_left_out(boilerplate, words, first):
    body = boilerplate + STORY if first else STORY + boilerplate
    found = extract(page(f"<div id=page>{body}</div>"), URL)
    assert found is not None
    whole = "\n\n".join(node.text for node in found.nodes if isinstance(node, Text))
    assert BEFORE in whole and AFTER in whole
    assert words not in whole


def test_thread_is_its_comments_but_an_essay_is_not():
    remark = '<div class="comment"><p>The keeper of our light did the same, says my aunt, who knew him well.</p></div>'
    thread = extract(page(f"<div><h1>Who was he?</h1><p>{BEFORE}</p>{remark * 20}</div>"), URL)
    essay = extract(page(f"<div><p>{BEFORE}</p>{f'<p>{MIDDLE}</p>' * 25}{remark * 60}</div>"), URL)
    assert thread is not None and "my aunt" in thread.nodes[-1].text
    assert essay is not None and "my aunt" not in essay.nodes[-1].text


def test_comments_where_asked():
    found = extract(page(STORY + COMMENTS), URL, options=ExtractOptions(comments=True))
    assert found is not None
    assert "My grandfather was a keeper" in found.nodes[-1].text


def test_images_of_boilerplate_are_left_out():
    body = (
        '<header><a href="/"><img src="logo.png" width="200"></a></header>'
        + STORY.replace("</h1>", '</h1><img src="lamp.jpg" width="800">')
        + '<div class="related"><a href="/1"><img src="other.jpg" width="200">Ten lamps</a></div>'
        + '<aside class="sidebar"><img src="advert.jpg" width="300" height="250"></aside>'
    )
    found = extract(page(body), URL)
    assert found is not None
    assert [node.url for node in found.nodes if isinstance(node, Image)] == [ROOT + "lamp.jpg"]


@pytest.mark.parametrize("body", ["", "<p> </p>", '<img src="a.jpg">', "<nav><a href='/'>Home</a></nav>"])
def test_page_without_content_is_none(body):
    found = extract(page(body), URL)
    assert found is None


def test_a_link_that_shows_a_sign_is_a_control_and_no_text():
    nodes = document(
        '<p>Read it with dcraw<a href="/d">[*]</a>, then <a href="/rb">R &amp; B</a> <a href="#top">↑</a></p>'
    ).nodes
    assert nodes == (Text(f"{BEFORE}\n\nRead it with dcraw, then R & B\n\n{AFTER}"),)


def test_table_of_contents_is_left_out():
    entries = "".join(
        f'<li><a href="#s{n}">{name}</a></li>' for n, name in enumerate(("The lamp", "The stairs", "The sea"))
    )
    inner = f'<div class="box"><p>Inside</p><ol>{entries}</ol></div><h2 id="s0">The lamp</h2>'
    assert text(inner) == "The lamp"
    assert text(f'<div class="toc">Inside<ul><li><a href="#s">The lamp</a></li></ul></div><p>{MIDDLE}</p>') == MIDDLE
    # an entry of several pieces of text
    assert (
        text(f'<div class="toc">Inside<ul><li><a href="#s">Oil &amp; Gas</a></li></ul></div><p>{MIDDLE}</p>') == MIDDLE
    )
    assert text(f"<ol>{entries.replace('a href=', 'i>1.1</i> <a href=')}</ol><p>{MIDDLE}</p>") == MIDDLE
    # a saved page that names its own file
    for place in (URL, URL.rsplit("/", 1)[1]):
        assert text(f"<ol>{entries.replace('#s', f'{place}#s')}</ol><p>{MIDDLE}</p>") == MIDDLE
    assert text('<p>The log of <a href="#a">Anna</a>, <a href="#b">Berta</a> and <a href="#c">Carla</a>.</p>') != ""


def test_a_paragraph_that_leads_to_the_top_is_left_out():
    assert text(f'<p>{MIDDLE}</p><p><a href="#top">&lt; back to top</a></p>') == MIDDLE
    assert "in the log" in text('<p>It stands <a href="#log">in the log</a>.</p>')


def test_a_section_on_privacy_is_no_notice():
    said = "The lamp protects the keeper's privacy at every step: nobody on the mainland can read what he wrote there."
    assert said in text(f'<div class="privacy-section"><h2>Privacy</h2><p>{said}</p><p>{MIDDLE}</p></div>')


def test_words_of_classes_that_name_a_menu():
    for label in ("docnav top", "mainNav", "navheader", "site-nav__list", "breadcrumbs"):
        assert hints.bits(label) & hints.NAVIGATION, label
    for label in ("unavailable", "canvas", "content"):
        assert not hints.bits(label) & hints.NAVIGATION, label


def test_lines_that_a_wiki_puts_under_its_titles_are_left_out():
    lines = '<div id="siteSub">From the Keepers\' Wiki</div><div id="contentSub">(Redirected from Lamp)</div>'
    body = f"<div role=main><h1>Lamps</h1><div id=bodyContent>{lines}<p>{BEFORE}</p><p>{AFTER}</p></div></div>"
    (node,) = extract(page(body), URL).nodes
    assert node.text.removeprefix("Lamps\n\n") == f"{BEFORE}\n\n{AFTER}"


def test_trafilatura_chooses_the_text_and_we_place_the_images():
    figure = '<figure><img data-src="lamp.jpg"><figcaption>The lamp in 1911, before the fire.</figcaption></figure>'
    body = MENU + STORY.replace(f"<p>{MIDDLE}</p>", f"<p>{MIDDLE}</p>{figure}") + FOOTER
    found = extract(page(body), URL, options=ExtractOptions(engine="trafilatura"))
    assert found is not None
    at = next(i for i, node in enumerate(found.nodes) if isinstance(node, Image))
    assert found.nodes[at].url == ROOT + "lamp.jpg"
    assert found.nodes[at - 1].text.endswith(MIDDLE)
    assert found.nodes[at + 1].text.endswith(AFTER)
    assert "rights" not in found.nodes[-1].text


def test_trafilatura_in_a_build(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    PIL.Image.effect_noise((300, 200), 80).save(folder / "lamp.png")
    figure = '<figure><img src="lamp.png"><figcaption>The lamp in 1911, before the fire.</figcaption></figure>'
    (folder / "a.html").write_bytes(page(MENU + STORY.replace(f"<p>{MIDDLE}</p>", f"<p>{MIDDLE}</p>{figure}") + FOOTER))
    settings = ["extract.engine=trafilatura", "text.min_words=10"]
    root = build_here([folder], tmp_path / "corpus", settings, "https://example.org/blog/")
    (row,) = pq.read_table(root / "documents").to_pylist()
    assert [image["url"] for image in row["images"] if image] == [ROOT + "lamp.png"]
    assert next(text for text in row["texts"] if text).endswith(MIDDLE)


def test_trafilatura_without_content_is_none():
    assert extract(b"<p></p>", URL, options=ExtractOptions(engine="trafilatura")) is None
