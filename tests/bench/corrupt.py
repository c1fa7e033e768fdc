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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train_min.data.permute import derange

KEPT = ("alt", "caption", "declared_width", "declared_height")
"""What a page says about an image stays in its place."""


def chosen(doc_id: str, seed: int, share: float) -> bool:
    stamp = hashlib.sha256(f"{seed}\n{doc_id}".encode()).digest()
    return int.from_bytes(stamp[:8], "big") / 2**64 < share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shutil.copytree(options.corpus, options.output, ignore=shutil.ignore_patterns("runs", "work", "windows", ".*"))
    manifest = json.loads((options.corpus / "manifest.json").read_text())
    manifest["files"] = [entry for entry in manifest["files"] if not entry["path"].startswith("windows/")]
    (options.output / "manifest.json").write_text(json.dumps(manifest))
    paths = sorted((options.output / "documents").glob("*.parquet"))
    tables = [pq.read_table(path) for path in paths]
    rows = [table.to_pylist() for table in tables]
    places = [
        (document, index)
        for part in rows
        for document in part
        if chosen(document["doc_id"], options.seed, options.share)
        for index, image in enumerate(document["images"])
        if image is not None
    ]
    shown = [document["images"][index] for document, index in places]
    _, content = np.unique([image["stored_sha256"].hex() for image in shown], return_inverse=True)
    _, owner = np.unique([document["doc_id"] for document, _ in places], return_inverse=True)
    dealt = derange(np.arange(len(shown)), owner, np.random.default_rng(options.seed))
    for (document, index), own, new in zip(places, shown, dealt.tolist(), strict=True):
        document["images"][index] = shown[new] | {name: own[name] for name in KEPT}
    for path, table, part in zip(paths, tables, rows, strict=True):
        pq.write_table(pa.Table.from_pylist(part, table.schema), path)
    same = sum(content[old] == content[new] for old, new in enumerate(dealt.tolist()))
    documents = len(set(owner.tolist()))
    print(f"{documents} documents, {len(places)} pictures, {same} equal to the true ones")


if __name__ == "__main__":
    main()
