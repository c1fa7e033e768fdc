"""The truth agrees with the bytes."""

import codecs
import gzip
import re
from collections import Counter, defaultdict
from itertools import pairwise
from urllib.parse import urljoin, urlsplit

import lxml.html
import pytest

from pipeline.miniweb import PageTruth, Resource, Web, generate
from pipeline.miniweb.compose import CODECS
from pipeline.miniweb.generate import CASES
from pipeline.miniweb.languages import LANGUAGES
from pipeline.miniweb.web import Node

PAGE_RULES = {
    "record.status",
    "record.redirect",
    "record.media_type",
    "record.empty",
    "page.not_html",
    "page.no_content",
    "page.no_image",
    "page.no_image_left",
    "text.too_few_words",
    "text.placeholder",
    "dedup.url",
    "dedup.same_capture",
    "dedup.text",
    "dedup.near_text",
    "consent.noai",
    "consent.noimageai",
    "consent.noindex",
    "consent.noml",
    "consent.tdm_reservation",
}
IMAGE_RULES = {
    "image.not_fetched",
    "image.not_an_image",
    "image.undecodable",
    "image.too_many_pixels",
    "image.too_small",
    "image.aspect",
    "image.single_colour",
    "image.repeated",
    "image.too_common",
    "consent.noimageai",
}


def rendered(web: Web) -> list[tuple[PageTruth, Resource]]:
    """The pages that have main content, with what was captured of each."""
    captures = {(url, resource.date): resource for url, resource in web.captures}
    return [(page, captures[page.url, page.date]) for page in web.truth if page.extracted]


def decoded(page: PageTruth, resource: Resource) -> str:
    """The HTML as the HTML standard decodes it; for a wrong header as its author meant it."""
    body = gzip.decompress(resource.body) if resource.header("Content-Encoding") else resource.body
    if body.startswith(codecs.BOM_UTF8):
        return body.decode("utf-8-sig")
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16")
    header = re.search("charset=(.+)", resource.header("Content-Type"))
    meta = re.search(rb'charset="?([\w-]+)', body)
    label = header[1] if header else meta[1].decode() if meta else "utf-8"
    if page.case.startswith("charset: header wrong") or label == "utf-16":
        label = "utf-8"
    return body.decode(CODECS.get(label, label))


def main_content(html: str, url: str) -> list[Node]:
    """Paragraphs and images in document order, parsed from our own markup independently of its writer."""
    html = re.sub(r"(?s)<template>.*?</template>|<script.*?</script>", "", html.replace("\0", ""))
    head, start, rest = re.split("(?i)(<h1>)", html, maxsplit=1)
    html = head.partition('<div id="cookie-banner"')[0] + start + rest
    html = re.split('<div class="share-buttons|<div><div><div>', html)[0]
    tree = lxml.html.document_fromstring(html)
    base = urljoin(url, next(iter(tree.xpath("//base/@href")), ""))
    found: list[Node] = []
    for element in tree.body.iter("h1", "h2", "h3", "p", "figcaption", "img"):
        if element.tag == "img":
            if element.getparent().tag == "noscript":
                continue
            source = element.get("data-src") or element.get("data-lazy-src") or element.get("src")
            candidates = element.get("srcset") or element.get("data-srcset")
            if candidates:
                source = candidates.split()[-2]
            found.append(("image", urljoin(base, source)))
        elif text := element.text_content().strip():
            found.append(("text", text))
    return found


def paragraphs(nodes: tuple[Node, ...]) -> list[Node]:
    """The nodes with each text node split into its paragraphs."""
    return [(kind, part) for kind, value in nodes for part in (value.split("\n\n") if kind == "text" else [value])]


def test_the_main_content_of_every_page_is_what_the_truth_says(web: Web) -> None:
    for page, resource in rendered(web):
        wanted = paragraphs(page.extracted)
        found = main_content(decoded(page, resource), page.url)
        if "srcset missing" in page.case:
            other = {value: key for key, (value,) in page.alternatives.items()}
            found = [(kind, other.get(value, value)) for kind, value in found]
        assert found == wanted, (page.url, page.case)


