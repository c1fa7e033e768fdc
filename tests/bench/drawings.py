"""Few-shot accuracy on real drawings, after meta-training on pages of cards that show real drawings.

    python -m tests.bench.drawings packages -o drawings [--seeds 1] [--record]

The packages are those of tests.bench.gallery. On half of the pages a class is one drawing, turned, moved and scaled
anew on each card; on the others it is a folder of drawings with one theme. Accuracy is measured on drawings of folders
that no page shows, by drawing and by folder, and on the groups of OpenMoji, another source.
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import cv2
import numpy as np

from pipeline.images.decode import ImageDropped, ImageOptions, decode
from pipeline.miniweb.cards import SIDE, TEMPLATES
from pipeline.miniweb.generate import generate
from pipeline.miniweb.web import Resource, Web
from pipeline.miniweb.write import write_warc
from shards.draws import hash64
from shards.invented import invented_names
from tests.bench import gallery
from tests.bench.fewshot import at_shots, m3w
from tests.bench.results import Figure, record

PAGES = 1400
HELD_OUT = 0.2
"""Share of the folders that no page shows."""
LEAST = 12
"""Drawings of a folder that is a class."""
PER_CLASS = 20
SHOTS = (2, 4, 8, 16)
Folders = dict[str, list[bytes]]


def shrunk(path: Path) -> bytes:
    """A drawing as a JPEG of at most `SIDE` pixels, b"" if it cannot be decoded."""
    try:
        return decode(path.read_bytes(), ImageOptions(max_side=SIDE)).data
    except ImageDropped:
        return b""


def folders_of(packages: Path, *sources) -> Folders:  # type: ignore[no-untyped-def]
    """The drawings of each folder that has enough of them, none of them twice."""
    paths: dict[str, list[Path]] = {}
    for source in sources:
        for folder, path, _ in source(packages):
            paths.setdefault(folder, []).append(path)
    found = {}
    for folder, some in paths.items():
        chosen = random.Random(folder).sample(sorted(set(some)), min(len(set(some)), 4 * PER_CLASS))
        drawings = list(dict.fromkeys(filter(None, map(shrunk, chosen))))
        if len(drawings) >= LEAST:
            found[folder] = drawings
    return found


def varied(drawing: bytes, rng: random.Random) -> bytes:
    """A drawing turned by up to 20 degrees, moved and scaled, on white."""
    pixels = cv2.imdecode(np.frombuffer(drawing, np.uint8), cv2.IMREAD_COLOR)
    height, width = pixels.shape[:2]
    scale = rng.uniform(0.55, 0.95) * SIDE / max(height, width)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-20, 20), scale)
    turn[:, 2] += [SIDE * rng.uniform(0.4, 0.6) - width / 2, SIDE * rng.uniform(0.4, 0.6) - height / 2]
    white = (255, 255, 255)
    placed = cv2.warpAffine(pixels, turn, (SIDE, SIDE), flags=cv2.INTER_AREA, borderValue=white)
    return cv2.imencode(".jpg", placed, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def deal(folders: Folders, rng: random.Random) -> list[tuple[int, bytes]]:
    """The cards of a page: 8 to 12 of two to four classes, balanced, in random order."""
    classes = rng.randint(2, 4)
    order = [number % classes for number in range(rng.randint(8, 12))]
    rng.shuffle(order)
    chosen = rng.sample(sorted(folders), classes)
    if rng.random() < 0.5:
        one = [rng.choice(folders[folder]) for folder in chosen]
        return [(number, varied(one[number], rng)) for number in order]
    several = [rng.sample(folders[folder], order.count(number)) for number, folder in enumerate(chosen)]
    return [(number, varied(several[number].pop(), rng)) for number in order]


def add_cards(web: Web, folders: Folders) -> None:
    """Add pages of cards to a web."""
    for page in range(PAGES):
        rng = random.Random(f"drawings/{page}")
        root, template, cards = (
            f"https://drawings-{page // 50}.example/{page}",
            rng.choice(TEMPLATES),
            deal(folders, rng),
        )
        names = invented_names(rng, 1 + max(number for number, _ in cards))
        date, body = "2026-01-01T00:00:00Z", ""
        for place, (number, picture) in enumerate(cards):
            web.captures.append(
                (f"{root}-{place}.jpg", Resource(200, (("Content-Type", "image/jpeg"),), picture, date))
            )
            body += f'<p><img src="{page}-{place}.jpg" alt=""></p>\n<p>{template.format(names[number])}</p>\n'
        html = f"<!doctype html><html lang=en><title>Cards</title><main><article>\n{body}</article></main></html>"
        web.captures.append((f"{root}.html", Resource(200, (("Content-Type", "text/html"),), html.encode(), date)))


def write_tasks(output: Path, unseen: Folders, other: Folders) -> None:
    """Write drawings/, folders/ and emoji/, each with a folder of images for each class."""
    rng = random.Random("tasks")
    every = list(itertools.chain(*unseen.values()))
    drawings = {f"{number:03}": [one] * PER_CLASS for number, one in enumerate(rng.sample(every, min(80, len(every))))}
    for name, classes in (("drawings", drawings), ("folders", unseen), ("emoji", other)):
        for number, (_, members) in enumerate(sorted(classes.items())):
            folder = output / name / f"class-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            for place, member in enumerate(members[: 2 * PER_CLASS]):
                (folder / f"{place:02}.jpg").write_bytes(varied(member, rng))


def prepare(packages: Path, output: Path) -> None:
    folders = folders_of(packages, gallery.clipart, gallery.stamps)
    unseen = {name: folders.pop(name) for name in sorted(folders) if hash64(f"drawings/{name}") / 2**64 < HELD_OUT}
    other = folders_of(packages, gallery.emoji)
    print(f"{len(folders)} folders on the pages, {len(unseen)} held out, {len(other)} groups of emoji")
    web = generate(0, names=700)
    add_cards(web, folders)
    output.mkdir(parents=True, exist_ok=True)
    write_tasks(output / "task", unseen, other)
    write_warc(web, output / "drawings.warc.gz")


def figures(run: Path, tasks: Path) -> list[Figure]:
    """The accuracy of the first model by task and number of shots, beside what needs no learning."""
    made = []
    for task in ("drawings", "folders", "emoji"):
        path = run / f"ways-{task}-2.json"
        if not path.exists():
            m3w("evaluate", run, tasks / task, "--ways", 2, *at_shots(*SHOTS))
        models = json.loads(path.read_text())["models"]
        for row in models["names-0"]:
            what = f"real drawings, {task}, 2-way, {row['shots']} shots"
            made.append(Figure(f"{what}: accuracy", round(row["accuracy"], 3)))
            for name, key in (("nearest neighbour", "nearest"), ("class mean", "mean")):
                made.append(Figure(f"{what}: {name}", round(row[key], 3)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write the figures to results/fewshot.json")
    options = parser.parse_args()
    corpus, run = options.output / "corpus", options.output / "run"
    if not (options.output / "drawings.warc.gz").exists():
        prepare(options.packages, options.output)
    if not (corpus / "manifest.json").exists():
        m3w(
            "build",
            options.output / "drawings.warc.gz",
            "-o",
            corpus,
            "--no-fetch",
            "--recipe",
            "examples/few-shot.toml",
        )
    if not (run / "few-shot.json").exists():
        m3w("train", corpus, "-o", run, "--few-shot", "--seeds", options.seeds)
    found = figures(run, options.output / "task")
    for figure in found:
        print(f"{figure.figure:60} {figure.value}")
    if options.record:
        data = f"{PAGES} pages of cards with drawings of openclipart and Tux Paint"
        record("fewshot", found, "python -m tests.bench.drawings packages -o drawings", data)


if __name__ == "__main__":
    main()
