"""Windows against a direct implementation of their definition."""

import math
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.readers import draw_windows, next_image, previous_image
from shards.records import Image, StoredImage, Text
from shards.stream import PARAGRAPH, SENTENCE, Stream, token_stream
from shards.tiles import BREAKS, TEXT_CUT_OFF, WINDOW, lay_around_images
from shards.tiles import IMAGE as WORTH
from shards.windows import (
    LEAK,
    NO_IMAGE,
    NO_ROOM,
    NO_TIED_TEXT,
    NOT_DRAWN,
    RULES,
    Held,
    WindowOptions,
    coverage,
    cut_spans,
    document_windows,
    drawable_starts,
    pieces,
    tile_spans,
    training_texts,
)

IMAGE, EOC = 1000, 1001
SMALL = WindowOptions(tokens=24, images=2, tied_text=3, image_run=2)
TILE = replace(SMALL, policy="tile", images=3)


def spelt(letters: str) -> Stream:
    """A stream of one token per letter: I an image, E an EOC, w a word's first token, s a sentence's, p a
    paragraph's, c a further one, . no word."""
    array = np.array(list(letters), "U1") if letters else np.zeros(0, "U1")
    ids = np.select([array == "I", array == "E"], [IMAGE, EOC], np.arange(len(array)) % 500).astype(np.int32)
    images = np.flatnonzero(array == "I").astype(np.int32)
    return Stream(
        ids=ids,
        begins=np.isin(array, ["I", "w", "s", "p"]),
        breaks=np.select([np.isin(array, ["I", "p"]), array == "s"], [PARAGRAPH, SENTENCE], 0).astype(np.uint8),
        words=np.isin(array, ["w", "s", "p", "c"]),
        images=images,
        image_nodes=np.arange(len(images), dtype=np.int32),
        nodes=np.array([0, len(array)], np.int32),
        image_id=IMAGE,
        eoc_id=EOC,
    )


def plain_stop(letters: str, start: int, options: WindowOptions) -> int:
    images = 0
    for position in range(start, len(letters)):
        images += letters[position] == "I"
        if position - start == options.tokens or images > options.images:
            return position
    return len(letters)


def plain_rule(letters: str, start: int, stop: int, options: WindowOptions) -> str | None:
    window = letters[start:stop]
    chunks = [chunk.replace("E", "") for chunk in window.split("I")]
    if len(chunks) == 1:
        return "window.no_image"
    if (sum if options.policy == "tile" else max)(map(len, chunks)) < options.tied_text:
        return "window.no_tied_text"
    run = longest = 1
    for chunk in chunks[1:-1]:
        run = 1 if set("wspc") & set(chunk) else run + 1
        longest = max(longest, run)
    if longest > options.image_run:
        return "window.image_run"
    possible = min(options.tokens, len(letters) - start)
    if options.policy == "random" and possible - (stop - start) > options.cut * possible:
        return "window.cut"
    return None


letters = st.text("IEwwwwccc.", max_size=150)


@given(letters)
def test_starts_are_those_of_the_definition(text):
    expected = [
        start
        for start in range(len(text))
        if text[start] in "Iw"
        and plain_rule(text, start, plain_stop(text, start, SMALL), SMALL)
        not in ("window.no_image", "window.no_tied_text")
    ]
    assert drawable_starts(spelt(text), SMALL).tolist() == expected


@given(letters, st.integers(0, 5))
def test_drawn_windows_are_those_of_the_definition(text, seed):
    stream = spelt(text)
    spans, dropped = cut_spans(stream, SMALL, seed=str(seed))
    starts = drawable_starts(stream, SMALL).tolist()
    if not starts:
        assert spans == []
        assert sum(dropped.values()) == bool(text)
        assert dropped["window.no_tied_text" if "I" in text else "window.no_image"] == bool(text)
        return
    assert [span.start for span in spans] == sorted({span.start for span in spans})
    assert 1 <= len(spans) + dropped.total() <= min(8, math.ceil(len(text) / SMALL.tokens))
    for start, stop in spans:
        assert start in starts
        assert stop == plain_stop(text, start, SMALL)
        assert plain_rule(text, start, stop, SMALL) is None
    assert set(dropped) <= {"window.image_run", "window.cut"}


