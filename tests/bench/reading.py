"""Rate of openm3w.Windows beside webdataset on the tars and datasets on the Parquet files of the same corpus.

    python -m tests.bench.reading CORPUS [--record]

Each makes passes over the training windows in one process and decodes every image. Ours also resizes them to 224 x 224
and shuffles; the others give images of the stored size, in the order of the files. openm3w.DrawnWindows cuts windows
anew, with the corpus' tokenizer; images per second compare it with the others, because its windows are not theirs.
Processor seconds are compared, the least of several passes taken in turn: other work on the machine disturbs them
little.
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
    windows, drawn = openm3w.Windows(corpus), openm3w.DrawnWindows(corpus)
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
            "openm3w.DrawnWindows": (lambda: drawn, lambda sample: len(sample["pixels"])),
        }
        rates = dict.fromkeys(readers, 0.0)
        found = {}
        for _ in range(PASSES):
            for name, (samples, count) in readers.items():
                begun = time.process_time()
                counts = [count(sample) for sample in samples()]
                rates[name] = max(rates[name], sum(counts) / (time.process_time() - begun))
                found[name] = (len(counts), sum(counts))
    print(*(f"{rates[name]:8,.0f} images/s  {name}: {told[0]:,} windows, {told[1]:,} images"
            for name, told in found.items()), sep="\n")  # fmt: skip
    ours, tars, tables, anew = rates.values()
    assert len({found[name] for name in readers if name != "openm3w.DrawnWindows"}) == 1, found
    if "--record" in sys.argv:
        figures = [
            Figure("openm3w.Windows, one process", round(ours), "images/s"),
            Figure("openm3w.Windows over webdataset on the tars", round(ours / tars, 2), "x", ">= 1"),
            Figure("openm3w.Windows over datasets on the Parquet", round(ours / tables, 2), "x", ">= 1"),
            Figure("openm3w.DrawnWindows, one process", round(anew), "images/s"),
            Figure("openm3w.DrawnWindows over webdataset on the tars", round(anew / tars, 2), "x", ">= 1"),
        ]
        data = f"{len(windows):,} windows of three WARC files (skimage, hugin, freedombox)"
        record("build", figures, "python -m tests.bench.reading CORPUS", data)


if __name__ == "__main__":
    main()
