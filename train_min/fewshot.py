"""`m3w train --few-shot`: a small Flamingo that learns from examples in its prompt, by meta-training.

A nano language model is trained on the windows without images, and must learn there to continue what began before:
`probe` measures whether it does, or whether another language model can, before any image is looked at. Gated layers
before each of its blocks are then trained on the windows with several images, with the loss on words that an earlier
image of the window explains (`answers`). Beside it stand a model trained on all tokens, and one whose language model
read nothing that comes back; `m3w evaluate --ways` compares them. The names mean something on one page only, so this
shows that the path from pictures to words can bind, not that it would emerge from a crawl (Chan et al. 2022, arXiv
2205.05055).
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards.tokenizer import Tokenizer
from train_min import TrainError
from train_min.data.answers import refrains, scattered, with_answers
from train_min.data.windows import (
    TrainingCorpus,
    WindowArrays,
    cut_windows,
    open_corpus,
    pictures,
    training_windows,
)
from train_min.measuring.results import RunLog
from train_min.model.flamingo import AroundLM
from train_min.model.lm import HuggingFaceLM, NanoConfig, NanoLM, packed_bias
from train_min.model.vision import fast_dtype, load_encoder
from train_min.options import Result, TrainOptions
from train_min.training.distributed import refuse_torchrun
from train_min.training.loop import Log, LoopOptions, Report, TrainingSet, fit, load, save, train_nano
from train_min.training.prepare import (
    FEWEST,
    Places,
    amount,
    encode_job,
    encode_jobs,
    run_tokenizer,
    setting_of,
    start,
    states_job,
    vision_of,
)
from train_min.training.variants import Setting, build_model
from train_min.training.workers import run_jobs

BINDS = 0.03
"""Smallest probe of a language model that binds. Chance is about 0.001; 2,000 steps of prose alone reached 0.008, of
refrains and prose 0.065 (docs/results/fewshot.md)."""
TEXT_TOKENS = 128
"""Length of the language model's windows."""
LM_DECAY = 0.3
"""Its rate falls over the last share of the steps: before the onset of binding a falling rate delays it."""
PROBES, PROBE_LENGTH = 128, 24
CONTROL, ALL, NAMES = "control", "all", "names"


@dataclass(frozen=True)
class Arm:
    """One training: `loss` on NAMES or on ALL tokens; the language model of `seed`, or the CONTROL."""

    name: str
    seed: int

    @property
    def file(self) -> str:
        return f"{self.name}-{self.seed}"

    @property
    def lm(self) -> str:
        return f"lm-{CONTROL if self.name == CONTROL else self.seed}"


def arms_of(options: TrainOptions) -> list[Arm]:
    """The trainings of a run. Only of nano it is known what it read, so another model has no control."""
    seeds = range(options.seed, options.seed + options.seeds)
    arms = [Arm(name, seed) for seed in seeds for name in (NAMES, ALL)]
    return [*arms, Arm(CONTROL, options.seed)] if options.lm == "nano" else arms


def language_models(options: TrainOptions) -> dict[str, Arm]:
    """The language models of a run by name, each with an arm that uses it."""
    arms = arms_of(options)
    return {arm.lm: arm for arm in arms} if options.lm == "nano" else {Path(options.lm).name: arms[0]}


