"""A corpus as large as one likes, from the parts of a small one: the input of a build that need not read its pages.

Each copy has hosts, images and words of its own, so that nothing is a duplicate that was none before: in every text the
consonants change places, hosts and hashes get the copy's number. Its pages are not extracted and its images not decoded
again; all other stages run on it as on any corpus.
"""

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.build import PAGES
from pipeline.engine import tables
from pipeline.engine.corpus import CorpusDirectory
from pipeline.engine.tasks import FileEntry, stage_key
from pipeline.json_files import read_json, write_json
from pipeline.recipe import load
from pipeline.sources.source import Part, SourceEntry
from pipeline.stages.parts import Input, Parts
from shards.records import EMBEDDED

HOST = ".web000.example"
"""The end of every host of the corpus that is copied; in copy 17 it is .web017.example."""
CONSONANTS = "bcdfghjklmnpqrstvwxz"
PAGE_STAGE, IMAGE_STAGE = ("records", "links", "pages"), "distinct_images"
HASHES = ("url_hash", "text_hash", "minhash", "sha256", "content")
EMBEDDED_URL = re.compile(re.escape(EMBEDDED).encode() + b"[0-9a-f]{64}")


def copied(base: Path, target: Path, copies: int) -> Path:
    """Write a corpus of `copies` copies of `base` to `target`, as far as another build reads it."""
    corpus = CorpusDirectory(target)
    saved = read_json(base / "work/parts.json")
    parts, sources = len(saved["parts"]), len(saved["sources"])
    files: list[FileEntry] = []
    for copy in range(copies):
        for part in range(parts):
            number = copy * parts + part
            for stage in PAGE_STAGE:
                table = _changed(_read(base, stage, part), copy, parts)
                path = corpus.part(stage, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                files.append(tables.write(corpus, path, table))
            path = corpus.part(IMAGE_STAGE, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            tables.write(corpus, path, _changed(_read(base, IMAGE_STAGE, part), copy, parts))
            images = target / f"images/{number:05d}.tar"
            images.parent.mkdir(exist_ok=True)
            os.link(base / f"images/{part:05d}.tar", images)
    cut = Parts(
        tuple(SourceEntry(**entry) for _ in range(copies) for entry in saved["sources"]),
        tuple(
            replace(Part(**part), number=copy * parts + part["number"], source=copy * sources + part["source"])
            for copy in range(copies)
            for part in saved["parts"]
        ),
        saved["base_url"],
    )
    write_json(corpus.work("parts.json"), asdict(cut))
    build: Any = SimpleNamespace(input=Input(cut, ()), recipe=load(str(base / "recipe.toml")))
    key = stage_key(PAGES.name, [], PAGES.reads(build), packages=PAGES.packages)
    write_json(corpus.work("pages/manifest.json"), {"key": key, "files": [asdict(entry) for entry in files]})
    (target / "recipe.toml").write_bytes((base / "recipe.toml").read_bytes())
    write_json(target / "manifest.json", read_json(base / "manifest.json"))
    return target


def _read(base: Path, stage: str, part: int) -> pa.Table:
    return pq.read_table(base / "work" / stage / f"{part:05d}.parquet", partitioning=None)


def _changed(table: pa.Table, copy: int, parts: int) -> pa.Table:
    """A table of a copy. Strings keep their length, so they are changed where they lie in memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    data = sink.getvalue().to_pybytes().replace(HOST.encode(), f".web{copy:03d}.example".encode())
    data = EMBEDDED_URL.sub(lambda match: _marked(match[0], copy), data)
    table = pa.ipc.open_stream(data).read_all()
    for place, name in enumerate(table.column_names):
        column = table[name].combine_chunks()
        if name in HASHES:
            changed = _xored(column, copy)
        elif name == "phash":
            changed = pc.bit_wise_xor(column, pa.scalar(_word(copy), pa.uint64()))
        elif name == "texts":
            changed = _translated(column, copy)
        elif name in ("doc_id", "digest"):
            changed = pc.binary_replace_slice(column, 0, 3, f"{copy:03x}")
        elif name == "tar":
            numbers = [None if tar is None else f"{copy * parts + int(tar[:5]):05d}.tar" for tar in column.to_pylist()]
            changed = pa.array(numbers, pa.string())
        else:
            continue
        table = table.set_column(place, table.schema.field(name), changed)
    return table


def _word(copy: int) -> int:
    """64 bits that differ in about half their places from those of every other copy."""
    return int(np.random.default_rng(copy).integers(2**64, dtype=np.uint64)) if copy else 0


def _mask(copy: int) -> np.ndarray:
    return np.frombuffer(_word(copy).to_bytes(8, "big"), np.uint8)


def _marked(url: bytes, copy: int) -> bytes:
    """The URL of an image inside a page: its hash like `_xored`."""
    head, number = url[:-64], bytearray.fromhex(url[-64:].decode())
    number[:8] = (np.frombuffer(bytes(number[:8]), np.uint8) ^ _mask(copy)).tobytes()
    return head + number.hex().encode()


def _xored(column: pa.Array, copy: int) -> pa.Array:
    """Hashes, the first eight bytes of each changed: equal ones stay equal, those of two copies differ. All bytes of a
    MinHash signature, whose values are compared one by one."""
    mask = _mask(copy)
    values = []
    for value in column.to_pylist():
        if value is not None:
            own = np.frombuffer(value, np.uint8).copy()
            own[:8] ^= mask
            if len(own) > 32:
                own[8:] ^= np.tile(mask, len(own) // 8)[8:]
            value = own.tobytes()
        values.append(value)
    return pa.array(values, column.type)


def _translated(texts: pa.ListArray, copy: int) -> pa.Array:
    order = np.random.default_rng(copy).permutation(len(CONSONANTS)) if copy else np.arange(len(CONSONANTS))
    other = "".join(CONSONANTS[place] for place in order)
    table = bytes.maketrans((CONSONANTS + CONSONANTS.upper()).encode(), (other + other.upper()).encode())
    strings = texts.values
    valid, offsets, data = strings.buffers()
    moved = pa.py_buffer(data.to_pybytes().translate(table)) if data is not None else None
    inner = pa.Array.from_buffers(
        strings.type, len(strings), [valid, offsets, moved], strings.null_count, strings.offset
    )
    lists = texts.buffers()
    return pa.Array.from_buffers(texts.type, len(texts), lists[:2], texts.null_count, texts.offset, children=[inner])
