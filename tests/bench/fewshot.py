"""Few-shot accuracy after meta-training on pages of cards, and how much of a crawl must be cards.

    python -m tests.bench.fewshot DIR [--seeds 3] [--mixtures] [--record]
    python -m tests.bench.fewshot DIR --seeds 1 --more [--record]

Generates a web, builds it, trains and measures with the commands of docs/few-shot.md. --mixtures also trains on 500
windows, of which 0, 1, 5, 25 and 100 % are of cards and the others of an ordinary miniweb, with the same language model
and steps. --more instead trains on three times as many pages of cards for three times as many steps, and measures
concepts in 2,000 episodes. What is in DIR already is not made again.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.results import Figure, record
from train_min.data.answers import with_answers
from train_min.data.windows import TrainingCorpus, WindowArrays, open_corpus, pictures, training_windows
from train_min.fewshot import ALL, NAMES, Arm, arm_job, load_arm
from train_min.measuring.evaluate import encode_items, load_task, run_setting
from train_min.training.prepare import encode_job, encode_jobs
from train_min.training.variants import Setting
from train_min.ways import WaysOptions, measure

COMMAND = "python -m tests.bench.fewshot"
DATA = "miniweb with 700 pages of names and 700 of cards"
MIXED = "500 windows of cards and of an ordinary miniweb of 1,000 pages"
SHARES = (0.0, 0.01, 0.05, 0.25, 1.0)
WINDOWS = 500


def m3w(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "pipeline.cli", *map(str, arguments)], check=True)


def corpus_of(folder: Path, cards: int = 700) -> Path:
    """A corpus of 700 pages of names and as many or more of cards."""
    corpus = folder / "corpus"
    if not (corpus / "manifest.json").exists():
        counts = ["--pages", "0", "--names", "700", "--cards", str(cards)]
        subprocess.run([sys.executable, "-m", "pipeline.miniweb", "-o", str(folder), *counts], check=True)
        m3w("build", folder / "miniweb.warc.gz", "-o", corpus, "--recipe", "examples/few-shot.toml")
    return corpus


def tasks_of(folder: Path) -> Path:
    if not (folder / "task").exists():
        arguments = ["-o", str(folder / "task"), "--format", "cards", "--pages", "3200"]
        subprocess.run([sys.executable, "-m", "pipeline.miniweb", *arguments], check=True)
    return folder / "task"


def curves(folder: Path, seeds: int) -> tuple[list[Figure], float]:
    """Train and measure; the figures, and the seconds that training took."""
    corpus, tasks, run = corpus_of(folder / "cards"), tasks_of(folder), folder / "run"
    started = time.monotonic()
    if not (run / "few-shot.json").exists():
        m3w("train", corpus, "-o", run, "--few-shot", "--seeds", seeds)
    seconds = time.monotonic() - started
    found: dict[str, Any] = {}
    for name, options in {
        "unseen-2": (tasks / "unseen", "--ways", 2),
        "seen-2": (tasks / "seen", "--ways", 2, *at_shots(8)),
        "unseen-5": (tasks / "unseen", "--ways", 5, *at_shots(10)),
        "unseen-2-concept": (tasks / "unseen", "--ways", 2, "--concept", *at_shots(2, 4, 8, 16)),
    }.items():
        path = run / f"ways-{name}.json"
        if not path.exists():
            m3w("evaluate", run, *options)
        found[name] = json.loads(path.read_text())["models"]
    return figures(found), seconds


def more(folder: Path, seeds: int) -> list[Figure]:
    """The lowest of the seeds, and what needs no learning."""
    run = folder / "run-more"
    if not (run / "few-shot.json").exists():
        corpus = corpus_of(folder / "cards-more", cards=2100)
        m3w("train", corpus, "-o", run, "--few-shot", "--seeds", seeds, "--steps", 750)
    path = run / "ways-unseen-2-concept.json"
    if not path.exists():
        options = ("--ways", 2, "--concept", "--episodes", 2000, *at_shots(8, 16))
        m3w("evaluate", run, tasks_of(folder) / "unseen", *options)
    models = json.loads(path.read_text())["models"]
    rows = [row for name, rows in models.items() if name.startswith("names") for row in rows]
    made = []
    for shots, goal in ((8, ">= 0.76"), (16, ">= 0.82")):
        here = [row for row in rows if row["shots"] == shots]
        what = f"three times the cards and steps: concept accuracy, {shots} shots"
        made.append(Figure(what, round(min(row["accuracy"] for row in here), 3), "", goal))
        for name, column in (("nearest neighbour", "nearest"), ("class mean", "mean")):
            made.append(Figure(f"{what}: {name}", round(next(row[column] for row in here if column in row), 3)))
    return made


def at_shots(*counts: int) -> list[object]:
    return [word for count in counts for word in ("--shots", count)]


def figures(found: dict[str, Any]) -> list[Figure]:
    """The goals of few-shot learning: the lowest of the seeds, and controls as their distance from chance."""

    def at(task: str, shots: int, arm: str, column: str = "accuracy") -> list[float]:
        rows = [row for name, rows in found[task].items() if name.startswith(arm) for row in rows]
        return [row[column] for row in rows if row["shots"] == shots and column in row]

    def figure(name: str, values: list[float], goal: str = "") -> Figure:
        return Figure(name, round(min(values), 3), "", goal)

    made = []
    for shots, goal in ((0, ""), (1, ""), (2, ">= 0.95"), (4, ""), (8, ">= 0.98"), (16, ""), (32, "")):
        made.append(figure(f"2-way accuracy, unseen classes, {shots} shots", at("unseen-2", shots, "names"), goal))
    made.append(figure("2-way accuracy, training classes, 8 shots", at("seen-2", 8, "names")))
    made.append(figure("2-way accuracy, loss on all tokens, 8 shots", at("unseen-2", 8, "all")))
    made.append(figure("2-way accuracy, nearest neighbour, 8 shots", at("unseen-2", 8, "names", "nearest")))
    made.append(figure("5-way accuracy, unseen classes, 10 shots", at("unseen-5", 10, "names"), ">= 0.9"))
    for shots, goal in ((2, ">= 0.7"), (4, ""), (8, ">= 0.76"), (16, ">= 0.82")):
        made.append(figure(f"concept accuracy, {shots} shots", at("unseen-2-concept", shots, "names"), goal))
    for name, column in (("nearest neighbour", "nearest"), ("class mean", "mean")):
        made.append(figure(f"concept accuracy of {name}, 16 shots", at("unseen-2-concept", 16, "names", column)))
    # 400 episodes at chance
    error = math.sqrt(0.25 / 400)
    foreign = [abs(value - 0.5) / error for shots in (2, 4, 8) for value in at("unseen-2", shots, "names", "foreign")]
    blind = [abs(value - 0.5) / error for shots in (2, 4, 8) for value in at("unseen-2", shots, "control")]
    made.append(Figure("foreign pictures: largest distance from chance", round(max(foreign), 2), "s.e.", "<= 3"))
    made.append(
        Figure("control without what comes back: largest distance from chance", round(max(blind), 2), "s.e.", "<= 3")
    )
    return made


def mixtures(folder: Path) -> list[Figure]:
    """Few-shot accuracy by the share of windows that are cards, with the loss on all tokens and on answers, and the
    first seed's language model."""
    ordinary, tasks, run = ordinary_corpus(folder / "ordinary"), tasks_of(folder), folder / "run"
    setting, tokenizer = run_setting(run)
    cards, corpus = setting.windows("train"), open_corpus(ordinary)
    other = training_windows(corpus, tokenizer, 0)
    other = with_answers(other.only(np.diff(other.image_starts) > 1), tokenizer)
    items = load_task(tasks / "unseen")
    features = encode_items(items, setting)
    setting = replace(setting, store=folder / "cards/corpus/work/features" / setting.store.name)
    encode_all(setting, corpus, other)
    made = []
    for share in SHARES:
        out = folder / f"share-{share:g}"
        if not out.exists():
            (out / "data").mkdir(parents=True)
            (out / "checkpoint").mkdir()
            mixed(cards, other, round(share * WINDOWS)).save(out / "data" / "train.npz")
            shutil.copy(run / "checkpoint" / "lm-0.pt", out / "checkpoint")
        here = replace(setting, out=out)
        for name in (ALL, NAMES):
            arm = Arm(name, 0)
            arm_job(here, arm, lambda row: None)
            options = WaysOptions(2, shots=(2, 8))
            rows = measure(load_arm(here, arm), tokenizer, features, [item.label for item in items], options, False)
            loss = "all tokens" if name == ALL else "answers"
            for row in rows:
                what = f"2-way accuracy, {share:.0%} cards, loss on {loss}, {row['shots']} shots"
                made.append(Figure(what, round(row["accuracy"], 3)))
                print(what, made[-1].value, f"foreign {row['foreign']:.3f}", flush=True)
    return made