def run_few_shot(corpus: Path, out: Path, options: TrainOptions, report: Report) -> Result:
    """Train on the corpus in the folder `corpus` and write checkpoint/, log.jsonl and few-shot.json into `out`.

    An interrupted run resumes when called again. Raises TrainError, also if the language model cannot bind."""
    refuse_torchrun("--few-shot")
    started = time.monotonic()
    opened = open_corpus(corpus)
    device, workers = start(out, options, opened)
    progress = RunLog(out / "log.jsonl", report, options.vision_steps)
    encoder = load_encoder(vision_of(out, options), device)
    setting = setting_of(opened, out, options, encoder, run_tokenizer(opened, options), device)
    places = prepare(opened, setting)
    jobs = lm_jobs(setting)
    encoding = encode_jobs(setting, opened, places)
    left = amount([*jobs, *encoding])
    models = sum(kind == "lm" for kind, *_ in jobs)
    report(f"{models} language models to train on text, {left['pictures']} of {len(places)} images to encode")
    progress.phase(sum(left.values()), "steps, windows and images")
    run_jobs(first_job, [*jobs, *encoding], workers, progress)
    probes = check_probes(setting, report)
    arms = arms_of(options)
    progress.trainings([arm_path(setting, arm) for arm in arms], options.steps, workers)
    run_jobs(arm_job, [(setting, arm) for arm in arms if not finished(setting, arm)], workers, progress)
    read = ["train", "text"] if options.lm == "nano" else ["train"]
    counts = {name: len(setting.windows(name)) for name in read}
    text = f" and {counts['text']} windows of text" if "text" in counts else ""
    sentence = (
        f"Meta-trained on {counts['train']} windows with several images{text} in {time.monotonic() - started:.0f} s. "
        f"To measure it: m3w evaluate {out} FOLDER --ways 2"
    )
    data = {"probes": probes, "windows": counts, "arms": [asdict(arm) for arm in arms], "sentence": sentence}
    (out / "few-shot.json").write_text(json.dumps(data, indent=1, sort_keys=True))
    report(sentence)
    return Result(out, sentence, data)


