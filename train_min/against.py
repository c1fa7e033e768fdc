"""`m3w train A --against B`: which of two corpora teaches a small Flamingo more.

Windows of both are cut anew from documents with one tokenizer; one language model is frozen; each corpus trains as many
steps of as many tokens, with seeds of its own order; both models of a seed are scored on the held-out documents of
both. Documents that are held out in one corpus are left out of the other's training.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shards.readers import read_documents
from shards.records import Text
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer, train_corpus_tokenizer
from shards.windows import WindowOptions, pieces
from train_min import TrainError, validate
from train_min.data import Corpus, Windows, cut_windows, open_corpus, pictures
from train_min.loop import TrainingSet, fit, measured_peak, score
from train_min.train import (
    PIECE,
    Progress,
    Report,
    Result,
    Setting,
    TrainOptions,
    build_model,
    choose_device,
    claim,
    feature_folder,
    first_job,
    rearranged,
)
from train_min.vision import FeatureStore, fast_dtype, load_encoder
from train_min.workers import available_cores, keep_freed_memory, run_jobs

TOKENIZER_BYTES = 50_000_000

# Student's t at 97.5 % for 1, 2, 3, ... degrees of freedom
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def training_texts(corpora: list[Corpus]) -> Iterator[str]:
    """Training text of all corpora, as many bytes of each."""
    for corpus in corpora:
        left = TOKENIZER_BYTES // len(corpora)
        for document in read_documents(corpus.paths("documents/")):
            for piece in pieces(document):
                for node in piece.nodes if piece.split == "train" and left > 0 else ():
                    if isinstance(node, Text):
                        left -= len(node.text.encode())
                        yield node.text


def without(windows: Windows, urls: set[str]) -> Windows:
    """The windows whose document has none of these URLs."""
    kept = [index for index in range(len(windows)) if windows.units[windows.unit[index]]["url"] not in urls]
    tokens, images = zip(*(windows.of(index) for index in kept), strict=True) if kept else ((), ())
    return replace(
        windows,
        tokens=np.concatenate(tokens) if kept else windows.tokens[:0],
        starts=np.cumsum([0, *map(len, tokens)]),
        images=np.concatenate(images) if kept else windows.images[:0],
        image_starts=np.cumsum([0, *map(len, images)]),
        unit=windows.unit[kept],
        window_ids=[windows.window_ids[index] for index in kept],
    )


def joined(left: Windows, right: Windows) -> Windows:
    """Both, one behind the other; pictures are dropped."""
    return replace(
        left,
        tokens=np.concatenate([left.tokens, right.tokens]),
        starts=np.concatenate([left.starts, right.starts[1:] + left.starts[-1]]),
        images=np.full(len(left.images) + len(right.images), -1, np.int32),
        image_starts=np.concatenate([left.image_starts, right.image_starts[1:] + left.image_starts[-1]]),
        unit=np.concatenate([left.unit, right.unit + len(left.units)]),
        hashes=left.hashes[:0],
        units=left.units + right.units,
        window_ids=left.window_ids + right.window_ids,
    )


def side_job(
    settings: dict[str, Setting], side: str, seed: int, log: Callable[[dict[str, Any]], None]
) -> dict[str, np.ndarray]:
    """Train on one side; per-token losses on the held-out windows of both."""
    import torch

    setting = settings[side]
    finished = setting.out / "arms" / f"{side}-{seed}.npz"
    if finished.exists():
        with np.load(finished) as file:
            return dict(file)
    device = torch.device(setting.device)
    # one side's weights and order are never the other's, so that a corpus against itself is a fair comparison
    own_seed = 2 * seed + (side == "b")
    model = build_model(setting, own_seed)
    training = setting.windows(f"train-{side}")
    fit(
        model,
        [TrainingSet("windows", training, setting.lookup(training))],
        setting.loop,
        own_seed,
        lambda row: log({"arm": side, "seed": seed, **row}),
        setting.out / "checkpoint" / f"{side}-{seed}.pt",
        measured_peak(device, fast_dtype(device)),
    )
    losses = {}
    for name, other in settings.items():
        held_out = setting.windows(f"validation-{name}")
        features = other.lookup(held_out)
        losses[name] = score(model, held_out, features)
        losses[f"{name}-permuted"] = score(model, rearranged(held_out, ("documents", 0, 1.0))[0], features)
    finished.parent.mkdir(parents=True, exist_ok=True)
    temporary = finished.with_name(f".{finished.name}")
    with temporary.open("wb") as file:
        np.savez(file, **losses)  # type: ignore[arg-type]
    temporary.replace(finished)
    return losses


def compare(held_out: dict[str, Windows], a: list[validate.Losses], b: list[validate.Losses]) -> dict[str, Any]:
    """NLL of B's models minus that of A's, in bits per token that sees an image, as the mean over both held-out sets:
    above zero A teaches more.

    The interval is Student's t: the variance over documents (bootstrap over pages, a page that is held out in both sets
    counting once) plus that over the seeds of each side, with as many degrees of freedom as the seeds allow."""
    sums: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    by_page: dict[str, int] = {}
    pages, weights = [], []
    for name, windows in held_out.items():
        chosen = validate.seen_images(windows).image >= 0
        counts = validate.unit_sums(windows, np.ones(len(chosen)), chosen)
        pages.append(np.array([by_page.setdefault(unit["url"], len(by_page)) for unit in windows.units]))
        weights.append(counts / max(1.0, counts.sum()) / len(held_out))
        for side, losses in (("a", a), ("b", b)):
            part = [validate.unit_sums(windows, entry[name], chosen) for entry in losses]
            sums[side].append(np.stack(part) * validate.BITS / max(1.0, counts.sum()) / len(held_out))
    page = np.concatenate(pages)
    side_sums = {
        side: np.stack([np.bincount(page, row, minlength=len(by_page)) for row in np.concatenate(parts, 1)])
        for side, parts in sums.items()
    }
    weight = np.bincount(page, np.concatenate(weights), minlength=len(by_page))
    difference = side_sums["b"].mean(0) - side_sums["a"].mean(0)
    drawn = np.random.default_rng(0).multinomial(len(weight), np.full(len(weight), 1 / len(weight)), validate.RESAMPLES)
    of_documents = float(np.var((drawn @ difference) / np.maximum(drawn @ weight, 1e-12)))
    n = len(a)
    spread = [float(np.var(rows.sum(1), ddof=1)) / n if n > 1 else math.inf for rows in side_sums.values()]
    variance = of_documents + sum(spread)
    seeds = sum(spread)
    # Welch and Satterthwaite: documents are many, only the seeds cost degrees of freedom
    freedom = (n - 1) * variance**2 / max(1e-30, sum(value**2 for value in spread)) if seeds else math.inf
    student = STUDENT[max(0, min(len(STUDENT), int(freedom)) - 1)] if freedom <= len(STUDENT) else 1.96
    value, half = float(difference.sum()), student * math.sqrt(variance)
    return {"value": value, "low": value - half, "high": value + half, "pages": len(by_page)}


def run_against(corpus: Path, other: Path, out: Path, options: TrainOptions, report: Report) -> Result:
    """Compare the corpora in the folders `corpus` (A) and `other` (B); result.json in `out`. Raises TrainError."""
    keep_freed_memory()
    started = time.monotonic()
    if options.seeds < 2:
        raise TrainError("--against needs at least --seeds 2: without a spread over seeds there is no interval")
    corpora = {"a": open_corpus(corpus), "b": open_corpus(other)}
    device = choose_device(options.device)
    claim(out, corpora["a"], options, corpora["b"])
    workers = 1 if device.type == "cuda" else options.workers or available_cores()
    if options.vision == "contrastive" or options.pairs:
        raise TrainError("--against takes neither --vision contrastive nor --pairs: both sides need the same encoder")
    encoder = load_encoder(options.vision, device)
    tokenizer = common_tokenizer(corpora, out, options)
    tiles = WindowOptions(policy="tile")
    (out / "data").mkdir(parents=True, exist_ok=True)
    held_out = {side: cut_windows(opened, tokenizer, "validation", tiles) for side, opened in corpora.items()}
    settings: dict[str, Setting] = {}
    jobs: list[tuple] = []
    text = []
    n_pictures = 0
    for side, opened in corpora.items():
        urls = {unit["url"] for windows in held_out.values() for unit in windows.units}
        training = without(cut_windows(opened, tokenizer, "train", WindowOptions(), options.seed), urls)
        if len(training) < 16 or not len(held_out[side]):
            raise TrainError(
                f"{opened.folder} has {len(training)} training and {len(held_out[side])} held-out windows: too few"
            )
        training.save(out / "data" / f"train-{side}.npz")
        held_out[side].save(out / "data" / f"validation-{side}.npz")
        text.append(without(cut_windows(opened, tokenizer, "train", tiles), urls))
        settings[side] = Setting(
            out,
            feature_folder(opened, out) / encoder.key,
            encoder.patches,
            encoder.width,
            tokenizer.image_id,
            options,
            options.loop(),
            str(device),
        )
        places = pictures(opened, {row.tobytes() for part in (training, held_out[side]) for row in part.hashes})
        store = FeatureStore(settings[side].store, encoder.patches, encoder.width)
        store.refresh()
        missing = store.missing(list(places))
        n_pictures += len(missing)
        for start in range(0, len(missing), PIECE):
            piece = [(digest, places[digest]) for digest in missing[start : start + PIECE]]
            jobs.append(("encode", settings[side], opened, piece))
    if options.lm == "nano" and not (out / "checkpoint" / "lm.pt").exists():
        joined(*text).save(out / "data" / "text.npz")
        jobs.insert(0, ("lm", settings["a"]))
    progress = Progress(out / "log.jsonl", report, options.lm_steps + n_pictures)
    for _ in run_jobs(first_job, jobs, workers, progress):
        pass
    arms = [(settings, side, seed) for seed in range(options.seed, options.seed + options.seeds) for side in "ab"]
    report(f"{len(arms)} trainings of {options.steps} steps")
    progress.phase(len(arms) * options.steps)
    losses: dict[str, list[validate.Losses]] = {"a": [], "b": []}
    finished = dict(run_jobs(side_job, arms, workers, progress))
    for index, (_, side, _) in enumerate(arms):
        losses[side].append(finished[index])
    progress.file.close()
    data = against_data(held_out, losses)
    data["corpora"] = {side: opened.folder.name for side, opened in corpora.items()}
    data["seconds"] = {"total": round(time.monotonic() - started, 1)}
    data["options"] = asdict(options)
    (out / "result.json").write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False))
    report(data["sentence"])
    return Result(out, data["sentence"], data)


def common_tokenizer(corpora: dict[str, Corpus], out: Path, options: TrainOptions) -> Tokenizer:
    """The language model's own, or one trained on both corpora and kept in the run."""
    try:
        if options.lm != "nano":
            return load_tokenizer(options.lm)
        if len({opened.tokenizer.id for opened in corpora.values()}) == 1:
            return corpora["a"].tokenizer
        path = out / "tokenizer.json"
        if not path.exists():
            path.write_text(train_corpus_tokenizer(training_texts(list(corpora.values()))).json, encoding="utf-8")
        return load_tokenizer(str(path))
    except TokenizerError as error:
        raise TrainError(str(error)) from None


