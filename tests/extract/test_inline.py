"""Scripts, formulas, quotations, deleted text; numbers of lists; hidden text and characters."""

import pytest

from filters.text import measure
from pipeline.extract import extract
from shards.records import Image, Text
from tests.extract.pages import URL, article, document, images, page, text


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("about 10<sup>9</sup> lamps of 3 m<sup>2</sup>", "about 10^9 lamps of 3 m^2"),
        ("as 10<sup>&minus;3</sup> or 2<sup>n+1</sup>, (a+b)<sup>2</sup>", "as 10^−3 or 2^(n+1), (a+b)^2"),
        ("of H<sub>2</sub>SO<sub>4</sub> and y<sub>i</sub>", "of H2SO4 and y_i"),
        ("in 101<sub>2</sub> and log<sub>2</sub> 8", "in 101_2 and log_2 8"),
        ("Ca<sup>2+</sup> and <sup>14</sup>C", "Ca^2+ and 14C"),
        ("the 21<sup>st</sup>, the 3<sup>e</sup>, n<sup>o</sup> 5", "the 21st, the 3e, no 5"),
        ("lit 7<sup>1</sup>/<sub>4</sub> hours, <sup>2</sup>&frasl;<sub>3</sub> full", "lit 7 1/4 hours, 2/3 full"),
        ('in 1911<sup><a href="#n1">4</a></sup> and<a href="#n2"><sup>a</sup></a>', "in 1911[4] and[a]"),
        ('in 1911<sup class="reference">5</sup> by ship.<sup>6</sup> Then', "in 1911[5] by ship.[6] Then"),
        ("old<sup>*</sup> and <sup>small print above</sup>", "old* and small print above"),
        ("e<sup>-x<sup>2</sup></sup> falls", "e^(-x^2) falls"),
        ('in 1911 <a class="footnote-reference brackets" href="#n1">4</a>. Then', "in 1911 [4]. Then"),
        ('<span class="brackets"><a class="fn-backref" href="#r1">4</a></span> by ship', "[4] by ship"),
        ('1911 <a class="brackets" href="#n"><span>[</span>4<span>]</span></a> by ship', "1911 [4] by ship"),
    ],
)
def test_superscripts_and_subscripts(inner, expected):
    assert text(f"<p>The keeper wrote {inner} into the log.</p>") == f"The keeper wrote {expected} into the log."


MATH = "<math><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></mfrac>{}</math>"
TEX = r"\frac{a+1}{2}"
GLYPHS = '<span aria-hidden="true"><span>a</span><span>+</span><span>1</span><span>2</span></span>'


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (MATH.format(""), "(a + 1)/2"),
        (
            MATH.replace("<mfrac>", "<semantics><mrow><mfrac>").format(
                f'</mrow><annotation encoding="application/x-tex">{TEX}</annotation></semantics>'
            ),
            TEX,
        ),
        (f'<math alttext="{{\\displaystyle {TEX}}}"><mi>a</mi></math>', TEX),
        (f'<script type="math/tex">{TEX}</script>', TEX),
        (f'<script type="math/tex">\\!{TEX}\\, \\;</script>', TEX),
        (
            '<span class="MathJax_Preview">a+1 2</span><span class="MathJax" id="m1"><nobr><span>a+1</span></nobr>'
            f'<span class="MJX_Assistive_MathML">{MATH.format("")}</span></span>'
            f'<script type="math/tex" id="m2">{TEX}</script>',
            TEX,
        ),
        (
            '<span class="MathJax_Preview"></span><span class="MathJax">a</span>'
            f'<script type="math/mml">{MATH.format("")}</script>',
            "(a + 1)/2",
        ),
        (
            '<span class="katex"><span class="katex-mathml"><math><semantics><mrow><mi>a</mi></mrow><annotation '
            f'encoding="application/x-tex">{TEX}</annotation></semantics></math></span>{GLYPHS}</span>',
            TEX,
        ),
        (f'<img src="https://s0.example/latex.php?latex=a" alt="{TEX}" class="latex">', TEX),
        ("<math><msup><mi>x</mi><mn>2</mn></msup><mo>=</mo><msqrt><mi>y</mi></msqrt></math>", "x^2 = √y"),
        (
            "<math><munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>0</mn></mrow><mi>n</mi></munderover>"
            "<msub><mi>a</mi><mi>i</mi></msub></math>",
            "∑_(i = 0)^n a_i",
        ),
        ("<math><mi>f</mi><mo>&#x2061;</mo><mfenced><mi>x</mi><mi>y</mi></mfenced></math>", "f(x, y)"),
    ],
)
def test_a_formula_stands_once_at_its_place(formula, expected):
    found = document(f"<p>The keeper wrote {formula}, and then he slept.</p>").nodes
    whole = "\n\n".join(node.text for node in found if isinstance(node, Text))
    assert f"The keeper wrote {expected}, and then he slept." in whole
    assert not any(isinstance(node, Image) for node in found)


