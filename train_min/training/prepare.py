"""Prepare what the variants need: windows, the language model, and the features of every image."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from shards.clips import FORMAT as CLIP
from shards.store import RemotePath
from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer
from shards.windows import WindowOptions
from train_min import TrainError
from train_min.data.features import FeatureStore
from train_min.data.pairs import pair_windows
from train_min.data.windows import (
    TrainingCorpus,
    WindowArrays,
    check_files,
    cut_windows,
    pictures,
    read_picture,
    read_pictures,
    seen_images,
    training_windows,
)
from train_min.model.flamingo import Flamingo, ModelConfig
from train_min.model.lm import HuggingFaceLM, NanoConfig, NanoLM
from train_min.model.vision import Encoder, choose_device, fast_dtype, load_encoder
from train_min.options import TrainOptions
from train_min.training.loop import TEXT_PARTS, Log, LoopOptions, lower_states, save, train_nano
from train_min.training.variants import Setting, build_model, gated_every
from train_min.training.workers import available_cores, expect_jobs, keep_freed_memory, single_threads

Places = dict[bytes, dict[str, Any]]
"""Maps a content hash to where the image is stored."""

TILES = WindowOptions(policy="tile")
"""Held-out windows are tiles in every recipe, so figures of corpora can be compared."""
FEWEST = 16
"""Minimum number of training windows of a run."""
PIECE = 256
"""Images encoded per job."""
MOST_STATES = 2 << 30
"""Maximum bytes of a file of `lower_states`; for larger sets the frozen blocks run in every step instead."""


def worker_count(options: TrainOptions, device: torch.device) -> int:
    return 1 if device.type == "cuda" else options.workers or available_cores()


def start(
    out: Path, options: TrainOptions, corpus: TrainingCorpus, other: TrainingCorpus | None = None
) -> tuple[torch.device, int]:
    """Check the files of a run's corpora, make `out` its folder, and start the process that forks workers. Returns the
    device and the number of workers. Raises TrainError like `check_files` and `claim`."""
    keep_freed_memory()
    for opened in (corpus, other):
        if opened is not None:
            check_files(opened)
    device = choose_device(options.device)
    claim(out, corpus, options, other)
    workers = worker_count(options, device)
    expect_jobs(workers)
    return device, workers


def claim(out: Path, corpus: TrainingCorpus, options: TrainOptions, other: TrainingCorpus | None = None) -> None:
    """Make `out` the folder of this run. Raises TrainError if it holds another run with progress, or a run of an
    earlier version of the corpus or of another file."""
    contents = {
        "corpus": content_of(corpus),
        "against": content_of(other) if other else None,
        "files": {name: hash_of_files(files) for name, files in named_files(options).items()},
    }
    rest = {
        "corpus": str(corpus.folder.resolve()),
        "against": str(other.folder.resolve()) if other else None,
        "options": asdict(replace(options, workers=None)),
    }
    stamp = json.dumps({**rest, "contents": contents}, sort_keys=True)
    path = out / "options.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            try:
                check_stamp(path, rest, contents)
            except TrainError:
                if (out / "variants").exists() or (out / "checkpoint").exists():
                    raise
                # nothing was trained yet, for example after a typing error in a command
                shutil.rmtree(out / "data", ignore_errors=True)
                for name in ("tokenizer.json", "log.jsonl"):
                    (out / name).unlink(missing_ok=True)
        elif any(out.iterdir()):
            raise TrainError(f"{out} is not empty and is not a run: choose another -o")
        path.write_text(stamp)
    except OSError as error:
        raise TrainError(f"cannot write to {out}: {error.strerror or error}") from None


def content_of(corpus: TrainingCorpus) -> dict[str, str]:
    """Identity of a corpus: the hash of its manifest, which lists the hash of every file."""
    manifest = hashlib.sha256((corpus.folder / "manifest.json").read_bytes()).hexdigest()
    return {"manifest": manifest, "tokenizer": corpus.tokenizer.id}


def named_files(options: TrainOptions) -> dict[str, list[Path]]:
    """Local files that options name; none for a name on a hub."""
    weights = options.vision.removeprefix("open_clip:").removeprefix("timm:").partition("/")[2]
    named = {"lm": (options.lm, "*"), "pairs": (options.pairs or "", "*.tar"), "vision": (weights, "*")}
    found = {}
    for name, (value, pattern) in named.items():
        path = Path(value)
        files = sorted(path.glob(pattern)) if path.is_dir() else [path]
        found[name] = [file for file in files if value and file.is_file()]
    return found


def hash_of_files(files: list[Path]) -> str:
    """Hash of the names and contents of files."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.name}\n{content}\n".encode())
    return digest.hexdigest()