def plain_places(text: str, tokens: int) -> list[int]:
    places: list[int] = []
    for position in range(len(text)):
        if text[position] in "Iwsp" or (places and position - places[-1] == tokens):
            places.append(position)
    return [*places, len(text)] if places else []


def plain_worth(text: str, start: int, stop: int, options: WindowOptions) -> float:
    """The worth of a tile, -inf if it may not be."""
    window = text[start:stop]
    if stop - start > options.tokens or window.count("I") > options.images or plain_rule(text, start, stop, options):
        return -math.inf
    chunks = [len(chunk.replace("E", "")) for chunk in window.split("I")]
    if chunks[0] < options.tied_text and sum(chunks[1:]) < options.tied_text:
        return -math.inf
    tied = [max(pair) >= options.tied_text for pair in pairwise(chunks)]
    following = len(text[stop - len(window.rpartition("I")[2]) :].split("I")[0].replace("E", ""))
    worth = sum(chunks) + WORTH * (len(tied) + sum(tied)) + WINDOW
    worth -= TEXT_CUT_OFF * (chunks[-1] < min(options.tied_text, following))
    for place in (start, stop):
        level = PARAGRAPH if place == len(text) or text[place] in "Ip" else SENTENCE if text[place] == "s" else 0
        worth += int(BREAKS[level])
    return worth


# words and images in turn, so that most texts have windows of several images, with and without text tied to them
WORDS = ["w" * length for length in (1, 2, 3, 4, 9, 26)]
PIECES = st.sampled_from(["I", "EI", "II", "sw", "p", "E", ".", "cc", "c" * 60, *WORDS])


@settings(max_examples=200)
@given(st.one_of(st.text("IIEwwwccsp.", max_size=90), st.lists(PIECES, max_size=20).map("".join)))
def test_tiles_are_the_best_windows_that_do_not_overlap(text):
    stream = spelt(text)
    spans = lay_around_images(stream, TILE)
    places = plain_places(text, TILE.tokens)
    best = dict.fromkeys(places, 0.0)
    for index, stop in enumerate(places):
        starts = places[:index]
        best[stop] = max(
            [best[places[index - 1]] if index else 0.0]
            + [best[start] + plain_worth(text, start, stop, TILE) for start in starts if stop - start <= TILE.tokens]
        )
    assert sum(plain_worth(text, *span, TILE) for span in spans) == (best[places[-1]] if places else 0)
    for before, after in pairwise(spans):
        assert before[1] <= after[0]
    assert all(start in places and stop in places for start, stop in spans)


@given(st.text("IEwwwwwwcccsp.", max_size=120), st.integers(0, 2))
def test_tiles_pass_the_rules_and_the_text_between_them_is_cut_where_the_recipe_says(text, min_images):
    stream, options = spelt(text), replace(TILE, min_images=min_images)
    spans, dropped = cut_spans(stream, options, seed="")
    assert spans == tile_spans(stream, options) == sorted(spans)
    assert dropped.total() == (bool(text) and not spans)
    held: Counter[int] = Counter()
    for start, stop in spans:
        assert text[start:stop].count("I") in range(min_images, options.images + 1)
        assert plain_rule(text, start, stop, options) in (None, *([NO_IMAGE] if min_images == 0 else []))
        held.update(range(start, stop))
    assert not held or max(held.values()) == 1
    if min_images == 0 and "I" not in text and set("wsp") & set(text):
        lost = len(text) - len(held)
        assert lost < options.tied_text + text.count("E") + 24 * text.count(".") + min(map(text.find, "wsp"), key=abs)


def test_a_picture_stands_with_its_text():
    # 14 tokens fit beside the first image, so that the window cannot end after the second one: its text comes later
    options = replace(TILE, tokens=40, tied_text=8)
    text = "w" * 20 + "EI" + "w" * 17 + "EI" + "s" + "w" * 30
    spans = tile_spans(spelt(text), options)
    images = [position for position, letter in enumerate(text) if letter == "I"]
    for image in images:
        (span,) = (span for span in spans if span.start <= image < span.stop)
        assert min(span.stop, images[1] if image == images[0] else len(text)) - image > 8
    # a sentence that starts near the end of a window starts the next one
    text = "I" + "w" * 30 + "s" + "w" * 15 + "EI" + "w" * 20
    assert tile_spans(spelt(text), options)[0].stop == 31