def test_a_formula_that_is_not_closed_ends_at_the_next_block():
    assert text("<p>He wrote <math><mi>a</mi> into it.<p>Then he slept until the boat came.</p>").endswith(
        "\n\nThen he slept until the boat came."
    )


@pytest.mark.parametrize(
    ("language", "inner", "expected"),
    [
        ("en-GB", "<q>Who says <q>dark</q> now?</q>", "“Who says ‘dark’ now?”"),
        ("de", "<q>Wer sagt <q>dunkel</q>?</q>", "„Wer sagt ‚dunkel‘?“"),
        ("de-CH", "<q>Licht</q>", "«Licht»"),
        ("ja", "<q>灯<q>台</q></q>", "「灯『台』」"),
        ("en", "“<q>Light</q>”", "“Light”"),
        ("en", '<span lang="fr"><b><q>Light</q></b></span>', "“Light”"),
    ],
)
def test_quotations_have_the_marks_of_their_language(language, inner, expected):
    assert text(f'<p lang="{language}">The keeper said {inner} every evening.</p>') == (
        f"The keeper said {expected} every evening."
    )


@pytest.mark.parametrize("tag", ["del", "s", "strike"])
def test_deleted_text_is_left_out(tag):
    assert text(
        f"<p>The lamp burns oil <{tag}>and gas</{tag}>. It costs <{tag}>12</{tag}> <ins>9</ins> kroner.</p>"
    ) == ("The lamp burns oil. It costs 9 kroner.")


def test_what_is_left_out_leaves_no_space_before_a_full_stop():
    assert text(
        '<p>The lamp was lit <a href="/more">→</a>. Nobody came <span class="pagenum">[6]</span>, ever.</p>'
    ) == ("The lamp was lit. Nobody came, ever.")


@pytest.mark.parametrize(
    ("opening", "numbers"),
    [
        ("<ol>", "1. 2. 3."),
        ("<ol start=7>", "7. 8. 9."),
        ("<ol start=0>", "0. 1. 2."),
        ("<ol reversed>", "3. 2. 1."),
        ("<ol reversed start=-1>", "-1. -2. -3."),
        ("<ol type=a start=26>", "z. aa. ab."),
        ("<ol type=I start=8>", "VIII. IX. X."),
        ('<ol style="list-style-type: lower-roman">', "i. ii. iii."),
        ('<ol style="list-style: none">', "- - -"),
        ("<ul>", "- - -"),
    ],
)
def test_ordered_lists_keep_their_numbers(opening, numbers):
    items = ("Trim the wick.", "Fill the lamp.", "Light it.")
    found = text(f"<p>Every evening:</p>{opening}{''.join(f'<li>{item}</li>' for item in items)}</{opening[1:3]}>")
    lines = "\n".join(f"{number} {item}" for number, item in zip(numbers.split(), items, strict=True))
    assert found == f"Every evening:\n\n{lines}"


def test_numbers_go_on_from_the_value_of_an_item_and_around_inner_lists():
    inner = (
        "<ol><li>Trim the wick.</li><li value=5>Fill the lamp.<ol><li>With oil.</li></ol></li><li>Light it.</li></ol>"
    )
    assert text(f"<p>Every evening:</p>{inner}").split("\n\n", 1)[1] == (
        "1. Trim the wick.\n5. Fill the lamp.\n1. With oil.\n6. Light it."
    )


