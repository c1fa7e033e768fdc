"""Whole small pages of several kinds: which text and which images are the page's own."""

import json

import pytest

from pipeline.extract import ExtractOptions, extract, flat_page
from pipeline.extract.selection import _labels
from shards.records import Document, Image, Text
from tests.extract.pages import AFTER, BEFORE, FOOTER, MENU, MIDDLE, page

URL = "https://example.org/news/2024/keeper"
PLAIN = "https://example.org/a/b"
PARAGRAPHS = f"<p>{BEFORE}</p><p>{MIDDLE}</p><p>{AFTER}</p>"


def read(body: str, head: str = "", url: str = URL) -> Document:
    found = extract(page(body, head), url)
    assert found is not None
    return found


def words(found: Document) -> str:
    return "\n\n".join(node.text for node in found.nodes if isinstance(node, Text))


def files(found: Document) -> list[str]:
    return [node.url.rsplit("/", 1)[-1] for node in found.nodes if isinstance(node, Image)]


def test_lead_image_above_the_article():
    lead = '<div class="lead"><h1>The keeper</h1><div class="by">By A. Writer</div><div class="media">{}</div></div>'
    image = '<img src="/img/lead.jpg" width="1200" height="700">'
    found = read(MENU + lead.format(image) + f'<div class="article-body">{PARAGRAPHS}</div>' + FOOTER)
    assert files(found) == ["lead.jpg"]
    assert words(found).index(BEFORE) < words(found).index(AFTER)
    assert isinstance(found.nodes[-1], Text)


def test_lead_image_that_the_head_names():
    head = '<meta property="og:image" content="https://example.org/hero-800x400.jpg">'
    hero = '<div class="featured-image"><img src="/hero.jpg" alt="The tower"></div>'
    logo = '<header class="site-header"><img src="/logo.png" width="200" height="60"></header>'
    advertisement = '<aside><img src="/ad.jpg" width="300" height="250"></aside>'
    found = read(logo + hero + f"<main><article><h1>Keeper</h1>{PARAGRAPHS}</article></main>" + advertisement, head)
    assert files(found) == ["hero.jpg"]


def test_classes_about_sharing_do_not_cost_an_article_its_photographs():
    one = '<figure class="fig--has-shares"><div><img src="/img/whale1.jpg" width="800" height="500"></div></figure>'
    two = '<div class="block-share"><figure class="share-figure"><img src="/img/whale2.jpg" width="800"></figure></div>'
    found = read(MENU + f"<article><h1>T</h1><p>{BEFORE}</p>{one}<p>{MIDDLE}</p>{two}<p>{AFTER}</p></article>" + FOOTER)
    assert files(found) == ["whale1.jpg", "whale2.jpg"]


def test_a_height_of_zero_says_nothing():
    found = read(f'<article><p>{BEFORE}</p><img src="/img/a.jpg" width="800" height="0"><p>{AFTER}</p></article>')
    assert files(found) == ["a.jpg"]


def test_teasers_above_a_short_article_are_other_articles():
    teaser = (
        '<div class="item"><figure><a href="/s/{0}"><img src="/t/{0}.jpg"></a></figure>'
        '<figcaption><a href="/s/{0}">Headline of another story number {0} today</a></figcaption></div>'
    )
    strip = "".join(teaser.format(number) for number in range(12))
    lamp = '<img src="/img/lamp.jpg" width="800" height="500">'
    body = f'<div class="strip">{strip}</div><article><h1>T</h1><p>{BEFORE}</p>{lamp}<p>{AFTER}</p></article>'
    found = read(MENU + body + FOOTER)
    assert files(found) == ["lamp.jpg"]
    assert "Headline of another story" not in words(found)


def test_images_of_a_product_beside_its_description():
    gallery = "".join(
        f'<div class="media-item"><img src="/img/lamp-{number}.jpg" width="800" height="800" alt="Desk lamp"></div>'
        for number in (1, 2)
    )
    about = f'<h1>Desk lamp</h1><span class="price">$ 89.00</span><div class="description">{PARAGRAPHS}</div>'
    body = f'<main><div class="product-media">{gallery}</div><div class="product-info">{about}</div></main>'
    found = read(MENU + body + FOOTER, url="https://example.org/products/desk-lamp")
    assert files(found) == ["lamp-1.jpg", "lamp-2.jpg"]
    assert BEFORE in words(found)