def prepare(corpus: TrainingCorpus, setting: Setting) -> Places:
    """Write the windows of the run to files: those with several images and, for nano, text without images and scattered
    prose. Returns where the images are stored. Raises TrainError if there is too little of one."""
    tokenizer = run_tokenizer(corpus, setting.options)
    texts = lm_texts(corpus, tokenizer) if setting.options.lm == "nano" else {}
    shown = training_windows(corpus, tokenizer, setting.options.seed)
    shown = with_answers(shown.only(np.diff(shown.image_starts) > 1), tokenizer)
    assert shown.answers is not None
    if len(shown) < FEWEST or not shown.answers.any():
        raise TrainError(
            f"{corpus.folder} has {len(shown)} training windows with several images, the minimum is {FEWEST}, in which "
            "words must come back: add pages of cards"
        )
    folder = setting.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    (setting.out / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    for name, windows in {"train": shown, **texts}.items():
        windows.save(folder / f"{name}.npz")
    return pictures(corpus, {row.tobytes() for row in shown.hashes})


def lm_texts(corpus: TrainingCorpus, tokenizer: Tokenizer) -> dict[str, WindowArrays]:
    """What the language models read: `text` without images, and the `prose` in it, scattered, for the control. Raises
    TrainError if there is too little."""
    tiles = replace(corpus.tiles, tokens=min(TEXT_TOKENS, corpus.tiles.tokens))
    every = cut_windows(corpus, tokenizer, "train", tiles)
    text = every.only(np.diff(every.image_starts) == 0)
    if len(text) < FEWEST:
        raise TrainError(
            f"{corpus.folder} has {len(text)} training windows without images, the text of the language model; the "
            f"minimum is {FEWEST}: build it with windows.min_images = 0"
        )
    prose = text.only(~refrains(text))
    return {"text": text, "prose": scattered(prose if len(prose) >= FEWEST else text)}


def lm_jobs(setting: Setting) -> list[tuple[Any, ...]]:
    """Jobs for the language models that are missing; another model than nano is trained already, and reads the windows
    once."""
    if setting.options.lm != "nano":
        missing = setting.options.bridge == "flamingo" and not setting.states_path("train").exists()
        return [("states", setting, "train")] if missing else []
    models = language_models(setting.options)
    return [("lm", setting, name, arm.seed) for name, arm in models.items() if not lm_path(setting, name).exists()]


def lm_path(setting: Setting, name: str) -> Path:
    return setting.out / "checkpoint" / f"{name}.pt"


def arm_path(setting: Setting, arm: Arm) -> Path:
    return setting.out / "checkpoint" / f"{arm.file}.pt"


def finished(setting: Setting, arm: Arm) -> bool:
    path = arm_path(setting, arm)
    return path.exists() and load(path)["step"] >= setting.options.steps


def first_job(kind: str, setting: Setting, *rest: Any) -> None:
    """Run a job of the first phase: train a language model, run its lower blocks, or encode images."""
    jobs: dict[str, Callable[..., None]] = {"lm": lm_job, "states": states_job, "encode": encode_job}
    jobs[kind](setting, *rest)


def lm_job(setting: Setting, name: str, seed: int, log: Log) -> None:
    """Train a language model on the windows without images; the CONTROL on scattered prose."""
    options = setting.options
    text = setting.windows("prose" if name.endswith(CONTROL) else "text")
    config = NanoConfig(text.eoc_id + 1, options.lm_width, options.lm_blocks)
    loop = LoopOptions(
        steps=options.lm_steps,
        rows=options.lm_rows,
        context=TEXT_TOKENS,
        rate=options.lm_rate,
        matrix_rate=options.lm_matrix_rate,
        decay=LM_DECAY,
    )
    dtype = fast_dtype(torch.device("cpu"))
    model = train_nano(text, config, loop, seed, dtype, lambda row: log({"variant": name, "seed": seed, **row}))
    save({"config": asdict(config), "model": model.state_dict()}, lm_path(setting, name))


@torch.no_grad()
def probe(lm: NanoLM | HuggingFaceLM, image_id: int) -> float:
    """Share of right predictions in the second half of `PROBE_LENGTH` random tokens said twice: after a token that
    occurred before, a language model that binds says what followed it then. Random tokens have no other order."""
    generator = torch.Generator().manual_seed(0)
    once = torch.randint(300, image_id, (PROBES, PROBE_LENGTH), generator=generator)
    tokens = torch.cat([once, once], 1).to(lm.head.device)
    positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    dtype = lm.head.dtype
    hidden = lm.run(lm.embed(tokens), positions, packed_bias(torch.zeros_like(tokens), dtype))
    said = (hidden @ lm.head.T).argmax(-1)
    return float((said[:, PROBE_LENGTH:-1] == tokens[:, PROBE_LENGTH + 1 :]).float().mean())


def check_probes(setting: Setting, report: Report) -> dict[str, float]:
    """The probe of every language model. Raises TrainError if one that read the refrains cannot bind."""
    found = {}
    for name, arm in language_models(setting.options).items():
        found[name] = probe(build_model(setting, arm.seed, arm.lm).lm, setting.vocabulary)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    report(f"probe of the language models, random tokens said twice: {shown}")
    cure = f"Train it longer (--lm-steps, delete {setting.out}), or on more text that repeats itself"
    for name, value in found.items():
        if value < BINDS and not name.endswith(CONTROL):
            raise TrainError(
                f"{name} cannot bind: it continues a sequence that it has seen before in {value:.3f} of cases, the "
                f"minimum is {BINDS}; no picture can be learnt from a prompt. "
                f"{cure if setting.options.lm == 'nano' else 'Choose another --lm'}"
            )
    return found


def arm_job(setting: Setting, arm: Arm, log: Log) -> None:
    """Train one arm."""
    windows = setting.windows("train")
    if arm.name == ALL:
        windows = replace(windows, answers=None)
    model = build_model(setting, arm.seed, arm.lm)
    entry = TrainingSet("windows", windows, setting.lookup(windows), states=setting.states("train"))
    told = partial(_log, log, arm)
    fit(model, [entry], setting.loop, arm.seed, told, arm_path(setting, arm))


def _log(log: Log, arm: Arm, row: dict[str, Any]) -> None:
    log({"variant": arm.name, "seed": arm.seed, **row})


def load_arm(setting: Setting, arm: Arm) -> AroundLM:
    """Load a finished arm. Raises TrainError if it is not finished."""
    state = load(arm_path(setting, arm))
    if state["step"] < setting.options.steps:
        raise TrainError(f"the run in {setting.out} is not finished: rerun its m3w train command to resume")
    model = build_model(setting, arm.seed, arm.lm)
    model.load_state_dict(state["model"], strict=False)
    return model.eval()
