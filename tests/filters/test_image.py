"""Image rules at their limits, and in their order."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.benchmarks import INDEX
from filters import image
from filters.image import MMC4_URL_WORDS, OBELICS_URL_WORDS, judge_references
from pipeline.recipe import load

GOOD = {"url": "https://a.example/cat.jpg", "format": "jpeg", "width": 640, "height": 480, "spread": 40.0,
        "declared": None, "bytes": 9_000, "frames": 1, "sharpness": 500.0, "text_lines": 0.1}  # fmt: skip


def with_looks(columns: dict[str, list[Any]]) -> pa.Table:
    """References without what corpora of older versions lack."""
    table = pa.table({"node": list(range(len(columns["url"]))), "page_url": columns["url"]} | columns)
    types = {"declared": pa.int32()} | {metric.name: metric.type for metric in image.LOOKS}
    for name, kind in types.items():
        table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def judged(rows: list[dict[str, Any]], **limits: Any) -> list[str | None]:
    """The decisions on rows, each on a separate page."""
    table = pa.table(
        {
            "row": range(len(rows)),
            "content": [bytes([index]) for index in range(len(rows))],
            "url": [row["url"] for row in rows],
            "page_url": ["p"] * len(rows),
            "format": [row["format"] for row in rows],
            "original_width": [row["width"] for row in rows],
            "original_height": [row["height"] for row in rows],
            "spread": [row["spread"] for row in rows],
            "phash": [0] * len(rows),
            "node": [0] * len(rows),
            "declared": pa.array([row.get("declared") for row in rows], pa.int32()),
            **{metric.name: pa.array([row.get(metric.name) for row in rows], metric.type) for metric in image.LOOKS},
        }
    )
    values = load("web").values() | {f"image.{name}": value for name, value in limits.items()}
    return list(judge_references(table, values, np.full(len(rows), None)))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, None),
        ({"width": 64, "height": 64}, None),
        ({"width": 63, "height": 64}, "image.too_small"),
        ({"width": 64, "height": 63}, "image.too_small"),
        ({"width": 300, "height": 100}, None),
        ({"width": 301, "height": 100}, "image.aspect"),
        ({"width": 100, "height": 301}, "image.aspect"),
        ({"spread": 2.0}, None),
        ({"spread": 1.999}, "image.single_colour"),
        # the first rule in the order wins
        ({"width": 1, "height": 900, "spread": 0.0}, "image.too_small"),
        ({"width": 100, "height": 900, "spread": 0.0}, "image.aspect"),
        ({"url": "https://a.example/logo.gif", "format": "gif"}, None),
    ],
)
def test_default_rules_at_their_limits(change: dict[str, Any], rule: str | None) -> None:
    assert judged([GOOD | change]) == [rule]


def test_rules_of_the_obelics_preset() -> None:
    changes: list[dict[str, Any]] = [
        {"spread": 0.0},
        {"format": "gif"},
        {"width": 149},
        {"url": "https://a.example/Site-LOGO.gif", "format": "gif"},
    ]
    formats = ("jpeg", "png", "webp")
    assert judged(
        [GOOD | change for change in changes],
        min_side=150, max_aspect=2.0, min_spread=0.0, formats=formats, url_words=OBELICS_URL_WORDS,
    ) == [None, "image.format", "image.too_small", "image.url_words"]  # fmt: skip


def test_url_words_are_the_papers() -> None:
    def found(url: str, words: tuple[str, ...]) -> bool:
        return judged([GOOD | {"url": url}], url_words=words) == ["image.url_words"]

    assert found("https://a.example/favicon.png", MMC4_URL_WORDS)
    assert found("https://a.example/favicon.png", ("Icon",))
    assert found("https://essex.example/a.png", OBELICS_URL_WORDS)
    assert not found("https://essex.example/a.png", MMC4_URL_WORDS)
    assert not found("https://a.example/axb.png", ("a.b",))


def test_zero_leaves_a_rule_out() -> None:
    row = {"url": "", "format": "gif", "width": 1, "height": 2, "spread": 0.0}
    assert judged([row], min_side=0, min_spread=0.0) == [None]


@pytest.mark.parametrize(
    ("limit", "kept", "dropped", "rule"),
    [
        ({"min_declared_side": 150}, {"declared": 150}, {"declared": 149}, "image.declared_small"),
        ({"min_bytes": 9_000}, {}, {"bytes": 8_999}, "image.few_bytes"),
        ({"animated": True}, {}, {"frames": 2}, "image.animated"),
        ({"min_sharpness": 30.0}, {"sharpness": 30.0}, {"sharpness": 29.9}, "image.blurred"),
        ({"max_text_lines": 0.25}, {"text_lines": 0.25}, {"text_lines": 0.251}, "image.text_lines"),
    ],
)
def test_rules_that_are_off_by_default(
    limit: dict[str, Any], kept: dict[str, Any], dropped: dict[str, Any], rule: str
) -> None:
    unknown = dict.fromkeys(("declared", *(metric.name for metric in image.LOOKS)))
    assert judged([GOOD | kept, GOOD | dropped, GOOD | unknown], **limit) == [None, rule, None]
    assert judged([GOOD | dropped]) == [None]


def test_images_in_a_row() -> None:
    """Of four images without text between, the third and fourth are left out. One that was dropped before does not
    count, text between or another page ends a run."""
    rows, nodes = [0] * 8 + [1], [1, 2, 3, 4, 6, 7, 8, 9, 10]
    content = [bytes([place]) for place in range(9)]
    sizes = [200] * 9
    sizes[5] = 9
    table = with_looks(
        {"row": rows, "node": nodes, "content": content, "url": ["u"] * 9, "format": ["jpeg"] * 9,
         "original_width": sizes, "original_height": sizes, "spread": [9.0] * 9, "phash": [0] * 9}
    )  # fmt: skip
    found = judge_references(table, load("web", ["image.max_in_a_row=2"]).values(), np.full(9, None))
    late, small = "image.in_a_row", "image.too_small"
    assert found.tolist() == [None, None, late, late, None, small, None, late, None]


def test_images_that_look_like_an_earlier_one_of_their_page() -> None:
    """mmc4 has a threshold of 5. The third looks like the second, which is gone, not like the first. An image that
    fails another rule is none to look like, nor is one of another page."""
    hashes = [0, 0b11111, 0b1111111, 0, 2**40 - 1, 2**40 - 2, 0]
    rows, sizes = [0, 0, 0, 0, 1, 1, 1], [200, 200, 200, 9, 9, 200, 200]
    table = with_looks(
        {"row": rows, "node": range(7), "content": [bytes([place]) for place in range(7)], "url": ["u"] * 7,
         "format": ["jpeg"] * 7, "original_width": sizes, "original_height": sizes, "spread": [9.0] * 7,
         "phash": hashes}
    )  # fmt: skip
    found = judge_references(table, load("mmc4", ["image.clip_model="]).values(), np.full(7, None)).tolist()
    assert found == [None, "image.repeated_alike", None, "image.too_small", "image.too_small", None, None]
    assert judge_references(table, load("web").values(), np.full(7, None)).tolist()[:3] == [None] * 3


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_aspect_does_not_depend_on_direction_or_scale(width: int, height: int) -> None:
    sizes = [(width, height), (height, width), (8 * width, 8 * height)]
    table = with_looks({"url": [""] * 3, "format": [""] * 3, "spread": [0.0] * 3, "phash": [0] * 3,
                      "original_width": [w for w, _ in sizes], "original_height": [h for _, h in sizes]})  # fmt: skip
    aspects = image.columns(table)["aspect"]
    assert aspects[0] == aspects[1] == aspects[2] >= 1


def test_a_picture_counts_once_a_page_and_what_was_dropped_before_does_not() -> None:
    count = 5
    table = with_looks(
        {"row": [0, 0, 0, 1, 1], "content": [b"a", b"a", b"b", b"a", None], "url": ["u"] * count,
         "format": ["jpeg"] * count, "original_width": [64, 64, 64, 64, None],
         "original_height": [64, 64, 64, 64, None], "spread": [9.0, 9.0, 9.0, 9.0, None],
         "phash": [1, 2, 3, 4, None]}
    )  # fmt: skip
    before = np.array(["image.not_fetched", None, None, None, "image.not_fetched"], object)
    found = judge_references(table, load("web").values(), before)
    assert found.tolist() == ["image.not_fetched", None, None, None, "image.not_fetched"]
    before[0] = None
    found = judge_references(table, load("web").values(), before)
    assert found.tolist() == [None, "image.repeated", None, None, "image.not_fetched"]


def test_a_page_with_too_many_images_has_none() -> None:
    """OBELICS counts the images that pass its rules before those shown twice are left out."""
    values = load("obelics").values()
    for number, dropped in ((30, False), (31, True)):
        rows = [0] * number + [1, 1, 1]
        sizes = [200] * len(rows)
        sizes[-1] = 9
        content = [bytes([place]) for place in range(len(rows))]
        content[1] = content[0]
        table = with_looks(
            {"row": rows, "content": content, "url": ["u"] * len(rows), "format": ["jpeg"] * len(rows),
             "original_width": sizes, "original_height": sizes, "spread": [9.0] * len(rows),
             "phash": [0] * len(rows)}
        )  # fmt: skip
        before = np.full(len(rows), None)
        before[-2] = "image.not_fetched"
        found = judge_references(table, values, before).tolist()
        first = ["image.page_dropped"] * number if dropped else [None, "image.repeated", *[None] * (number - 2)]
        assert found == [*first, None, "image.not_fetched", "image.too_small"]


def test_images_chosen_before_decoding_pass_the_default_rules() -> None:
    """A spread that is not known yet is no reason against an image; a size that is not known is one."""
    good = ("jpeg", 64, 2.0, None)
    rows = [good, ("jpeg", 63, 2.0, None), ("jpeg", 64, 1.9, None), ("svg", 64, None, None), (None, 64, 2.0, None),
            ("jpeg", None, 2.0, None), ("jpeg", 64, 2.0, "image.broken")]  # fmt: skip
    types = (pa.string(), pa.int32(), pa.float64(), pa.string())
    table = pa.table({
        name: pa.array([row[place] for row in rows], types[place]) for place, name in enumerate(image.PROBED_COLUMNS)
    })  # fmt: skip
    assert image.usable(table).tolist() == [True, False, False, True, True, False, False]
    assert image.usable(table.slice(0, 0)).tolist() == []
    assert image.usable(table.slice(6)).tolist() == [False]


def references(number: int, **columns: Any) -> pa.Table:
    """Good images on pages of their own."""
    found = {
        "row": range(number), "content": [b"%016d" % place for place in range(number)],
        "url": [f"https://a.example/{place}.jpg" for place in range(number)], "format": ["jpeg"] * number,
        "original_width": [200] * number, "original_height": [200] * number, "spread": [9.0] * number,
        "phash": [0] * number,
    }  # fmt: skip
    return with_looks(found | columns)


def test_an_image_within_the_bits_of_any_benchmark_image_is_dropped(tmp_path: Path) -> None:
    index = pa.table([["coco", "vqa"], ["a", "b"], [0, 2**64 - 1]], INDEX)
    pq.write_table(index, tmp_path / "index.parquet")
    table = references(5, phash=pa.array([0, 0b1111, 0b11111, 2**64 - 1, 2**63 - 1], pa.uint64()))
    values = load("web", [f"image.benchmarks={tmp_path / 'index.parquet'}"]).values()
    found = judge_references(table, values, np.full(5, None)).tolist()
    assert found == ["image.benchmark"] * 2 + [None] + ["image.benchmark"] * 2
    assert judge_references(table, load("web").values(), np.full(5, None)).tolist() == [None] * 5


def test_an_image_is_taken_down_by_url_host_or_bytes(tmp_path: Path) -> None:
    urls = ["https://a.example/0.jpg", "https://b.example/0.jpg", "https://x.b.example/1.jpg", "https://c.example/2"]
    content = [b"\1" * 16, b"\2" * 16, b"\3" * 16, b"\4" * 16]
    (tmp_path / "list.txt").write_text(f"a.example/0.jpg\nx.b.example\n{'04' * 32}\n")
    values = load("web", [f"page.takedown={tmp_path / 'list.txt'}"]).values()
    found = judge_references(references(4, url=urls, content=content), values, np.full(4, None)).tolist()
    assert found == ["image.takedown", None, "image.takedown", "image.takedown"]


def test_an_image_too_different_from_its_text_is_dropped() -> None:
    similarity = pa.chunked_array([pa.array([0.15, 0.149, None])])
    table = image.with_similarity(references(3), similarity)
    values = load("mmc4", ["image.nsfw_model="]).values() | {"image.clip_model": "named"}
    assert judge_references(table, values, np.full(3, None)).tolist() == [None, "image.similarity", None]