@given(st.text("IEwwwwwcccsp.", max_size=150), st.sampled_from(["random", "tile"]), st.integers(0, 2))
def test_what_is_in_no_window_has_a_rule(text, policy, min_images):
    options = replace(TILE if policy == "tile" else SMALL, min_images=min_images, draws=1)
    stream = spelt(text)
    spans, _ = cut_spans(stream, options, seed="x")
    found = coverage(stream, spans, options)
    inside = {place for start, stop in spans for place in range(start, stop)}
    kept = found.get(None, Held(0, 0))
    assert kept.tokens == sum(text[place] not in "EI" for place in inside)
    assert kept.images == sum(text[place] == "I" for place in inside)
    assert sum(held.tokens for held in found.values()) == sum(letter not in "EI" for letter in text)
    assert sum(held.images for held in found.values()) == text.count("I")
    left = NO_ROOM if policy == "tile" else NOT_DRAWN
    assert set(found) <= {None, left, *RULES}
    if min_images == 1:
        near = {
            place
            for image in range(len(text))
            if text[image] == "I"
            for place in range(max(0, image - options.tokens + 1), image + options.tokens)
        }
        far = sum(letter not in "EI" and place not in near for place, letter in enumerate(text))
        assert found.get(NO_IMAGE, Held(0, 0)).tokens >= far


def test_why_text_and_images_are_in_no_window():
    options = replace(TILE, tied_text=3)
    for text, expected in (
        ("w" * 60, {NO_IMAGE: (60, 0)}),
        ("wIw", {NO_TIED_TEXT: (2, 1)}),
        ("w" * 40 + "I" + "w" * 40, {None: (23, 1), NO_ROOM: (23, 0), NO_IMAGE: (34, 0)}),
        ("www" + "IIIIII", {None: (3, 2), "window.image_run": (0, 1), NO_TIED_TEXT: (0, 3)}),
    ):
        stream = spelt(text)
        assert coverage(stream, tile_spans(stream, options), options) == {
            rule: Held(*held) for rule, held in expected.items()
        }
    drawn = replace(SMALL, draws=1)
    stream = spelt("w" * 20 + "I" + "w" * 60 + "I" + "w" * 20)
    spans, _ = cut_spans(stream, drawn, seed="x")
    assert coverage(stream, spans, drawn)[NOT_DRAWN].images == 1


@given(letters, st.integers(0, 3))
def test_draws_that_cover_hold_every_image_that_a_window_may_hold(text, seed):
    stream = spelt(text)
    covering = replace(SMALL, cover=True)
    spans, dropped = cut_spans(stream, covering, seed=str(seed))
    drawn, as_before = cut_spans(stream, SMALL, seed=str(seed))
    assert set(drawn) <= set(spans) and (dropped == as_before or spans)
    for start, stop in spans:
        assert plain_rule(text, start, stop, SMALL) is None and stop == plain_stop(text, start, SMALL)
    possible = {
        place
        for start in range(len(text))
        if text[start] in "Iw" and plain_rule(text, start, plain_stop(text, start, SMALL), SMALL) is None
        for place in range(start, plain_stop(text, start, SMALL))
        if text[place] == "I"
    }
    assert {place for start, stop in spans for place in range(start, stop) if text[place] == "I"} == possible
    held = {place for start, stop in drawn for place in range(start, stop)}
    for start, stop in set(spans) - set(drawn):
        assert any(text[place] == "I" and place not in held for place in range(start, stop)), "drawn without need"


def test_text_alone_is_cut_where_a_window_is_full():
    options = replace(TILE, min_images=0)
    assert cut_spans(spelt("w" * 50), options, seed="")[0] == [(0, 24), (24, 48)], "2 words are too few"
    assert cut_spans(spelt("w" * 24 + "c" + "w" * 23), options, seed="")[0] == [(0, 23), (23, 47)]