def check_stamp(path: Path, rest: dict[str, Any], contents: dict[str, Any]) -> None:
    """Raises TrainError if the stamp at `path` is not that of the run described."""
    try:
        # as JSON stores them: numbers and lists
        found, wanted = json.loads(path.read_text()), json.loads(json.dumps(rest))
    except ValueError:
        found, wanted = None, rest
    if not isinstance(found, dict) or {name: found.get(name) for name in wanted} != wanted:
        raise TrainError(f"{path.parent} holds a run with other options or of another corpus: choose another -o")
    if found.get("contents") != contents:
        raise TrainError(
            f"{path.parent} holds a run, but the corpus, language model or another input has changed since: "
            "choose another -o, or delete that folder"
        )


def feature_folder(corpus: TrainingCorpus, out: Path) -> Path:
    """Store features beside the corpus for later runs, or in the run if the corpus is not writable, or in a store."""
    folder = corpus.folder / "work" / "features"
    if isinstance(folder, RemotePath):
        return out / "features"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return out / "features"
    return folder if os.access(folder, os.W_OK) else out / "features"


def run_tokenizer(corpus: TrainingCorpus, options: TrainOptions) -> Tokenizer:
    """The corpus' own tokenizer for the nano model; other language models bring their own, and windows are cut
    again."""
    if options.lm == "nano":
        return corpus.tokenizer
    try:
        return load_tokenizer(options.lm)
    except TokenizerError as error:
        raise TrainError(str(error)) from None


def check_amount(folder: Path, training: WindowArrays, held_out: WindowArrays) -> None:
    """Raises TrainError if there is too little data, or no held-out text sees an image."""
    if len(training) < FEWEST:
        raise TrainError(
            f"{folder} has {len(training)} training windows, the minimum is {FEWEST}: build a larger corpus"
        )
    if not len(held_out):
        raise TrainError(f"{folder} has no held-out documents with windows: build it with a larger windows.validation")
    if not (seen_images(held_out).image >= 0).any():
        raise TrainError(
            f"{folder} has no image followed by text in its held-out documents, so there is nothing to measure: "
            "build it with a larger windows.validation, or from pages whose images come before their text"
        )


def setting_of(
    corpus: TrainingCorpus,
    out: Path,
    options: TrainOptions,
    encoder: Encoder,
    tokenizer: Tokenizer,
    device: torch.device,
) -> Setting:
    store = feature_folder(corpus, out) / encoder.key
    return Setting(
        out,
        store,
        encoder.patches,
        encoder.width,
        tokenizer.image_id,
        options,
        LoopOptions.of(options, device.type),
        str(device),
    )


def prepare(corpus: TrainingCorpus, out: Path, options: TrainOptions, tokenizer: Tokenizer) -> Places:
    """Write the windows of the run to files and return where their images are stored. Raises TrainError if there is too
    little data."""
    training = training_windows(corpus, tokenizer, options.seed)
    held_out = cut_windows(corpus, tokenizer, "validation", TILES)
    check_amount(corpus.folder, training, held_out)
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    training.save(out / "data" / "train.npz")
    held_out.save(out / "data" / "validation.npz")
    if options.lm == "nano":
        cut_windows(corpus, tokenizer, "train", corpus.tiles).save(out / "data" / "text.npz")
    places = pictures(corpus, {row.tobytes() for windows in (training, held_out) for row in windows.hashes})
    if options.pairs:
        pairs, more = pair_windows(Path(options.pairs), tokenizer, held_out.picture_hashes())
        pairs.save(out / "data" / "pairs.npz")
        places = more | places
    if options.bridge != "flamingo" and any(place.get("format") == CLIP for place in places.values()):
        raise TrainError(f"--bridge {options.bridge} takes images, and this corpus has clips: use flamingo")
    return places


def vision_of(out: Path, options: TrainOptions) -> str:
    """Name of the image encoder of the run at `out`, for `load_encoder`."""
    return f"contrastive:{out / 'checkpoint' / 'tower.pt'}" if options.vision == "contrastive" else options.vision


def train_tower(corpus: TrainingCorpus, out: Path, options: TrainOptions, log: Log) -> None:
    """Write RUN/checkpoint/tower.pt."""
    from train_min.training.contrastive import pretrain

    windows = training_windows(corpus, run_tokenizer(corpus, options), options.seed)
    places = pictures(corpus, {row.tobytes() for row in windows.hashes})
    path = out / "checkpoint" / "tower.pt"
    pretrain(
        windows, lambda digest: read_picture(corpus, places[digest]), options.vision_steps, options.seed, path, log
    )


