"""Images: one small page per behaviour, each with the nodes that it must become."""

import numpy as np
import pytest

from pipeline.extract import extract
from pipeline.extract.reader import read
from pipeline.extract.selection import select_around
from shards.records import Image, Text
from tests.extract.pages import (
    AFTER,
    BEFORE,
    FOOTER,
    MENU,
    MIDDLE,
    ROOT,
    STORY,
    URL,
    article,
    document,
    images,
    page,
    text,
)


def test_image_between_paragraphs_keeps_its_place():
    assert document('<p><img src="a.jpg" alt="A lamp" width=640 height="480"></p>').nodes == (
        Text(BEFORE),
        Image(ROOT + "a.jpg", alt="A lamp", width=640, height=480),
        Text(AFTER),
    )


def test_image_inside_a_sentence_splits_the_text_at_its_place():
    nodes = document('<p>Turn the <img src="wheel.jpg"> wheel slowly until the lamp is lit.</p>').nodes
    assert nodes == (
        Text(BEFORE + "\n\nTurn the"),
        Image(ROOT + "wheel.jpg", within=" "),
        Text("wheel slowly until the lamp is lit.\n\n" + AFTER),
    )


def test_figure_caption_stays_in_the_text_and_is_repeated():
    nodes = document(
        '<figure><img src="a.jpg" alt="x"><figcaption>The lamp in 1911. <b>Photo: archive</b></figcaption></figure>'
    ).nodes
    caption = "The lamp in 1911. Photo: archive"
    assert nodes == (
        Text(BEFORE),
        Image(ROOT + "a.jpg", alt="x", caption=caption),
        Text(f"{caption}\n\n{AFTER}"),
    )


def test_wordpress_caption():
    inner = (
        '<div class="wp-caption alignright"><a href="/lamp/"><img src="a.jpg" width="300"></a>'
        '<p class="wp-caption-text">The lamp at night, seen from the harbour.</p></div>'
    )
    (image,) = images(inner)
    assert image.caption == "The lamp at night, seen from the harbour."
    assert image.caption in text(inner)


def test_alt_never_enters_the_text():
    assert text('<p><img src="a.jpg" alt="Secret words"></p>') == ""


def test_picture_takes_the_best_candidate_up_to_the_width():
    inner = (
        '<picture><source type="image/webp" srcset="a-480.webp 480w, a-960.webp 960w, a-1920.webp 1920w">'
        '<img src="a.jpg"></picture>'
    )
    (image,) = images(inner, max_image_width=1024)
    assert image.url == ROOT + "a-960.webp"
    assert set(image.alternatives) == {ROOT + "a-480.webp", ROOT + "a-1920.webp", ROOT + "a.jpg"}
    (small,) = images(inner, max_image_width=500)
    assert small.url == ROOT + "a-480.webp"


def test_srcset_with_densities():
    (image,) = images('<img src="a.jpg" width="300" srcset="a.jpg 1x, a@2x.jpg 2x, a@4x.jpg 4x">')
    assert image.url == ROOT + "a@2x.jpg"
    assert image.alternatives == (ROOT + "a.jpg", ROOT + "a@4x.jpg")


def test_srcset_with_commas_inside_urls():
    (image,) = images(
        '<img srcset="https://i.example.org/w_400,h_300/a.jpg 400w, https://i.example.org/w_800,h_600/a.jpg 800w">'
    )
    assert image.url == "https://i.example.org/w_800,h_600/a.jpg"
    assert image.alternatives == ("https://i.example.org/w_400,h_300/a.jpg",)


def test_srcset_only_image():
    assert [i.url for i in images('<img srcset="only.jpg 700w" alt="">')] == [ROOT + "only.jpg"]


@pytest.mark.parametrize(
    "attribute", ["data-src", "data-original", "data-lazy-src", "data-url", "data-orig-file", "data-made-up-image"]
)
def test_lazy_attributes(attribute):
    (image,) = images(f'<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" {attribute}="real.jpg" width="600">')
    assert image.url == ROOT + "real.jpg"
    assert image.alternatives == ()