@pytest.mark.parametrize("picture", ['<img src="note.png" width=25 height=25>', '<img src="a.jpg" width=400>', ""])
def test_an_emptied_cell_is_no_cell(picture):
    found = document(
        f"<table><tr><td rowspan=2>{picture}</td><th>Caution</th></tr><tr><td>"
        "<p>Do not look into the lamp.</p></td></tr></table>"
    ).nodes
    words = "\n".join(node.text for node in found if isinstance(node, Text))
    assert "Caution\nDo not look into the lamp." in words and "|" not in words


def test_lines_of_listings_are_no_duplicate_lines():
    listing = "# light\nif dark:\n    lamp.light()\n" * 20
    found = document(f"<p>The program:</p><pre>{listing}</pre>")
    words = "\n\n".join(node.text for node in found.nodes if isinstance(node, Text))
    assert measure(words)["duplicate_lines"] > 0.8
    metrics = measure(words, found.listings)
    assert metrics["duplicate_lines"] == metrics["hashes"] == 0.0
    repeated = document(f"<p>The program:</p><pre>{listing}</pre>" + "<p>The same line of prose.</p>" * 20)
    words = "\n\n".join(node.text for node in repeated.nodes if isinstance(node, Text))
    assert measure(words, repeated.listings)["duplicate_lines"] > 0.7


UNSEEN = "\x01\x07\x1b\x7f\u00ad\u061c\u180e\u200b\u200e\u202a\u202e\u202c"
UNSEEN += "\u2066\u2069\u2060\u2063\ufeff\ufff9\ufffe\U000e0041"


def test_characters_that_nobody_sees_are_left_out():
    noise = "".join(f"&#{ord(character)};" for character in UNSEEN)
    assert text(f"<p>The la{noise}mp was lit &#x200b; early.</p>") == "The lamp was lit early."
    assert text(f"<pre>The la{noise}mp\n  was lit.</pre>") == "The lamp\n  was lit."
    (picture,) = images(f'<p><img src="a.jpg" alt="The la{noise}mp"></p>')
    assert picture.alt == "The lamp"
    found = extract(page(article(""), f'<meta name="author" content="Anna{noise} Holm">'), URL)
    assert found is not None and found.metadata.author == "Anna Holm"


@pytest.mark.parametrize(
    "kept",
    [
        "می\u200cنوشت",
        "क्\u200dष",
        "👩\u200d👧",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "ភាសា\u200bខ្មែរ",
        "ภาษา\u200bไทย",
        "ພາສາ\u200bລາວ",
        "မြန်မာ\u200bစာ",
    ],
)
def test_joiners_flags_and_line_breaks_of_unspaced_scripts_stay(kept):
    assert text(f"<p>The keeper wrote {kept} into the log.</p>") == f"The keeper wrote {kept} into the log."


LONG = "Every part of it is described here, from the glass to the wick, and how each of them is to be cleaned, by whom."


@pytest.mark.parametrize(
    "body",
    [
        '<div class="accordion-collapse collapse" style="display:none">{}</div>',
        '<div role="tabpanel" aria-hidden="true">{}</div>',
        '<div role="region" aria-labelledby="h" hidden>{}</div>',
        '<section hidden="until-found">{}</section>',
    ],
)
def test_bodies_of_accordions_and_tabs_stay(body):
    assert text(f'<h2 id="h">The lamp</h2>{body.format(f"<p>{LONG}</p>")}') == f"The lamp\n\n{LONG}"


def test_pictures_hidden_from_screen_readers_alone_stay():
    inner = (
        '<div aria-hidden="true"><img src="a.jpg"></div><p><a href="/x" aria-hidden="true"><img src="b.jpg"></a></p>'
    )
    assert [image.url[-5:] for image in images(inner)] == ["a.jpg", "b.jpg"]
    assert images('<div style="display:none"><img src="a.jpg"></div>') == []