def test_draws_are_uniform_over_the_starts():
    """Chi-square of 5,000 single draws; the bound is the 99.9 % quantile."""
    rng = np.random.default_rng(7)
    text = "".join(rng.choice(list("Iwwwwwwcc.E"), 60))
    stream = spelt(text)
    options = WindowOptions(tokens=100, images=3, tied_text=3, image_run=100, cut=1.0)
    starts = drawable_starts(stream, options).tolist()
    draws = 5_000
    seen = Counter(cut_spans(stream, options, seed=f"doc{number}")[0][0].start for number in range(draws))
    assert set(seen) <= set(starts)
    expected = draws / len(starts)
    chi_square = sum((seen[start] - expected) ** 2 / expected for start in starts)
    freedom = len(starts) - 1
    assert freedom > 20
    assert chi_square < freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize(
    ("text", "kept", "dropped"),
    [
        ("", 0, {}),
        ("w" * 20, 0, {"window.no_image": 1}),
        ("wwI", 0, {"window.no_tied_text": 1}),
        ("wwIwwIww", 0, {"window.no_tied_text": 1}),
        ("wwEEEIwwEE", 0, {"window.no_tied_text": 1}),
        ("I" + "w" * 8, 1, {}),
        ("w" * 4 + "c" * 4 + "I", 1, {}),
        ("I" * 3 + "c" * 8, 1, {}),
        ("IwcccccccEIEIE", 1, {}),
        ("w" + "c" * 7 + "EIEIE.IEI", 0, {"window.image_run": 1}),
        ("w" + "c" * 7 + "EIEIEwIEI", 1, {}),
    ],
)
def test_rules(text, kept, dropped):
    spans, counts = cut_spans(spelt(text), WindowOptions(draws=1), seed="x")
    assert (len(spans), counts) == (kept, dropped)


@pytest.mark.parametrize(("gap", "tokens", "kept"), [(34, 256, True), (33, 256, False), (33, 255, True)])
def test_a_window_loses_at_most_a_third_to_the_sixth_image(gap, tokens, kept):
    # Six images with `gap` tokens of text after each, `tokens` possible: 5 * (gap + 1) stay.
    text = "".join("I" + "c" * gap for _ in range(5)) + "I" + "c" * 300
    stream = spelt(text)
    stream = Stream(**{**fields(stream), "begins": np.arange(len(text)) == 0})
    spans, dropped = cut_spans(stream, WindowOptions(draws=1, tokens=tokens), seed="x")
    assert [tuple(span) for span in spans] == [(0, 5 * (gap + 1))][: int(kept)]
    assert dropped == ({} if kept else {"window.cut": 1})


def test_the_end_of_a_document_and_a_tile_are_not_cut_off():
    short = "I" + "c" * 20
    assert cut_spans(spelt(short), WindowOptions(), seed="x")[0] == [(0, 21)]
    dense = "".join("Iw" + "c" * 10 for _ in range(30))
    tiles, dropped = cut_spans(spelt(dense), WindowOptions(policy="tile"), seed="x")
    assert [stop - start for start, stop in tiles] == [60] * 6
    assert not dropped


def fields(stream: Stream) -> dict:
    return {name: getattr(stream, name) for name in Stream.__dataclass_fields__}


def test_rules_are_counted_in_order():
    assert RULES == ("window.no_image", "window.no_tied_text", "window.image_run", "window.cut")


@given(st.lists(st.integers(0, 60), unique=True, max_size=8), st.integers(0, 61))
def test_index_functions(positions, length):
    positions = np.array(sorted(position for position in positions if position < length), np.int32)
    before, after = previous_image(positions, length), next_image(positions, length)
    assert before.dtype == after.dtype == np.int32
    assert len(before) == len(after) == length
    for token in range(length):
        seen = [index for index, position in enumerate(positions) if position <= token]
        ahead = [index for index, position in enumerate(positions) if position >= token]
        assert before[token] == (seen[-1] if seen else -1)
        assert after[token] == (ahead[0] if ahead else -1)


# Whole documents.


def stored(number: int) -> StoredImage:
    image = Image(f"https://example.org/{number}.jpg", (), f"alt {number}", "")
    return StoredImage(image, image.url, bytes(32), bytes(32), 0, 8, 8, 8, 8, "JPEG", "00000.tar", 512, 9)


def row(nodes: list, split: str = "train", held_out: tuple = (), doc_id: str = "d" * 32) -> dict:
    return {
        "doc_id": doc_id,
        "url": "https://example.org/",
        "site": "example.org",
        "texts": [node.text if isinstance(node, Text) else None for node in nodes],
        "images": [None if isinstance(node, Text) else node.row() for node in nodes],
        "language": "en",
        "split": split,
        "held_out": [{"start": start, "stop": stop, "split": "validation"} for start, stop in held_out],
    }