def ordinary_corpus(folder: Path) -> Path:
    """A corpus of miniweb as it is, for its English and other pages alike."""
    corpus = folder / "corpus"
    if not (corpus / "manifest.json").exists():
        arguments = ["-o", str(folder), "--pages", "1000"]
        subprocess.run([sys.executable, "-m", "pipeline.miniweb", *arguments], check=True)
        m3w("build", folder / "miniweb.warc.gz", "-o", corpus)
    return corpus


def encode_all(setting: Setting, corpus: TrainingCorpus, windows: WindowArrays) -> None:
    """Encode the images of the ordinary windows into the store of the cards."""
    places = pictures(corpus, {row.tobytes() for row in windows.hashes})
    for job in encode_jobs(setting, corpus, places):
        encode_job(*job[1:], lambda row: None)


def mixed(cards: WindowArrays, other: WindowArrays, count: int) -> WindowArrays:
    """`count` windows of cards and WINDOWS - count others, or as many as there are."""
    rng = np.random.default_rng(0)
    parts = []
    for windows, wanted in ((cards, count), (other, WINDOWS - count)):
        chosen = np.zeros(len(windows), bool)
        chosen[rng.permutation(len(windows))[:wanted]] = True
        parts.append(windows.only(chosen))
    one, two = parts
    assert one.answers is not None and two.answers is not None
    return replace(
        one,
        tokens=np.concatenate([one.tokens, two.tokens]),
        starts=np.concatenate([one.starts, two.starts[1:] + one.starts[-1]]),
        images=np.concatenate([one.images, np.where(two.images < 0, -1, two.images + len(one.hashes))]),
        image_starts=np.concatenate([one.image_starts, two.image_starts[1:] + one.image_starts[-1]]),
        unit=np.concatenate([one.unit, two.unit + len(one.units)]),
        hashes=np.concatenate([one.hashes, two.hashes]),
        fetched=np.concatenate([one.fetched, two.fetched]),
        units=one.units + two.units,
        window_ids=one.window_ids + two.window_ids,
        answers=np.concatenate([one.answers, two.answers]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--mixtures", action="store_true")
    parser.add_argument("--more", action="store_true", help="three times as many cards and steps")
    parser.add_argument("--record", action="store_true", help="write the figures to results/fewshot.json")
    options = parser.parse_args()
    made, seconds = (
        (more(options.folder, options.seeds), 0.0) if options.more else curves(options.folder, options.seeds)
    )
    if seconds > 10:  # not taken from an earlier run
        made.append(Figure("training, one seed of three arms", round(seconds / options.seeds), "s", "< 180"))
    for figure in made:
        print(f"{figure.figure}: {figure.value} {figure.unit}")
    if options.record:
        data = DATA.replace("and 700", "and 2,100") if options.more else DATA
        record("fewshot", made, f"{COMMAND} DIR --seeds {options.seeds}{' --more' * options.more}", data)
    if options.mixtures:
        made = mixtures(options.folder)
        if options.record:
            record("fewshot", made, f"{COMMAND} DIR --mixtures", MIXED)


if __name__ == "__main__":
    main()
