"""One stream per document: markers where they belong, words where they start, the text recovered."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shards.records import Image, Text
from shards.stream import _SPACE, PARAGRAPH, SENTENCE, Stream, _breaks, _character_classes, render, token_stream
from shards.tokenizer import EOC_MARKER, IMAGE_MARKER, Tokenizer

PICTURE = Image("https://example.org/a.jpg")

page_text = st.lists(
    st.sampled_from(
        ["<image>", "<|endofchunk|>", "<s>", "the harbour", "東京の", "写真", "صورة", "👩‍🚀", "é", " ", "\n\n"]
    )
    | st.text(max_size=6)
).map("".join)
page = st.lists(st.just(PICTURE) | page_text.map(Text), max_size=12)


def marked(nodes: list, tokenizer: Tokenizer) -> str:
    """The stream with I for an image, E for an EOC and a run of text as it stands."""
    stream = token_stream(nodes, tokenizer)
    parts, run = [], []
    for token in [*stream.ids.tolist(), None]:
        if token is not None and token < tokenizer.image_id:
            run.append(token)
            continue
        if run:
            parts.append(tokenizer.decode(run))
            run = []
        if token is not None:
            parts.append("I" if token == tokenizer.image_id else "E")
    return "|".join(parts)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], ""),
        ([Text(" \n ")], ""),
        ([Text("a cat")], "a cat|E"),
        ([PICTURE], "I|E"),
        ([PICTURE, Text("a cat")], "I|a cat|E"),
        ([Text("a cat"), PICTURE], "a cat|E|I|E"),
        ([PICTURE, PICTURE, Text("a cat")], "I|I|a cat|E"),
        ([Text("a cat"), PICTURE, PICTURE, Text("a dog")], "a cat|E|I|E|I|a dog|E"),
        ([PICTURE, Text("a cat"), PICTURE, Text("a dog")], "I|a cat|E|I|a dog|E"),
        ([Text("  a cat \n\n"), PICTURE, Text("\n a dog  ")], "a cat|E|I|a dog|E"),
        ([Text("a cat"), Text(" "), Text("a dog"), PICTURE], "a cat\n\na dog|E|I|E"),
        ([Text(" "), PICTURE, Text("a dog")], "I|a dog|E"),
        ([Text("a\n\nb"), PICTURE], "a\n\nb|E|I|E"),
    ],
)
def test_where_markers_stand(nodes, expected, tokenizer):
    assert marked(nodes, tokenizer) == expected


def test_a_prompt_stays_open(tokenizer):
    closed = token_stream([PICTURE, Text("a cat")], tokenizer)
    opened = token_stream([PICTURE, Text("a cat")], tokenizer, close=False)
    assert closed.ids.tolist() == [*opened.ids.tolist(), tokenizer.eoc_id]
    assert opened.nodes.tolist() == [0, 1, len(opened)]


def test_whatever_is_no_text_is_an_image(tokenizer):
    stream = token_stream([object(), Text("a cat"), "bytes"], tokenizer)
    assert stream.image_nodes.tolist() == [0, 2]


@given(page)
def test_the_stream_gives_back_the_page(tokenizer, nodes):
    stream = token_stream(nodes, tokenizer)
    present = [node for node in nodes if not isinstance(node, Text) or node.text.strip()]
    expected = ""
    has_text = False
    for index, node in enumerate(present):
        if isinstance(node, Text):
            after_text = index > 0 and isinstance(present[index - 1], Text)
            expected += "\n\n" * after_text + node.text.strip()
            has_text = True
        else:
            expected += EOC_MARKER * has_text + IMAGE_MARKER
    assert tokenizer.decode(stream.ids) == expected + EOC_MARKER * bool(present)


@given(page)
def test_markers_come_from_nodes_alone(tokenizer, nodes):
    stream = token_stream(nodes, tokenizer)
    pictures = [index for index, node in enumerate(nodes) if not isinstance(node, Text)]
    assert stream.image_nodes.tolist() == pictures
    assert np.flatnonzero(stream.ids == tokenizer.image_id).tolist() == stream.images.tolist()
    assert stream.ids[stream.nodes[pictures]].tolist() == [tokenizer.image_id] * len(pictures)
    assert stream.breaks[stream.images].tolist() == [PARAGRAPH] * len(pictures)
    assert not stream.breaks[stream.ids == tokenizer.eoc_id].any()
    text = render(stream.ids, tokenizer)
    assert text.count(IMAGE_MARKER) == len(pictures)
    assert text.count(EOC_MARKER) == (stream.ids == tokenizer.eoc_id).sum()


@given(page)
def test_each_node_owns_its_tokens(tokenizer, nodes):
    stream = token_stream(nodes, tokenizer)
    assert len(stream.nodes) == len(nodes) + 1
    assert stream.nodes[0] == 0
    assert stream.nodes[-1] == len(stream)
    for node, start, stop in zip(nodes, stream.nodes[:-1], stream.nodes[1:], strict=True):
        ids = stream.ids[start:stop]
        text = tokenizer.decode(ids[ids < tokenizer.image_id])
        assert text.strip() == (node.text.strip() if isinstance(node, Text) else "")
        assert (ids == tokenizer.image_id).sum() == (not isinstance(node, Text))


@given(page, st.data())
def test_a_part_is_a_stream(tokenizer, nodes, data):
    stream = token_stream(nodes, tokenizer)
    first, stop = sorted(data.draw(st.tuples(st.integers(0, len(nodes)), st.integers(0, len(nodes)))))
    start, end = stream.nodes[[first, stop]]
    part = stream.part(start, end)
    assert part.ids.tolist() == stream.ids[start:end].tolist()
    assert len(part.begins) == len(part.words) == len(part)
    assert np.flatnonzero(part.ids == tokenizer.image_id).tolist() == part.images.tolist()
    assert part.image_nodes.tolist() == [node for node in stream.image_nodes if first <= node < stop]
    assert (part.nodes[first : stop + 1] + start).tolist() == stream.nodes[first : stop + 1].tolist()


@given(page_text)
@example("东京Python教程 第3章「写真」です。スーパー")
@example("«hello» (world) 'quoted' well-known don't 3.14 a/b")
@example("a\u00a0b\u3000c\u200bd\te\r\nf")
def test_windows_may_begin_where_words_begin(tokenizer, text):
    """Against the characters themselves: what stands right before a beginning and at it."""
    # a character that this Python's Unicode does not know has no category to compare with
    text = "".join(character for character in text if unicodedata.category(character) != "Cn")
    stream = token_stream([Text(text)], tokenizer)
    text = text.strip()
    for position in np.flatnonzero(stream.begins):
        before, after = tokenizer.decode(stream.ids[:position]), tokenizer.decode(stream.ids[position:-1])
        assert before + after == text  # never inside a character
        assert after.lstrip("\u200b").strip()
        character = after.lstrip().lstrip("\u200b")[:1]
        spaced = (
            not before or before[-1].isspace() or before[-1] == "\u200b" or after[0].isspace() or after[0] == "\u200b"
        )
        assert spaced or is_cjk(character) or is_cjk(before[-1])
        if not spaced:
            assert unicodedata.category(character) in {"Lo", "Lu", "Ll", "Lt", "Nd", "Nl", "No", "So"}


def is_cjk(character: str) -> bool:
    name = unicodedata.name(character, "")
    return any(script in name for script in ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "IDEOGRAPHIC", "KANA"))


def beginnings(text: str, tokenizer: Tokenizer) -> list[str]:
    """The text from each place where a window may begin."""
    stream = token_stream([Text(text)], tokenizer)
    return [tokenizer.decode(stream.ids[position:-1]).strip() for position in np.flatnonzero(stream.begins)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the harbour lies", ["the harbour lies", "harbour lies", "lies"]),
        ("(the harbour) well-known", ["(the harbour) well-known", "harbour) well-known", "well-known"]),
        ("don't 3.14", ["don't 3.14", "3.14"]),
        ("صورة للميناء في", ["صورة للميناء في", "للميناء في", "في"]),
        ("👩‍🚀 x👍🏽", ["👩‍🚀 x👍🏽", "x👍🏽"]),
        ("e\u0301a e\u0301", ["e\u0301a e\u0301", "e\u0301"]),
        ("ภาพถ่าย ท่าเรือ", ["ภาพถ่าย ท่าเรือ", "ท่าเรือ"]),
        ("사진은 항구", ["사진은 항구", "항구"]),
        ("写海。港", ["写海。港", "海。港", "港"]),
        ("カー々日", ["カー々日", "日"]),
        ("用AI画", ["用AI画", "AI画", "画"]),
        ("𠮷野", ["𠮷野", "野"]),
        ("ア・イ", ["ア・イ", "イ"]),
        ("ｱｰｲ", ["ｱｰｲ", "ｲ"]),
        ("ꀀꀁ", ["ꀀꀁ"]),
    ],
)  # fmt: skip
def test_beginnings(text, expected, tokenizer):
    assert beginnings(text, tokenizer) == expected


@pytest.mark.parametrize(
    ("text", "paragraphs", "sentences"),
    [
        ("One two. Three, four? five! Six: Seven.", ["One"], ["Three", "Six"]),
        ("One, two\nthree four.\n\nFive\n \n\nsix", ["One", "Five", "six"], ["three"]),
        ('He said "Go." Then (she too.) Left «no…» Yes.', ["He"], ["Then", "Left", "Yes"]),
        ("At 3.14 e.g. this. Not (.) So", ["At"], ["Not", "So"]),
        ("写真です。見て」。港 海.川", ["写"], ["見", "港"]),
    ],
)
def test_where_sentences_and_paragraphs_begin(text, paragraphs, sentences, tokenizer):
    stream = token_stream([Text(text)], tokenizer)
    found = {}
    for place in np.flatnonzero(stream.breaks[:-1]):
        begun = tokenizer.decode(stream.ids[place:-1]).strip()
        word = begun[0] if is_cjk(begun[0]) else begun.split()[0]
        found.setdefault(stream.breaks[place], []).append(word.strip(".,:"))
    assert (found[PARAGRAPH], found.get(SENTENCE, [])) == (paragraphs, sentences)


@given(st.text(st.sampled_from("aAb1 \n.?。”)写…»\u200b😀"), min_size=1, max_size=24))
def test_breaks_are_those_of_the_definition(text):
    codes = np.array([ord(character) for character in text], np.uint32)
    classes = _character_classes()[codes]
    found = _breaks(codes, classes)
    solid = [place for place, kind in enumerate(classes.tolist()) if kind != _SPACE]
    for number, place in enumerate(solid):
        before = solid[number - 1] if number else -1
        content = next((other for other in reversed(solid[:number]) if text[other] not in "”)»"), -1)
        lines = text[before + 1 : place].count("\n")
        spaced = before < place - 1 or text[content] in "。"
        ended = content >= 0 and text[content] in ".?。…" and spaced and not text[place].islower()
        expected = PARAGRAPH if before < 0 or lines > 1 else SENTENCE if ended or lines else 0
        assert found[place] == expected, (text, place)
    assert found[len(text)] == 0


def test_words_hold_a_letter_or_a_digit(tokenizer):
    stream = token_stream([Text("the * 7 東 👍 — é")], tokenizer)
    shown = {}
    for token, word in zip(stream.ids[:-1].tolist(), stream.words.tolist(), strict=False):
        shown.setdefault(word, []).append(tokenizer.decode([token]).strip())
    assert "the" in "".join(shown[True])
    assert not any(character in "".join(shown[True]) for character in "*—👍")
    assert not any(character.isalnum() for character in "".join(shown[False]))


def test_a_literal_marker_is_broken_in_the_rendering_only(tokenizer):
    nodes = [Text("Write <image> here <|endofchunk|> and <s>"), PICTURE]
    stream = token_stream(nodes, tokenizer)
    assert render(stream.ids, tokenizer) == (
        "Write <\u200bimage> here <\u200b|endofchunk|> and <s><|endofchunk|><image><|endofchunk|>"
    )
    assert tokenizer.decode(stream.ids).startswith("Write <image> here <|endofchunk|> and <s>")
    assert len(stream.images) == 1


def test_an_unfinished_character_at_the_end_is_not_shown(tokenizer):
    ids = tokenizer.encode("harbour 𓀀")
    assert render(ids, tokenizer) == "harbour 𓀀"
    for cut in range(1, 4):
        assert render(ids[:-cut], tokenizer) == "harbour "


def test_lone_surrogates_do_no_harm(tokenizer):
    stream = token_stream([Text("\ud83d\ude00 the \udfff"), PICTURE], tokenizer)
    assert tokenizer.decode(stream.ids) == "\ufffd\ufffd the \ufffd<|endofchunk|><image><|endofchunk|>"
    assert isinstance(stream, Stream)
