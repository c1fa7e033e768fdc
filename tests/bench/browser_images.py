"""Decoding beside Chromium: which files each of the two shows, and how far their pixels differ.

    python -m tests.bench.browser_images [FOLDER]

Without FOLDER, `../shared/data/cases/80-images`, and files damaged in their middle: in each format, bytes of one
generated image are flipped, zeroed, or cut off at random places (seed 0).
"""

import argparse
import base64
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pipeline.images.decode import ImageDropped, ImageOptions, decode
from tests.bench.annotated import SHARED

NEAR = 8.0  # mean difference of 8-bit pixels above which two images count as different; JPEG's of our storing is 1 to 3
TRIES = 60  # damaged files per format and kind of damage
SHOW = """async ([body, type]) => {
  const bytes = Uint8Array.from(atob(body), c => c.charCodeAt(0))
  const image = new Image()
  image.src = URL.createObjectURL(new Blob([bytes], {type}))
  try { await image.decode() } catch (error) { return null }
  const canvas = document.createElement('canvas')
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight
  const context = canvas.getContext('2d')
  context.fillStyle = 'white'; context.fillRect(0, 0, canvas.width, canvas.height)
  context.drawImage(image, 0, 0)
  return canvas.toDataURL('image/png').split(',')[1]
}"""


def in_chromium(page: Page, data: bytes) -> np.ndarray | None:
    """RGB on white as Chromium shows it; None if it shows no image."""
    kind = "image/svg+xml" if b"<svg" in data[:1000] else ""
    png = page.evaluate(SHOW, [base64.b64encode(data).decode(), kind])
    return None if png is None else np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))


def in_ours(data: bytes) -> np.ndarray | str:
    """RGB as stored, or the rule under which the file is dropped."""
    try:
        return np.asarray(Image.open(io.BytesIO(decode(data, ImageOptions(max_side=2000, quality=100)).data)))
    except ImageDropped as dropped:
        return dropped.rule_id


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of the pixels of two images; 255 if their sizes differ."""
    return 255.0 if one.shape != other.shape else float(np.abs(one.astype(int) - other.astype(int)).mean())


def original() -> np.ndarray:
    """A smooth image with edges, 256 x 192 x 3."""
    rng = np.random.default_rng(0)
    noise = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (256, 192), interpolation=cv2.INTER_CUBIC)
    cv2.circle(noise, (120, 90), 50, (250, 240, 20), -1)
    return noise


FORMATS = {
    "jpeg": {"format": "JPEG", "quality": 85},
    "png": {"format": "PNG"},
    "gif": {"format": "GIF"},
    "webp": {"format": "WEBP", "quality": 80},
    "webp lossless": {"format": "WEBP", "lossless": True},
    "avif": {"format": "AVIF", "quality": 70},
}


def damaged(data: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """`data` with one byte flipped, 64 bytes zeroed, or its end cut off, in its last nine tenths."""
    place = int(rng.integers(len(data) // 10, len(data) - 80))
    if kind == "cut":
        return data[:place]
    if kind == "zeroed":
        return data[:place] + bytes(64) + data[place + 64 :]
    return data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]


def folder(page: Page, path: Path) -> list[tuple[str, str]]:
    """Of each file how the two compare."""
    found = []
    for file in sorted(path.iterdir()):
        theirs, ours = in_chromium(page, file.read_bytes()), in_ours(file.read_bytes())
        if isinstance(ours, str):
            found.append((file.name, f"neither ({ours})" if theirs is None else f"Chromium alone ({ours})"))
        elif theirs is None:
            found.append((file.name, "ours alone"))
        else:
            apart = difference(ours, theirs)
            found.append((file.name, "the same" if apart <= NEAR else f"both, {apart:.0f} apart"))
    return found


def damage(page: Page) -> None:
    """A table of damaged files by format and kind of damage."""
    rng = np.random.default_rng(0)
    print("\n| format | damage | Chromium shows | of these visibly wrong | ours keeps | of these visibly wrong |")
    print("|---|---|---|---|---|---|")
    for name, options in FORMATS.items():
        file = io.BytesIO()
        Image.fromarray(original()).save(file, **options)
        whole = in_chromium(page, file.getvalue())
        assert whole is not None
        for kind in ("flipped", "zeroed", "cut"):
            files = [damaged(file.getvalue(), kind, rng) for _ in range(TRIES)]
            theirs = [shown for data in files if (shown := in_chromium(page, data)) is not None]
            ours = [shown for data in files if not isinstance(shown := in_ours(data), str)]
            wrong = [sum(difference(shown, whole) > NEAR for shown in those) for those in (theirs, ours)]
            print(f"| {name} | {kind} | {len(theirs)} of {TRIES} | {wrong[0]} | {len(ours)} | {wrong[1]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    path = options.folder or SHARED / "data/cases/80-images"
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        found = folder(page, path)
        for name, verdict in found:
            print(f"{name}: {verdict}")
        if options.folder is None:
            damage(page)
        browser.close()
    same = sum(verdict == "the same" or verdict.startswith("neither") for _, verdict in found)
    print(f"{same} of {len(found)} as in Chromium")


if __name__ == "__main__":
    main()