def lm_jobs(setting: Setting) -> list[tuple[Any, ...]]:
    """Jobs for the frozen language model: train it, or run its lower blocks over the windows."""
    if setting.options.lm == "nano":
        return [] if (setting.out / "checkpoint" / "lm.pt").exists() else [("lm", setting)]
    if setting.options.bridge != "flamingo":
        return []
    return [("states", setting, name) for name in sets_of(setting) if not setting.states_path(name).exists()]


def encode_jobs(setting: Setting, corpus: TrainingCorpus, places: Places) -> list[tuple[Any, ...]]:
    """Jobs for the images whose features are missing."""
    store = FeatureStore(setting.store, setting.patches, setting.features)
    store.refresh()
    missing = store.missing(list(places))
    pieces = [missing[start : start + PIECE] for start in range(0, len(missing), PIECE)]
    return [("encode", setting, corpus, [(digest, places[digest]) for digest in piece]) for piece in pieces]


def amount(jobs: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """Count the steps of the language model, the windows it reads, and the images to encode."""
    found = {"steps": 0, "windows": 0, "pictures": 0}
    for kind, setting, *rest in jobs:
        if kind == "lm":
            found["steps"] += setting.options.lm_steps
        elif kind == "states":
            found["windows"] += len(setting.windows(rest[0]))
        else:
            found["pictures"] += len(rest[1])
    return found


def first_job(kind: str, setting: Setting, *rest: Any) -> None:
    """Run a job of `lm_jobs` or `encode_jobs`."""
    jobs: dict[str, Callable[..., None]] = {"lm": lm_job, "states": states_job, "encode": encode_job}
    jobs[kind](setting, *rest)


def lm_job(setting: Setting, log: Log) -> None:
    """Train the nano language model on tiles of the training documents, and keep the states of all other windows."""
    options = setting.options
    dtype = fast_dtype(torch.device("cpu"))
    text = setting.windows("text")
    config = NanoConfig(text.eoc_id + 1, options.lm_width, options.lm_blocks)
    loop = LoopOptions(
        steps=options.lm_steps, rows=options.lm_rows, rate=options.lm_rate, matrix_rate=options.lm_matrix_rate
    )
    model = train_nano(text, config, loop, options.seed, dtype, lambda row: log({"variant": "lm", **row}))
    if options.bridge == "flamingo":  # with the others every block depends on the images
        keep_states(setting, model)
    save({"config": asdict(config), "model": model.state_dict()}, setting.out / "checkpoint" / "lm.pt")


def sets_of(setting: Setting) -> list[str]:
    """Names of the sets of windows that variants are trained or scored on."""
    return sorted(path.stem for path in (setting.out / "data").glob("*.npz") if path.stem != "text")


def small_enough(windows: WindowArrays, lm: NanoLM | HuggingFaceLM) -> bool:
    return len(windows.tokens) * lm.width * lm.head.element_size() <= MOST_STATES


def keep_states(setting: Setting, lm: NanoLM) -> None:
    """Write `lower_states` of every set of windows, except the language model's text, to files."""
    model = Flamingo(lm, ModelConfig(setting.features, every=gated_every(setting.options, lm)), 0)
    with single_threads(TEXT_PARTS) as threads:
        for name in sets_of(setting):
            windows = setting.windows(name)
            if small_enough(windows, lm):
                save(lower_states(model, windows, each=threads.map), setting.states_path(name))


def states_job(setting: Setting, name: str, log: Log) -> None:
    """Write the states of the windows `name`, if the language model's blocks can run separately."""
    model = build_model(setting, setting.options.seed)
    windows = setting.windows(name)
    assert isinstance(model, Flamingo) and isinstance(model.lm, HuggingFaceLM)
    if model.first > 0 and model.lm.halves_agree(model.first) and small_enough(windows, model.lm):
        states = lower_states(model, windows, lambda row: log({"variant": "language model", **row}))
        save(states, setting.states_path(name))


def encode_job(setting: Setting, corpus: TrainingCorpus, places: list[tuple[bytes, dict[str, Any]]], log: Log) -> None:
    encoder = load_encoder(vision_of(setting.out, setting.options), torch.device(setting.device))
    store = FeatureStore(setting.store, encoder.patches, encoder.width)
    store.add(encoder, read_pictures(corpus, places), lambda n: log({"variant": "features", "n": n}))
