"""One small page per behaviour, each with the nodes that it must become."""

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from pipeline.extract import ExtractOptions, extract
from pipeline.extract.reader import read
from pipeline.extract.selection import select_around
from shards.records import Document, Image, Text
from tests.jobs.corpora import build_here

URL = "https://example.org/blog/post.html"
ROOT = "https://example.org/blog/"
BEFORE = (
    "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the hour into the log. "
    "Nobody read the log for forty years, and yet every page of it was full, neat, and dated."
)
AFTER = (
    "When the lamp was replaced by an electric one, the keeper stayed for another winter, because the new machine "
    "was not trusted by the sailors, who wanted to know that somebody was awake up there."
)


def page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>The keeper</title>{head}</head><body>{body}</body></html>".encode()


def article(inner: str) -> str:
    return f"<article><p>{BEFORE}</p>{inner}<p>{AFTER}</p></article>"


def document(inner: str, head: str = "", url: str = URL, **options) -> Document:
    found = extract(page(article(inner), head), url, options=ExtractOptions(**options))
    assert found is not None
    return found


def images(inner: str, **keywords) -> list[Image]:
    return [node for node in document(inner, **keywords).nodes if isinstance(node, Image)]


def text(inner: str, **keywords) -> str:
    """What stands between the two paragraphs around `inner`."""
    whole = "\n\n".join(node.text for node in document(inner, **keywords).nodes if isinstance(node, Text))
    assert whole.startswith(BEFORE) and whole.endswith(AFTER)
    return whole.removeprefix(BEFORE).removesuffix(AFTER).strip("\n")


# -- images ------------------------------------------------------------------------------------------------------------


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


# -- text --------------------------------------------------------------------------------------------------------------


def test_paragraphs_and_headings():
    assert text(
        "<h2>Oil</h2><p>The oil came by ship, in barrels.</p><h3>Wicks</h3><p>Wicks were made of cotton.</p>"
    ) == ("Oil\n\nThe oil came by ship, in barrels.\n\nWicks\n\nWicks were made of cotton.")


def test_links_of_headings_to_themselves_are_left_out():
    assert text(
        '<h2 id="oil">Oil<a class="headerlink" href="#oil">¶</a></h2><p>The oil came by ship, in barrels.</p>'
    ) == ("Oil\n\nThe oil came by ship, in barrels.")


def test_list_items_are_lines():
    assert text(
        "<p>He needed three things every night:</p><ul><li>oil for the lamp</li><li>a <b>wick</b><li>matches</ul>"
    ) == ("He needed three things every night:\n\n- oil for the lamp\n- a wick\n- matches")


def test_list_items_with_paragraphs():
    assert text(
        "<ol><li><p>Trim the wick before it gets dark.</p></li><li><p>Light the lamp and close the door.</p></li></ol>"
    ) == ("- Trim the wick before it gets dark.\n- Light the lamp and close the door.")


def test_table_rows_are_lines():
    table = "<table><tr><th>Year</th><th>Keeper</th></tr><tr><td>1911</td><td>Anna Holm</td></tr></table>"
    assert text(f"<p>The keepers of the light were these:</p>{table}").endswith("Year | Keeper\n1911 | Anna Holm")


def test_layout_table_cells_are_paragraphs():
    cell = "The harbour was closed to all ships in the winter of that year, and the keeper had little to do."
    assert text(f"<table><tr><td><p>{cell}</p><p>{cell[::-1]}.</p></td></tr></table>") == f"{cell}\n\n{cell[::-1]}."


def test_line_break_in_a_cell_is_a_space():
    table = "<table><tr><th>Keeper</th><td>Anna<br>Holm</td></tr><tr><th>Born</th><td>1890</td></tr></table>"
    assert text(f"<p>The last keeper of the light was this one:</p>{table}").endswith("Keeper | Anna Holm\nBorn | 1890")


def test_terms_stay_with_their_definitions():
    terms = "".join(f"<dt>part{n}</dt><dd><p>Where part {n} of the lamp is.</p></dd>" for n in range(3))
    entries = "".join(
        f"<dt>lamp.light{n}(hour, wick, *parts)</dt><dd><p>Light the lamp of room {n}, and enter it in the log.</p>"
        f"<dl><dt>Parameters</dt><dd><dl>{terms}</dl></dd><dt>Returns</dt><dd><p>The hour.</p></dd></dl></dd>"
        for n in range(30)
    )
    found = extract(page(f"{MENU}<div><h1>lamp</h1><dl>{entries}</dl></div>{FOOTER}"), URL)
    assert found is not None
    whole = "\n\n".join(node.text for node in found.nodes if isinstance(node, Text))
    assert [whole.count(word) for word in ("part0\n", "Parameters\n", "Returns\n", "*parts)\n")] == [30] * 4


def test_quotes():
    inner = "<blockquote><p>The lamp is half my life, and the sea is the rest.</p><cite>Anna Holm</cite></blockquote>"
    assert text(inner) == "The lamp is half my life, and the sea is the rest.\n\nAnna Holm"


@pytest.mark.parametrize("number", ['class="pagenum"', 'class="pagebreak"', 'role="doc-pagebreak"'])
def test_page_numbers_of_a_book_are_left_out(number):
    inner = f'<p>The oil came by <span {number}>[6]</span>ship, in bar<span {number}><a id="7">[7]</a></span>rels.</p>'
    assert text(inner) == "The oil came by ship, in barrels."


