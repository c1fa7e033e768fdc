"""`m3w train A --against B`: which of two corpora teaches a small Flamingo more.

Windows of both are cut from their documents with one tokenizer, around one frozen language model. Both sides train for
the same number of steps and tokens. The two models of a seed start from the same weights, see their windows in
different orders, and are scored on the held-out documents of both corpora. Whatever is held out in either corpus, or
shares text or an image with it, is removed from both training sets.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from shards.enough import too_few
from shards.readers import read_documents
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer, train_corpus_tokenizer
from shards.windows import training_texts
from train_min import TrainError
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
from train_min.measuring import validate
from train_min.measuring.results import RunLog, finish, say_too_few
from train_min.measuring.validate import Clusters, amount_of
from train_min.model.vision import choose_device, load_encoder
from train_min.options import Result, TrainOptions
from train_min.training.distributed import refuse_torchrun
from train_min.training.loop import Log, Report, parts_of, score
from train_min.training.prepare import (
    TILES,
    amount,
    check_amount,
    encode_jobs,
    first_job,
    lm_jobs,
    setting_of,
    start,
    worker_count,
)
from train_min.training.variants import Setting, once, trained_model
from train_min.training.workers import run_jobs

TOKENIZER_BYTES = 50_000_000

RUN = 32
"""Consecutive tokens that identify text of a held-out piece of a book; shorter runs also match common phrases."""


def both_texts(corpora: list[TrainingCorpus]) -> Iterator[str]:
    """Yield training text of all corpora, the same number of bytes from each."""
    for corpus in corpora:
        left = TOKENIZER_BYTES // len(corpora)
        for document in read_documents(corpus.paths("documents/")):
            for text in training_texts(document) if left > 0 else ():
                left -= len(text.encode())
                yield text


@dataclass(frozen=True)
class HeldOut:
    """What no training set may contain: `documents` by URL and by hash of their text, `books` of which only some pieces
    are held out (same keys), the token `runs` of those pieces, and hashes of `pictures`, both as stored and as fetched,
    also of those that look alike."""

    documents: set[str | bytes]
    books: set[str | bytes]
    runs: set[bytes]
    pictures: set[bytes]


def text_hashes(corpus: TrainingCorpus) -> dict[str, bytes]:
    """Map the URL of each document to the sha256 of its words."""
    return {
        row["url"]: hashlib.sha256(" ".join(" ".join(filter(None, row["texts"])).split()).encode()).digest()
        for row in read_documents(corpus.paths("documents/"), columns=["url", "texts"])
    }


def token_runs(windows: WindowArrays, index: int) -> set[bytes]:
    """Return all runs of `RUN` text tokens of a window. `<image>` and EOC are skipped: the corpora may keep different
    images."""
    ids = windows.of(index)[0]
    text = ids[(ids != windows.image_id) & (ids != windows.eoc_id)]
    return {text[start : start + RUN].tobytes() for start in range(max(1, len(text) - RUN + 1))}


def held_out_of(
    held_out: dict[str, WindowArrays], training: dict[str, WindowArrays], texts: dict[str, dict[str, bytes]]
) -> HeldOut:
    """Collect what both sides hold out. `texts`: `text_hashes` of each side."""
    found = HeldOut(set(), set(), set(), set())
    for side, windows in held_out.items():
        trained = {unit["url"] for unit in training[side].units}
        for index in range(len(windows)):
            url = windows.units[windows.unit[index]]["url"]
            (found.books if url in trained else found.documents).update((url, texts[side][url]))
            if url in trained:
                found.runs.update(token_runs(windows, index))
        found.pictures.update(windows.picture_hashes())
    return found


def without(windows: WindowArrays, held_out: HeldOut, texts: dict[str, bytes], max_documents: int) -> WindowArrays:
    """Keep the windows that share no document, text or image with what is held out. Of a book only the windows with
    text of its held-out pieces are removed. An image used by more than `max_documents` documents does not count as
    shared."""
    telling = telling_pictures(windows, held_out.pictures, max_documents)
    names = [{unit["url"], texts[unit["url"]]} for unit in windows.units]

    def shared(index: int) -> bool:
        own, shown = names[windows.unit[index]], windows.of(index)[1]
        if not held_out.documents.isdisjoint(own) or telling[shown[shown >= 0]].any():
            return True
        return not held_out.books.isdisjoint(own) and not held_out.runs.isdisjoint(token_runs(windows, index))

    return only(windows, [index for index in range(len(windows)) if not shared(index)])


def telling_pictures(windows: WindowArrays, held_out: set[bytes], max_documents: int) -> np.ndarray:
    """Mark the images (H,) that are held out and used by at most `max_documents` documents."""
    documents = np.unique([unit["doc_id"] for unit in windows.units], return_inverse=True)[1].reshape(-1)
    uses = np.stack([documents[windows.image_units()], windows.images], 1)[windows.images >= 0]
    users = np.bincount(np.unique(uses, axis=0)[:, 1], minlength=len(windows.hashes))
    hashes = zip(windows.hashes, windows.fetched, strict=True)
    met = [stored.tobytes() in held_out or fetched.tobytes() in held_out for stored, fetched in hashes]
    return np.array(met, bool) & (users <= max_documents)


def only(windows: WindowArrays, kept: list[int]) -> WindowArrays:
    """Select windows by index."""
    tokens, images = zip(*(windows.of(index) for index in kept), strict=True) if kept else ((), ())
    return replace(
        windows,
        tokens=np.concatenate([windows.tokens[:0], *tokens]),
        starts=np.cumsum([0, *map(len, tokens)]),
        images=np.concatenate([windows.images[:0], *images]),
        image_starts=np.cumsum([0, *map(len, images)]),
        unit=windows.unit[kept],
        window_ids=[windows.window_ids[index] for index in kept],
    )


def joined(left: WindowArrays, right: WindowArrays) -> WindowArrays:
    """Concatenate two sets of windows, without their images."""
    return replace(
        left,
        tokens=np.concatenate([left.tokens, right.tokens]),
        starts=np.concatenate([left.starts, right.starts[1:] + left.starts[-1]]),
        images=np.full(len(left.images) + len(right.images), -1, np.int32),
        image_starts=np.concatenate([left.image_starts, right.image_starts[1:] + left.image_starts[-1]]),
        unit=np.concatenate([left.unit, right.unit + len(left.units)]),
        hashes=left.hashes[:0],
        fetched=left.fetched[:0],
        units=left.units + right.units,
        window_ids=left.window_ids + right.window_ids,
    )


def order_of(side: str, seed: int) -> int:
    """Seed for the order of a side's windows. The sides never share it, so a corpus against itself is a fair
    comparison."""
    return 2 * seed + (side == "b")


def tokens_trained(setting: Setting, side: str) -> list[int]:
    """Count the tokens of each training run of a side."""
    windows, loop = setting.windows(f"train-{side}"), setting.loop
    lengths = np.diff(windows.starts)
    found = []
    for seed in range(setting.options.seed, setting.options.seed + setting.options.seeds):
        parts = islice(parts_of(windows, loop, order_of(side, seed)), loop.steps * loop.accumulate)
        found.append(sum(int(lengths[row].sum()) for part in parts for row in part))
    return found


def side_job(setting: Setting, side: str, seed: int, log: Log) -> None:
    """Train one model on one side and write its per-token losses on the held-out windows of both sides."""

    def make() -> Losses:
        sets = [setting.training_set(f"train-{side}", None)]
        model = trained_model(setting, side, seed, order_of(side, seed), sets, log)
        losses = {}
        for name in "ab":
            held_out = setting.windows(f"validation-{name}")
            states = setting.states(f"validation-{name}")
            losses[name] = score(model, held_out, setting.lookup(held_out), states=states)
        return losses

    once(setting.losses_path(f"{side}-{seed}"), make)


@dataclass
class HeldOutPages:
    """The held-out units of both sets. A page held out in both counts once: its pieces have one place each, given by
    its URL and the number of the piece."""

    places: dict[tuple[str, int], int] = field(default_factory=dict)
    cluster: list[str] = field(default_factory=list)
    documents: set[str] = field(default_factory=set)
    sites: set[str] = field(default_factory=set)

    def add(self, windows: WindowArrays, clusters: Clusters, used: np.ndarray) -> list[int]:
        """The places of the units (U,) that are `used`."""
        found = []
        pieces_met: Counter[str] = Counter()
        for number, unit in enumerate(windows.units):
            key = (unit["url"], pieces_met[unit["url"]])
            pieces_met[unit["url"]] += 1
            if used[number]:
                if key not in self.places:
                    self.places[key] = len(self.places)
                    self.cluster.append(clusters.cluster[number])
                    self.documents.add(clusters.document[number])
                    self.sites.add(unit["site"])
                found.append(self.places[key])
        return found


def compare(
    held_out: dict[str, WindowArrays], clusters: dict[str, Clusters], a: list[Losses], b: list[Losses]
) -> dict[str, Any]:
    """NLL of B's models minus that of A's, in bits per token that sees an image, averaged over both held-out sets;
    above zero A teaches more. Models of the same seed are compared with each other, because most of the variance
    between seeds comes from the initial weights they share. A page held out in both sets counts once in the interval
    (`validate.interval`); a page without such a token does not count."""
    pages, place = HeldOutPages(), []
    counts, differences = [], []
    for name, windows in held_out.items():
        chosen = seen_images(windows).image >= 0
        tokens = validate.unit_sums(windows, np.ones(len(chosen)), chosen)
        used = tokens > 0
        weight = 1 / (max(1.0, tokens.sum()) * len(held_out))
        place += pages.add(windows, clusters[name], used)
        counts.append(tokens[used] * weight)
        of_a, of_b = (
            np.stack([validate.unit_sums(windows, losses[name], chosen)[used] for losses in side]) for side in (a, b)
        )
        differences.append((of_b - of_a) * validate.BITS * weight)
    if not place:
        return {"value": None, "low": None, "high": None, "documents": 0, "sites": 0, "by_site": False}
    of_place = [np.bincount(place, row, minlength=len(pages.places)) for row in np.concatenate(differences, 1)]
    weights = np.bincount(place, np.concatenate(counts), minlength=len(pages.places))
    value, low, high = validate.interval(np.stack(of_place), weights, pages.cluster)
    known = low == low
    return {
        "value": value,
        "low": low if known else None,
        "high": high if known else None,
        "documents": len(pages.documents),
        "sites": len(pages.sites),
        "by_site": any(clusters[name].by_site for name in held_out),
    }


def run_against(corpus: Path, other: Path, out: Path, options: TrainOptions, report: Report) -> Result:
    """Compare the corpora in `corpus` (A) and `other` (B), and write result.json to `out`. Raises TrainError."""
    started = time.monotonic()
    if options.seeds < 2:
        raise TrainError("--against needs at least --seeds 2: without a spread over seeds there is no interval")
    if options.vision == "contrastive" or options.pairs or options.dose_response:
        raise TrainError("--against cannot be combined with --vision contrastive, --pairs or --dose-response")
    refuse_torchrun("--against")
    corpora = {"a": open_corpus(corpus), "b": open_corpus(other)}
    report(f"A is {corpus}, B is {other}")
    setting, held_out, clusters, progress = begin(corpora, out, options, report)
    variants = [(setting, side, seed) for seed in range(options.seed, options.seed + options.seeds) for side in "ab"]
    workers = worker_count(options, choose_device(options.device))
    progress.trainings([setting.losses_path(f"{side}-{seed}") for _, side, seed in variants], options.steps, workers)
    run_jobs(side_job, variants, workers, progress)
    losses: dict[str, list[Losses]] = {"a": [], "b": []}
    for _, side, seed in variants:
        losses[side].append(setting.losses(f"{side}-{seed}"))
    data = against_data(held_out, clusters, losses)
    data["corpora"] = {side: opened.folder.name for side, opened in corpora.items()}
    data["tokens"] = {side: tokens_trained(setting, side) for side in corpora}
    return finish(out, data, options, {"total": time.monotonic() - started}, report)


def begin(
    corpora: dict[str, TrainingCorpus], out: Path, options: TrainOptions, report: Report
) -> tuple[Setting, dict[str, WindowArrays], dict[str, Clusters], RunLog]:
    """Prepare the held-out windows of both sides and their clusters, the language model, and the features of all
    images."""
    device, workers = start(out, options, corpora["a"], corpora["b"])
    encoder = load_encoder(options.vision, device)
    tokenizer = common_tokenizer(corpora, out, options)
    (out / "data").mkdir(parents=True, exist_ok=True)
    held_out = {side: cut_windows(opened, tokenizer, "validation", TILES) for side, opened in corpora.items()}
    training = {
        side: cut_windows(opened, tokenizer, "train", opened.cut, options.seed) for side, opened in corpora.items()
    }
    setting = setting_of(corpora["a"], out, options, encoder, tokenizer, device)
    clusters = {side: validate.clusters_of(held_out[side], training[side]) for side in corpora}
    untrained = [{name: np.zeros(len(windows.tokens)) for name, windows in held_out.items()}]
    say_too_few(too_few_in(compare(held_out, clusters, untrained, untrained)), report)
    kept = write_windows(setting, corpora, tokenizer, held_out, training, report)
    jobs = lm_jobs(setting)
    known: set[bytes] = set()
    for side, opened in corpora.items():
        hashes = {row.tobytes() for part in (kept[side], held_out[side]) for row in part.hashes} - known
        jobs += encode_jobs(setting, opened, pictures(opened, hashes))
        known |= hashes
    progress = RunLog(out / "log.jsonl", report, sum(amount(jobs).values()))
    run_jobs(first_job, jobs, workers, progress)
    return setting, held_out, clusters, progress


def write_windows(
    setting: Setting,
    corpora: dict[str, TrainingCorpus],
    tokenizer: Tokenizer,
    held_out: dict[str, WindowArrays],
    training: dict[str, WindowArrays],
    report: Report,
) -> dict[str, WindowArrays]:
    """Write the windows of both sides to files, and return the training windows that share nothing with what is held
    out. Raises TrainError if there is too little data."""
    data, nano = setting.out / "data", setting.options.lm == "nano"
    texts = {side: text_hashes(opened) for side, opened in corpora.items()}
    unseen = held_out_of(held_out, training, texts)
    known = {stored: phash for opened in corpora.values() for stored, phash in perceptual_hashes(opened).items()}
    unseen.pictures.update(look_alikes(known, unseen.pictures))
    kept, tiles = {}, []
    for side, opened in corpora.items():
        kept[side] = without(training[side], unseen, texts[side], opened.max_documents)
        report(
            f"{len(training[side]) - len(kept[side])} of {len(training[side])} training windows of {side.upper()} "
            "share a page, text or image with held-out ones, or have an image that looks like one of them"
        )
        check_amount(opened.folder, kept[side], held_out[side])
        kept[side].save(data / f"train-{side}.npz")
        held_out[side].save(data / f"validation-{side}.npz")
        if nano:
            whole = cut_windows(opened, tokenizer, "train", opened.tiles)
            tiles.append(without(whole, unseen, texts[side], opened.max_documents))
    if nano:
        joined(*tiles).save(data / "text.npz")
    return kept


def common_tokenizer(corpora: dict[str, TrainingCorpus], out: Path, options: TrainOptions) -> Tokenizer:
    """The language model's own tokenizer, or one trained on both corpora and stored in the run."""
    try:
        if options.lm != "nano":
            return load_tokenizer(options.lm)
        if len({opened.tokenizer.id for opened in corpora.values()}) == 1:
            return corpora["a"].tokenizer
        path = out / "tokenizer.json"
        if not path.exists():
            vocabulary = max(opened.vocabulary for opened in corpora.values())
            trained = train_corpus_tokenizer(both_texts(list(corpora.values())), vocabulary)
            path.write_text(trained.json, encoding="utf-8")
        return load_tokenizer(str(path))
    except TokenizerError as error:
        raise TrainError(str(error)) from None


