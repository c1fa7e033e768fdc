"""Read a corpus as batches for training, for two epochs: what the first of two ranks sees.

python examples/train_batches.py CORPUS"""

import sys

from torch.utils.data import DataLoader

import openm3w


def main() -> None:
    windows = openm3w.Windows(sys.argv[1], split="train", seed=1, p_next=0.5, image_size=64, rank=0, world_size=2)
    loader = DataLoader(windows, batch_size=8, num_workers=1, collate_fn=windows.collate)
    for epoch in range(2):
        windows.set_epoch(epoch)
        tokens = images = 0
        for batch in loader:
            tokens += int(batch["attention_mask"].sum())
            images += int(batch["image_mask"].sum())
        print(f"epoch {epoch}: {len(windows)} windows, {tokens} tokens, {images} images")


if __name__ == "__main__":
    main()