def test_initials_are_not_split_off():
    inner = '<p><span class="dropcap">T</span>he oil came by ship, in barrels, twice a year.</p>'
    assert text(inner) == "The oil came by ship, in barrels, twice a year."


def test_lines_of_a_listing_keep_their_indentation():
    listing = "    lamp.light()\n    log()\n+   sleep()\n one\n  two"
    assert f"\n\n{listing}\n\n" in text(f"<p>The night:</p><pre>{listing}</pre><p>The day.</p>")
    nodes = document(f'<p><img src="a.jpg"></p><pre>{listing}</pre>').nodes
    assert nodes[-1].text.startswith(listing)


def test_line_numbers_of_a_listing_are_left_out():
    inner = (
        '<table><tr><td class="linenos"><pre>1\n2</pre></td>'
        '<td class="code"><pre>if hour &gt; 18:\n    lamp.light()</pre></td></tr></table>'
    )
    assert text(inner) == "if hour > 18:\n    lamp.light()"


def test_preformatted_text_keeps_its_white_space():
    code = "def lamp(hour):\n    if hour &gt; 18:\n        return True\n\n    return False"
    assert text(f"<pre><code>{code}</code></pre>") == code.replace("&gt;", ">")


def test_line_breaks():
    assert text('<p>Salt on the glass,<br class="x">wind in the stair,<br/>no one came up.</p>') == (
        "Salt on the glass,\nwind in the stair,\nno one came up."
    )


def test_two_breaks_make_a_paragraph():
    assert text("<div>The first part of the letter was wet.<br><br>The second part was dry, and long.</div>") == (
        "The first part of the letter was wet.\n\nThe second part was dry, and long."
    )


def test_inline_markup_neither_joins_nor_splits_words():
    inner = (
        "<p>un<b>believ</b>able, <i>quite</i> <a href='/x'>so</a>; H<sub>2</sub>O and\n  <span> more </span>words.</p>"
    )
    assert text(inner) == "unbelievable, quite so; H2O and more words."


def test_blocks_without_space_between_are_not_joined():
    assert text("<div><p>One sentence ends here.</p><p>Another one begins here.</p></div>") == (
        "One sentence ends here.\n\nAnother one begins here."
    )


def test_ruby_reading_follows_in_parentheses():
    expected = "灯台守は毎晩、階段を登って灯(ひ)を点した。"
    assert text("<p>灯台守は毎晩、階段を登って<ruby>灯<rt>ひ</rt></ruby>を点した。</p>") == expected
    assert text("<p>灯台守は毎晩、階段を登って<ruby>灯<rp>(</rp><rt>ひ</rt><rp>)</rp></ruby>を点した。</p>") == expected


def test_entities_and_soft_hyphens():
    assert text(
        "<p>Leucht&shy;turm&shy;w&auml;rter &amp; Sohn &#8211; seit &#x31;911&nbsp;auf der Insel, &lt;immer&gt;.</p>"
    ) == ("Leuchtturmwärter & Sohn – seit 1911 auf der Insel, <immer>.")


def test_right_to_left_text_keeps_its_joiners():
    sentence = "نگهبان فانوس دریایی هر شب چراغ را روشن می\u200cکرد و ساعت را می\u200cنوشت."
    assert text(f'<p dir="rtl">{sentence}</p>') == sentence


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>{}</p>",
        '<p aria-hidden="true">{}</p>',
        '<div style="display: none"><p>{}</p></div>',
        '<p style="visibility:hidden">{}</p>',
        "<template><p>{}</p></template>",
        "<p>A visible sentence.<span style='display:none'> {}</span></p>",
        "<!-- {} -->",
        "<script>document.write('{}')</script>",
        "<style>/* {} */</style>",
        "<textarea>{}</textarea>",
        "<select><option>{}</option></select>",
    ],
)
def test_hidden_text_is_left_out(hidden):
    assert "unseen" not in text(
        hidden.format("An unseen sentence, long enough to be a paragraph, with commas, and more.")
    )


def test_page_that_a_script_reveals():
    body = f'<div style="display:none"><article><p>{BEFORE}</p><img src="a.jpg"><p>{AFTER}</p></article></div>'
    found = extract(page(body), URL)
    assert found is not None and found.nodes == (Text(BEFORE), Image(ROOT + "a.jpg"), Text(AFTER))


# -- what is left out --------------------------------------------------------------------------------------------------


MENU = (
    '<nav><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>'
    '<li><a href="/about">About</a></li></ul></nav>'
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
FOOTER = '<footer><p>© 2024 Example. All rights reserved. <a href="/privacy">Privacy policy</a></p></footer>'
MIDDLE = "He kept bees as well, which was unusual on an island without trees, and sold the honey to the pilots."
STORY = f"<article><h1>The keeper</h1><p>{BEFORE}</p><p>{MIDDLE}</p><p>{AFTER}</p></article>"


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


# -- trafilatura as engine ---------------------------------------------------------------------------------------------


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
    assert text('<p>The log of <a href="#a">Anna</a>, <a href="#b">Berta</a> and <a href="#c">Carla</a>.</p>') != ""
