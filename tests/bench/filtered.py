"""Does a corpus filtered by gain teach more than one filtered by an image-text similarity, or at random?

    python -m tests.bench.gain corpus -o scored
    python -m tests.bench.filtered corpus scored -o ab --record

Takes the corpus of which a quarter of the documents got other documents' images (scored/corpus), and of the images in
its training documents that both scores know as many as are wrong are left out, in three copies: those of lowest gain,
those of lowest similarity, and some drawn at random. All hold out the documents of the original corpus, with their own
images. `m3w train --against` then compares two copies at a time.
"""

import argparse
import random
from pathlib import Path

from pipeline.urls import site_of
from tests.bench.corrupt import rewritten, rows_of, wrong_images
from tests.bench.gain import Scores, add_training, gains, said, towers, training_of
from tests.bench.results import Figure, record
from train_min.against import run_against
from train_min.options import AGAINST

PAIRS = (("gain", "random"), ("gain", "similarity"), ("similarity", "random"))
Keys = set[tuple[str, bytes]]


def without(original: Path, planted: Path, output: Path, left_out: Keys) -> None:
    """Write a copy of `planted` without some images in its training documents, and with the others of `original`."""
    true = {row["doc_id"]: row for part in rows_of(original).values() for row in part}
    documents = {}
    for name, part in rows_of(planted).items():
        documents[name] = []
        for row in part:
            if row["split"] == "train":
                kept = [
                    (text, image)
                    for text, image in zip(row["texts"], row["images"], strict=True)
                    if image is None or (row["url"], image["sha256"]) not in left_out
                ]
                row |= {"texts": [text for text, _ in kept], "images": [image for _, image in kept]}
            else:
                row = true[row["doc_id"]]
            documents[name].append(row)
    rewritten(planted, output, documents)


def lowest(scores: Scores, count: int) -> Keys:
    return set(sorted(scores, key=lambda key: (scores[key], key))[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("scored", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    add_training(parser, **AGAINST)
    parser.add_argument("--record", action="store_true", help="write the figures to results/gain.json")
    options = parser.parse_args()
    planted = options.scored / "corpus"
    run = options.scored / "run"
    similar, _ = towers(planted, run, options.vision_steps, options.folds)
    training = {row["url"] for part in rows_of(planted).values() for row in part if row["split"] == "train"}
    by_gain = {key: value for key, value in gains(run / "scores.parquet").items() if key in similar}
    by_gain = {key: value for key, value in by_gain.items() if key[0] in training}
    by_similarity = {key: similar[key] for key in by_gain}
    wrong = {key for key, is_wrong in wrong_images(options.corpus, planted).items() if is_wrong} & by_gain.keys()
    drawn = set(random.Random(0).sample(sorted(by_gain), len(wrong)))
    left_out = {"gain": lowest(by_gain, len(wrong)), "random": drawn, "similarity": lowest(by_similarity, len(wrong))}
    for name, keys in left_out.items():
        print(f"{name}: {len(keys)} of {len(by_gain)} images left out, {len(keys & wrong)} of them wrong")
        if not (options.output / name).exists():
            without(options.corpus, planted, options.output / name, keys)
    measured = []
    for a, b in PAIRS:
        out = options.output / f"{a}-{b}"
        result = run_against(options.output / a, options.output / b, out, training_of(options), print)
        print(f"{a} against {b}: {result.sentence}", flush=True)
        found = result.data["difference"]
        interval = (round(found["low"], 3), round(found["high"], 3))
        measured.append(
            Figure(
                f"{options.data}: filtered by {a}, not {b}, teaches more by",
                round(found["value"], 3),
                "bits/token",
                "",
                interval,
            )
        )
    if options.record:
        sites = len({site_of(url) for url, _ in by_gain})
        data = f"{options.data}, {len(wrong)} of {len(by_gain)} scored images of {sites} sites wrong, as many left out"
        record("gain", measured, f"python -m tests.bench.filtered corpus scored -o ab{said(parser, options)}", data)


if __name__ == "__main__":
    main()
