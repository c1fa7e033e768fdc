"""Does the gain of `m3w train --score` find wrong images? Beside the cosine of a small open_clip tower.

    python -m pipeline.miniweb -o web
    m3w build web/miniweb.warc.gz -o corpus --no-fetch
    python -m tests.bench.gain corpus -o scored --record

A quarter of the documents gets other documents' images. The area under the ROC curve is how often a true image scores
above a wrong one; its interval is a bootstrap over sites. The tower (3M parameters) is trained on the same folds as the
models behind the gain, on an image and the text after it; untrained it knows nothing and must be at .5.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from scipy.stats import rankdata

from pipeline.urls import site_of
from tests.bench.corrupt import corrupt, wrong_images
from tests.bench.results import Figure, record
from train_min.data.windows import WindowArrays, open_corpus, pictures, read_picture
from train_min.model.vision import TOWER, TOWER_MEAN, Encoder, small_clip
from train_min.options import SCORE, TrainOptions
from train_min.score import FOLDS, run_score
from train_min.training.contrastive import neighbours, pretrain

Scores = dict[tuple[str, bytes], float]
"""By URL of the document and sha256 of the image as fetched."""
RESAMPLES = 1_000


def area(scores: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the ROC curve: how often a true image scores above a wrong one, ties half."""
    n_true, n_wrong = int((~wrong).sum()), int(wrong.sum())
    return float((rankdata(scores)[~wrong].sum() - n_true * (n_true + 1) / 2) / max(1, n_true * n_wrong))


def with_interval(scores: Scores, wrong: dict[tuple[str, bytes], bool]) -> tuple[float, tuple[float, float], int]:
    """The area, its 95 % interval by a bootstrap over sites, and the number of images."""
    keys = [key for key in scores if key in wrong]
    values, labels = np.array([scores[key] for key in keys]), np.array([wrong[key] for key in keys], bool)
    _, site = np.unique([site_of(url) for url, _ in keys], return_inverse=True)
    members = [np.flatnonzero(site == number) for number in range(site.max() + 1)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
        if 0 < labels[drawn].sum() < len(drawn):
            found.append(area(values[drawn], labels[drawn]))
    low, high = np.percentile(found, [2.5, 97.5])
    return area(values, labels), (float(low), float(high)), len(keys)


def gains(path: Path) -> Scores:
    rows = pq.read_table(path).to_pylist()
    return {(row["url"], row["sha256"]): row["gain"] for row in rows if row["sha256"] is not None}


@torch.no_grad()
def similarities(model: torch.nn.Module, windows: WindowArrays, read: Callable[[bytes], bytes]) -> Scores:
    """The cosine of each image and the text after it."""
    encoder = Encoder("raw", lambda images: images, int(TOWER["image_size"]), 0, 0, TOWER_MEAN, TOWER_MEAN)
    shown, texts = neighbours(windows)
    units: dict[int, set[int]] = {}
    for image, unit in zip(windows.images.tolist(), windows.image_units().tolist(), strict=True):
        units.setdefault(image, set()).add(unit)
    own = np.array([len(units[image]) == 1 for image in shown.tolist()], bool)  # one document's, so one text's
    shown, texts = shown[own], texts[own]
    found: Scores = {}
    for start in range(0, len(shown), 64):
        part = shown[start : start + 64].tolist()
        pixels = torch.stack([encoder.prepare(read(windows.hashes[image].tobytes())) for image in part])
        features = model(pixels, torch.from_numpy(texts[start : start + 64]))
        cosines = F.cosine_similarity(features["image_features"], features["text_features"]).tolist()
        for image, cosine in zip(part, cosines, strict=True):
            (unit,) = units[image]
            found[windows.units[unit]["url"], windows.fetched[image].tobytes()] = cosine
    return found


def towers(corpus: Path, run: Path, steps: int, folds: int) -> tuple[Scores, Scores]:
    """The similarities of towers trained on the folds of `run`, and of an untrained one."""
    opened = open_corpus(corpus)
    trained: Scores = {}
    untrained: Scores = {}
    for number in range(folds):
        train, scored = (WindowArrays.load(run / f"fold-{number}/data/{name}.npz") for name in ("train", "validation"))
        places = pictures(opened, {row.tobytes() for row in (*train.hashes, *scored.hashes)})
        read = functools.partial(_read, opened, places)
        path = run / f"fold-{number}/tower.pt"
        if not path.exists():
            pretrain(train, read, steps, 0, path, lambda row: None)
        state = torch.load(path, weights_only=True)
        torch.manual_seed(0)
        model = small_clip(state["vocabulary"]).eval()
        untrained |= similarities(model, scored, read)
        model.load_state_dict(state["model"])
        trained |= similarities(model, scored, read)
    return trained, untrained


def _read(corpus, places, digest: bytes) -> bytes:  # type: ignore[no-untyped-def]
    return read_picture(corpus, places[digest])


def add_training(parser: argparse.ArgumentParser, seeds: int, matrix_rate: float = TrainOptions.matrix_rate) -> None:
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--steps", type=int, default=TrainOptions.steps)
    parser.add_argument("--matrix-rate", type=float, default=matrix_rate)
    parser.add_argument("--lm-steps", type=int, default=TrainOptions.lm_steps)
    parser.add_argument("--vision-steps", type=int, default=300, help="of the open_clip tower; 0: none")
    parser.add_argument("--data", default="miniweb", help="name of the corpus, for the record")


def training_of(options: argparse.Namespace) -> TrainOptions:
    return TrainOptions(
        seeds=options.seeds, steps=options.steps, matrix_rate=options.matrix_rate, lm_steps=options.lm_steps
    )


TRAINING = ("seeds", "folds", "steps", "matrix_rate", "lm_steps", "vision_steps", "data")


def said(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The options of a training, other than the defaults, as given on the command line."""
    changed = [name for name in TRAINING if getattr(options, name) != parser.get_default(name)]
    return "".join(f" --{name.replace('_', '-')} {getattr(options, name)}" for name in changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.25, help="of the documents that get other images")
    add_training(parser, **SCORE)
    parser.add_argument("--record", action="store_true", help="write the figures to results/gain.json")
    options = parser.parse_args()
    planted = options.output / "corpus"
    if not planted.exists():
        corrupt(options.corpus, planted, options.share)
    wrong = wrong_images(options.corpus, planted)
    run = options.output / "run"
    scores = gains(run_score(planted, run, training_of(options), print, options.folds))
    goal = ">= 0.8" if options.data.startswith("miniweb") else ""  # elsewhere: above the tower
    rows = [("wrong images found by their gain", scores, goal)]
    if options.vision_steps:
        trained, untrained = towers(planted, run, options.vision_steps, options.folds)
        rows += [("by a small open_clip tower of the same folds", trained, ""), ("by it untrained", untrained, "")]
    measured = []
    for name, found, goal in rows:
        value, interval, count = with_interval(found, wrong)
        print(f"{name}: AUC {value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] over {count} images")
        measured.append(
            Figure(
                f"{options.data}: AUC, {name}",
                round(value, 3),
                "",
                goal,
                (round(interval[0], 3), round(interval[1], 3)),
            )
        )
    if options.record:
        sites = len({site_of(url) for url, _ in wrong})
        data = f"{options.data}, {len(wrong)} images of {sites} sites, {100 * options.share:.0f} % of documents wrong"
        record("gain", measured, f"python -m tests.bench.gain corpus -o scored{said(parser, options)}", data)


if __name__ == "__main__":
    main()
