"""Rules on sharpness and lines of text: what they drop of drawn banners, of blurred images and of a corpus' images.

python -m tests.bench.looks CORPUS [--record]"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from pipeline.images.looks import measured
from shards.tar import read_member
from tests.bench.annotated import SHARED
from tests.bench.results import Figure, record

BLUR, SHARPNESS, TEXT = 0.01, 30.0, 0.25
SIZES = ((728, 90), (468, 60), (300, 250), (336, 280), (250, 250), (320, 100), (970, 250), (234, 60), (120, 240))
WORDS = ("Sale", "today", "only", "Free", "shipping", "Subscribe", "now", "Learn", "more", "Order", "your", "copy")


def stored(corpus: Path) -> list[np.ndarray]:
    """The distinct images of a corpus (height x width x 3, BGR)."""
    tables = [pq.read_table(path, columns=["tar", "offset", "length"], partitioning=None)
              for path in sorted((corpus / "images").glob("*.parquet"))]  # fmt: skip
    places = {tuple(row.values()) for table in tables for row in table.to_pylist() if row["tar"]}
    return [_decoded(read_member(corpus / "images" / tar, start, length)) for tar, start, length in sorted(places)]


def _decoded(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def banners(number: int = 300) -> list[np.ndarray]:
    """Lines of text in sizes of banners, on one colour, or on a pale or dark illustration of a book."""
    rng = np.random.default_rng(1)
    books = [_decoded(path.read_bytes()) for path in sorted((SHARED / "data/gutenberg").glob("*/*/images/*.jpg"))]
    found = []
    for index in range(number):
        width, height = SIZES[index % len(SIZES)]
        dark = bool(rng.integers(2))
        if index % 3:
            ground = np.full((height, width, 3), rng.integers(0, 100, 3) + (0 if dark else 155))
        else:
            book = cv2.resize(books[rng.integers(len(books))], (width, height))
            ground = book * 0.35 + (10 if dark else 160)
        image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
        size = int(rng.integers(max(11, height // 10), max(14, min(40, height // 3))))
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
        for top in range(4, height - size, int(1.35 * size)):
            line = " ".join(rng.choice(WORDS, 40))
            while draw.textlength(line, font) > 0.9 * width and " " in line:
                line = line.rpartition(" ")[0]
            draw.text((6, top), line, (255,) * 3 if dark else (0,) * 3, font)
        found.append(_decoded(cv2.imencode(".jpg", np.asarray(image))[1].tobytes()))
    return found


def main() -> None:
    corpus = Path(sys.argv[1])
    images = stored(corpus)
    begun = time.process_time()
    looks = [measured(image) for image in images]
    spent = time.process_time() - begun
    blurred = [measured(cv2.GaussianBlur(image, (0, 0), BLUR * max(image.shape))) for image in images]
    drawn = [measured(image) for image in banners()]

    def share(measures: list[dict[str, float]], name: str) -> float:
        failed = [m["sharpness"] < SHARPNESS if name == "sharpness" else m["text_lines"] > TEXT for m in measures]
        return round(float(np.mean(failed)), 3)

    figures = [
        Figure(f"drawn banners with text_lines over {TEXT}", share(drawn, "text_lines")),
        Figure(f"images of manuals with text_lines over {TEXT}", share(looks, "text_lines")),
        Figure(f"blurred images (1 % of a side) with sharpness under {SHARPNESS:g}", share(blurred, "sharpness")),
        Figure(f"images of manuals with sharpness under {SHARPNESS:g}", share(looks, "sharpness")),
        Figure("sharpness and text_lines of an image, CPU time", round(1000 * spent / len(images), 1), "ms"),
    ]  # fmt: skip
    for figure in figures:
        print(figure.figure, figure.value, figure.unit)
    if "--record" in sys.argv:
        record("recipes", figures, "python -m tests.bench.looks CORPUS", "images of hugin, freedombox-en and skimage")


if __name__ == "__main__":
    main()
