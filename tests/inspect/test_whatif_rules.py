"""What-if beside a rebuild, for every rule that it calls exact and that needs no model.

Thresholds are taken from the corpus: each rule drops the pages (paragraphs, images) with the greatest or least value
among those that pass the rules before it, so that each drops something and the next ones have something left. Rules on
scores of models: tests/stages/test_scores.py, test_similarities.py, test_gain.py, test_benchmarks.py and
test_benchmark_texts.py."""

import io
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFont

from filters import image, paragraph, rules
from filters.rule import Rule, judge
from pipeline.inspect.finished import open_corpus
from pipeline.inspect.funnel import funnel
from pipeline.inspect.whatif import NOT_JUDGED, what_if
from pipeline.judged import filled
from pipeline.recipe import load
from tests.corpora import build_here

BASE = [
    *("dedup.text=false", "dedup.near_text=false", "dedup.url=false", "text.placeholder=false", "text.min_words=0"),
    *(
        "text.stop_words=packaged",
        "text.flagged_words=SITE/bad",
        "text.common_words=SITE/common",
        "paragraph.spam_words=SITE/good",
    ),
    *("paragraph.min_words=1", "paragraph.max_site_pages=1000", "image.max_documents=1000", "image.min_side=0"),
    *("text.max_symbol_ratio=9.0", "text.min_mean_word_length=0.0", "text.max_duplicate_lines=1.0"),
]
"""Hardly anything is dropped, and everything is measured."""
FEW = ["of", "the", "and", "to", "that", "with", "in", "for", "is", "a", "have", "be"]
ORDINARY = """house garden water street morning letter window people summer river mountain village evening children
story market bridge winter island harbour teacher doctor history picture weather kitchen journey forest railway
newspaper understanding neighbourhood responsibility extraordinary communication"""
WORDS = sorted(ORDINARY.split(), key=len)
PAGES = 90
Draw = Callable[[ImageDraw.ImageDraw], None]


