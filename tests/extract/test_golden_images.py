"""Images: one small page per behaviour, each with the nodes that it must become."""

import base64
import io
from hashlib import sha256
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image as Pillow

from pipeline.extract import extract
from pipeline.extract.images import screen_rank
from pipeline.extract.reader import read
from pipeline.extract.selection import select_around
from pipeline.urls import resolve
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


def picture_of(width: int, height: int) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    output = io.BytesIO()
    Pillow.fromarray(pixels).save(output, "PNG")
    return output.getvalue()


LIMITS = {"max_depth": 100, "max_elements": 1000, "max_image_width": 1024}


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


@pytest.mark.parametrize(
    "source",
    [
        "/img/spacer.gif",  # what it is, its bytes say
        "/img/heath-grey.jpg",
        "/img/deep-space.webp",
        "/img/polka_dot.png",
        "/img/front-loader-2.jpg",
        "/sprites/heron.png",
        "https://foto.ad.example-krant.nl/1.jpg",
        "https://ads.gallery.example/2.jpg",
        "https://cdn.example.org/beacon/tower.jpg",
        "https://cdn.example.org/count/basie.jpg",
        "https://server.example.ad.jp/3.jpg",
    ],
)
def test_no_name_makes_a_picture_a_placeholder_or_a_tracker(source):
    found = document(f'<p><img src="{source}"></p>')
    assert [i.url for i in found.nodes if isinstance(i, Image)] == [resolve(source, URL)] and found.left_out == ()


@pytest.mark.parametrize(
    ("inner", "url"),
    [
        ('<img src="/lazy.gif" data-original="/up/Low tide (2).jpg">', "https://example.org/up/Low%20tide%20(2).jpg"),
        ('<img data-src="/up/a.jpg 300w, /up/b.jpg 900w">', "https://example.org/up/b.jpg"),
        ('<img data-image=\'{"src": "/up/c.jpg", "alt": "d.jpg e"}\'>', "https://example.org/up/c.jpg"),
        ('<img data-sizes-of=\'{"/up/d.jpg": [90, 60]}\' src="data:,">', "https://example.org/up/d.jpg"),
    ],
)
def test_values_of_lazy_attributes(inner, url):
    assert images(inner)[0].url == url


def test_the_name_of_a_file_beside_its_url_is_no_candidate():
    (image,) = images('<img src="/img/moor-grey.jpg" data-basename="moor-grey.jpg">')
    assert (image.url, image.alternatives) == ("https://example.org/img/moor-grey.jpg", ())


@pytest.mark.parametrize("hole", ["{width}", "%7Bwidth%7D", "{{ src }}", "${id}", "<%= id %>", "{0}"])
def test_a_template_that_a_script_fills_in_is_no_candidate(hole):
    (image,) = images(f'<img data-src="/p/lamp_{hole}x.jpg" src="/p/lamp_300x.jpg">')
    assert (image.url, image.alternatives) == ("https://example.org/p/lamp_300x.jpg", ())
    found = document(f'<img data-src="/p/lamp_{hole}x.jpg">')
    assert found.left_out == (("image.placeholder", 1),)


def test_braces_around_the_id_of_a_picture_are_no_template():
    source = "/media/{5F3A2B1C-0D4E-4F6A-8B7C-9D0E1F2A3B4C}.jpg"
    assert len(images(f'<img src="{source}">')) == 1


def test_sources_for_a_screen_come_first():
    inner = (
        '<picture><source type="image/jxl" srcset="a.jxl"><source type="image/avif" srcset="a.avif">'
        '<source media="print" srcset="print.png"><source media="(prefers-color-scheme: dark)" srcset="dark.png">'
        '<source media="(max-width: 40em)" srcset="phone.jpg"><img src="a.jpg"></picture>'
    )
    (image,) = images(inner)
    names = [url.removeprefix(ROOT) for url in (image.url, *image.alternatives)]
    assert names == ["a.avif", "a.jpg", "dark.png", "phone.jpg", "a.jxl"]


