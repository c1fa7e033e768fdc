"""Rate of openm3w.Windows beside webdataset on the tars and datasets on the Parquet files of the same corpus.

    python -m tests.bench.reading CORPUS [--record]

Each makes passes over the training windows in one process and decodes every image. Ours also resizes them to 224 x 224
and shuffles; the others give images of the stored size, in the order of the files. Processor seconds are compared, the
least of several passes taken in turn: other work on the machine disturbs them little.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import datasets
import webdataset

import openm3w
from tests.bench.results import Figure, record

PASSES = 5


def main() -> None:
    folder = next(argument for argument in sys.argv[1:] if not argument.startswith("-"))
    corpus = openm3w.open_corpus(folder)
    shards = sorted(Path(folder, "windows").glob("train-*.tar"))
    windows = openm3w.Windows(corpus)
    with tempfile.TemporaryDirectory() as cache:
        files = [str(path) for path in corpus.shards("train")]
        rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
        readers: dict[str, tuple[Callable[[], Iterable[dict]], Callable[[dict], int]]] = {
            "openm3w.Windows": (lambda: windows, lambda sample: len(sample["pixels"])),
            "webdataset, tar, decode('rgb8')": (
                lambda: webdataset.WebDataset([str(path) for path in shards], shardshuffle=False).decode("rgb8"),
                lambda sample: sum(name.endswith(".jpg") for name in sample),
            ),
            "datasets, Parquet": (lambda: rows, lambda sample: len(sample["images"])),
        }
        seconds = dict.fromkeys(readers, float("inf"))
        images = {}
        for number in range(PASSES):
            windows.set_epoch(number)
            for name, (samples, count) in readers.items():
                begun = time.process_time()
                images[name] = sum(count(sample) for sample in samples())
                seconds[name] = min(seconds[name], time.process_time() - begun)
    assert len(set(images.values())) == 1, images
    for name, taken in seconds.items():
        print(f"{name:34} {len(windows) / taken:8,.0f} windows/s  {images[name] / taken:8,.0f} images/s")
    ours, *others = seconds.values()
    if "--record" in sys.argv:
        found = [
            Figure("openm3w.Windows, one process", round(images["openm3w.Windows"] / ours), "images/s"),
            Figure("openm3w.Windows over webdataset on the tars", round(others[0] / ours, 2), "x", ">= 1"),
            Figure("openm3w.Windows over datasets on the Parquet", round(others[1] / ours, 2), "x", ">= 1"),
        ]
        data = f"{len(windows):,} windows of three WARC files (skimage, hugin, freedombox)"
        record("build", found, "python -m tests.bench.reading CORPUS", data)


if __name__ == "__main__":
    main()
