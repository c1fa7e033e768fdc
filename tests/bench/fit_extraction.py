"""Fits the weights of the block classifier (pipeline/extract/classifier.npz) to the annotated pages in ../shared/data.

    python -m tests.bench.fit_extraction [--folds N] [-o FILE]

With --folds, pages are divided by a hash of their name and every page is judged by a network that did not see any page
of its fold: the printed figures are those to expect on pages of the same kinds. Without, all pages are used and the
weights are written. A block is labelled by aligning the page's words with the expected ones.
"""

import argparse
import zlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipeline.extract.charset import decode
from pipeline.extract.classifier import CONTEXT, WEIGHTS, threshold
from pipeline.extract.content import candidate, sums
from pipeline.extract.features import features
from pipeline.extract.page import NOSCRIPT
from pipeline.extract.reader import read
from tests.bench.extraction import data_sets, interleave_score

HIDDEN_UNITS = 32
EPOCHS = 16
BATCH = 16
RATE = 3e-3
GAP = CONTEXT  # rows of zeros between the pages of a batch


@dataclass
class Example:
    """One page: features [blocks, features], labels, words and lengths [blocks], the number of expected words."""

    group: str
    name: str
    features: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    chars: np.ndarray
    usable: np.ndarray
    expected: int


def aligned(texts: list[str], expected: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each block, the share of its words that stand in the expected text at their place, and its word count."""
    words_of, anchors = interleave_score.words, interleave_score.anchors
    words: list[str] = []
    owner: list[int] = []
    for index, text in enumerate(texts):
        block = words_of(text)
        words += block
        owner += [index] * len(block)
    covered = np.zeros(len(words), bool)
    used = np.zeros(len(expected), bool)
    pairs = anchors(words, expected, 4)
    if len(pairs) < 3:
        pairs = anchors(words, expected, 3) or anchors(words, expected, 2)
    for x, y in pairs:
        i, j = x, y
        while i < len(words) and j < len(expected) and words[i] == expected[j]:
            covered[i] = used[j] = True
            i, j = i + 1, j + 1
        i, j = x - 1, y - 1
        while i >= 0 and j >= 0 and words[i] == expected[j] and not covered[i]:
            covered[i] = used[j] = True
            i, j = i - 1, j - 1
    counts = np.bincount(owner, minlength=len(texts)) if owner else np.zeros(len(texts), int)
    hits = np.bincount(owner, weights=covered, minlength=len(texts)) if owner else np.zeros(len(texts))
    share = np.where(counts > 0, hits / np.maximum(counts, 1), 0)
    # what the page tells in another order than the expectation
    rest = Counter(tuple(expected[i : i + 4]) for i in range(len(expected) - 3) if not used[i : i + 4].all())
    start = 0
    for index, length in enumerate(counts):
        block, start = words[start : start + length], start + length
        if length >= 5 and share[index] < 0.5:
            shingles = [tuple(block[i : i + 4]) for i in range(length - 3)]
            found = [shingle for shingle in shingles if rest[shingle] > 0]
            if len(found) > 0.7 * len(shingles):
                share[index] = 1
                rest.subtract(found)
    return share, counts


def examples() -> list[Example]:
    """Every annotated page."""
    result = []
    for group, pages in data_sets().items():
        for page in pages:
            flat = read(
                decode(page.html, page.content_type), max_depth=4000, max_elements=500_000, max_image_width=1024
            )
            expected = interleave_score.words(" ".join(value for kind, value in page.expected if kind == "text"))
            if not flat.blocks or not flat.tags or len(expected) <= 20:
                continue
            total = sums(flat)
            matrix = features(flat, total, candidate(flat, total))
            share, words = aligned([block.text for block in flat.blocks], expected)
            result.append(
                Example(
                    group,
                    page.name,
                    matrix,
                    (share >= 0.5) | ((share > 0.3) & (words > 30)),
                    words.astype(np.float32),
                    np.array([block.chars for block in flat.blocks], np.float32),
                    np.array([not block.state & NOSCRIPT for block in flat.blocks]),
                    len(expected),
                )
            )
    return result


class Network(nn.Module):
    """`pipeline.extract.classifier` as a module, over pages laid end to end with GAP rows of zeros between."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.block = nn.Linear(inputs, HIDDEN_UNITS)
        self.context = nn.Linear((2 * CONTEXT + 1) * HIDDEN_UNITS, HIDDEN_UNITS)
        self.page = nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS, bias=False)
        self.out = nn.Linear(2 * HIDDEN_UNITS, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor, real: torch.Tensor, share: torch.Tensor, page: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.block(self.dropout(x))) * real[:, None]
        mean = torch.zeros(int(page.max()) + 1, HIDDEN_UNITS).index_add(0, page, hidden * share[:, None])
        hidden = self.dropout(hidden)
        around = torch.cat([torch.roll(hidden, shift, 0) for shift in range(CONTEXT, -CONTEXT - 1, -1)], 1)
        context = torch.relu(self.context(around) + self.page(mean)[page])
        return self.out(self.dropout(torch.cat([hidden, context], 1)))[:, 0]