def test_a_blurred_twin_is_no_second_image():
    twins = '<div class="img"><img src="https://cdn.example.org/max/60/1-a81f3c77d20b4455e9.png?q=20"><img src="https://cdn.example.org/max/2288/1-a81f3c77d20b4455e9.png"></div>'
    found = read(f"<article><p>{BEFORE}</p>{twins}<p>{AFTER}</p></article>")
    assert len(files(found)) == 1


def test_the_name_of_a_product_stays():
    told = {"@type": "Product", "offers": {"@type": "Offer"}, "aggregateRating": {"@type": "AggregateRating"}}
    head = f'<meta property="og:type" content="product"><script type="application/ld+json">{json.dumps(told)}</script>'
    shop = (
        '<header class="product-header"><h1>Desk lamp</h1></header>'
        '<div class="product"><span class="price">$ 89.00</span>'
        f'<button>Add to cart</button><div class="description"><p>{AFTER}</p><p>{BEFORE}</p></div></div>'
    )
    found = read(MENU + shop + FOOTER, head, "https://shop.example.org/products/desk-lamp")
    assert words(found).startswith("Desk lamp\n\n") and AFTER in words(found)


def test_labels_that_each_answer_of_a_thread_repeats():
    posts = "".join(
        f'<div class="post"><a class="username" href="/u/{n}">user{n}</a><div class="rank">Senior Member</div>'
        f'<div class="message">{BEFORE} {n}<table><tr><td>{n} W</td><td>40</td></tr></table>'
        "<pre>make oil</pre></div></div>"
        for n in range(6)
    )
    head, url = '<meta name="generator" content="Discourse 3.2">', "https://forum.example.org/t/which-oil/1234"
    found = words(read(f"{MENU}<h1>Which oil?</h1>{posts}{FOOTER}", head, url))
    assert "Senior Member" not in found and all(f"{n} W" in found for n in range(6))
    flat = flat_page(f"<body>{posts}</body>", ExtractOptions())
    labels = _labels(flat)
    assert {block.text for block, label in zip(flat.blocks, labels, strict=True) if label} == {"Senior Member"}


def test_answers_of_a_thread_stay_whatever_their_class():
    answer = (
        '<li class="item item-comment"><div class="comment"><div class="comment-header"><a href="/u/{0}">user{0}</a>'
        ' <time>Mar {0}</time></div><div class="comment-body"><div class="message"><p>Answer {0}. {1}</p></div></div>'
        "</div></li>"
    )
    answers = "".join(answer.format(number, text) for number, text in enumerate((MIDDLE, AFTER, BEFORE, MIDDLE, AFTER)))
    first = f'<div class="discussion"><h1>Which oil?</h1>{PARAGRAPHS}</div>'
    body = MENU + f'<main>{first}<ul class="comments MessageList">{answers}</ul></main>' + FOOTER
    head = '<meta name="generator" content="Vanilla Forums">'
    found = read(body, head, url="https://forum.example.org/discussion/12/which-oil")
    assert all(f"Answer {number}." in words(found) for number in range(5))


def test_answers_that_repeat_the_question_stay():
    said = (
        "The old bell hung in the tower above the town, and nobody had rung it for years.",
        "When the sexton climbed up in the morning, he oiled the bell with care, as his aunt had taught him.",
        "A traveller from the hills asked about the bell, but the sexton did not want to part with it.",
        "In autumn, the sound of the bell could be heard from the valley, which pleased the shepherds.",
        "Later the town gave the bell to the school, where it is rung before the first lesson.",
    )
    answer = (
        '<li class="item item-comment"><div class="comment"><div class="comment-header"><a href="/u/{0}">user{0}</a>'
        ' <time>Mar {0}</time></div><div class="comment-body"><div class="message"><p>{1}</p><p>{2}</p></div></div>'
        "</div></li>"
    )
    pairs = ((0, 2), (1, 3), (2, 4), (3, 0), (4, 1), (0, 2))
    answers = "".join(answer.format(n, said[one], said[other]) for n, (one, other) in enumerate(pairs))
    first = f'<div class="discussion"><h1>Which bell?</h1>{"".join(f"<p>{text}</p>" for text in said[:4])}</div>'
    found = read(f'{MENU}<main>{first}<ul class="comments MessageList">{answers}</ul></main>{FOOTER}', url=PLAIN)
    assert [words(found).count(text) for text in said] == [4, 3, 4, 3, 2]


