"""Perceptual hashes and near-duplicate text beside imagehash, imagededup and datasketch, in one run.

python -m venv PEERS && PEERS/bin/pip install imagehash imagededup datasketch
python -m tests.bench.copies CORPUS --peers PEERS/bin/python [--record]

The images of a built corpus are resized, recompressed, reformatted, cropped and flipped. A transformed copy is found if
its hash is within so many bits of that of its image; another image within so many bits is a false pair.
"""

import argparse
import io
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pyarrow.parquet as pq

from pipeline.images.decode import decode
from tests.bench.dedup import DOCUMENTS, documents, join, timed, write_parts
from tests.bench.results import Figure, record

IMAGES, SIDE = 300, 64
"""Images transformed, and their least side in pixels: icons of half the size have fewer pixels than a hash looks at."""
BITS = (4, 8, 10)
PEERS = """
import json, sys, time
from pathlib import Path
import numpy as np, PIL.Image

def shingles(text):
    words = text.split(" ")
    return {" ".join(words[at : at + 5]).encode() for at in range(max(len(words) - 4, 1))}

def texts(path):
    from datasketch import MinHash, MinHashLSH
    start = time.perf_counter()
    index, kept = MinHashLSH(threshold=0.8, num_perm=128), 0
    for number, text in enumerate(path.open()):
        signature = MinHash(num_perm=128)
        signature.update_batch(list(shingles(text.strip())))
        found = [signature.jaccard(stored[other]) for other in index.query(signature)]
        if not any(similarity >= 0.8 for similarity in found):
            kept += 1
        stored[number] = signature
        index.insert(number, signature, check_duplication=False)
    return {"seconds": time.perf_counter() - start, "kept": kept}

def hashes(files):
    import imagehash
    from imagededup.methods import PHash
    method = PHash(verbose=False)
    found = {}
    for name, one in (("imagehash", lambda path: str(imagehash.phash(PIL.Image.open(path)))),
                      ("imagededup", lambda path: method.encode_image(image_file=path))):
        start = time.perf_counter()
        values = [one(path) for path in files]
        found[name] = {"seconds": time.perf_counter() - start, "hashes": values}
    return found

stored = {}
folder = Path(sys.argv[1])
print(json.dumps({"images": hashes(sorted(folder.glob("*.*"))), "texts": texts(folder / "texts")}))
"""
"""What the peers' Python runs: hashes of all images of a folder in order of their names, and the near-duplicates of the
lines of a file."""


def transforms() -> dict[str, Callable[[PIL.Image.Image], tuple[str, PIL.Image.Image, dict[str, int]]]]:
    """Name of each transform -> its format, image and options."""

    def cropped(image: PIL.Image.Image) -> PIL.Image.Image:
        width, height = image.size
        return image.crop((width // 10, height // 10, width - width // 10, height - height // 10))

    return {
        "0": lambda image: ("png", image, {}),
        "resized": lambda image: ("png", image.resize((max(1, image.width // 2), max(1, image.height // 2))), {}),
        "recompressed": lambda image: ("jpeg", image, {"quality": 30}),
        "reformatted": lambda image: ("webp", image, {"quality": 80}),
        "cropped": lambda image: ("png", cropped(image), {}),
        "flipped": lambda image: ("png", PIL.ImageOps.mirror(image), {}),
    }


def write_images(corpus: Path, folder: Path) -> int:
    """Write images of a corpus, no two of which are equal in size and pixels, each in all transforms; their number."""
    number = 0
    for path in sorted((corpus / "work/distinct_images").glob("*.parquet")):
        for row in pq.read_table(path, columns=["rule", "tar", "offset", "length"]).to_pylist():
            if row["rule"] is not None or number >= IMAGES:
                continue
            with (corpus / "images" / row["tar"]).open("rb") as tar:
                tar.seek(row["offset"])
                image = PIL.Image.open(io.BytesIO(tar.read(row["length"]))).convert("RGB")
            if min(image.size) < SIDE:
                continue
            for name, transform in transforms().items():
                format, changed, options = transform(image)
                changed.save(folder / f"{number:04}-{name}.{format}", format, **options)
            number += 1
    return number


def recalls(names: list[str], hashes: np.ndarray) -> dict[str, list[float]]:
    """By transform, and for pairs of different images, the share within each of BITS."""
    kinds = np.array([name.partition("-")[2].partition(".")[0] for name in names])
    plain = hashes[kinds == "0"]
    found = {
        kind: [float((np.bitwise_count(hashes[kinds == kind] ^ plain) <= bits).mean()) for bits in BITS]
        for kind in transforms()
        if kind != "0"
    }
    one, other = np.triu_indices(len(plain), 1)
    apart = np.bitwise_count(plain[one] ^ plain[other])
    return found | {"other images": [float((apart <= bits).mean()) for bits in BITS]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        number = write_images(options.corpus, folder)
        files = sorted(folder.glob("*.*"))
        start = time.perf_counter()
        ours = np.array([decode(path.read_bytes()).phash for path in files], np.uint64)
        rates = {"openm3w": len(files) / (time.perf_counter() - start)}
        (folder / "texts").write_text("\n".join(documents(DOCUMENTS)) + "\n")
        (folder / "peers.py").write_text(PEERS)
        (folder / "peers.py").rename(folder / "peers")
        done = subprocess.run([options.peers, folder / "peers", folder], stdout=subprocess.PIPE, check=True, text=True)
        peers = json.loads(done.stdout.splitlines()[-1])
        start = time.perf_counter()
        parts = write_parts(folder / "ours", DOCUMENTS)
        copies = join(folder / "ours", parts, 0)
        seconds = time.perf_counter() - start
        generated = timed(lambda: sum(map(len, documents(DOCUMENTS))))
    names = [path.name for path in files]
    hashes = {"openm3w": ours}
    for peer, told in peers["images"].items():
        hashes[peer] = np.array([int(value, 16) for value in told["hashes"]], np.uint64)
        rates[peer] = len(files) / told["seconds"]
    print(f"{number} images, share within {BITS} bits")
    figures = []
    for peer, values in hashes.items():
        found = recalls(names, values)
        said = "; ".join(f"{kind} {' '.join(f'{share:.4f}' for share in shares)}" for kind, shares in found.items())
        print(f"  {peer}, {rates[peer]:.0f} images/s: {said}")
        same = [found[kind][0] for kind in ("resized", "recompressed", "reformatted")]
        figures += [
            Figure(f"images: copies found within 4 bits, {peer}", round(float(np.mean(same)), 4)),
            Figure(f"images: pairs of other images within 4 bits, {peer}", round(found["other images"][0], 6)),
        ]
    theirs = peers["texts"]
    print(f"{DOCUMENTS:,} documents: ours {seconds - generated:.1f} s, {DOCUMENTS - copies:,} kept; "
          f"datasketch {theirs['seconds']:.1f} s, {theirs['kept']:,} kept")  # fmt: skip
    ratio = round(theirs["seconds"] / (seconds - generated), 1)
    figures.append(Figure("near-duplicate text: times datasketch's speed, end to end", ratio, goal=">= 10"))
    if options.record:
        record("dedup", figures, "python -m tests.bench.copies CORPUS --peers PYTHON", options.corpus.name)


if __name__ == "__main__":
    main()