def test_lazy_srcset():
    (image,) = images('<img src="placeholder.gif" data-srcset="a-300.jpg 300w, a-900.jpg 900w">')
    assert (image.url, image.alternatives) == (ROOT + "a-900.jpg", (ROOT + "a-300.jpg",))


def test_placeholder_without_a_picture_is_no_image():
    assert images('<p><img src="data:image/png;base64,iVBORw0KGgo="></p><p><img src="/img/spacer.gif"></p>') == []


@pytest.mark.parametrize("order", [0, 1])
def test_noscript_twin_is_one_image(order):
    twins = [
        '<img class="lazy" src="blank.gif" data-src="a.jpg">',
        '<noscript><img src="a.jpg?full" alt="A"></noscript>',
    ]
    (image,) = images("<p>" + "".join(twins[:: -1 if order else 1]) + "</p>")
    assert image.url == ROOT + "a.jpg"
    assert image.alternatives == (ROOT + "a.jpg?full",)
    assert image.alt == "A"


def test_noscript_with_escaped_markup():
    inner = '<p><img src="data:,"><noscript>&lt;img src="a.jpg" alt="A"&gt;</noscript></p>'
    assert [(i.url, i.alt) for i in images(inner)] == [(ROOT + "a.jpg", "A")]


def test_two_images_in_one_noscript_are_two():
    assert len(images('<p><noscript><img src="a.jpg" width=500><img src="b.jpg" width=500></noscript></p>')) == 2


def test_linked_full_picture_is_an_alternative():
    (image,) = images('<p><a href="full.jpg"><img src="thumb.jpg" width="400"></a></p>')
    assert (image.url, image.alternatives) == (ROOT + "thumb.jpg", (ROOT + "full.jpg",))


def test_small_thumbnail_gives_way_to_the_full_picture():
    (image,) = images('<p><a href="full.jpg"><img src="thumb.jpg" width="120" height="90"></a></p>')
    assert (image.url, image.alternatives) == (ROOT + "full.jpg", (ROOT + "thumb.jpg",))


def test_link_to_a_page_about_the_picture_is_no_alternative():
    (image,) = images('<p><a href="/wiki/File:Lamp.jpg"><img src="lamp.jpg" width="400"></a></p>')
    assert image.alternatives == ()


@pytest.mark.parametrize("tag", ["amp-img", "amp-anim", "lazy-image"])
def test_custom_elements(tag):
    (image,) = images(f'<{tag} src="a.jpg" width="600" height="400" layout="responsive"></{tag}>')
    assert (image.url, image.width, image.height) == (ROOT + "a.jpg", 600, 400)


def test_amp_fallback_is_one_image():
    (image,) = images('<amp-img src="a.jpg" width="600"><noscript><img src="a.jpg"></noscript></amp-img>')
    assert image.url == ROOT + "a.jpg"


def test_image_map():
    inner = '<img src="map.png" usemap="#m"><map name="m"><area href="/x" alt="Area"><p>not text</p></map>'
    assert [i.url for i in images(inner)] == [ROOT + "map.png"]
    assert text(inner) == ""


def test_object_and_video_poster():
    inner = (
        '<p><object type="image/png" data="o.png"><p>No plug-in.</p></object></p>'
        '<p><video poster="poster.jpg" src="v.mp4">Your browser is old.</video></p>'
    )
    assert [i.url for i in images(inner)] == [ROOT + "o.png", ROOT + "poster.jpg"]
    assert text(inner) == ""


def test_inline_svg_is_no_image_and_no_text():
    inner = '<p><svg viewBox="0 0 9 9"><title>Icon</title><text>drawn</text><image href="in.png"/></svg></p>'
    assert images(inner) == []
    assert text(inner) == ""


def test_inline_svg_is_counted_where_the_text_is():
    icons = '<nav><a href="/"><svg></svg> Home</a> <a href="/b"><svg></svg> Back</a></nav>'
    chart = "<p>The chart <svg></svg> shows how often the lamp was lit.</p><figure><svg></svg></figure>"
    hidden = "<p hidden>Nothing to see <svg></svg> here.</p>"
    assert document(icons + hidden + chart).inline_svg == 2