def test_the_image_at_the_end_of_a_thread_belongs_to_its_last_answer():
    answers = ("Which oil do you use?", "Paraffin.", "Olive oil, it smells nice and lasts long.", "Here is mine.")
    posts = "".join(
        f'<div class="post"><div class="post-user"><img class="avatar" src="/{n}.png" width="80" height="80">'
        f'<a href="/u/{n}">user{n}</a> <span>Joined 2019</span></div><div class="post-body">'
        f'<div class="post-meta">Mar {n}, 2024 #{n}</div><p>{answer}</p><img src="/up/{n}.jpg" width="600"></div>'
        '<div class="post-actions"><a href="#">Reply</a> <a href="#">Like</a></div></div>'
        for n, answer in enumerate(answers)
    )
    found = read(f'{MENU}<h1>Which oil for a lamp?</h1><div class="posts">{posts}</div>{FOOTER}', url=PLAIN)
    assert files(found) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_images_in_the_buttons_of_a_gallery():
    buttons = "".join(
        f'<button class="thumb" data-full="/{name}.jpg"><img src="/{name}_s.jpg" width="150" height="100"></button>'
        for name in "abc"
    )
    found = read(f'<article><p>{BEFORE}</p><div class="gallery">{buttons}</div><p>{AFTER}</p></article>')
    assert files(found) == ["a_s.jpg", "b_s.jpg", "c_s.jpg"]


def test_updates_of_a_live_report_keep_their_images():
    updates = "".join(
        f'<div class="update"><time>1{n}:00</time><h3>Update {n}</h3><p>{text}</p>'
        f'<figure><img src="/{n}.jpg" width="800"><figcaption>Picture {n}</figcaption></figure></div>'
        for n, text in enumerate((BEFORE, MIDDLE, AFTER))
    )
    found = read(f'{MENU}<main><h1>The storm, live</h1><div class="updates">{updates}</div></main>{FOOTER}')
    assert files(found) == ["0.jpg", "1.jpg", "2.jpg"] and all(f"Update {n}" in words(found) for n in range(3))


def test_steps_of_a_recipe_keep_their_numbers_and_images():
    steps = "".join(f'<li>{text}<img src="/{n}.jpg" width="600"></li>' for n, text in enumerate(("Mix.", "Wait.")))
    body = f"<article><h1>Bread</h1><p>{BEFORE}</p><h2>Ingredients</h2><ul><li>500 g flour</li><li>10 g salt</li></ul>"
    found = read(f"{MENU}{body}<h2>Instructions</h2><ol>{steps}</ol><p>{AFTER}</p></article>{FOOTER}")
    assert files(found) == ["0.jpg", "1.jpg"]
    assert all(line in words(found) for line in ("- 500 g flour", "1. Mix.", "2. Wait."))


@pytest.mark.parametrize(
    "inner",
    [
        f"<noscript><article>{PARAGRAPHS}<img src=/img/a.jpg width=800></article></noscript>",
        # the end tag of the noscript element is ignored inside an open div
        f"<noscript><div id=nojs></noscript><article>{PARAGRAPHS}<img src=/img/a.jpg width=800></article>",
    ],
)
def test_text_that_only_browsers_without_scripts_see(inner):
    found = read(f"<div id=app></div>{inner}")
    assert BEFORE in words(found) and AFTER in words(found)
    assert files(found) == ["a.jpg"]


def test_a_note_to_browsers_without_scripts_is_no_text():
    found = read(
        f"<noscript><p>Please enable scripts to read the comments.</p></noscript><article>{PARAGRAPHS}</article>"
    )
    assert "enable scripts" not in words(found)


def data_of(kind: str) -> str:
    image, body = "https://example.org/img/a.jpg", "\n\n".join((BEFORE, MIDDLE, AFTER))
    if kind == "articleBody":
        told = {
            "@type": "NewsArticle",
            "image": image,
            "articleBody": body,
        }
        return f'<script type="application/ld+json">{json.dumps(told)}</script>'
    article = {"body": PARAGRAPHS, "image": image}
    told = {"props": {"pageProps": {"article": article, "menu": [{"text": "Home"}] * 3}}}
    return f'<script id="__NEXT_DATA__" type="application/json">{json.dumps(told)}</script>'


