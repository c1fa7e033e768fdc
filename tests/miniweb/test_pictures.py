"""The drawings show what the truth says, in every file format."""

import io
import random
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.miniweb import Drawing, Web
from pipeline.miniweb.pictures import COLOUR_RGB, FORMATS, GROUND_RGB, SHAPES, draw, encode


def upright(body: bytes) -> np.ndarray:
    """A file as a viewer shows it, on white; (height, width, 3) uint8."""
    image = Image.open(io.BytesIO(body))
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "P"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def nearest(pixels: np.ndarray, palette: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """The index of the nearest colour of the palette for each pixel."""
    colours = np.array(palette, np.float32)
    # |p - c|^2 without |p|^2, which is the same for all colours
    return ((colours**2).sum(-1) - 2 * pixels.astype(np.float32) @ colours.T).argmin(-1)


def test_every_picture_shows_its_attributes(web: Web) -> None:
    resources = web.resources
    checked = Counter()
    for url, picture in list(web.pictures.items())[::5]:
        resource = resources[url]
        if resource.status != 200:
            continue
        pixels = upright(resource.body)
        assert pixels.shape == (picture.height, picture.width, 3), url
        index = nearest(pixels, (*GROUND_RGB, *COLOUR_RGB))
        votes = Counter(index.ravel().tolist())
        ground = max(range(len(GROUND_RGB)), key=lambda k: votes[k])
        colour = max(range(len(COLOUR_RGB)), key=lambda k: votes[k + len(GROUND_RGB)])
        assert (ground, colour) == (picture.ground, picture.colour), url
        mask = (nearest(pixels, (GROUND_RGB[ground], COLOUR_RGB[colour])) == 1).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        assert int((stats[1:, cv2.CC_STAT_AREA] > 60).sum()) == picture.count + 1, url
        assert 0.03 < mask.mean() < 0.6
        checked[resource.header("Content-Type")] += 1
    assert min(checked[kind] for kind in ("image/jpeg", "image/png", "image/gif", "image/webp")) >= 10


def test_shapes_never_touch() -> None:
    # the last ones would without a second try
    for number in (*range(0, 400, 2), 727, 797, 1008, 1470, 2142, 2565, 3221, 3223):
        picture = Drawing(0, number % len(SHAPES), 1 + number // len(SHAPES) % 3, 0, 120, 120)
        pixels = np.asarray(draw(picture, random.Random(number)))
        mask = (nearest(pixels, (GROUND_RGB[0], COLOUR_RGB[0])) == 1).astype(np.uint8)
        assert cv2.connectedComponents(mask)[0] - 1 == picture.count + 1, number


def test_silhouettes_of_the_shapes_differ() -> None:
    masks = []
    for shape in range(len(SHAPES)):
        pixels = np.asarray(draw(Drawing(0, shape, 0, 0, 224, 224), random.Random(1)))
        masks.append(nearest(pixels, (GROUND_RGB[0], COLOUR_RGB[0])) == 1)
    for a in range(len(SHAPES)):
        for b in range(a):
            assert (masks[a] & masks[b]).sum() / (masks[a] | masks[b]).sum() < 0.85, (SHAPES[a], SHAPES[b])


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_of_file_is_what_it_says(kind: str) -> None:
    body = encode(Drawing(1, 3, 1, 0, 240, 180), random.Random(3), kind)
    image = Image.open(io.BytesIO(body))
    assert Image.MIME[image.format or ""] == FORMATS[kind][0]
    assert upright(body).shape == (180, 240, 3)
    if kind == "exif":
        assert image.getexif()[0x0112] in range(2, 9)
    if kind == "animated":
        assert getattr(image, "n_frames", 1) == 2
    if kind == "png16":
        assert body[24] == 16
    if kind in ("cmyk", "palette", "alpha"):
        assert image.mode == {"cmyk": "CMYK", "palette": "P", "alpha": "RGBA"}[kind]
    if kind == "progressive":
        assert image.info["progressive"]


def chi_square(table: np.ndarray) -> tuple[float, int]:
    """Pearson's statistic for independence of rows and columns, and its degrees of freedom."""
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), (table.shape[0] - 1) * (table.shape[1] - 1)


def far_from_chance(statistic: float, freedom: int) -> bool:
    """Beyond five standard deviations of the chi-square distribution."""
    return statistic > freedom + 5 * (2 * freedom) ** 0.5


ATTRIBUTES = {"colour": 8, "shape": 8, "count": 4, "ground": 4}


def test_attributes_are_uniform_and_cannot_be_guessed(web: Web) -> None:
    """Neither from each other, nor from the picture before, the language, the kind of page or the words before."""
    rows: list[dict[str, int]] = []
    for page in web.truth:
        if page.rule is not None:
            continue
        before: dict[str, int] = {}
        for position, (kind, url) in enumerate(page.nodes):
            if kind == "image" and url in web.pictures:
                row = {name: getattr(web.pictures[url], name) for name in ATTRIBUTES}
                words = page.nodes[position - 1][1].split() if position else ["-"]
                context = {
                    "english": int(page.language == "en"),
                    "kind of page": sum(page.url.split("/")[3].encode()) % 7,
                    "word before": sum(words[-1].encode()) % 5,
                    "length": len(words) % 5,
                }
                rows.append(row | context | {f"{name} before": before.get(name, 0) for name in before})
                before = row
    for name, choices in ATTRIBUTES.items():
        counts = np.bincount([row[name] for row in rows], minlength=choices)
        expected = len(rows) / choices
        assert len(counts) == choices
        assert not far_from_chance(float(((counts - expected) ** 2 / expected).sum()), choices - 1), name
        contexts = ("english", "kind of page", "word before", "length", *(f"{other} before" for other in ATTRIBUTES))
        for other in (*contexts, *(other for other in ATTRIBUTES if other != name)):
            pairs = [(row[name], row[other]) for row in rows if other in row]
            values = sorted({b for _, b in pairs})
            table = np.zeros((choices, len(values)))
            for a, b in pairs:
                table[a, values.index(b)] += 1
            assert not far_from_chance(*chi_square(table)), (name, other)