@pytest.mark.parametrize(
    ("media", "rank"),
    [
        ("", None),
        ("screen", 0),
        ("all and (min-width: 800px)", 0),
        ("(min-width: 90em)", 1),
        ("(max-width: 600px), (min-width: 1000px)", 0),
        ("print, (max-width: 600px)", 1),
        ("only print and (color)", None),
        ("not print", 0),
        ("not (max-width: 600px)", 0),
        ("(orientation: portrait)", 1),
    ],
)
def test_media_of_sources(media, rank):
    assert screen_rank(media) == (rank if media else 0)


def test_descriptors_that_browsers_pass_over_come_last():
    (image,) = images('<img src="a.jpg" srcset="b.jpg 100%, c.jpg 1.5w, d.jpg 1.5x">')
    assert [url.removeprefix(ROOT) for url in (image.url, *image.alternatives)] == ["d.jpg", "a.jpg", "b.jpg", "c.jpg"]


def test_a_much_smaller_candidate_gives_way_to_the_next_wider_one():
    (image,) = images('<img srcset="s.jpg 320w, l.jpg 3000w, xl.jpg 6000w">')
    assert [url.removeprefix(ROOT) for url in (image.url, *image.alternatives)] == ["l.jpg", "s.jpg", "xl.jpg"]


def test_zero_is_an_unknown_size():
    (image,) = images('<img src="a.jpg" width="570" height="0">')
    assert (image.width, image.height) == (570, None)


def test_what_only_screen_readers_pass_over_is_shown():
    inner = '<div aria-hidden="true"><img src="hero.jpg"></div>'
    assert [i.url for i in images(inner)] == [ROOT + "hero.jpg"]
    assert images('<div aria-hidden="true" class="d-none" style="display:none"><img src="hero.jpg"></div>') == []


@pytest.mark.parametrize(
    ("attributes", "alt"),
    [
        ('title="The keeper"', "The keeper"),
        ('alt="" aria-label="The keeper"', "The keeper"),
        ('alt="A lamp" title="The keeper"', "A lamp"),
        ('alt="DSC_0042.JPG"', ""),
        ('alt="lamp final 2.png" title="The keeper"', "The keeper"),
        ('alt="IMG_20240101-2"', ""),
        ('alt="Image 2 of the log"', "Image 2 of the log"),
    ],
)
def test_words_of_a_picture(attributes, alt):
    assert [i.alt for i in images(f'<img src="a.jpg" {attributes}>')] == [alt]


EMBEDDED = base64.b64encode(picture_of(40, 20)).decode()


def test_embedded_picture_is_named_by_its_bytes():
    name = "data:sha256," + sha256(picture_of(40, 20)).hexdigest()
    inner = f'<img src="data:image/png;base64,{EMBEDDED}">'
    assert [i.url for i in images(inner)] == [name]
    escaped = quote(picture_of(40, 20))
    assert [i.url for i in images(f"<img src='data:image/png,{escaped}'>")] == [name]


@pytest.mark.parametrize(
    "source",
    [
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
        "data:image/png;base64," + base64.b64encode(picture_of(20, 15)).decode(),
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 3 2'%3E%3C/svg%3E",
        "data:image/png;base64,????",
        "data:image/png;base64,",
        "data:text/html;base64," + EMBEDDED,
    ],
)
def test_embedded_placeholder(source):
    found = document(f'<img src="{source}">')
    assert found.left_out == (("image.placeholder", 1),)


def test_embedded_preview_beside_a_url_is_no_candidate():
    (image,) = images(f'<img src="data:image/png;base64,{EMBEDDED}" data-src="a.jpg">')
    assert (image.url, image.alternatives) == (ROOT + "a.jpg", ())
    noise = base64.b64encode(picture_of(200, 100)).decode()
    assert len(noise) > 4096
    (image,) = images(f'<img src="data:image/png;base64,{noise}" data-src="a.jpg">')
    assert image.url == ROOT + "a.jpg" and image.alternatives[0].startswith("data:sha256,")


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


def test_a_tracking_pixel_in_noscript_is_no_twin():
    inner = '<p><img src="moor-grey.jpg"><noscript><img src="/count?id=1" width="1" height="1"></noscript></p>'
    (image,) = images(inner)
    assert (image.url, image.alternatives) == (ROOT + "moor-grey.jpg", ())


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