@pytest.mark.parametrize("kind", ["articleBody", "__NEXT_DATA__"])
def test_text_that_stands_only_in_the_pages_data(kind):
    found = read(f"<div id=root>Loading ...</div>{data_of(kind)}")
    assert words(found).split("\n\n") == [BEFORE, MIDDLE, AFTER]
    assert files(found) == ["a.jpg"]


@pytest.mark.parametrize(
    "inner",
    [
        f"<script type=text/template>{PARAGRAPHS}<img src=/img/a.jpg width=800></script>",
        f"<script type=text/html><div>{PARAGRAPHS}<img src=/img/a.jpg width=800></div></script>",
        f"<my-story><template shadowrootmode=open><img src=/img/a.jpg width=800>{PARAGRAPHS}</template></my-story>",
    ],
)
def test_text_that_a_script_or_the_browser_puts_into_the_page(inner):
    found = read(f"{MENU}<div id=app></div>{inner}{FOOTER}")
    assert words(found).split("\n\n") == [BEFORE, MIDDLE, AFTER]
    assert files(found) == ["a.jpg"]


@pytest.mark.parametrize(
    "inner",
    [
        f"<template><p>{BEFORE}</p></template>",
        f"<script type=text/x-handlebars><p>{BEFORE}</p></script>",
        f"<script type=text/template><p>{{{{name}}}}</p><p>{BEFORE}</p></script>",
    ],
)
def test_a_template_that_waits_for_data_is_no_text(inner):
    assert BEFORE not in words(read(f"{inner}<article><p>{MIDDLE}</p><p>{AFTER}</p></article>"))
    assert extract(page(inner), URL) is None


def test_thumbnails_of_other_pages_in_documentation():
    thumbnail = (
        '<div class="sphx-glr-thumbcontainer"><figure><img alt="{0}" src="/_images/{0}_thumb.png"><figcaption>'
        '<p><a class="reference internal" href="../auto_examples/{0}.html"><span>{0}</span></a></p>'
        "</figcaption></figure></div>"
    )
    thumbnails = "".join(map(thumbnail.format, ("1", "2", "3", "4")))
    function = (
        '<section><h2>lamp_{0}</h2><dl class="py function"><dt class="sig sig-object py">lamp.lamp_{0}(oil, wick)</dt>'
        f"<dd><p>{{0}}. {BEFORE}</p><p>{{0}}. {AFTER}</p><pre>>>> lamp_{{0}}(oil, 3)\n0.25</pre>"
        '<img src="/_images/lamp-{0}-1.png" alt="A lamp" width="640"></dd></dl>'
        f"<section><h3>Examples using lamp_{{0}}</h3>{thumbnails}</section></section>"
    )
    functions = "".join(function.format(number) for number in range(6))
    head = '<meta name="generator" content="Sphinx">'
    edit = "<p><a href=/edit>Edit this page</a> <a href=#top>On this page</a> Table of Contents Previous Next</p>"
    url = "https://docs.lamps.org/en/stable/manual/reference/api/lamp.html"
    found = read(f"{MENU}<main><article><h1>lamp</h1>{functions}</article></main>{edit}{FOOTER}", head, url)
    assert files(found) == [f"lamp-{number}-1.png" for number in range(6)]


def test_a_heading_goes_with_its_section():
    entries = "".join(f"<li><a href='keeper.html#{part}'>{part}</a></li>" for part in ("oil", "wick", "glass", "bees"))
    contents = f"<div id=toc class=toc><h2>Contents</h2><ul>{entries}</ul></div>"
    sections = "".join(f"<h2>On {part}</h2><p>{BEFORE}</p><h3>More</h3><p>{AFTER}</p>" for part in ("oil", "bees"))
    found = read(f"{MENU}<main><h1>The keeper</h1><p>{MIDDLE}</p>{contents}{sections}</main>{FOOTER}")
    assert "Contents" not in words(found)
    assert all(words(found).count(heading) == 1 for heading in ("On oil", "On bees"))
    assert words(found).count("More") == 2


