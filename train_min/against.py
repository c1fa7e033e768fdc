"""`m3w train A --against B`: which of two corpora teaches a small Flamingo more.

Windows of both are cut anew from documents with one tokenizer; one language model is frozen; each corpus trains as many
steps of as many tokens, with seeds of its own order; both models of a seed are scored on the held-out documents of
both. Documents that are held out in one corpus are left out of the other's training.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from shards.readers import read_documents
from shards.records import Text
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer, train_corpus_tokenizer
from shards.windows import WindowOptions, pieces
from train_min import TrainError, validate
from train_min.arms import Setting, once, trained_model
from train_min.data import Corpus, Losses, Windows, cut_windows, open_corpus, pictures
from train_min.loop import Log, score
from train_min.options import Result, TrainOptions
from train_min.prepare import (
    TILES,
    amount,
    check_amount,
    choose_device,
    claim,
    encode_jobs,
    first_job,
    lm_jobs,
    setting_of,
    worker_count,
)
from train_min.results import Progress, Report
from train_min.vision import load_encoder
from train_min.workers import keep_freed_memory, run_jobs

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


def side_job(setting: Setting, side: str, seed: int, log: Log) -> Losses:
    """Train on one side; per-token losses on the held-out windows of both."""

    def make() -> Losses:
        sets = [setting.training_set(f"train-{side}", None)]
        # one side's weights and order are never the other's, so that a corpus against itself is a fair comparison
        model = trained_model(setting, side, seed, 2 * seed + (side == "b"), sets, log)
        losses = {}
        for name in "ab":
            held_out = setting.windows(f"validation-{name}")
            states = setting.states(f"validation-{name}")
            losses[name] = score(model, held_out, setting.lookup(held_out), states=states)
        return losses

    return once(setting.out / "arms" / f"{side}-{seed}.npz", make)


def compare(held_out: dict[str, Windows], a: list[Losses], b: list[Losses]) -> dict[str, Any]:
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
    started = time.monotonic()
    if options.seeds < 2:
        raise TrainError("--against needs at least --seeds 2: without a spread over seeds there is no interval")
    if options.vision == "contrastive" or options.pairs or options.ruler:
        raise TrainError("--against takes neither --vision contrastive nor --pairs nor --ruler")
    corpora = {"a": open_corpus(corpus), "b": open_corpus(other)}
    report(f"A is {corpus}, B is {other}")
    setting, held_out, progress = begin(corpora, out, options, report)
    arms = [(setting, side, seed) for seed in range(options.seed, options.seed + options.seeds) for side in "ab"]
    report(f"{len(arms)} trainings of {options.steps} steps")
    progress.phase(len(arms) * options.steps)
    losses: dict[str, list[Losses]] = {"a": [], "b": []}
    finished = dict(run_jobs(side_job, arms, worker_count(options, choose_device(options.device)), progress))
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


def begin(
    corpora: dict[str, Corpus], out: Path, options: TrainOptions, report: Report
) -> tuple[Setting, dict[str, Windows], Progress]:
    """The held-out windows of both sides; one language model, and one store of features of all their pictures."""
    keep_freed_memory()
    device = choose_device(options.device)
    claim(out, corpora["a"], options, corpora["b"])
    encoder = load_encoder(options.vision, device)
    tokenizer = common_tokenizer(corpora, out, options)
    (out / "data").mkdir(parents=True, exist_ok=True)
    held_out = {side: cut_windows(opened, tokenizer, "validation", TILES) for side, opened in corpora.items()}
    urls = {unit["url"] for windows in held_out.values() for unit in windows.units}
    setting = setting_of(corpora["a"], out, options, encoder, tokenizer, device)
    jobs, text = [], []
    known: set[bytes] = set()
    for side, opened in corpora.items():
        training = without(cut_windows(opened, tokenizer, "train", WindowOptions(), options.seed), urls)
        check_amount(opened.folder, training, held_out[side])
        training.save(out / "data" / f"train-{side}.npz")
        held_out[side].save(out / "data" / f"validation-{side}.npz")
        hashes = {row.tobytes() for part in (training, held_out[side]) for row in part.hashes} - known
        jobs += encode_jobs(setting, opened, pictures(opened, hashes))
        known |= hashes
        if options.lm == "nano":
            text.append(without(cut_windows(opened, tokenizer, "train", TILES), urls))
    if options.lm == "nano":
        joined(*text).save(out / "data" / "text.npz")
    jobs = [*lm_jobs(setting), *jobs]
    progress = Progress(out / "log.jsonl", report, amount(jobs))
    for _ in run_jobs(first_job, jobs, worker_count(options, device), progress):
        pass
    return setting, held_out, progress


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


def against_data(held_out: dict[str, Windows], losses: dict[str, list[Losses]]) -> dict[str, Any]:
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