def batch(pages: list[Example]) -> list[torch.Tensor]:
    def laid(values: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(
            np.concatenate([np.pad(v.astype(np.float32), [(0, GAP)] + [(0, 0)] * (v.ndim - 1)) for v in values])
        )

    shares = [(p.chars + 0.1) / (p.chars + 0.1).sum() for p in pages]
    # every page weighs the same, and its words less the longer their block
    weights = [np.where(p.words > 0, (p.words + 1) ** 0.7, 0.3) for p in pages]
    rows = [np.full(len(p.chars) + GAP, index) for index, p in enumerate(pages)]
    return [
        laid([p.features for p in pages]),
        laid([np.ones(len(p.chars)) for p in pages]),
        laid(shares),
        torch.from_numpy(np.concatenate(rows)),
        laid([p.labels for p in pages]),
        laid([w / w.sum() for w in weights]),
    ]


def fit(pages: list[Example], seed: int = 0) -> Network:
    """A network fitted to `pages`."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = Network(pages[0].features.shape[1])
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    steps = EPOCHS * -(-len(pages) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    for _ in range(EPOCHS):
        order = random.permutation(len(pages))
        for start in range(0, len(order), BATCH):
            x, real, share, page, labels, weights = batch([pages[i] for i in order[start : start + BATCH]])
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(x, real, share, page), labels, weights, reduction="sum"
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def export(network: Network) -> dict[str, np.ndarray]:
    """The weights as `pipeline.extract.classifier` reads them."""

    def layer(linear: nn.Linear) -> np.ndarray:
        return np.concatenate([linear.weight.detach().numpy().T, linear.bias.detach().numpy()[None]])

    return {
        "block": layer(network.block),
        "context": layer(network.context),
        "page": network.page.weight.detach().numpy().T,
        "out": layer(network.out)[:, 0],
    }


def f1(page: Example, kept: np.ndarray) -> float:
    right = page.words[kept & page.labels].sum()
    return float(2 * right / (page.words[kept].sum() + page.expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("-o", default=str(WEIGHTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pages = examples()
    print(f"{len(pages)} pages, {sum(len(p.chars) for p in pages)} blocks, {pages[0].features.shape[1]} features")
    if not arguments.folds:
        np.savez_compressed(arguments.o, **{k: v.astype(np.float16) for k, v in export(fit(pages)).items()})
        print("written", arguments.o)
        return
    fold = [zlib.crc32(p.name.encode()) % arguments.folds for p in pages]
    scores: dict[str, list[float]] = {}
    for held_out in range(arguments.folds):
        network = fit([p for p, f in zip(pages, fold, strict=True) if f != held_out])
        np.savez_compressed(f"{arguments.o}.fold{held_out}.npz", **export(network))
        for page, f in zip(pages, fold, strict=True):
            if f == held_out:
                with torch.no_grad():
                    x, real, share, row, *_ = batch([page])
                    probability = torch.sigmoid(network(x, real, share, row))[: len(page.chars)].numpy() * page.usable
                kept = probability > threshold(probability, page.chars)
                scores.setdefault(page.group, []).append(f1(page, kept))
    for group, values in scores.items():
        print(f"{group:12s} held-out word F1 of whole blocks {np.mean(values):.4f}")


if __name__ == "__main__":
    main()