def against_data(
    held_out: dict[str, WindowArrays], clusters: dict[str, Clusters], losses: dict[str, list[Losses]]
) -> dict[str, Any]:
    table: dict[str, dict[str, float | None]] = {}
    for name, windows in held_out.items():
        chosen = seen_images(windows).image >= 0
        for side, entries in losses.items():
            values = [validate.mean_nll(windows, entry[name], chosen) for entry in entries]
            table.setdefault(side, {})[name] = float(np.mean([value for value in values if value is not None]))
    difference = compare(held_out, clusters, losses["a"], losses["b"])
    by_set = {name: compare({name: windows}, clusters, losses["a"], losses["b"]) for name, windows in held_out.items()}
    return {"sentence": sentence(difference), "difference": difference, "by_held_out_set": by_set, "nll": table}


def too_few_in(difference: dict[str, Any]) -> str:
    return too_few(difference["documents"], difference["sites"] if difference["by_site"] else None)


def sentence(difference: dict[str, Any]) -> str:
    """Put the result of `compare` into words."""
    reason = too_few_in(difference)
    if reason:
        return reason
    interval = f"95 % interval {difference['low']:.3f} to {difference['high']:.3f} over {amount_of(difference)}"
    bits = f"{difference['value']:+.3f} bits per token in favour of A, {interval}"
    if difference["low"] > 0:
        return f"A teaches more than B: {bits}"
    if difference["high"] < 0:
        return f"B teaches more than A: {bits}"
    return f"no significant difference between A and B: {bits}"