def test_a_clip_comes_before_its_poster_if_it_is_wanted():
    inner = (
        '<figure><video poster="p.jpg" title="A boat" width="640" height="360" controls>'
        '<source src="list.m3u8" type="application/x-mpegURL"><source src="v 1.webm" type="video/webm; codecs=vp9">'
        '<source data-src="v.mp4"><track src="v.vtt" kind="captions"><img src="old.gif">Old browser.</video>'
        "<figcaption>It sails.</figcaption></figure>"
        '<p><video src="w.mp4"></video></p><template><video src="no.mp4"></video></template>'
        '<p><video poster="q.jpg">'
    )
    first, second, third = images(inner, videos=True)
    assert (first.url, first.alternatives) == (ROOT + "v%201.webm", (ROOT + "v.mp4", ROOT + "p.jpg"))
    assert (first.alt, first.caption, first.width, first.height) == ("A boat", "It sails.", 640, 360)
    assert (second.url, second.alternatives, third.url) == (ROOT + "w.mp4", (), ROOT + "q.jpg")
    assert [i.url for i in images(inner)] == [ROOT + "p.jpg", ROOT + "q.jpg"]


def test_inline_svg_is_no_text():
    inner = '<p><svg viewBox="0 0 9 9"><title>Icon</title><text>drawn</text><image href="in.png"/></svg></p>'
    assert [i.url for i in images(inner)] == [ROOT + "in.png"]  # of an svg, only what it shows of another file
    old = inner.replace('href="in.png"', 'xlink:href="/render?id=7"')
    assert [i.url for i in images(old)] == ["https://example.org/render?id=7"]
    assert text(inner) == ""
    assert images('<template><svg><image href="in.png"/></svg></template>') == []


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

    lazy = '<div class="lazyload" data-bg="bg.jpg"><p>A paragraph over a picture of the sea.</p></div>'
    assert images(lazy) == [] and [i.url for i in images(lazy, css_backgrounds=True)] == [ROOT + "bg.jpg"]


@pytest.mark.parametrize(
    ("first", "second", "urls"),
    [
        ("/max/60/1*a8bXk2_mQ77Lw0ti23gZRV.jpeg", "/max/1400/1*a8bXk2_mQ77Lw0ti23gZRV.jpeg", [1, 0]),
        ("/up/lamp-150x100.jpg", "/up/lamp-1200x800.jpg", [1, 0]),
        ("/up/lamp.jpg?w=20&amp;blur=9", "/up/lamp.jpg?w=900", [1, 0]),
        ("/up/lamp.jpg?w=900", "/up/lamp.jpg?w=20&amp;q=1", [0, 1]),
        ("/max/60/lamp.png?q=20", "/max/2288/lamp.png", [1, 0]),
        ("/300x200/lamp.png", "/1200x800/lamp.png", [1, 0]),
    ],
)
def test_a_preview_and_its_picture_are_one_image(first, second, urls):
    (image,) = images(f'<div><img src="{first}" class="blur"><img src="{second}" alt="A lamp"></div>')
    expected = [resolve((first, second)[place].replace("&amp;", "&"), URL) for place in urls]
    assert ([image.url, *image.alternatives], image.alt) == (expected, "A lamp")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/photo/123/image.jpg", "/photo/124/image.jpg"),
        ("/show.php?id=1&amp;w=90", "/show.php?id=2&amp;w=90"),
        ("/up/lamp-1.jpg", "/up/lamp-2.jpg"),
        ("/vi/a/maxresdefault_screen.jpg", "/vi/b/maxresdefault_screen.jpg"),
        ("/apps/1/movie_preview.184x123.jpg", "/apps/2/movie_preview.184x123.jpg"),
        ("/photo/12/image.jpg", "/photo/3400/image.jpg"),
    ],
)
def test_two_pictures_with_like_names_are_two(first, second):
    assert len(images(f'<p><img src="{first}"><img src="{second}"></p>')) == 2


def test_a_preview_and_the_picture_in_noscript_behind_an_empty_element_are_one_image():
    large = '<div><img src=""><noscript><img src="/max/2288/lamp.png"></noscript></div>'
    (image,) = images(f'<div><div><img src="/max/60/lamp.png?q=20"></div>{large}</div>')
    assert (image.url, image.alternatives) == (
        "https://example.org/max/2288/lamp.png",
        ("https://example.org/max/60/lamp.png?q=20",),
    )


