"""`m3w train CORPUS --score`: how much each image, and each document's images, tell about the text after them.

Documents are dealt into folds, by site if there are enough. Each fold is scored by a language model and Flamingos that
were trained on the other folds, without pages that are nearly the same as one of the fold and images that look like one
of it; the Flamingos learn to tell images apart (`critic.info_nce`). The gain of an image is the pointwise mutual
information of the image and the text that sees it, in bits: the log of the text's likelihood, minus the log of its mean
likelihood with images of other documents in its place. One model scores both sides, so what differs between models
cancels out.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.readers import read_documents
from train_min import TrainError
from train_min.against import only, telling_pictures
from train_min.data.windows import (
    Losses,
    TrainingCorpus,
    WindowArrays,
    cut_windows,
    look_alikes,
    open_corpus,
    perceptual_hashes,
    pictures,
    seen_images,
)
from train_min.measuring.results import RunLog
from train_min.measuring.validate import BITS
from train_min.model.vision import load_encoder
from train_min.options import TrainOptions
from train_min.training.distributed import refuse_torchrun
from train_min.training.loop import Log, Report, score
from train_min.training.prepare import (
    FEWEST,
    TILES,
    Places,
    amount,
    encode_jobs,
    first_job,
    lm_jobs,
    run_tokenizer,
    setting_of,
    start,
)
from train_min.training.variants import Setting, once, rearranged, trained_model
from train_min.training.workers import run_jobs

Kin = Callable[[dict[str, str]], set[str]]
"""The names that a unit (of `WindowArrays.units`) shares with those that must be in the same fold."""
FOLDS = 4
NEGATIVES = 4
"""Images of other windows that the own one competes with in training (`info_nce`)."""
OTHERS = 32
"""Images of other documents that each image is compared with."""
FILE = "scores.parquet"
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("sha256", pa.binary(32)),
        ("gain", pa.float64()),
        ("tokens", pa.int32()),
        ("fold", pa.int32()),
    ]
)
"""A row per image of a document (`sha256` of its bytes as fetched), and one per document (null), with the bits that it
tells about the `tokens` that see it."""


def folds_of(windows: WindowArrays, folds: int = FOLDS) -> tuple[np.ndarray, bool]:
    """The fold of each unit (U,), about equal in tokens, and whether whole sites are in one fold: if there are at least
    two per fold, else whole documents are."""
    lengths = np.bincount(np.repeat(windows.unit, np.diff(windows.starts)), minlength=len(windows.units))
    by_site = len({unit["site"] for unit in windows.units}) >= 2 * folds
    names = [unit["site" if by_site else "doc_id"] for unit in windows.units]
    tokens = Counter[str]()
    for name, length in zip(names, lengths.tolist(), strict=True):
        tokens[name] += length
    full, fold = [0] * folds, {}
    for name in sorted(tokens, key=lambda name: (-tokens[name], name)):
        fold[name] = full.index(min(full))
        full[fold[name]] += tokens[name]
    return np.array([fold[name] for name in names], np.int64), by_site


def apart(training: WindowArrays, scored: WindowArrays, kin: Kin, known: dict[bytes, int], most: int) -> list[int]:
    """The training windows that share neither kin nor an image with the windows to score, and have none that looks like
    one of theirs by the perceptual hashes `known`. An image on more than `most` documents does not count."""
    seen = {name for unit in np.unique(scored.unit) for name in kin(scored.units[unit])}
    shown = np.unique(scored.images[scored.images >= 0])
    hashes = {row.tobytes() for kind in (scored.hashes, scored.fetched) for row in kind[shown]}
    telling = telling_pictures(training, hashes | look_alikes(known, hashes), most)
    strange = np.array([seen.isdisjoint(kin(unit)) for unit in training.units], bool)

    def shares(index: int) -> bool:
        images = training.of(index)[1]
        return not strange[training.unit[index]] or bool(telling[images[images >= 0]].any())

    return [index for index in range(len(training)) if not shares(index)]


def score_job(setting: Setting, seed: int, log: Log) -> None:
    """Train one Flamingo of a fold and write the losses on its scored windows, with their own images (`own`) and with
    those of other documents."""

    def make() -> Losses:
        model = trained_model(setting, "critic", seed, seed, [setting.training_set("train", None)], log)
        windows = setting.windows("validation")
        features, states = setting.lookup(windows), setting.states("validation")
        others = [rearranged(windows, ("documents", 3000 + number, 1.0))[0] for number in range(OTHERS)]
        shown = {"own": windows} | {str(number): other for number, other in enumerate(others)}
        return {name: score(model, shown[name], features, states=states) for name in shown}

    once(setting.losses_path(f"critic-{seed}"), make)


@dataclass(frozen=True)
class Gains:
    """What is known of the images of some windows, summed over the tokens that see each: `bits` (I,), `tokens` (I,)."""

    bits: np.ndarray
    tokens: np.ndarray


def gains_of(windows: WindowArrays, seeds: Sequence[Losses]) -> Gains:
    """The gain of each image of `windows`, the mean over seeds."""
    seen = seen_images(windows).image
    chosen = seen >= 0
    size = len(windows.images)

    def summed(losses: np.ndarray) -> np.ndarray:
        return np.bincount(seen[chosen], losses[chosen].astype(np.float64), minlength=size)

    found = []
    for losses in seeds:
        others = np.stack([summed(losses[str(number)]) for number in range(OTHERS)])
        found.append(-np.logaddexp.reduce(-others, 0) + np.log(OTHERS) - summed(losses["own"]))
    return Gains(np.mean(found, 0) * BITS, np.bincount(seen[chosen], minlength=size))


def rows_of(windows: WindowArrays, fold: np.ndarray, number: int, gains: Gains) -> list[dict[str, Any]]:
    """Rows of SCHEMA for the images and documents of a fold that some token sees."""
    bits: dict[tuple[str, bytes | None], float] = {}
    tokens = Counter[tuple[str, bytes | None]]()
    for image, unit in enumerate(windows.image_units().tolist()):
        if fold[unit] == number and gains.tokens[image]:
            url = windows.units[unit]["url"]
            for key in ((url, windows.fetched[windows.images[image]].tobytes()), (url, None)):
                bits[key] = bits.get(key, 0.0) + float(gains.bits[image])
                tokens[key] += int(gains.tokens[image])
    return [
        {"url": url, "sha256": sha256, "gain": round(gain, 3), "tokens": tokens[url, sha256], "fold": number}
        for (url, sha256), gain in bits.items()
    ]


def run_score(corpus: Path, out: Path, options: TrainOptions, report: Report, folds: int = FOLDS) -> Path:
    """Score the documents of the corpus in `corpus` and write scores.parquet to `out`. An interrupted run resumes when
    called again. Raises TrainError."""
    if options.vision == "contrastive" or options.pairs or options.dose_response:
        raise TrainError("--score cannot be combined with --vision contrastive, --pairs or --dose-response")
    refuse_torchrun("--score")
    opened = open_corpus(corpus)
    device, workers = start(out, options, opened)
    progress = RunLog(out / "log.jsonl", report, options.steps)
    encoder = load_encoder(options.vision, device)
    tokenizer = run_tokenizer(opened, options)
    scored = cut_windows(opened, tokenizer, None, TILES)
    fold, by_site = folds_of(scored, folds)
    places = deal(opened, out, options, scored, fold, by_site)
    settings = [
        setting_of(opened, out / f"fold-{number}", options, encoder, tokenizer, device) for number in range(folds)
    ]
    loop = replace(settings[0].loop, negatives=NEGATIVES)
    settings = [replace(setting, store=settings[0].store, loop=loop) for setting in settings]
    jobs = [job for setting in settings for job in lm_jobs(setting)] + encode_jobs(settings[0], opened, places)
    left = amount(jobs)
    report(
        f"{folds} folds, by {'site' if by_site else 'document'}; {left['pictures']} of {len(places)} images to encode"
    )
    progress.phase(sum(left.values()), "steps, windows and images")
    run_jobs(first_job, jobs, workers, progress)
    seeds = range(options.seed, options.seed + options.seeds)
    trainings = [(setting, seed) for seed in seeds for setting in settings]
    progress.trainings([s.losses_path(f"critic-{seed}") for s, seed in trainings], options.steps, workers)
    run_jobs(score_job, trainings, workers, progress)
    rows = []
    for number, setting in enumerate(settings):
        windows = setting.windows("validation")
        gains = gains_of(windows, [setting.losses(f"critic-{seed}") for seed in seeds])
        rows += rows_of(windows, fold, number, gains)
    return write(out / FILE, rows, report)


def deal(
    corpus: TrainingCorpus, out: Path, options: TrainOptions, scored: WindowArrays, fold: np.ndarray, by_site: bool
) -> Places:
    """Write the windows of each fold to files and return where their images are stored. Raises TrainError if the other
    folds are too little to train on."""
    tokenizer = run_tokenizer(corpus, options)
    training = cut_windows(corpus, tokenizer, None, corpus.cut, options.seed)
    text = cut_windows(corpus, tokenizer, None, corpus.tiles)
    documents = read_documents(corpus.paths("documents/"), columns=["url", "cluster"])
    cluster = {row["url"]: row["cluster"] for row in documents}
    known = perceptual_hashes(corpus)

    def kin(unit: dict[str, str]) -> set[str]:
        return {unit["site"] if by_site else unit["url"], cluster[unit["url"]] or unit["url"]}

    for number in range(int(fold.max()) + 1):
        mine = only(scored, np.flatnonzero(fold[scored.unit] == number).tolist())
        data = out / f"fold-{number}" / "data"
        data.mkdir(parents=True, exist_ok=True)
        mine.save(data / "validation.npz")
        for name, windows in (("train", training), ("text", text)):
            kept = apart(windows, mine, kin, known, corpus.max_documents)
            if len(kept) < FEWEST:
                raise TrainError(
                    f"{corpus.folder}: {len(kept)} windows to train on without a fold, the minimum is {FEWEST}: build "
                    "a larger corpus"
                )
            only(windows, kept).save(data / f"{name}.npz")
    return pictures(corpus, {row.tobytes() for windows in (scored, training) for row in windows.hashes})


def write(path: Path, rows: list[dict[str, Any]], report: Report) -> Path:
    table = pa.Table.from_pylist(rows, SCHEMA)
    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary)
    temporary.replace(path)
    images = [row["gain"] for row in rows if row["sha256"] is not None]
    below = sum(gain < 0 for gain in images)
    report(
        f"{len(images)} images of {len(rows) - len(images)} documents scored, {below} below zero, median "
        f"{np.median(images):.2f} bits: {path}"
    )
    return path