WORDS = ["harbour", "lighthouse", "photograph", "morning", "northern", "rocks", "museum", "paintings", "quiet"]

text_node = st.lists(
    st.sampled_from([*WORDS, "<image>", "<|endofchunk|>", "東京の写真です。", "صورة", "👍🏽"]), min_size=1
).map(lambda words: Text(" ".join(words)))
document_nodes = st.lists(text_node | st.integers(0, 99).map(stored), max_size=25)


@given(document_nodes, st.sampled_from(["random", "tile"]), st.integers(0, 2**31))
def test_windows_of_a_document(tokenizer, nodes, policy, seed):
    options = WindowOptions(policy=policy)
    stream = token_stream(nodes, tokenizer)
    (cut,) = document_windows(row(nodes), tokenizer, options, seed=seed, recipe="r")
    assert cut.split == "train"
    vocabulary = {word for node in nodes if isinstance(node, Text) for word in node.text.split(" ")}
    for window in cut.windows:
        assert 1 <= len(window.input_ids) <= 256
        assert 1 <= len(window.images) == len(window.image_positions) <= 5
        start = window.token_start
        assert window.input_ids.tolist() == stream.ids[start : start + len(window.input_ids)].tolist()
        assert window.input_ids.dtype == window.image_positions.dtype == np.int32
        marked = np.flatnonzero(window.input_ids == tokenizer.image_id)
        assert marked.tolist() == window.image_positions.tolist()
        expected = [
            nodes[node]
            for node, at in zip(stream.image_nodes, stream.images, strict=True)
            if start <= at < start + len(window.input_ids)
        ]
        assert list(window.images) == expected
        assert window.text.count("<image>") == len(window.images)
        assert window.text.count("<|endofchunk|>") == (window.input_ids == tokenizer.eoc_id).sum()
        assert window.window_id == "d" * 32 + f"-{start}"
        assert "." not in window.window_id
        assert (window.seed, window.tokenizer, window.recipe) == (seed, tokenizer.id, "r")
        head = window.text.split("<image>")[0].split("<|endofchunk|>")[0].replace("\u200b", "").split()
        if len(head) > 1 and not any(ord(letter) > 0x3000 for letter in head[0]):
            assert head[0] in vocabulary


def test_draws_depend_on_seed_epoch_and_document(tokenizer):
    nodes = [node for number in range(60) for node in (stored(number), Text(" ".join(WORDS * 2)))]
    options = WindowOptions(images=100, cut=1.0)

    def starts(seed: int, epoch: int = 0, doc_id: str = "d" * 32) -> list[int]:
        (cut,) = document_windows(row(nodes, doc_id=doc_id), tokenizer, options, seed=seed, epoch=epoch)
        return [window.token_start for window in cut.windows]

    assert len(starts(0)) == 8
    assert starts(0) == starts(0)
    assert len({tuple(starts(*key)) for key in [(0,), (1,), (0, 1), (0, 2), (0, 0, "e" * 32)]}) == 5


def test_drawing_online_gives_the_stage_s_windows_in_epoch_0(tokenizer):
    documents = [
        row([Text(" ".join(WORDS * 9)), stored(number), Text(" ".join(WORDS * 9))], split, doc_id=f"{number:032x}")
        for number, split in enumerate(["train", "validation", "leak", "train"])
    ]
    drawn = [window.window_id for window in draw_windows(documents, tokenizer, seed=5)]
    stage = [
        window.window_id
        for document in documents
        for cut in document_windows(document, tokenizer, WindowOptions(), seed=5)
        if cut.split == "train"
        for window in cut.windows
    ]
    assert drawn == stage
    assert {window_id[:32] for window_id in drawn} == {f"{0:032x}", f"{3:032x}"}
    assert [w.window_id for w in draw_windows(documents, tokenizer, seed=5, epoch=1)] != drawn
    assert {w.doc_id for w in draw_windows(documents, tokenizer, seed=5, split="validation")} == {f"{1:032x}"}


