"""Which pages a build drops as nearly the same text."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dedup import near
from tests.corpora import build_here
from tests.stages.test_folders import picture, write


def pair(low: float, high: float) -> tuple[list[str], list[str]]:
    """Two texts that share a band and whose estimated similarity lies between the two."""
    for seed in itertools.count():
        random = np.random.default_rng(seed)
        first = [f"word{number}" for number in random.integers(0, 10_000, 200)]
        second = list(first)
        for place in random.integers(0, 200, int(60 * (1 - high))):
            second[place] = "other"
        signatures = np.stack([np.frombuffer(near.signature(" ".join(words)), "<u4") for words in (first, second)])
        bands = near.bands(signatures)
        if low < near.similarity(signatures[:1], signatures[1:])[0] < high and (bands[0] == bands[1]).any():
            return first, second
    raise AssertionError


def test_the_threshold_of_the_recipe_decides(tmp_path: Path) -> None:
    site = tmp_path / "site"
    texts = {"apart": pair(0.6, 0.75), "near": pair(0.85, 0.92)}
    for seed, (name, both) in enumerate(texts.items()):
        for number, words in enumerate(both):
            shown = f"{name}{number}"
            body = f"<html><body><article><p>{' '.join(words)}</p><img src='{shown}.png'></article></body></html>"
            write(site, {f"{shown}.html": body.encode(), f"{shown}.png": picture(2 * seed + number)})

    def kept(*settings: str) -> list[str]:
        root = build_here([site], tmp_path / "_".join(["corpus", *settings]), settings)
        return sorted(url.rpartition("/")[2] for url in pq.read_table(root / "documents")["url"].to_pylist())

    few = kept()
    assert few[:2] == ["apart0.html", "apart1.html"] and len(few) == 3
    assert kept("dedup.near_threshold=0.95") == ["apart0.html", "apart1.html", "near0.html", "near1.html"]