def test_sites_are_many_and_small(web: Web) -> None:
    kept = [page for page in web.truth if page.rule is None]
    pages = Counter(urlsplit(page.url).netloc for page in kept)
    assert len(pages) >= 80 and max(pages.values()) <= 8
    # sites that are not in English do not all begin with the same language
    others = {urlsplit(page.url).netloc: page.language for page in reversed(kept) if page.language != "en"}
    assert len(others) >= 10 and len(set(others.values())) >= 4


def test_every_language_and_encoding_occurs(web: Web) -> None:
    assert {page.language for page in web.truth if page.rule is None} == {language.code for language in LANGUAGES}
    english = [page.language == "en" for page in web.truth if page.rule is None]
    assert 0.7 < sum(english) / len(english) < 0.9
    labels = set()
    for _, resource in rendered(web):
        labels |= set(re.findall(rb'charset="?([\w-]+)', resource.body + resource.header("Content-Type").encode()))
    assert {b"utf-8", b"iso-8859-1", b"windows-1252", b"windows-1251", b"shift_jis", b"windows-1256"} <= labels
    assert any(resource.body.startswith(codecs.BOM_UTF16_LE) for _, resource in rendered(web))


def test_every_rule_has_its_pages_and_pictures(web: Web) -> None:
    rules = Counter(page.rule for page in web.truth)
    assert set(rules) == PAGE_RULES | {None}
    assert {rule for page in web.truth for _, rule in page.dropped} == IMAGE_RULES
    assert rules[None] > 0.85 * 400


def test_every_capture_but_pictures_has_one_truth_in_order(web: Web) -> None:
    is_picture = {url for url, r in web.captures if r.status == 200 and r.header("Content-Type").startswith("image/")}
    rows = [(url, resource.date) for url, resource in web.captures if url not in is_picture]
    assert [(page.url, page.date) for page in web.truth] == rows
    for url in web.pictures:
        assert url in is_picture or web.resources[url].status == 301


def test_pictures_exist_unless_they_are_not_fetched(web: Web) -> None:
    resources = web.resources

    def final_status(url: str) -> int:
        while url in resources and resources[url].status in (301, 302):
            url = resources[url].header("Location")
        return resources[url].status if url in resources else 0

    for page in web.truth:
        missing = {url for url, rule in page.dropped if rule == "image.not_fetched"}
        for kind, url in page.extracted:
            if kind == "image":
                assert (final_status(url) != 200) == (url in missing), (page.url, url)


def test_kept_nodes_are_the_extracted_ones_without_the_dropped(web: Web) -> None:
    for page in web.truth:
        left = Counter(url for kind, url in page.extracted if kind == "image") - Counter(url for url, _ in page.dropped)
        assert left == Counter(url for kind, url in page.nodes if kind == "image"), page.url
        text = [part for part in paragraphs(page.extracted) if part[0] == "text"]
        assert text == [part for part in paragraphs(page.nodes) if part[0] == "text"]
        assert all(a[0] == "image" or b[0] == "image" for a, b in pairwise(page.nodes)), "two texts in a row"
        if page.rule is None:
            assert any(kind == "image" for kind, _ in page.nodes)
        if page.rule == "page.no_image_left":
            assert page.dropped and not any(kind == "image" for kind, _ in page.nodes)


def test_mentions_name_what_the_picture_shows(web: Web) -> None:
    languages = {language.code: language for language in LANGUAGES}
    for page in web.truth:
        for mention in page.mentions:
            assert page.nodes[mention.node][1][mention.start : mention.stop] == mention.word
            if mention.picture is not None:
                kind, url = page.nodes[mention.picture]
                assert kind == "image"
                value = languages[page.language].values(web.pictures[url])[mention.attribute]
                assert mention.word.lower().startswith(value.lower()), (page.url, mention)
        named = Counter((m.picture, m.attribute) for m in page.mentions if m.first and m.picture is not None)
        assert not named or set(named.values()) == {1}
        if page.rule is None:
            drawings = [i for i, (kind, url) in enumerate(page.nodes) if kind == "image"]
            assert named.keys() == {(i, a) for i in drawings for a in ("colour", "shape", "count", "ground")}


def test_attribute_words_are_a_good_part_of_the_text(web: Web) -> None:
    pages = [page for page in web.truth if page.rule is None and page.language == "en"]
    words = sum(len(value.split()) for page in pages for kind, value in page.nodes if kind == "text")
    assert 0.09 < sum(m.first for page in pages for m in page.mentions) / words < 0.2


