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

from shards.readers import read_documents
from train_min.data.permute import derange

KEPT = ("alt", "caption", "declared_width", "declared_height")
"""What a page says about an image stays in its place."""


def chosen(doc_id: str, seed: int, share: float) -> bool:
    stamp = hashlib.sha256(f"{seed}\n{doc_id}".encode()).digest()
    return int.from_bytes(stamp[:8], "big") / 2**64 < share


def described(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def wrong_images(corpus: Path, corrupted: Path) -> dict[tuple[str, bytes], bool]:
    """Whether each image of the copy is wrong, by URL of its document and sha256 as fetched."""

    def shown(folder: Path) -> list[tuple[str, bytes]]:
        documents = read_documents(sorted((folder / "documents").glob("*.parquet")), columns=["url", "images"])
        return [(row["url"], image["sha256"]) for row in documents for image in row["images"] if image is not None]

    true = set(shown(corpus))
    return {image: image not in true for image in shown(corrupted)}


def rewritten(corpus: Path, output: Path, documents: dict[str, list[dict[str, Any]]]) -> None:
    """Write a copy of a corpus with other rows in the files of documents/, by name."""
    shutil.copytree(corpus, output, ignore=shutil.ignore_patterns("runs", "work", "windows", "documents", ".*"))
    (output / "documents").mkdir()
    for name, rows in documents.items():
        schema = pq.read_schema(corpus / "documents" / name)
        pq.write_table(pa.Table.from_pylist(rows, schema), output / "documents" / name)
    manifest = json.loads((corpus / "manifest.json").read_text())
    manifest["files"] = [
        entry | described(output / entry["path"]) if entry["path"].startswith("documents/") else entry
        for entry in manifest["files"]
        if not entry["path"].startswith("windows/")
    ]
    (output / "manifest.json").write_text(json.dumps(manifest))


def rows_of(corpus: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file of documents/, by name."""
    return {path.name: pq.read_table(path).to_pylist() for path in sorted((corpus / "documents").glob("*.parquet"))}


def corrupt(corpus: Path, output: Path, share: float = 0.25, seed: int = 0) -> None:
    """Write the copy."""
    rows = rows_of(corpus)
    places = [
        (document, index)
        for part in rows.values()
        for document in part
        if chosen(document["doc_id"], seed, share)
        for index, image in enumerate(document["images"])
        if image is not None
    ]
    shown = [document["images"][index] for document, index in places]
    _, owner = np.unique([document["doc_id"] for document, _ in places], return_inverse=True)
    dealt = derange(np.arange(len(shown)), owner, np.random.default_rng(seed))
    for (document, index), old, new in zip(places, shown, dealt.tolist(), strict=True):
        document["images"][index] = shown[new] | {name: old[name] for name in KEPT}
    rewritten(corpus, output, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    corrupt(options.corpus, options.output, options.share, options.seed)
    images = wrong_images(options.corpus, options.output)
    documents = {url for (url, _), wrong in images.items() if wrong}
    print(f"{len(documents)} documents with {sum(images.values())} wrong images of {len(images)}")


if __name__ == "__main__":
    main()
