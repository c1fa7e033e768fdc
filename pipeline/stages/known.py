"""Earlier corpora that `dedup.known` names: a build leaves out the pages that one of their documents already holds.

Only the manifest and documents/ of such a corpus are read, so its work/ may be gone."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dedup.exact import KNOWN, PAGE
from dedup.near import signature
from pipeline.engine import joins, tables
from pipeline.engine.joins import Block
from pipeline.errors import BuildError
from pipeline.json_files import read_json
from pipeline.judged import folded, whole
from pipeline.recipe import DedupSection
from shards.records import other_format
from shards.store import located


def reads(dedup: DedupSection) -> dict[str, Any]:
    """What the stage dedup reads of its section: the manifests of the known corpora, not their paths. Sets of images
    are compared by the stage decisions."""
    digests = sorted(_digest(located(root)) for root in dedup.known)
    return dedup.model_dump(exclude={"known", "image_set"}) | ({"known": digests} if digests else {})


def known_files(roots: Sequence[str]) -> list[Path]:
    """The document files of some corpora, in an order of their own. Raises BuildError if one is no finished corpus of
    this format, or lacks a file."""
    found = []
    documents = {located(root): _documents(located(root)) for root in roots}
    for root in sorted(documents, key=_digest):
        for path in documents[root]:
            if not path.is_file():
                raise BuildError(f"{path} is missing: run m3w verify {root} to list all damage")
            found.append(path)
    return found


def _documents(root: Path) -> list[Path]:
    """The document files that the manifest of a corpus lists. Raises BuildError like `known_files`."""
    if not root.is_dir():
        raise BuildError(f"{root} is not a corpus: directory not found")
    manifest = read_json(root / "manifest.json")
    if manifest is None and (root / "recipe.toml").exists():
        raise BuildError(f"the build of {root} has not finished: rerun its m3w build command to resume")
    if manifest is None:
        raise BuildError(f"{root} is not a corpus: it has no manifest.json")
    try:
        if (other := other_format(root, manifest)) is not None:
            raise BuildError(other)
        paths = sorted(entry["path"] for entry in manifest["files"])
        return [root / path for path in paths if path.startswith("documents/")]
    except (AttributeError, KeyError, TypeError) as error:
        raise BuildError(f"{root}/manifest.json is not a corpus' manifest ({error!r})") from None


def _digest(root: Path) -> str:
    return hashlib.sha256((root / "manifest.json").read_bytes()).hexdigest()


def known_rows(files: Sequence[Path], column: str) -> Block:
    """The documents of some files as rows (PAGE) by url_hash or text_hash."""
    blocks = [np.zeros(0, PAGE)]
    for path in files:
        documents = tables.read(path, ["doc_id", "texts" if column == "text_hash" else "url"])
        if column == "text_hash":
            hashes = [tables.short_hash(folded(whole(texts))) for texts in documents["texts"].to_pylist()]
        else:
            hashes = [tables.url_hash(url) for url in documents["url"].to_pylist()]
        rows = joins.keyed(PAGE, hashes)
        ids = joins.keys(bytes.fromhex(value) for value in documents["doc_id"].to_pylist())
        rows["id_high"], rows["id_low"], rows["refusal"] = ids["high"], ids["low"], KNOWN
        blocks.append(rows)
    return np.concatenate(blocks)


def known_texts(path: Path, rows: np.ndarray | None) -> pa.Table:
    """The documents of a file, or only some rows of it: doc_id, url, url_hash, minhash."""
    documents = tables.read(path, ["doc_id", "url", "texts"])
    if rows is not None:
        documents = documents.take(pa.array(rows))
    hashes = [tables.url_hash(url) for url in documents["url"].to_pylist()]
    minhash = [signature(folded(whole(texts))) for texts in documents["texts"].to_pylist()]
    columns = {"url_hash": pa.array(hashes, pa.binary(16)), "minhash": pa.array(minhash, pa.binary())}
    return pa.table({name: documents[name] for name in ("doc_id", "url")} | columns)