def test_sections_about_comments_in_a_manual_stay():
    sections = "".join(
        f"<section id=comment-{part} class=comments><h2>Comments on {part}</h2><p>{BEFORE}</p><pre>lamp {part}\n0</pre>"
        "</section>"
        for part in ("oil", "glass")
    )
    head = '<meta name="generator" content="Sphinx">'
    edit = "<p><a href=/edit>Edit this page</a> <a href=#top>On this page</a> Table of Contents Previous Next</p>"
    url = "https://docs.lamps.org/en/stable/manual/reference/lamp.html"
    text = f"<section><h2>Filling</h2><p>{MIDDLE} {AFTER}</p><pre>fill(3)</pre></section>" * 3
    found = read(f"{MENU}<main><article><h1>lamp</h1>{text}{sections}</article></main>{edit}{FOOTER}", head, url)
    assert BEFORE in words(found)


def test_short_lines_and_cells_of_a_book_stay():
    cells = "<tr><td>Letter</td><td>D</td><td>158</td></tr><tr><td>Letter</td><td>G</td><td>1886</td></tr>"
    chapter = f"<h2>Chapter {{0}}</h2><p>{BEFORE}</p><p>{MIDDLE}</p><table>{cells}</table><p>No.</p><p>{AFTER}</p>"
    found = read("".join(chapter.format(number) for number in range(4)))
    assert words(found).count("Letter | D | 158\nLetter | G | 1886") == 4
    assert words(found).count("No.") == 4


@pytest.mark.parametrize("kind", ["articleBody", "__NEXT_DATA__"])
def test_what_a_page_shows_comes_before_its_data(kind):
    shown = "".join(f"<p>{number}. {MIDDLE} {MIDDLE}</p>" for number in range(4))
    found = read(f"<article>{shown}</article>{data_of(kind)}")
    assert BEFORE not in words(found) and MIDDLE in words(found)


@pytest.mark.parametrize("told", ["[" * 100_000, '{"body": ' * 5000, '{"a": "\\ud800"}', "null", '{"body": 3}'])
def test_hostile_data(told):
    body = f'<script id="__NEXT_DATA__" type="application/json">{told}</script><p>{BEFORE}</p>'
    assert BEFORE in words(read(body))


TITLES = ("The lamp", "Bees on an island", "The last winter")


def parts(found: Document) -> list[str]:
    """Paragraphs and file names of images, in order."""
    whole = [node.text if isinstance(node, Text) else node.url.rsplit("/", 1)[-1] for node in found.nodes]
    return "\n\n".join(whole).split("\n\n")


def test_a_listing_keeps_its_entries_in_order():
    entries = "".join(
        f'<article class="post-card"><a href="/blog/{n}"><img src="/i/{n}.jpg" width="320" height="200" alt=""></a>'
        f'<h2><a href="/blog/{n}">{title}</a></h2><p>{summary}</p></article>'
        for n, (title, summary) in enumerate(zip(TITLES, (BEFORE, MIDDLE, AFTER), strict=True))
    )
    pages = '<div class="pagination"><a href="/blog/page/2">Older posts</a></div>'
    main = f"<main><h1>The keepers' blog</h1><div class=posts>{entries}</div>{pages}</main>"
    found = read(f"{MENU}{main}{FOOTER}", url="https://example.org/blog/")
    kept = [part for part in parts(found) if part != "The keepers' blog"]
    assert kept == [
        part
        for n, (title, summary) in enumerate(zip(TITLES, (BEFORE, MIDDLE, AFTER), strict=True))
        for part in (f"{n}.jpg", title, summary)
    ]


def test_a_service_keeps_its_offers_and_not_what_is_around_them():
    offers = "".join(
        f'<div class="service-card"><img src="/i/{n}.jpg" alt=""><h3>{title}</h3><p>{text}</p></div>'
        for n, (title, text) in enumerate(zip(TITLES, (BEFORE, MIDDLE, AFTER), strict=True))
    )
    consent = '<div class="cookie-banner"><p>We use cookies to make this site better. <button>Accept</button></p></div>'
    main = f"<main><section class=hero><h1>Our services</h1></section><section class=services>{offers}</section></main>"
    found = parts(read(f"{MENU}{main}{consent}{FOOTER}", url="https://example.org/services/"))
    assert [part for part in found if part != "Our services"] == [
        part
        for n, (title, text) in enumerate(zip(TITLES, (BEFORE, MIDDLE, AFTER), strict=True))
        for part in (f"{n}.jpg", title, text)
    ]
