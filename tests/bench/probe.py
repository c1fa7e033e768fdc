"""How much a linear model of the frozen features tells about the words after an image, without other text.

    python -m tests.bench.probe CORPUS

The words of at least three letters after each image are predicted as a bag: by their frequency in training, and by
softmax(W x + b) of the image's mean feature x, with weight decay and the number of epochs chosen on a sixth of the
training sites (of the pages, if there is one site). `m3w train` finds less, because the preceding text already says
part of it. Features must have been kept by a run of `m3w train` on the corpus.
"""

import argparse
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train_min.data.features import FeatureStore
from train_min.data.windows import Corpus, cut_windows, open_corpus
from train_min.measuring.validate import BITS
from train_min.model.vision import load_encoder
from train_min.training.prepare import TILES

FEWEST = 3
"""Minimum number of training images followed by a word for it to be counted."""
DECAYS = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0)
EPOCHS = 120

Captioned = tuple[bytes, list[str], str]


def captioned(corpus: Corpus, split: str) -> list[Captioned]:
    """Content hash, words after it, and site of each image; with only one site, the page."""
    windows = cut_windows(corpus, corpus.tokenizer, split, TILES)
    name = "site" if len({unit["site"] for unit in windows.units}) > 1 else "url"
    found = []
    for index in range(len(windows)):
        tokens, images = windows.of(index)
        bounds = [*np.flatnonzero(tokens == windows.image_id).tolist(), len(tokens)]
        for place, row in enumerate(images.tolist()):
            behind = tokens[bounds[place] + 1 : bounds[place + 1]]
            words = re.findall("[a-z]{3,}", corpus.tokenizer.decode(behind[behind < windows.image_id]).lower())
            if row >= 0 and words:
                found.append((windows.hashes[row].tobytes(), words, windows.units[int(windows.unit[index])][name]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    corpus = open_corpus(parser.parse_args().corpus)
    encoder = load_encoder("efficientnet-lite0", torch.device("cpu"))
    store = FeatureStore(corpus.folder / "work" / "features" / encoder.key, encoder.patches, encoder.width)
    store.refresh()
    train, held_out = (
        [entry for entry in captioned(corpus, split) if entry[0] in store.place] for split in ("train", "validation")
    )
    met = Counter(word for _, words, _ in train for word in set(words))
    number = {word: index for index, word in enumerate(word for word, count in met.items() if count >= FEWEST)}

    def means(entries: list[Captioned]) -> Tensor:
        rows = store.table(np.array([np.frombuffer(digest, np.uint8) for digest, _, _ in entries]))
        parts = np.array_split(np.arange(len(entries)), len(entries) // 256 + 1)
        return torch.cat([rows(part).float().mean(1) for part in parts])

    def bags(entries: list[Captioned]) -> Tensor:
        counts = torch.zeros(len(entries), len(number))
        for row, (_, words, _) in enumerate(entries):
            for word in words:
                if word in number:
                    counts[row, number[word]] += 1
        return counts

    def bits(log_p: Tensor, counts: Tensor) -> float:
        return float(-(log_p * counts).sum() / counts.sum()) * BITS

    sites = sorted({site for _, _, site in train})
    random.Random(0).shuffle(sites)
    kept_apart = set(sites[: len(sites) // 6])
    apart = torch.tensor([site in kept_apart for _, _, site in train])
    x, y, seen, wanted = means(train), means(held_out), bags(train), bags(held_out)
    mean, spread = x[~apart].mean(0), x[~apart].std(0) + 1e-6
    x, y = (x - mean) / spread, (y - mean) / spread
    counts = seen[~apart].sum(0) + 0.3
    frequency = (counts / counts.sum()).log()
    best = (np.inf, np.inf)
    for decay in DECAYS:
        weight, bias = torch.zeros(x.shape[1], len(number), requires_grad=True), frequency.clone().requires_grad_(True)
        groups = [{"params": [weight], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            log_p = F.log_softmax(x[~apart] @ weight + bias, -1)
            (-(log_p * seen[~apart]).sum() / seen[~apart].sum()).backward()
            optimizer.step()
            with torch.no_grad():
                own = bits(F.log_softmax(x[apart] @ weight + bias, -1), seen[apart])
                if own < best[0]:
                    best = (own, bits(F.log_softmax(y @ weight + bias, -1), wanted))
    known = wanted.sum() / sum(len(words) for _, words, _ in held_out)
    print(f"{len(train)} pictures to learn from, {len(held_out)} held out; {known:.0%} of their words are known")
    print(f"bits per known word: {bits(frequency, wanted):.2f} by frequency, {best[1]:.2f} from the picture")


if __name__ == "__main__":
    main()
