"""A whole build beside the chain of tools that people put together today, on the same WARC files.

    python -m tests.bench.chain [--record]

The chain: warcio reads records, trafilatura extracts text and images in order, img2dataset's Resizer shrinks and
encodes the images, datatrove's MinHash finds near duplicates, webdataset's ShardWriter writes one sample a page. It has
no rules, no decisions on images, no split, no tokens and no windows. Each is a command that uses one core; its
processor seconds are compared, imports included, so other work on the machine disturbs them little.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urljoin

import psutil

from tests.bench.annotated import SHARED, AnnotatedPage
from tests.bench.dedup import datatrove
from tests.bench.extraction import trafilatura
from tests.bench.results import Figure, record

NAMES = ("hugin", "freedombox-en", "skimage")


def read(files: list[Path]) -> tuple[list[tuple[str, bytes]], dict[str, bytes]]:
    """The HTML pages of WARC files as (URL, body), and their images by URL."""
    from warcio.archiveiterator import ArchiveIterator

    pages, images = [], {}
    for path in files:
        with path.open("rb") as file:
            for entry in ArchiveIterator(file):
                if entry.rec_type != "response" or entry.http_headers.get_statuscode() != "200":
                    continue
                kind = (entry.http_headers.get_header("Content-Type") or "").partition(";")[0]
                url = entry.rec_headers.get_header("WARC-Target-URI").strip("<>")
                if kind in ("text/html", "application/xhtml+xml"):
                    pages.append((url, entry.content_stream().read()))
                elif kind.startswith("image/"):
                    images[url] = entry.content_stream().read()
    return pages, images


def chain(files: list[Path], root: Path) -> dict[str, float]:
    """Processor seconds of each step of the chain."""
    import webdataset
    from img2dataset.resizer import Resizer

    clock = {"": time.process_time()}
    pages, images = read(files)
    clock["read"] = time.process_time()
    documents = []
    for url, body in pages:
        nodes = trafilatura(AnnotatedPage(url, body, url, "text/html", []))
        if any(kind == "image" for kind, _ in nodes):
            documents.append((url, nodes))
    clock["extract"] = time.process_time()
    resizer = Resizer(1024, "keep_ratio_largest", resize_only_if_bigger=True, encode_quality=90)
    stored: dict[str, bytes] = {}
    for url, nodes in documents:
        for name in (urljoin(url, value) for kind, value in nodes if kind == "image"):
            if name in images and name not in stored:
                encoded, *_, error = resizer(io.BytesIO(images[name]))
                if error is None:
                    stored[name] = encoded
    clock["images"] = time.process_time()
    texts = [" ".join(value for kind, value in nodes if kind == "text") for _, nodes in documents]
    datatrove(root / "minhash", lambda: texts)
    clock["near duplicates"] = time.process_time()
    with webdataset.ShardWriter(str(root / "%05d.tar"), maxcount=1000, verbose=0) as writer:
        for number, (url, nodes) in enumerate(documents):
            names = [urljoin(url, value) for kind, value in nodes if kind == "image"]
            found = {f"{index}.jpg": stored[name] for index, name in enumerate(names) if name in stored}
            if found:
                writer.write({"__key__": f"{number:06d}", "json": {"url": url, "nodes": nodes}, **found})
    clock["write"] = time.process_time()
    return {name: clock[name] - clock[before] for before, name in itertools.pairwise(clock)}


def run(command: list[str]) -> tuple[float, str]:
    """(processor seconds of a command with its children, what it printed)."""
    before = psutil.Process().cpu_times()
    printed = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    after = psutil.Process().cpu_times()
    return after.children_user + after.children_system - before.children_user - before.children_system, printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the ratio to results/build.json")
    parser.add_argument("--chain", metavar="FOLDER", type=Path, help="only run the chain, which writes to FOLDER")
    options = parser.parse_args()
    files = [SHARED / f"data/warc/{name}.warc.gz" for name in NAMES]
    if options.chain:
        print(json.dumps(chain(files, options.chain)))
        return
    m3w = str(Path(sys.executable).with_name("m3w"))
    with tempfile.TemporaryDirectory() as folder:
        corpus = f"{folder}/corpus"
        build = [m3w, "build", *map(str, files), "-o", corpus, "--no-fetch", "--", "--direct_num_workers=1"]
        built, _ = run(build)
        chained, printed = run([sys.executable, "-m", "tests.bench.chain", "--chain", folder])
    steps = json.loads(printed.splitlines()[-1])
    steps["imports"] = chained - sum(steps.values())
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items())
    print(f"m3w build {built:.1f} s; the chain {chained:.1f} s ({parts}): {chained / built:.1f} x")
    if options.record:
        found = [Figure("build: processor time of the usual chain over ours", round(chained / built, 1), "x", ">= 4")]
        record("build", found, "python -m tests.bench.chain", f"3 sites crawled with wget: {', '.join(NAMES)}")


if __name__ == "__main__":
    main()
