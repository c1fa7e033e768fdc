"""Time of what-if on a generated corpus of 100,000 documents with 400,000 images.

python -m tests.bench.whatif"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inspect.finished import Finished
from pipeline.inspect.whatif import what_if
from pipeline.recipe import load
from pipeline.stages.schemas import DECISIONS, DISTINCT_IMAGES, PAGES, REFERENCES, SPLIT

DOCUMENTS, PARTS, IMAGES = 100_000, 50, 4


def write_work(root: Path, documents: int = DOCUMENTS, parts: int = PARTS) -> Finished:
    """The files of work/ that what-if reads: pages with IMAGES images each, a twentieth of them on many pages."""
    recipe = load("web")
    (root / "recipe.toml").write_text(recipe.toml())
    entries: dict[str, list[dict[str, Any]]] = {}
    count = documents // parts
    for part in range(parts):
        random = np.random.default_rng(part)
        images = count * IMAGES
        content = [number.to_bytes(16) for number in part * images + np.arange(images).astype(object)]
        common = random.random(images) < 0.05
        shown = [b"common".ljust(16) if often else own for often, own in zip(common, content, strict=True)]
        rules = np.where(common, "image.too_common", np.where(random.random(images) < 0.3, "image.too_small", None))
        row = np.repeat(np.arange(count), IMAGES)
        words = random.integers(20, 3_000, count)
        left = np.zeros(count, bool)
        left[row[rules == None]] = True  # noqa: E711
        columns: dict[str, tuple[pa.Schema, dict[str, Any]]] = {
            "pages": (PAGES, {"words": words, "pictures": np.full(count, IMAGES), "characters": 6 * words,
                              "mean_word_length": random.random(count) * 3 + 4,
                              "symbol_ratio": random.random(count) / 10,
                              "duplicate_lines": random.random(count) / 4, "placeholder": np.zeros(count, bool)}),
            "split": (SPLIT, {"rule": [None if kept else "page.no_image_left" for kept in left]}),
            "decisions": (DECISIONS, {"row": row, "rule": rules.tolist(), "content": shown,
                                    "url": [f"https://example.org/{part}/{index}.jpg" for index in range(images)]}),
            "references": (REFERENCES, {"owner": np.where(common, 0, part)}),
            "distinct_images": (DISTINCT_IMAGES, {"content": content + ([b"common".ljust(16)] if part == 0 else [])}),
        }  # fmt: skip
        stored = len(columns["distinct_images"][1]["content"])
        columns["distinct_images"][1].update(
            original_width=random.integers(20, 2_000, stored), original_height=random.integers(20, 2_000, stored),
            spread=random.random(stored) * 80, format=["jpeg"] * stored,
        )  # fmt: skip
        for name, (schema, values) in columns.items():
            rows = len(next(iter(values.values())))
            table = pa.table(
                {field.name: pa.array(values[field.name], field.type) if field.name in values
                 else pa.nulls(rows, field.type) for field in schema}
            )  # fmt: skip
            path = root / "work" / name / f"{part:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path)
            entry = {"path": str(path.relative_to(root)), "rows": rows, "bytes": path.stat().st_size, "sha256": ""}
            entries.setdefault(name, []).append(entry)
    for name, files in entries.items():
        (root / "work" / name / "manifest.json").write_text(json.dumps({"files": files}))
    return Finished(root, {}, recipe)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_work(Path(folder))
        for settings in (["text.min_words=100"], ["image.min_side=200", "image.max_documents=5"]):
            begun = time.perf_counter()
            told = what_if(corpus, settings)
            print(f"{' '.join(settings)}: {time.perf_counter() - begun:.2f} s, {json.dumps(told['levels'])}")


if __name__ == "__main__":
    main()