def test_filler_never_names_an_attribute() -> None:
    """Else the words could not be told from those that carry information."""
    for language in LANGUAGES:
        names = {*language.colours, *language.shapes, *language.counts, *language.grounds}
        filler = " ".join(
            (*language.sentences, language.title, *(w for words in language.lists.values() for w in words))
        )
        if language.code != "ja":
            assert not names & set(re.findall(r"\w+", filler)), language.code


def five_grams(page: PageTruth) -> set[tuple[str, ...]]:
    text = " ".join(value for kind, value in page.nodes if kind == "text").lower()
    words = re.findall(r"\w", text) if page.language == "ja" else re.findall(r"\w+", text)
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_kept_pages_differ_and_copies_do_not(web: Web) -> None:
    kept = [page for page in web.truth if page.rule is None]
    grams = [five_grams(page) for page in kept]
    holders = defaultdict(list)
    for index, found in enumerate(grams):
        for gram in found:
            holders[gram].append(index)
    shared = Counter((a, b) for indexes in holders.values() for i, b in enumerate(indexes) for a in indexes[:i])
    worst = max(count / (len(grams[a]) + len(grams[b]) - count) for (a, b), count in shared.items())
    assert worst < 0.5
    by_url = {page.url: page for page in kept}
    for page in web.truth:
        if page.rule in ("dedup.text", "dedup.near_text"):
            mine, other = five_grams(page), five_grams(by_url[page.twin or ""])
            similarity = len(mine & other) / len(mine | other)
            assert (similarity == 1) if page.rule == "dedup.text" else (0.9 < similarity < 1 and len(mine) > 120)
            assert page.date < by_url[page.twin or ""].date and page.url > (page.twin or "")
        if page.rule == "dedup.url":
            assert page.date < by_url[page.url].date


def test_pages_are_long_enough_to_be_main_content(web: Web) -> None:
    for page in web.truth:
        length = sum(len(value.split()) for kind, value in page.nodes if kind == "text")
        if page.rule == "text.too_few_words":
            assert length < 10
        elif page.rule is None and page.language != "ja":
            assert length >= 55, page.url


def test_the_common_picture_stands_on_more_than_ten_kept_pages(web: Web) -> None:
    kept = [page for page in web.truth if page.rule is None]
    pages = Counter(url for page in kept for url, rule in page.dropped if rule == "image.too_common")
    assert list(pages) and min(pages.values()) > 10
    once = Counter(url for page in kept for url in {value for kind, value in page.nodes if kind == "image"})
    assert max(once.values()) == 1


def test_the_smallest_web_has_every_case() -> None:
    small = generate(120, seed=5)
    assert {page.rule for page in small.truth} == PAGE_RULES | {None}
    assert {rule for page in small.truth for _, rule in page.dropped} == IMAGE_RULES
    assert len({page.case for page in small.truth}) > len(CASES) - 5
    with pytest.raises(ValueError, match="119 pages are too few"):
        generate(119)


def test_hostile_pages_are_added_on_request() -> None:
    hostile = generate(120, hostile=True)
    rows = {page.rule: hostile.resources[page.url] for page in hostile.truth}
    assert len(rows["page.too_large"].body) > 2_000_000
    assert rows["page.too_deep"].body.count(b"<div>") == 100_000


def test_pages_can_be_found_from_the_home_page(web: Web) -> None:
    """What a crawler needs; older captures and copies are linked too."""
    resources = web.resources
    for page in web.truth:
        if page.case == "home page":
            linked = set(lxml.html.fromstring(resources[page.url].body).xpath("//a/@href"))
            host = {other.url for other in web.truth if other.url.startswith(page.url) and other.extracted}
            assert host <= linked
            robots = resources[f"{page.url}robots.txt"].body.decode()
            assert "Crawl-delay: 0.02" in robots and f"Sitemap: {page.url}sitemap.xml" in robots


def test_bases_decide_the_urls() -> None:
    web = generate(120, base=lambda host: f"http://127.0.0.{2 + len(host)}:8080")
    assert all(url.startswith("http://127.0.0.") for url, _ in web.captures)
    assert not any(b".example" in resource.body for _, resource in web.captures)
