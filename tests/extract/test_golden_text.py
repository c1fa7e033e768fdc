"""Text: one small page per behaviour, each with the nodes that it must become."""

import pytest

from pipeline.extract import extract
from shards.records import Image, Text
from tests.extract.pages import AFTER, BEFORE, FOOTER, MENU, ROOT, URL, document, page, text


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
    ) == ("1. Trim the wick before it gets dark.\n2. Light the lamp and close the door.")


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
