"""A corpus of drawn shapes and sentences about them, in the layout of a build: small, quick, with known information.

Each picture shows one shape of one colour; the sentence behind it names both. Eight colours and four shapes, drawn at
random: 3 bits at the colour's word, 2 at the shape's, none elsewhere.
"""

import hashlib
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from pipeline.recipe import hashes
from shards.records import DOCUMENTS, FORMAT_VERSION, WINDOWS, Text
from shards.stream import render, token_stream
from shards.tokenizer import Tokenizer, train_corpus_tokenizer

COLOURS = {
    "red": (210, 30, 30), "green": (30, 150, 50), "blue": (40, 60, 200), "yellow": (230, 210, 40),
    "purple": (130, 40, 150), "orange": (240, 140, 20), "black": (20, 20, 20), "pink": (250, 150, 190),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "bar")
PLACES = ("market", "museum", "harbour", "garden", "library", "station", "theatre", "bakery")
THINGS = ("people", "visitors", "children", "travellers", "painters", "neighbours")
TIMES = ("in the morning", "after lunch", "at night", "on Sundays", "every spring", "before winter")


def draw(colour: str, shape: str, rng: random.Random) -> bytes:
    """A JPEG of 96 x 96 pixels."""
    image = Image.new("RGB", (96, 96), (245, 245, 240))
    canvas = ImageDraw.Draw(image)
    size = rng.randrange(40, 70)
    x, y = rng.randrange(4, 92 - size), rng.randrange(4, 92 - size)
    box, fill = (x, y, x + size, y + size), COLOURS[colour]
    if shape == "circle":
        canvas.ellipse(box, fill)
    elif shape == "square":
        canvas.rectangle(box, fill)
    elif shape == "triangle":
        canvas.polygon([(x, y + size), (x + size, y + size), (x + size // 2, y)], fill)
    else:
        canvas.rectangle((x, y + size // 3, x + size, y + 2 * size // 3), fill)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def filler(rng: random.Random) -> str:
    return f"The {rng.choice(PLACES)} is full of {rng.choice(THINGS)} {rng.choice(TIMES)}."


def page(number: int, seed: int) -> list:
    """The nodes of a page: Text, or (colour, shape, bytes) for a picture."""
    rng = random.Random(f"{seed}-{number}")
    nodes: list = [Text(filler(rng))] if rng.random() < 0.5 else []
    for _ in range(rng.randrange(1, 5)):
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        nodes.append((colour, shape, draw(colour, shape, rng)))
        nodes.append(
            Text(f"Here you see a {colour} {shape}. " + " ".join(filler(rng) for _ in range(rng.randrange(3))))
        )
    return nodes


def write_recipe(
    folder: Path, *, policy: str = "random", tokens: int = 256, images: int = 5, vocabulary: int = 8192
) -> None:
    """What training reads of a recipe."""
    windows = f'policy = "{policy}"\ntokens = {tokens}\nimages = {images}\nvocabulary = {vocabulary}\n'
    windows += "min_images = 1\ndraws = 8\ncover = false\n"
    (folder / "recipe.toml").write_text(f"[windows]\n{windows}[image]\nmax_documents = 10\n")
    if (folder / "manifest.json").exists():
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["recipe"] = min(hashes(folder / "recipe.toml"))
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def write_corpus(
    folder: Path, pages: int, *, seed: int = 0, sites: int = 50, tokenizer: Tokenizer | None = None, held_out: int = 10
) -> Path:
    """Write a corpus of `pages` documents, every `held_out`-th for validation, one window a document."""
    for name in ("documents", "images", "windows"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    drafts = [page(number, seed) for number in range(pages)]
    if tokenizer is None:
        tokenizer = train_corpus_tokenizer(node.text for nodes in drafts for node in nodes if isinstance(node, Text))
    (folder / "tokenizer.json").write_text(tokenizer.json)
    tar = bytearray()
    documents, windows = [], {"train": [], "validation": []}
    for number, nodes in enumerate(drafts):
        doc_id = hashlib.sha256(f"{seed}-{number}".encode()).hexdigest()[:32]
        site = f"site{number % sites}.example"
        url = f"http://{site}/{number}.html"
        split = "validation" if number % held_out == 0 else "train"
        images, pictures = [], []
        for node in nodes:
            if isinstance(node, Text):
                images.append(None)
                continue
            content = node[2]
            digest = hashlib.sha256(content).digest()
            image = {"url": f"{url}#{len(tar)}", "sha256": digest, "stored_sha256": digest}
            image |= {"alt": f"{node[0]} {node[1]}", "phash": int.from_bytes(digest[:8])}
            image |= {"width": 96, "height": 96, "format": "JPEG", "alternatives": [], "caption": ""}
            images.append(image | {"tar": "00000.tar", "offset": len(tar), "length": len(content)})
            pictures.append(({"bytes": content, "path": digest.hex()[:16] + ".jpg"}, image))
            tar += content
        documents.append(
            {
                "doc_id": doc_id, "url": url, "site": site, "split": split, "language": "en", "images": images,
                "texts": [node.text if isinstance(node, Text) else None for node in nodes],
            }
        )  # fmt: skip
        stream = token_stream(nodes, tokenizer)
        windows[split].append(
            {
                "window_id": f"{doc_id}-0", "doc_id": doc_id, "url": url, "site": site, "language": "en",
                "text": render(stream.ids, tokenizer), "input_ids": stream.ids.tolist(),
                "image_positions": stream.images.tolist(), "images": [content for content, _ in pictures],
                "image_metadata": [image for _, image in pictures], "token_start": 0, "seed": 0,
                "tokenizer": tokenizer.id, "recipe": "synthetic",
            }
        )  # fmt: skip
    (folder / "images" / "00000.tar").write_bytes(tar)
    files = {
        "documents/00000.parquet": pa.Table.from_pylist(documents, schema=DOCUMENTS),
        "windows/train-00000.parquet": pa.Table.from_pylist(windows["train"], schema=WINDOWS),
        "windows/validation-00000.parquet": pa.Table.from_pylist(windows["validation"], schema=WINDOWS),
    }
    for path, table in files.items():
        pq.write_table(table, folder / path)
    write_recipe(folder)
    rows = {path: table.num_rows for path, table in files.items()}
    write_manifest(folder, rows | {"images/00000.tar": 0, "tokenizer.json": 0})
    return folder


def write_manifest(folder: Path, rows: dict[str, int]) -> None:
    entries = [
        {
            "path": path, "rows": rows[path], "bytes": (folder / path).stat().st_size,
            "sha256": hashlib.sha256((folder / path).read_bytes()).hexdigest(),
        }
        for path in rows
    ]  # fmt: skip
    manifest = {"format": FORMAT_VERSION, "recipe": min(hashes(folder / "recipe.toml")), "files": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def rewrite(folder: Path, path: str, table: pa.Table) -> None:
    """Puts other rows into a file of a corpus."""
    pq.write_table(table, folder / path)
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    write_manifest(folder, {entry["path"]: entry["rows"] for entry in entries})
