"""SVG: rendered as browsers show it as far as it can be, in a process that nothing inside the file gets out of."""

import contextlib
import io
import time
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import svg
from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.images.header import read_header

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
BLUE = '<rect width="100%" height="100%" fill="#00f"/>'


def drawing(inside: str, size: str = 'width="80" height="60"', before: str = "") -> bytes:
    return f"{before}<svg {NAMES} {size}>{BLUE}{inside}</svg>".encode()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(decode(data, ImageOptions(quality=100)).data))).astype(int)


def rule_of(data: bytes) -> str:
    with pytest.raises(ImageDropped) as dropped:
        decode(data)
    assert dropped.value.detail
    return dropped.value.rule_id


def test_a_drawing_has_its_size_its_colours_and_white_where_it_is_transparent() -> None:
    shown = pixels(
        f'<svg {NAMES} width="40" height="30"><rect x="20" width="20" height="30" fill="red"/></svg>'.encode()
    )
    assert shown.shape == (30, 40, 3)
    assert np.abs(shown[:, :18] - 255).max() < 3 and np.abs(shown[:, 22:] - [254, 0, 0]).max() < 3
    large = decode(drawing("", 'viewBox="0 0 4000 1000"'))
    assert (large.width, large.height, large.original_width, large.original_height) == (512, 128, 4000, 1000)
    assert large.format == "svg" and large.data[:2] == b"\xff\xd8"
    kept = decode(drawing(""), ImageOptions(store="original"))
    assert Image.open(io.BytesIO(kept.data)).format == "PNG"
    assert decode(drawing("")).stored_sha256 == decode(drawing("")).stored_sha256


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('width="400" height="200"', (400, 200)),
        ("height='50' viewBox='0,0 , 300 100'", (150, 50)),
        ('width="100%" height="100%" viewBox="0 0 64 32"', (64, 32)),
        ('width="2in" height="36pt"', (192, 48)),
        ('style="a>b" data-width="9" width="33.4px" height="20.6"', (33, 21)),
        ('width="400"', (400, 0)),
        ('width="1e40" height="1e40"', (0, 0)),
        ('width="-5" height="calc(1px)"', (0, 0)),
        ('viewBox="0 0 10 0"', (0, 0)),
        ('width="9e300" viewBox="0 0 1e-300 9e300"', (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_size_is_the_roots_else_its_viewboxs(said: str, expected: tuple[int, int]) -> None:
    assert (
        svg.size(f'<?xml version="1.0"?><!-- <svg width="7" height="7"> -->\n<svg {said}><g/></svg>'.encode())
        == expected
    )


def test_text_is_drawn_where_the_font_has_its_characters() -> None:
    assert (
        pixels(drawing('<text x="5" y="40" font-size="40" fill="#fff">Ab&#x63;</text>')).min(axis=2) > 200
    ).sum() > 200
    for other in ("Ünder", "ты", "&#1090;", "→"):
        assert rule_of(drawing(f"<text>{other}</text>")) == "image.unsupported"
    assert pixels(drawing("<!-- ты --><title>Ünder</title>")).shape == (60, 80, 3)
    assert rule_of(drawing("<foreignObject><p>draw</p></foreignObject>")) == "image.unsupported"


def test_nothing_outside_of_the_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    plain = pixels(drawing(""))
    odd = tmp_path / "it's.png"
    odd.write_bytes(secret.read_bytes())
    named = [str(odd), str(secret), f"file://{secret}", f"//{secret}", f"../../..{secret}", f"&#47;{str(secret)[1:]}"]
    for name in (*named, "http://127.0.0.1:9/a.png"):
        for attribute in ("href", "xlink:href \n"):
            inside = f'<image {attribute}="{name}" width="80" height="60"/>'
            assert (pixels(drawing(inside)) == plain).all(), inside
            break_out = f'<!DOCTYPE svg [<!ENTITY a "&#60;image {attribute}=&#34;{name}&#34; width=&#34;80&#34;/>">]>'
            assert rule_of(drawing("&a;", before=break_out)) == "image.unsupported"
    external = f'<!DOCTYPE svg [<!ENTITY a SYSTEM "file://{secret}">]>'
    assert rule_of(drawing("&a;", before=external)) == "image.unsupported"
    nested = f'<svg {NAMES} width="9" height="9"><image href="{secret}" width="9" height="9"/></svg>'
    coded = b64encode(nested.encode()).decode()
    inside = f'<image width="80" height="60" href="data:image/svg+xml;base64,{coded}"/>'
    assert (pixels(drawing(inside)) == plain).all()


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<!ENTITY ", '<!ENTITY a "', "<svg ", '<svg "', "<svg '\"", "href ", 'href="', "href=\"'", "<text>&#1;"],
)
def test_markup_that_repeats_takes_linear_time(piece: str) -> None:
    data = (f"<svg {NAMES} " + piece * (1_000_000 // len(piece))).encode()
    start = time.process_time()
    with contextlib.suppress(ImageDropped):
        read_header(data)
    svg._OUTSIDE.sub(b"", data)
    assert time.process_time() - start < 10


def entities(levels: int) -> str:
    told = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(levels))
    return f'<!DOCTYPE svg [<!ENTITY e0 "{"a" * 10}">{told}]>'


BOMBS = {
    "entities": drawing("<desc>&e9;</desc>", before=entities(9)),
    "uses": drawing(
        '<g id="u0"><rect width="1" height="1"/></g>'
        + "".join(f'<g id="u{n + 1}">{f"""<use href="#u{n}"/>""" * 10}</g>' for n in range(9))
    ),
    "depth": drawing("<g>" * 200_000 + "</g>" * 200_000),
    "pixels": drawing("", 'width="100000" height="100000"'),
    "no size": drawing("", ""),
    "cut": drawing("")[:-9],
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_dropped_in_bounded_time(name: str) -> None:
    start = time.monotonic()
    assert rule_of(BOMBS[name]) in ("image.undecodable", "image.unsupported", "image.too_many_pixels")
    assert time.monotonic() - start < svg.SECONDS


@pytest.mark.parametrize(
    "inside",
    [
        '<g id="a"><use href="#a"/></g>',
        '<pattern id="p" width="1e-9" height="1e-9"><rect width="1"/></pattern><rect fill="url(#p)" width="9"/>',
        '<filter id="f" x="-1e6" y="-1e6" width="1e7" height="1e7"><feGaussianBlur stdDeviation="9999"/>'
        '<feTurbulence numOctaves="99999"/></filter><rect filter="url(#f)" width="9" height="9"/>',
        '<path stroke-dasharray="1e-6" stroke="red" d="M0 0L1e6 1e6"/>',
        "<script>while (true) {}</script>",
    ],
)
def test_what_keeps_a_renderer_busy_ends(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "SECONDS", 1)
    try:
        decode(drawing(inside))
    except ImageDropped as dropped:
        assert dropped.rule_id == "image.undecodable"


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([*"<>\"'= /&#;-!?", "svg", "width", "viewBox", "0 0 9 9", "<svg ", "<!--", "1e9", "px"]))
)
def test_any_markup_has_a_header_or_a_rule(pieces: list[str]) -> None:
    try:
        read_header(("<svg " + "".join(pieces)).encode())
    except ImageDropped as dropped:
        assert dropped.rule_id in ("image.undecodable", "image.unsupported", "image.not_an_image")