def test_css_background_only_where_asked():
    inner = (
        "<div style=\"color: red; background-image: url('bg.jpg')\"><p>A paragraph over a picture of the sea.</p></div>"
    )
    assert images(inner) == []
    assert [i.url for i in images(inner, css_backgrounds=True)] == [ROOT + "bg.jpg"]


def test_declared_size_from_style():
    (image,) = images('<img src="a.jpg" style="max-width: 100%; width: 420px; height:300px">')
    assert (image.width, image.height) == (420, 300)


@pytest.mark.parametrize(
    "decoration",
    [
        '<img src="https://stats.example.org/p.gif" width="1" height="1">',
        '<img src="https://pixel.wp.com/b.gif?host=example.org">',
        '<img src="/img/sprite-icons.png">',
        '<img class="avatar avatar-48" src="face.jpg" width="48" height="48">',
        '<img src="arrow.png" width="16" height="16">',
    ],
)
def test_decoration_is_left_out(decoration):
    assert images(f"<p>{decoration}</p>") == []


def test_initial_that_is_a_picture_becomes_its_letter():
    inner = '<p><img class="dropcap" src="t.png" alt="T">he oil came by ship, in barrels, twice a year.</p>'
    assert images(inner) == []
    assert text(inner) == "The oil came by ship, in barrels, twice a year."


def test_candidates_of_sources_may_be_lazy():
    inner = '<picture><source data-srcset="big.webp 900w"><img src="blank.gif" data-src="small.jpg"></picture>'
    (image,) = images(inner)
    assert (image.url, image.alternatives) == (ROOT + "big.webp", (ROOT + "small.jpg",))


def test_sources_belong_to_the_first_picture_of_their_element():
    inner = "<picture>{}<img src=a.jpg><img src=b.jpg></picture>"
    first, second = images(inner.format('<source srcset="wide.webp 900w">'))
    assert (first.url, first.alternatives) == (ROOT + "wide.webp", (ROOT + "a.jpg",))
    assert (second.url, second.alternatives) == (ROOT + "b.jpg", ())
    many, _ = images(inner.format("".join(f'<source srcset="{number}.webp {number + 1}w">' for number in range(500))))
    assert many.url == ROOT + "63.webp" and len(many.alternatives) == 64


def test_caption_of_two_pictures():
    inner = '<figure><img src="a.jpg"><img src="b.jpg"><figcaption>Both lamps, left and right.</figcaption></figure>'
    assert [(i.url, i.caption) for i in images(inner)] == [
        (ROOT + "a.jpg", "Both lamps, left and right."),
        (ROOT + "b.jpg", "Both lamps, left and right."),
    ]


def test_noscript_twin_in_a_figure():
    inner = (
        '<figure><img class="lazy" data-src="a.jpg" src="data:,"><noscript><img src="a.jpg"></noscript>'
        "<figcaption>The lamp room.</figcaption></figure>"
    )
    assert images(inner) == [Image(ROOT + "a.jpg", caption="The lamp room.")]


def test_picture_stays_with_the_text_of_its_section():
    """The links before and after the picture are left out, but most of the text of the section is kept."""
    links = '<p><a href="/1">https://example.org/1</a></p>'
    inner = f'<section><p>{MIDDLE}</p>{links}<div class="media"><img src="a.jpg"></div>{links}</section>'
    flat = read(page(article(inner)), max_depth=100, max_elements=1000, max_image_width=1024)
    without = np.array([block.link_chars == 0 and block.chars > 0 for block in flat.blocks])
    assert select_around(flat, without) == {0}
    assert select_around(flat, without & [block.text != MIDDLE for block in flat.blocks]) == set()


def cards(count: int, title: str) -> str:
    return "".join(
        f'<div class="x7"><figure><a href="/{n}"><img src="{n}-small.jpg" width="160" height="112"></a>'
        f'<figcaption><a href="/{n}">{title} {n}</a></figcaption></figure></div>'
        for n in range(count)
    )