def test_the_copy_of_a_slide_is_no_second_image():
    slides = "".join(f'<div class="slide"><img src="/{name}.jpg" width="800"></div>' for name in "abca")
    carousel = f'<div class="swiper">{slides}</div>'
    assert [image.url[-5:] for image in images(carousel)] == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(images(f'<img src="/a.jpg"><p>{MIDDLE}</p><img src="/a.jpg">')) == 2


@pytest.mark.parametrize("tag", ["div", "figure", "span"])
def test_json_that_describes_the_image_of_an_element(tag):
    described = f"""<{tag} class="image" data-image='{{"src":"/a.jpg","w":800}}'></{tag}>"""
    assert [image.url for image in images(described)] == ["https://example.org/a.jpg"]
    assert images(f"""<{tag} data-props='{{"src":"/a.jpg"}}' data-image="{{name}}.jpg"></{tag}>""") == []


def test_declared_size_from_style():
    (image,) = images('<img src="a.jpg" style="max-width: 100%; width: 420px; height:300px">')
    assert (image.width, image.height) == (420, 300)


@pytest.mark.parametrize(
    "decoration",
    [
        '<img src="https://stats.example.org/p.gif" width="1" height="1">',
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


def test_picture_stays_with_text_that_was_chosen_elsewhere():
    flat = read(
        page(article(f'<section><p>{MIDDLE}</p><div class="media"><img src="a.jpg"></div></section>')), **LIMITS
    )
    every = np.array([block.chars > 0 for block in flat.blocks])
    assert select_around(flat, every, URL) == {0}
    assert select_around(flat, np.zeros_like(every), URL) == set()


def cards(count: int, title: str) -> str:
    return "".join(
        f'<div class="x7"><figure><a href="/{n}"><img src="{n}-small.jpg" width="160" height="112"></a>'
        f'<figcaption><a href="/{n}">{title} {n}</a></figcaption></figure></div>'
        for n in range(count)
    )


def test_gallery_keeps_pictures_and_titles_in_order():
    header = '<div class="top"><a href="/"><img src="logo.png" width="200"></a></div>'
    intro = "<h1>Lamps</h1>"
    body = f"{header}{MENU}<div>{intro}<section>{cards(30, 'Lamp')}</section></div>{FOOTER}"
    found = extract(page(body), "https://example.org/blog/collections/lamps")
    assert found is not None
    root = "https://example.org/blog/collections/"
    assert [n.url for n in found.nodes if isinstance(n, Image)] == [f"{root}{n}-small.jpg" for n in range(30)]
    assert [n.text for n in found.nodes if isinstance(n, Text)][-30:] == [f"Lamp {n}" for n in range(30)]


def test_a_collection_keeps_each_thing_with_its_image_name_and_price():
    names = ["Storm lantern", "Table lamp", "Reading light", "Candle holder", "Wall sconce", "Garden torch"]
    things = [(f"https://shop.example/img/{n}.jpg", name, f"{20 + n}.00 EUR") for n, name in enumerate(names)]
    told = "Made by hand in our own workshop, with a switch on the cord."
    grid = "".join(
        f'<li class="product-card"><a href="/products/{name}"><img src="{url}" width="300" height="300">'
        f'<h3>{name}</h3></a><p>{told}</p><span class="price">{price}</span></li>'
        for url, name, price in things
    )
    intro = "Lamps for every room of the house, lit by hand or by wire, and shipped within a week."
    body = f'{MENU}<main><h1>Lamps</h1><p>{intro}</p><ul class="product-grid">{grid}</ul></main>{FOOTER}'
    found = extract(page(body), "https://shop.example/collections/lamps")
    assert found is not None
    shown = [node.url if isinstance(node, Image) else node.text for node in found.nodes]
    assert shown == [intro, *(part for url, name, price in things for part in (url, f"{name}\n\n{told}\n\n{price}"))]


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
    ("alt", "stays"), [(":D", False), (";-)", False), (":cool:", False), ("X3", True), (":", True)]
)
def test_a_drawn_smiley_becomes_its_signs(alt, stays):
    inner = f'<p>It was cold <img src="/smilies/1.gif" alt="{alt}"> but the lamp burnt on.</p>'
    assert text(inner).split() == f"It was cold {'' if stays else alt} but the lamp burnt on.".split()
    assert len(images(inner)) == stays


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
