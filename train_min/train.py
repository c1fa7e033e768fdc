"""`m3w train`: train small Flamingos on a corpus and measure what its images tell about its text.

For each seed a run trains one variant on the corpus as it is (`true`), one with its images shuffled across documents
(`reference`), and one with a second shuffle (`control`), all with the same frozen language model and frozen image
features. The difference of their losses on held-out documents is what the images tell.
"""

import time
from pathlib import Path

import torch

from train_min.data.windows import Losses, WindowArrays, open_corpus
from train_min.measuring.evaluate import captions
from train_min.measuring.results import RunLog, finish, read_log, say_too_few, summarise
from train_min.measuring.validate import clusters_of, too_few_held_out
from train_min.model.vision import load_encoder
from train_min.options import Result, TrainOptions
from train_min.training.distributed import number, of_first, started_by_torchrun, together
from train_min.training.loop import Report
from train_min.training.prepare import (
    Places,
    amount,
    encode_jobs,
    first_job,
    lm_jobs,
    prepare,
    run_tokenizer,
    setting_of,
    start,
    train_tower,
    vision_of,
    worker_count,
)
from train_min.training.variants import Setting, Variant, variant_job, variants_of
from train_min.training.workers import run_jobs


def run(corpus: Path, out: Path, options: TrainOptions, report: Report) -> Result | None:
    """Train on the corpus in the folder `corpus` and write checkpoint/, log.jsonl and result.json into `out`.

    An interrupted run resumes when called again. `report` receives progress lines for the user. With several processes
    only the first returns a result. Raises TrainError."""
    variants = variants_of(options)
    if number():
        with together(options.device):
            setting = of_first(None)
            for variant in variants:
                variant_job(setting, variant, lambda row: None)
        return None
    started = time.monotonic()
    setting, places, progress = begin(corpus, out, options, report)
    prepared = time.monotonic() - started
    losses = train_arms(setting, variants, progress)
    tokenizer = run_tokenizer(open_corpus(corpus), options)
    data = summarise(corpus.name, tokenizer, setting, losses, places, read_log(out / "log.jsonl"))
    data["captions"] = captions(setting, tokenizer)
    return finish(out, data, options, {"prepare": prepared, "total": time.monotonic() - started}, report)


def train_arms(setting: Setting, variants: list[Variant], progress: RunLog) -> dict[str, list[Losses]]:
    """Train all variants and return their losses by name, in seed order."""
    options = setting.options
    workers = 1 if started_by_torchrun() else worker_count(options, torch.device(setting.device))
    progress.trainings([setting.losses_path(variant.file) for variant in variants], options.steps, workers)
    with together(options.device):
        of_first(setting)
        run_jobs(variant_job, [(setting, variant) for variant in variants], workers, progress)
    losses: dict[str, list[Losses]] = {}
    for variant in variants:
        losses.setdefault(variant.name, []).append(setting.losses(variant.file))
    return losses


def begin(corpus: Path, out: Path, options: TrainOptions, report: Report) -> tuple[Setting, Places, RunLog]:
    """Prepare everything the variants need."""
    opened = open_corpus(corpus)
    device, workers = start(out, options, opened)
    progress = RunLog(out / "log.jsonl", report, options.vision_steps)
    own_tower = options.vision == "contrastive"
    encoder = None if own_tower else load_encoder(options.vision, device)
    tokenizer = run_tokenizer(opened, options)
    places = prepare(opened, out, options, tokenizer)
    training, held_out = (WindowArrays.load(out / "data" / f"{name}.npz") for name in ("train", "validation"))
    say_too_few(too_few_held_out(held_out, clusters_of(held_out, training)), report)
    if own_tower and not (out / "checkpoint" / "tower.pt").exists():
        report(f"{options.vision_steps} steps of a contrastive tower")
        train_tower(opened, out, options, progress)
    encoder = encoder or load_encoder(vision_of(out, options), device)
    setting = setting_of(opened, out, options, encoder, tokenizer, device)
    jobs = lm_jobs(setting) + encode_jobs(setting, opened, places)
    left = amount(jobs)
    lm = "steps of the language model" if options.lm == "nano" else "windows for the language model to read"
    report(f"{left['pictures']} of {len(places)} images to encode, {left['steps'] or left['windows']} {lm}")
    progress.phase(sum(left.values()), "steps, windows and images")
    run_jobs(first_job, jobs, workers, progress)
    return setting, places, progress