def test_gallery_keeps_pictures_and_titles_in_order():
    header = '<div class="top"><a href="/"><img src="logo.png" width="200"></a></div>'
    intro = f"<h1>Pictures of the light</h1><p>{BEFORE}</p><p>{MIDDLE}</p><p>{AFTER}</p>"
    body = f"{header}{MENU}<div>{intro}<section>{cards(30, 'Lamp')}</section></div>{FOOTER}"
    found = extract(page(body), URL)
    assert found is not None
    assert [n.url for n in found.nodes if isinstance(n, Image)] == [f"{ROOT}{n}-small.jpg" for n in range(30)]
    assert [n.text for n in found.nodes if isinstance(n, Text)][-30:] == [f"Lamp {n}" for n in range(30)]


def test_cards_below_an_article_are_no_gallery():
    story = STORY.replace(MIDDLE, f"{MIDDLE}</p><p>" * 8 + MIDDLE)
    below = cards(20, "Another story about a light, its keeper, and the long winters of the north, told again")
    found = extract(page(f"<div>{story}<div>{below}</div></div>"), URL)
    assert found is not None and not any(isinstance(node, Image) for node in found.nodes)


def test_emoji_image_becomes_its_alt_text():
    inner = '<p>It was cold <img class="wp-smiley" src="https://s.w.org/1f642.png" alt="🙂"> but the lamp burnt on.</p>'
    assert images(inner) == []
    assert text(inner) == "It was cold 🙂 but the lamp burnt on."


@pytest.mark.parametrize(
    "inner",
    [
        '<figure><img src="a,b.jpg"></figure>',
        '<picture><img src="a,b.jpg"></picture>',
        '<ul><li>A list item that says something about it: <img src="a,b.jpg"></li></ul>',
        '<table><tr><td><img src="a,b.jpg"></td><td>A cell beside the picture.</td></tr></table>',
        '<header><img src="a,b.jpg"></header>',
        '<noscript><img src="a,b.jpg"></noscript>',
        '<img srcset="a,b.jpg 500w">',
        '<section><center><img src="a,b.jpg"></center></section>',
    ],
)
def test_images_that_obelics_loses(inner):
    """Containers, srcset-only images and commas in URLs (docs of OBELICS' extractor: it drops all of these)."""
    assert [i.url for i in images(inner)] == [ROOT + "a,b.jpg"]


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("../x.jpg", "https://example.org/x.jpg"),
        ("/x.jpg", "https://example.org/x.jpg"),
        ("//cdn.example.org/x.jpg", "https://cdn.example.org/x.jpg"),
        ("./a/./b/../x.jpg", "https://example.org/blog/a/x.jpg"),
        ("https://bücher.example/ü.jpg", "https://xn--bcher-kva.example/%C3%BC.jpg"),
        ("a b%20c.jpg", "https://example.org/blog/a%20b%20c.jpg"),
        (" x.jpg\n", "https://example.org/blog/x.jpg"),
        ("HTTPS://EXAMPLE.org:443/X.jpg#part", "https://example.org/X.jpg"),
        ("\\\\cdn.example.org\\x.jpg", "https://cdn.example.org/x.jpg"),
        ("x.jpg?a=1&amp;b=2", "https://example.org/blog/x.jpg?a=1&b=2"),
    ],
)
def test_urls_are_absolute(source, expected):
    assert [i.url for i in images(f'<img src="{source}">')] == [expected]


@pytest.mark.parametrize(
    "source", ["javascript:alert(1)", "blob:https://example.org/1", "http://[x", "mailto:a@b", "ftp://x/a.jpg"]
)
def test_other_schemes_are_no_images(source):
    assert images(f'<img src="{source}">') == []


def test_base_element():
    assert images('<img src="x.jpg">', head='<base href="../pics/">')[0].url == "https://example.org/pics/x.jpg"


def test_only_the_first_base_counts():
    head = '<base target="_top"><base href="/one/"><base href="/two/">'
    assert images('<img src="x.jpg">', head=head)[0].url == "https://example.org/one/x.jpg"


def test_folder_page():
    found = document('<img src="x.jpg">', url="file:///book/page.html")
    assert [n.url for n in found.nodes if isinstance(n, Image)] == ["file:///book/x.jpg"]