@given(document_nodes, st.data(), st.sampled_from(["random", "tile"]))
def test_windows_never_cross_from_train_into_validation(tokenizer, nodes, data, policy):
    bounds = sorted(data.draw(st.lists(st.integers(0, len(nodes)), unique=True, max_size=6)))
    held_out = list(zip(bounds[::2], bounds[1::2], strict=False))
    document = row(nodes, "mixed", tuple(held_out))
    stream = token_stream(nodes, tokenizer)
    parts = pieces(document)
    assert [node for part in parts for node in part.nodes] == nodes
    cuts = document_windows(document, tokenizer, WindowOptions(policy=policy), seed=1)
    assert [cut.split for cut in cuts] == [part.split for part in parts]
    for part, cut in zip(parts, cuts, strict=True):
        inside = any(start <= part.first_node < stop for start, stop in held_out)
        assert part.split == ("validation" if inside else "train")
        first, stop = stream.nodes[part.first_node], stream.nodes[part.first_node + len(part.nodes)]
        for window in cut.windows:
            assert first <= window.token_start
            assert window.token_start + len(window.input_ids) <= stop
    ids = [window.window_id for cut in cuts for window in cut.windows]
    assert len(ids) == len(set(ids))


def test_training_texts_are_those_that_are_not_held_out():
    nodes = [Text("a"), stored(0), Text("b"), Text("c"), stored(1), Text("d")]
    book = row(nodes, "mixed", ((2, 3), (4, 6)))
    book["held_out"][1]["split"] = "leak"
    assert list(training_texts(book)) == ["a", "c"]
    assert list(training_texts(row(nodes))) == ["a", "b", "c", "d"]
    assert list(training_texts(row(nodes, "validation"))) == list(training_texts(row(nodes, "leak"))) == []


@pytest.mark.parametrize("held_out", [((2, 1),), ((0, 2), (1, 3)), ((0, 9),), ((-1, 1),), ((1, 1),)])
def test_impossible_ranges_are_refused(held_out):
    with pytest.raises(ValueError, match=f"document {'d' * 32}: held-out nodes"):
        pieces(row([stored(0), Text("a"), stored(1)], "mixed", held_out))


def test_a_leaking_document_has_no_windows(tokenizer):
    (leak,) = document_windows(row([stored(0), Text("word " * 50)], "leak"), tokenizer, WindowOptions(), seed=0)
    assert leak.windows == [] and not leak.dropped
    assert set(leak.coverage) == {LEAK} and leak.coverage[LEAK].images == 1 and leak.coverage[LEAK].tokens >= 50
    # the part of a book that leaks has none either, and is counted
    book = row([stored(0), Text("word " * 50), stored(1), Text("word " * 50)], "mixed", ((0, 2),))
    book["held_out"][0]["split"] = "leak"
    leak, train = document_windows(book, tokenizer, WindowOptions(), seed=0)
    assert (leak.split, leak.windows, leak.dropped) == ("leak", [], {LEAK: 1})
    assert train.windows and not train.dropped


def test_a_book_of_a_million_tokens_and_three_thousand_images():
    stream = spelt(("I" + "wcs" * 111) * 3_000)
    starts = drawable_starts(stream, WindowOptions())
    assert len(starts) > 300_000
    assert len(cut_spans(stream, WindowOptions(), seed="x")[0]) == 8
    begin = time.process_time()
    tiles, dropped = cut_spans(stream, WindowOptions(policy="tile"), seed="x")
    assert time.process_time() - begin < 10  # 0.6 s on an idle machine
    assert len(tiles) == 3_000 and not dropped
    covering = cut_spans(stream, WindowOptions(cover=True), seed="x")[0]
    assert len(covering) > 1_500


@pytest.mark.parametrize("policy", ["random", "tile"])
def test_coverage_is_what_stands_in_a_window(tokenizer, policy):
    nodes = [Text("first words " * 90), stored(0), Text("more words " * 60), stored(1), stored(2), Text("end " * 200)]
    (cut,) = document_windows(row(nodes), tokenizer, WindowOptions(policy=policy, tokens=64), seed=3)
    inside = {
        window.token_start + place
        for window in cut.windows
        for place, token in enumerate(window.input_ids.tolist())
        if token not in (tokenizer.image_id, tokenizer.eoc_id)
    }
    images = {window.token_start + place for window in cut.windows for place in window.image_positions.tolist()}
    assert cut.coverage[None] == (len(inside), len(images))
    assert sum(held.images for held in cut.coverage.values()) == 3
