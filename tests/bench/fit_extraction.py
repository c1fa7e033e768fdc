"""Fit the block classifier (pipeline/extract/classifier.csv) to the annotated pages in ../shared/data.

    python -m tests.bench.fit_extraction [--folds N [--record]]

With --folds, pages are divided by a hash of their name, and each is extracted with coefficients fitted to the other
folds: the printed figures are those to expect on pages of the same kinds. Without, all pages are used and the
coefficients are written. A block is labelled by aligning the page's words with the expected ones.
"""

import argparse
import zlib
from collections import Counter
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch

from pipeline.extract import classifier
from pipeline.extract.charset import decode
from pipeline.extract.content import candidate, sums
from pipeline.extract.features import NAMES, features
from pipeline.extract.page import NOSCRIPT
from pipeline.extract.reader import read
from tests.bench.extraction import Row, data_sets, figures, header, interleave_score, line, openm3w, rows, trafilatura
from tests.bench.results import Figure, record

PENALTY = 1.0  # of the squared coefficients, beside a loss of at most some tenths a page
ITERATIONS = 100


@dataclass
class Example:
    """One page: the features and labels of its blocks, and the weight of each; the weights of a page sum to one."""

    name: str
    design: np.ndarray  # [blocks, 4 features], in the order of the columns of the coefficients
    labels: np.ndarray
    weights: np.ndarray


def aligned(texts: list[str], expected: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each block, the share of its words found in the expected text at their place, and its word count."""
    words_of, anchors = interleave_score.words, interleave_score.anchors
    words: list[str] = []
    owner: list[int] = []
    for index, text in enumerate(texts):
        block = words_of(text)
        words += block
        owner += [index] * len(block)
    covered, used = [False] * len(words), [False] * len(expected)
    pairs = anchors(words, expected, 4)
    if len(pairs) < 3:
        pairs = anchors(words, expected, 3) or anchors(words, expected, 2)
    for x, y in pairs:
        i, j = x, y
        while i < len(words) and j < len(expected) and words[i] == expected[j] and not covered[i]:
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
    rest = Counter(tuple(expected[i : i + 4]) for i in range(len(expected) - 3) if not all(used[i : i + 4]))
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
    for pages in data_sets().values():
        for page in pages:
            flat = read(
                decode(page.html, page.content_type), max_depth=4000, max_elements=500_000, max_image_width=1024
            )
            expected = interleave_score.words(" ".join(value for kind, value in page.expected if kind == "text"))
            if not flat.blocks or not flat.tags or len(expected) <= 20:
                continue
            share, words = aligned([block.text for block in flat.blocks], expected)
            # a page's words count less the longer their block
            weights = np.where(words > 0, (words + 1) ** 0.7, 0.3)
            seen = np.array([not block.state & NOSCRIPT for block in flat.blocks])
            total = sums(flat)
            values, containers = features(flat, total, candidate(flat, total))
            chars = np.array([block.chars for block in flat.blocks], np.float32)
            design = [
                values,
                classifier.nearby(values),
                classifier.within(values, containers, chars),
                np.broadcast_to(classifier.overall(values, chars), values.shape),
            ]
            labels = (share >= 0.5) | ((share > 0.3) & (words > 30))
            result.append(
                Example(page.name, np.concatenate(design, 1)[seen], labels[seen], (weights / weights.sum())[seen])
            )
    return result


def fit(pages: list[Example]) -> tuple[np.ndarray, float]:
    """Coefficients [features, 4], rounded to three places, and the intercept.

    The problem is convex: the solution does not depend on the start of the search."""
    design = torch.from_numpy(np.concatenate([page.design for page in pages]))
    labels = torch.from_numpy(np.concatenate([page.labels for page in pages]).astype(np.float32))
    weights = torch.from_numpy(np.concatenate([page.weights for page in pages]).astype(np.float32))
    unknown = torch.zeros(design.shape[1] + 1, requires_grad=True)
    search = torch.optim.LBFGS([unknown], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        logits = design @ unknown[:-1] + unknown[-1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, weights, reduction="sum")
        value = value + PENALTY / 2 * (unknown[:-1] ** 2).sum()
        value.backward()
        return value

    search.step(loss)
    fitted = unknown.detach().numpy().round(3)
    return np.ascontiguousarray(fitted[:-1].reshape(4, -1).T), float(fitted[-1])


def write(table: np.ndarray, intercept: float) -> None:
    lines = ["feature,here,nearby,container,page", f"intercept,{intercept:.3f}"]
    lines += [f"{name},{','.join(f'{value:.3f}' for value in row)}" for name, row in zip(NAMES, table, strict=True)]
    classifier.COEFFICIENTS.write_text("\n".join(lines) + "\n", "ascii")


def on_unseen_pages(pages: list[Example], folds: int) -> dict[str, list[Row]]:
    """Figures on each page of each set with coefficients fitted to the other folds."""
    scores: dict[str, list[Row]] = {}
    for held_out in range(folds):
        fitted = fit([page for page in pages if zlib.crc32(page.name.encode()) % folds != held_out])
        with patch.object(classifier, "coefficients", lambda fitted=fitted: fitted):
            for name, annotated in data_sets().items():
                unseen = [page for page in annotated if zlib.crc32(page.name.encode()) % folds == held_out]
                scores.setdefault(name, []).extend(rows(openm3w, unseen))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write the figures of folds to results/extraction.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pages = examples()
    print(f"{len(pages)} pages, {sum(len(page.labels) for page in pages)} blocks, {len(NAMES)} features", flush=True)
    if not arguments.folds:
        write(*fit(pages))
        print("written", classifier.COEFFICIENTS)
        return
    print(header())
    found = []
    for name, scored in on_unseen_pages(pages, arguments.folds).items():
        ours = figures(scored)
        if name == "readability" and ours.image_f1 is not None and ours.placed_all is not None:
            found.append(Figure("folds: readability, text F1", round(ours.shingle_f1, 3)))
            found.append(Figure("folds: readability, image F1", round(ours.image_f1, 3)))
            found.append(Figure("folds: readability, images placed", round(ours.placed_all, 3)))
        else:
            found.append(Figure(f"folds: {name}, word F1", round(ours.word_f1, 3)))
        print(line(name, "openm3w, unseen pages", ours))
        print(line(name, "trafilatura", figures(rows(trafilatura, data_sets()[name]))), flush=True)
        if name == "wcxb":
            for kind in sorted({row.page.rsplit("-", 1)[1] for row in scored}):
                of_kind = [row for row in scored if row.page.endswith(f"-{kind}")]
                print(line(f"wcxb {kind}", "openm3w, unseen pages", figures(of_kind)))
    if arguments.record:
        data = "the same pages, coefficients fitted to the other folds; rules chosen on all"
        record("extraction", found, f"python -m tests.bench.fit_extraction --folds {arguments.folds}", data)


if __name__ == "__main__":
    main()