def text_of(rng: random.Random, number: int) -> list[str]:
    """Paragraphs in which every metric varies; about every seventh has a peculiarity."""
    ordinary = WORDS[number % 9 : 14 + 3 * (number % 9)]

    def word() -> str:
        made = "".join(rng.choices("abcdefghijklmnoprstuvwy", k=rng.randint(3, 9)))
        return made if rng.random() < (number % 8) / 20 else rng.choice(ordinary)

    def sentence(length: int) -> str:
        words = [word() if rng.random() > 0.2 + (number % 10) / 20 else rng.choice(FEW[: 1 + number % 12])
                 for _ in range(length)]  # fmt: skip
        return " ".join(words) + rng.choice([".", ".", "!", "?", ""])

    found = [" ".join(sentence(rng.randint(4, 20)) for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(2, 6))]
    again = " ".join(word() for _ in range(2 + number % 11))
    odd = {
        0: "<br>".join(["- " + sentence(3) for _ in range(2 + number % 5)]),
        1: "<br>".join([sentence(4) + "..." for _ in range(2 + number % 7)]),
        2: "<br>".join([sentence(6)] * (2 + number % 4)),
        3: " ".join([f"{again} {word()}" for _ in range(2 + number % 6)]),
        4: "In "
        + " ".join(f"{rng.randint(1, 999)} {'#' * (number % 5)}{word()}" for _ in range(5 + number % 20))
        + ".",
        5: f"The privacy policy of the garden is for the people of the village, and of the {word()}.",
        6: "bad " * (number % 5) + "good " * (number % 9) + "ist das ein Haus und der Garten von dem wir sprachen " * 2,
    }[number % 7]
    if number % 14 == 12:
        odd = "Lorem ipsum dolor. " * (number // 2 % 3) + "{" * (number // 14 % 2)
    found += [odd, "It was a good day" + " and good" * (number % 5) + (" bad" * (number % 4)) + "."]
    return [*found, found[number % 2]] if number % 3 == 0 else found


def drawing(
    draw: Callable[[ImageDraw.ImageDraw], None] | None, size: tuple[int, int], noise: int, **save: Any
) -> bytes:
    rng = np.random.default_rng(size[0])
    low, high = max(0, 128 - noise), min(255, 128 + noise)
    picture = Image.fromarray(rng.integers(low, high, (size[1], size[0], 3), np.uint8))
    if draw:
        draw(ImageDraw.Draw(picture))
    out = io.BytesIO()
    picture.save(out, **({"format": "PNG"} | save))
    return out.getvalue()


def lines(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((0, 0, 400, 300), "white")
    for top in range(4, 280, 24):
        draw.text((6, top), "Words of a banner, set in one size and colour " * 2, "black", ImageFont.load_default(16))


def blobs(draw: ImageDraw.ImageDraw, dot: int) -> None:
    """Rectangles, the same in each picture, and a dot that is not."""
    for place, colour in zip(range(0, 200, 40), ("red", "green", "blue", "black", "yellow"), strict=True):
        draw.rectangle((place, 200 - place, place + 30, 230 - place), colour)
    draw.point((dot, dot), "white")


def images() -> dict[str, bytes]:
    """One image that each rule alone should drop, and a good one."""
    frames = [Image.new("RGB", (160, 160), colour) for colour in ("red", "blue")]
    frames = [Image.effect_noise((160, 160), 90).convert("RGB") for _ in frames]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    smooth = Image.linear_gradient("L").resize((300, 300)).convert("RGB")
    blurred = io.BytesIO()
    smooth.save(blurred, "JPEG", quality=100)
    return {
        "good.png": drawing(None, (200, 200), 120),
        "logo.png": drawing(None, (201, 200), 120),
        "format.webp": drawing(None, (202, 200), 120, format="WEBP"),
        "small.png": drawing(None, (80, 81), 120),
        "declared.png": drawing(None, (203, 200), 120),
        "bytes.png": drawing(lambda draw: draw.rectangle((0, 0, 300, 300), "white", "black", 40), (204, 204), 1),
        "animated.gif": animated.getvalue(),
        "aspect.png": drawing(None, (400, 160), 120),
        "spread.png": drawing(None, (205, 205), 3),
        "blurred.jpg": blurred.getvalue(),
        "lines.png": drawing(lines, (400, 300), 120),
        "common.png": drawing(None, (206, 206), 120),
        "often.png": drawing(None, (207, 207), 120),
        **{f"copy{number}.png": drawing(None, (208, 208), 120) for number in range(2)},
        **{f"alike{number}.png": drawing(partial(blobs, dot=number), (209, 209), 120) for number in range(2)},
        **{f"row{number}.png": drawing(None, (210 + number, 200), 120) for number in range(7)},
    }


def write_site(folder: Path) -> Path:
    folder.mkdir()
    rng, pictures = random.Random(4), images()
    for name, body in pictures.items():
        (folder / name).write_bytes(body)
    single = [name for name in pictures if not name.startswith(("row", "common", "often", "copy", "alike"))]
    for number in range(PAGES):
        name = single[number % len(single)]
        shown = f"<p><img src={name} {'width=110 height=110' if name == 'declared.png' else ''}></p>"
        shared = {0: "common.png", 1: "often.png", 2: f"copy{number % 2}.png", 3: f"alike{number % 2}.png"}
        place = (number >= 20) + (number >= 32) + (number >= 46) + (number >= 60)
        if place < 4:
            shown += f"<p>Beside it.</p><img src={shared[place]}>"
        if number == 60:
            shown += "<img src=alike0.png><p>And the other one.</p><img src=alike1.png>"
        if number == 5:
            shown += "".join(f"<img src=row{place}.png>" for place in range(3))
        if number % len(single) == 0:
            shown += f"<p>And again.</p><img src={name}>"
        if number == 6:
            shown += "".join(f"<img src=row{place}.png><p>Text {place} between.</p>" for place in range(2, 7))
        texts = [f"<p>{text}</p>" for text in text_of(rng, number)]
        body = texts[0] + shown + "".join(texts[1:])
        licence = "" if number == 7 else "<a rel=license href=https://creativecommons.org/licenses/by/4.0/>CC BY</a>"
        html = f"<html><body><article><h1>Page {number}</h1>{body}<p>The end. {licence}</p></article></body></html>"
        (folder / f"{number}.html").write_text(html)
    for name, listed in {"bad": "bad", "good": "good", "common": " ".join([*FEW, *WORDS[::2]])}.items():
        (folder / name).write_text(listed)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whatif")
    site = write_site(folder / "site")
    return build_here([site], folder / "corpus", settings(folder))


def settings(folder: Path, *more: str) -> list[str]:
    return [*(setting.replace("SITE", str(folder / "site")) for setting in BASE), *more]


def stricter(judged: Sequence[Rule], columns: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Values of keys with which each rule drops some of the rows that pass those before it."""
    size = len(next(iter(columns.values())))
    found, passing, changed = np.full(size, None), np.arange(size), {}
    for rule in judged:
        metric = next(columns[name] for name in rule.metrics if isinstance(columns[name], np.ndarray))[passing]
        key = next(key for key in rule.keys if type(key.default) in (int, float, bool))
        if type(key.default) is bool:
            changed[key.name] = True
        else:
            top = ".max_" in key.name
            known = np.unique(metric[metric >= 0])
            assert len(known) > 1, rule.id
            edge, next_one = (known[-1], known[-2]) if top else (known[0], known[1])
            changed[key.name] = type(key.default)(
                next_one if top or type(key.default) is int else (edge + next_one) / 2
            )
        found = judge([rule], columns, values | changed, found)
        dropped, passing = np.sum(found[passing] == rule.id), np.flatnonzero(found == None)  # noqa: E711
        assert dropped > 0 and len(passing) > size // 5, rule.id
    return changed


def compare(corpus: Path, root: Path, changed: dict[str, Any], expected: set[str]) -> None:
    """What-if and a rebuild give the same counts by rule, and each expected rule drops something."""
    written = [f"{name}={str(value).lower() if value in (True, False) else value}" for name, value in changed.items()]
    told = what_if(open_corpus(corpus), written)["levels"]
    again = build_here([corpus], root, settings(corpus.parent, *written))
    built = {level["level"]: level for level in funnel(again)["levels"]}
    for level in told:
        then = {row["rule"]: row["then"] for row in level["rules"] if row["then"]}
        counts = {row["rule"]: row["count"] for row in built[level["level"]]["rules"]}
        assert then == counts
        assert level["out"][1] == sum(built[level["level"]]["out"].values())
    dropping = {row["rule"] for level in built.values() for row in level["rules"]}
    assert NOT_JUDGED not in dropping and expected - dropping == set()


def page_rules() -> list[Rule]:
    judged = [rule for rule in rules.PAGES_JUDGED if rule.keys and rule.metrics[0] not in ("url", "licence")]
    return [rule for rule in judged if rule.id not in ("page.benchmark", "text.perplexity")]


def test_rules_on_pages(corpus: Path, tmp_path: Path) -> None:
    judged = page_rules()
    assert len(judged) > 35
    names = dict.fromkeys(name for rule in judged for name in rule.metrics)
    finished = open_corpus(corpus)
    parts = range(len(finished.work("pages")))
    table = pa.concat_tables(finished.pages(part, [*names, "rule"]) for part in parts)
    table = table.filter(pa.array([rule is None for rule in table["rule"].to_pylist()]))
    columns = {name: filled(table[name]) for name in names}
    changed = stricter(judged, columns, load(str(corpus / "recipe.toml")).values())
    changed["page.licences"] = '["creativecommons"]'
    compare(corpus, tmp_path / "again", changed, {"page.licence", *(rule.id for rule in judged)} - {"text.language"})


def test_rules_on_paragraphs_and_images(corpus: Path, tmp_path: Path) -> None:
    """Those on paragraphs of several sites: tests/stages/test_paragraphs.py."""
    finished = open_corpus(corpus)
    lists = [pa.concat_tables(finished.table(file, [name]) for file in finished.work(stage))[name]
             for stage, name in (("pages", "paragraphs"), ("repeats", "repeats"))]  # fmt: skip
    measured = [pa.Table.from_struct_array(column.combine_chunks().flatten()) for column in lists]
    columns = {name: filled(table[name]) for table in measured for name in table.column_names}
    judged = [rule for rule in paragraph.RULES if rule.id != "paragraph.common"]
    changed = stricter(judged, columns, load(str(corpus / "recipe.toml")).values())
    of_images = {
        "image.url_words": '["logo"]',
        "image.formats": '["png","jpeg","gif"]',
        "image.min_side": 100,
        "image.min_declared_side": 120,
        "image.min_bytes": 3_000,
        "image.animated": True,
        "image.max_aspect": 2.0,
        "image.min_spread": 5.0,
        "image.min_sharpness": 30.0,
        "image.max_text_lines": 0.25,
        "image.max_in_a_row": 2,
        "image.max_url_documents": 15,
        "image.max_documents": 12,
        "image.max_alike_documents": 13,
        "image.repeated_alike": True,
        "page.max_images": 5,
    }
    without_model = {rule.id for rule in image.RULES if rule.model is None} - {"image.benchmark"}
    expected = {*(rule.id for rule in judged), *without_model, image.TOO_MANY_IMAGES}
    compare(corpus, tmp_path / "again", changed | of_images, expected)
