"""A copy of a corpus in which a share of the documents has other documents' images.

    python -m tests.bench.corrupt corpus -o corrupted --share 0.25
    m3w train corpus --against corrupted

Only documents/ (and its manifest entries) are rewritten: `--against` cuts its windows from documents.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train_min.data.permute import derange

KEPT = ("alt", "caption", "declared_width", "declared_height")
"""What a page says about an image stays in its place."""


def chosen(doc_id: str, seed: int, share: float) -> bool:
    stamp = hashlib.sha256(f"{seed}\n{doc_id}".encode()).digest()
    return int.from_bytes(stamp[:8], "big") / 2**64 < share


def described(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def corrupt(corpus: Path, output: Path, share: float = 0.25, seed: int = 0) -> dict[tuple[str, bytes], bool]:
    """Write the copy. Returns whether each image is wrong, by URL of its document and sha256 as fetched."""
    shutil.copytree(corpus, output, ignore=shutil.ignore_patterns("runs", "work", "windows", ".*"))
    manifest = json.loads((corpus / "manifest.json").read_text())
    paths = sorted((output / "documents").glob("*.parquet"))
    tables = [pq.read_table(path) for path in paths]
    rows = [table.to_pylist() for table in tables]
    places = [
        (document, index)
        for part in rows
        for document in part
        if chosen(document["doc_id"], seed, share)
        for index, image in enumerate(document["images"])
        if image is not None
    ]
    shown = [document["images"][index] for document, index in places]
    own = {(document["url"], image["sha256"]) for (document, _), image in zip(places, shown, strict=True)}
    _, owner = np.unique([document["doc_id"] for document, _ in places], return_inverse=True)
    dealt = derange(np.arange(len(shown)), owner, np.random.default_rng(seed))
    for (document, index), old, new in zip(places, shown, dealt.tolist(), strict=True):
        document["images"][index] = shown[new] | {name: old[name] for name in KEPT}
    for path, table, part in zip(paths, tables, rows, strict=True):
        pq.write_table(pa.Table.from_pylist(part, table.schema), path)
    manifest["files"] = [
        entry | described(output / entry["path"]) if output / entry["path"] in paths else entry
        for entry in manifest["files"]
        if not entry["path"].startswith("windows/")
    ]
    (output / "manifest.json").write_text(json.dumps(manifest))
    planted = {(document["url"], document["images"][index]["sha256"]) for document, index in places} - own
    every = ((row["url"], image["sha256"]) for part in rows for row in part for image in row["images"] if image)
    return {key: key in planted for key in every}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images = corrupt(options.corpus, options.output, options.share, options.seed)
    documents = {url for (url, _), wrong in images.items() if wrong}
    print(f"{len(documents)} documents with {sum(images.values())} wrong images of {len(images)}")


if __name__ == "__main__":
    main()