def against_data(held_out: dict[str, Windows], losses: dict[str, list[validate.Losses]]) -> dict[str, Any]:
    table: dict[str, dict[str, float | None]] = {}
    for name, windows in held_out.items():
        chosen = validate.seen_images(windows).image >= 0
        for side, entries in losses.items():
            values = [validate.mean_nll(windows, entry[name], chosen) for entry in entries]
            table.setdefault(side, {})[name] = float(np.mean([value for value in values if value is not None]))
    difference = compare(held_out, losses["a"], losses["b"])
    by_set = {name: compare({name: windows}, losses["a"], losses["b"]) for name, windows in held_out.items()}
    interval = f"95 % interval {difference['low']:.3f} to {difference['high']:.3f}"
    bits = f"{difference['value']:+.3f} bits per token in favour of A, {interval}"
    if difference["pages"] < validate.ENOUGH_DOCUMENTS:
        text = f"too few to say: {difference['pages']} held-out documents, {validate.ENOUGH_DOCUMENTS} are needed"
    elif difference["low"] > 0:
        text = f"A teaches more than B: {bits}"
    elif difference["high"] < 0:
        text = f"B teaches more than A: {bits}"
    else:
        text = f"A and B cannot be told apart: {bits}"
    return {"sentence": text, "difference": difference, "by_held_out_set": by_set, "nll": table}
