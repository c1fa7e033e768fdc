"""`m3w train`: small Flamingos trained on a corpus, and what they say about it.

A run trains, for each seed, an arm on the corpus as it is (`true`), one on its pictures dealt out anew among the
documents (`reference`), and one on another such deal (`control`), all around one frozen language model and one set of
frozen image features. The difference of their losses on held-out documents is what the pictures tell.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards.tokenizer import Tokenizer, TokenizerError, load_tokenizer
from shards.windows import WindowOptions
from train_min import TrainError, validate
from train_min.data import (
    Corpus,
    Windows,
    cut_windows,
    displace,
    open_corpus,
    pair_windows,
    permute,
    pictures,
    read_picture,
    training_windows,
)
from train_min.lm import HuggingFaceLM, NanoConfig, NanoLM, head_count, load_causal_lm
from train_min.loop import LoopOptions, TrainingSet, fit, measured_peak, save, score, train_nano
from train_min.model import Flamingo, ModelConfig
from train_min.vision import Encoder, FeatureStore, fast_dtype, load_encoder
from train_min.workers import available_cores, keep_freed_memory, run_jobs

Report = Callable[[str], None]
PIECE = 256
"""Pictures that one job encodes."""


@dataclass(frozen=True)
class TrainOptions:
    """What `m3w train` can be told.

    lm: `nano` (trained on the training documents' text), or a language model by path or Hugging Face name.
    vision: `efficientnet-lite0`, `open_clip:MODEL/WEIGHTS`, or `contrastive`, a small tower trained on the corpus' own
        pictures and the text behind them for `vision_steps`.
    pairs: a folder of image-text pairs (m3w export --to pairs) to train on besides, with their weight in the loss.
    steps, rows, matrix_rate, rate, gate_rate, next_image: see `LoopOptions`.
    seeds: how many times every arm is trained. `seed` is the first.
    every: a gated layer before each every-th frozen block; 0 takes a third of the blocks.
    ruler: `permutation` or `placement` also trains on copies of the corpus that are wrong in a tenth, a quarter, a half
        and all of their documents, to show that the gain falls as it should.
    workers: training processes; None takes one for each core.
    device: `cpu`, `cuda`, or None for what there is.
    """

    lm: str = "nano"
    vision: str = "efficientnet-lite0"
    steps: int = 50
    rows: int = 4
    matrix_rate: float = 0.04
    rate: float = 3e-3
    gate_rate: float = 0.2
    next_image: float = 0.0
    seeds: int = 3
    seed: int = 0
    every: int = 3
    latents: int = 16
    resampler_layers: int = 2
    ruler: str = ""
    pairs: str = ""
    pairs_weight: float = 0.2
    vision_steps: int = 300
    lm_steps: int = 70
    lm_rows: int = 8
    lm_rate: float = 0.01
    lm_matrix_rate: float = 0.04
    workers: int | None = None
    device: str | None = None

    def loop(self) -> LoopOptions:
        return LoopOptions(
            steps=self.steps,
            rows=self.rows,
            matrix_rate=self.matrix_rate,
            rate=self.rate,
            gate_rate=self.gate_rate,
            next_image=self.next_image,
        )


@dataclass(frozen=True)
class Result:
    """What a run found: the sentence to print, and everything that result.json holds."""

    folder: Path
    sentence: str
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Arm:
    """One training: the pictures `permutation` says (None: the true ones), and the seed of weights and order."""

    name: str
    seed: int
    permutation: tuple[str, int, float] | None = None

    @property
    def file(self) -> str:
        return f"{self.name}-{self.seed}"


@dataclass(frozen=True)
class Setting:
    """What a worker needs to train an arm: everything is read from files."""

    out: Path
    store: Path
    patches: int
    features: int
    vocabulary: int
    options: TrainOptions
    loop: LoopOptions
    device: str

    def windows(self, split: str) -> Windows:
        return Windows.load(self.out / "data" / f"{split}.npz")

    def lookup(self, windows: Windows) -> Any:
        store = FeatureStore(self.store, self.patches, self.features)
        store.refresh()
        return store.table(windows.hashes)


def choose_device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("--device cuda, but torch finds no GPU here: leave it out")
    return torch.device(name)


def rearranged(windows: Windows, permutation: tuple[str, int, float] | None) -> tuple[Windows, np.ndarray]:
    """The windows with other pictures, and where they differ, (I,)."""
    if permutation is None:
        return windows, np.zeros(len(windows.images), bool)
    scope, seed, fraction = permutation
    if scope == "place":
        images = displace(windows, seed, fraction)
        return windows.with_images(images), images != windows.images
    images, replaced = permute(windows, scope, seed, fraction)
    return windows.with_images(images), replaced


def load_nano(folder: Path, dtype: torch.dtype) -> NanoLM:
    state = torch.load(folder / "checkpoint" / "lm.pt", map_location="cpu", weights_only=True)
    model = NanoLM(NanoConfig(**state["config"]), 0)
    model.load_state_dict(state["model"])
    return model.to(dtype)


def lm_job(setting: Setting, log: Callable[[dict[str, Any]], None]) -> None:
    """Train the nano language model on tiles of the training documents."""
    options = setting.options
    dtype = fast_dtype(torch.device("cpu"))
    windows = setting.windows("text")
    config = NanoConfig(windows.eoc_id + 1)
    loop = LoopOptions(
        steps=options.lm_steps, rows=options.lm_rows, rate=options.lm_rate, matrix_rate=options.lm_matrix_rate
    )
    model = train_nano(windows, config, loop, options.seed, dtype, lambda row: log({"arm": "lm", **row}))
    save({"config": asdict(config), "model": model.state_dict()}, setting.out / "checkpoint" / "lm.pt")


def encode_job(
    setting: Setting, corpus: Corpus, places: list[tuple[bytes, dict]], log: Callable[[dict[str, Any]], None]
) -> None:
    encoder = load_encoder(vision_of(setting.out, setting.options), torch.device(setting.device))
    store = FeatureStore(setting.store, encoder.patches, encoder.width)
    contents = ((digest, read_picture(corpus, place)) for digest, place in places)
    store.add(encoder, contents, lambda n: log({"arm": "features", "n": n}))


def first_job(kind: str, setting: Setting, *rest: Any) -> None:
    """What the arms wait for: the language model and the features."""
    if kind == "lm":
        lm_job(setting, *rest)
    else:
        encode_job(setting, *rest)


def build_model(setting: Setting, seed: int) -> Flamingo:
    device = torch.device(setting.device)
    options = setting.options
    lm: NanoLM | HuggingFaceLM
    if options.lm == "nano":
        lm, new = load_nano(setting.out, fast_dtype(device)), 0
    else:
        lm, new = load_causal_lm(options.lm, setting.vocabulary, fast_dtype(device)), 2
    config = ModelConfig(
        features=setting.features,
        every=options.every,
        n_latents=options.latents,
        n_resampler_layers=options.resampler_layers,
        n_heads=head_count(lm.width),
        n_new_tokens=new,
    )
    return Flamingo(lm, config, seed).to(device)


def arm_job(setting: Setting, arm: Arm, log: Callable[[dict[str, Any]], None]) -> dict[str, np.ndarray]:
    """Train one arm; its per-token losses (T,) on the validation windows under the names of the evaluations."""
    options = setting.options
    finished = setting.out / "arms" / f"{arm.file}.npz"
    if finished.exists():
        with np.load(finished) as file:
            return dict(file)
    device = torch.device(setting.device)
    model = build_model(setting, arm.seed)
    training, _ = rearranged(setting.windows("train"), arm.permutation)
    sets = [TrainingSet("windows", training, setting.lookup(training))]
    if options.pairs:
        pairs, _ = rearranged(setting.windows("pairs"), arm.permutation)
        sets.append(TrainingSet("pairs", pairs, setting.lookup(pairs), options.pairs_weight))
    peak = measured_peak(device, fast_dtype(device))
    fit(
        model,
        sets,
        setting.loop,
        arm.seed,
        lambda row: log({"arm": arm.name, "seed": arm.seed, **row}),
        setting.out / "checkpoint" / f"{arm.file}.pt",
        peak,
    )
    held_out = setting.windows("validation")
    features = setting.lookup(held_out)
    own, _ = rearranged(held_out, arm.permutation)
    losses = {"own": score(model, own, features)}
    if options.next_image:
        losses["next"] = score(model, own, features, follow=True)
    if arm.name.startswith("dose"):
        mixed, _ = rearranged(own, ("document", options.seed, 1.0))
        losses["document"] = score(model, mixed, features)
    if arm.name == "true":
        for scope in ("documents", "host", "document"):
            other, _ = rearranged(held_out, (scope, options.seed, 1.0))
            losses[scope] = score(model, other, features)
        blind = held_out.with_images(np.full_like(held_out.images, -1))
        losses["blind"] = score(model, blind, features)
        if arm.seed == options.seed:
            losses["lm"] = score(build_model(setting, arm.seed), blind, features)
    finished.parent.mkdir(parents=True, exist_ok=True)
    temporary = finished.with_name(f".{finished.name}")
    with temporary.open("wb") as file:
        np.savez(file, **losses)  # type: ignore[arg-type]
    temporary.replace(finished)
    return losses


class Progress:
    """Rows to log.jsonl, and a line now and then to the user."""

    def __init__(self, path: Path, report: Report, total: int):
        self.file = path.open("a", encoding="utf-8")
        self.report, self.total, self.done = report, total, 0
        self.started = self.last = time.monotonic()

    def __call__(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row, sort_keys=True) + "\n")
        self.done += row.get("n", 1)
        now = time.monotonic()
        if now - self.last >= 5:
            self.last = now
            left = (now - self.started) / self.done * max(0, self.total - self.done)
            what = row["arm"] if "seed" not in row else f"{row['arm']} seed {row['seed']}"
            loss = f", loss {sum(row['loss'].values()):.3f}" if "loss" in row else ""
            self.report(f"{self.done} of {self.total} steps and pictures, {what}{loss}, {left:.0f} s left")
            self.file.flush()

    def phase(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()


def vision_of(out: Path, options: TrainOptions) -> str:
    """What `load_encoder` is asked for in the run at `out`."""
    return f"contrastive:{out / 'checkpoint' / 'tower.pt'}" if options.vision == "contrastive" else options.vision


def train_tower(corpus: Corpus, out: Path, options: TrainOptions, log: Callable[[dict[str, Any]], None]) -> None:
    from train_min.contrastive import pretrain

    windows = training_windows(corpus, run_tokenizer(corpus, options), options.seed)
    places = pictures(corpus, {row.tobytes() for row in windows.hashes})
    path = out / "checkpoint" / "tower.pt"
    pretrain(
        windows, lambda digest: read_picture(corpus, places[digest]), options.vision_steps, options.seed, path, log
    )


def prepare(
    corpus: Corpus, out: Path, options: TrainOptions, encoder: Encoder, device: torch.device
) -> tuple[Setting, dict[bytes, dict[str, Any]]]:
    """Write the windows of the run to files. Raises TrainError for too little data."""
    tokenizer = run_tokenizer(corpus, options)
    training = training_windows(corpus, tokenizer, options.seed)
    if len(training) < 16:
        raise TrainError(
            f"{corpus.folder} has {len(training)} training windows, at least 16 are needed: build a larger corpus"
        )
    held_out = cut_windows(corpus, tokenizer, "validation", WindowOptions(policy="tile"))
    if not len(held_out):
        raise TrainError(
            f"{corpus.folder} has no held-out documents with windows: build it with a larger windows.validation"
        )
    text = training
    if options.lm == "nano":
        text = cut_windows(corpus, tokenizer, "train", WindowOptions(policy="tile"))
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    for name, windows in (("train", training), ("validation", held_out), ("text", text)):
        windows.save(out / "data" / f"{name}.npz")
    hashes = {row.tobytes() for windows in (training, held_out) for row in windows.hashes}
    places = pictures(corpus, hashes)
    if options.pairs:
        pairs, more = pair_windows(Path(options.pairs), tokenizer, {row.tobytes() for row in held_out.hashes})
        pairs.save(out / "data" / "pairs.npz")
        places = more | places
    folder = feature_folder(corpus, out) / encoder.key
    setting = Setting(
        out, folder, encoder.patches, encoder.width, tokenizer.image_id, options, options.loop(), str(device)
    )
    return setting, places


def run_tokenizer(corpus: Corpus, options: TrainOptions) -> Tokenizer:
    """The corpus' own for the nano model; another language model brings its own, and windows are cut anew."""
    if options.lm == "nano":
        return corpus.tokenizer
    try:
        return load_tokenizer(options.lm)
    except TokenizerError as error:
        raise TrainError(str(error)) from None


def feature_folder(corpus: Corpus, out: Path) -> Path:
    """Beside the corpus, so that later runs find them; in the run where the corpus may not be written."""
    folder = corpus.folder / "work" / "features"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return out / "features"
    return folder


RULERS = {"permutation": "documents", "placement": "place"}
DOSES = (0.1, 0.25, 0.5, 1.0)


def arms_of(options: TrainOptions) -> list[Arm]:
    """Every arm of a run. Raises TrainError for a ruler that there is not."""
    if options.ruler and options.ruler not in RULERS:
        raise TrainError(f"no ruler {options.ruler!r}: permutation or placement")
    arms = []
    for seed in range(options.seed, options.seed + options.seeds):
        arms.append(Arm("true", seed))
        arms.append(Arm("reference", seed, ("documents", 1000 + seed, 1.0)))
        arms.append(Arm("control", seed, ("documents", 2000 + seed, 1.0)))
        for dose in DOSES if options.ruler else ():
            if (options.ruler, dose) != ("permutation", 1.0):  # that is the control
                arms.append(Arm(f"dose-{dose:g}", seed, (RULERS[options.ruler], 2000 + seed, dose)))
    return arms


def run(corpus: Path, out: Path, options: TrainOptions, report: Report) -> Result:
    """Train on the corpus in the folder `corpus` and write checkpoint/, log.jsonl and result.json into `out`.

    Given again after an interruption it goes on. `report` takes lines for the user. Raises TrainError."""
    keep_freed_memory()
    started = time.monotonic()
    opened = open_corpus(corpus)
    device = choose_device(options.device)
    claim(out, opened, options)
    workers = 1 if device.type == "cuda" else options.workers or available_cores()
    progress = Progress(out / "log.jsonl", report, options.vision_steps)
    if options.vision == "contrastive" and not (out / "checkpoint" / "tower.pt").exists():
        report(f"{options.vision_steps} steps of a contrastive tower")
        train_tower(opened, out, options, progress)
    encoder = load_encoder(vision_of(out, options), device)
    setting, places = prepare(opened, out, options, encoder, device)
    store = FeatureStore(setting.store, encoder.patches, encoder.width)
    store.refresh()
    missing = store.missing(list(places))
    lm_steps = options.lm_steps if options.lm == "nano" else 0
    report(f"{len(missing)} of {len(places)} pictures to encode, {lm_steps} steps of the language model")
    jobs: list[tuple] = []
    if options.lm == "nano" and not (out / "checkpoint" / "lm.pt").exists():
        jobs.append(("lm", setting))
    for start in range(0, len(missing), PIECE):
        jobs.append(
            ("encode", setting, opened, [(digest, places[digest]) for digest in missing[start : start + PIECE]])
        )
    progress.phase(lm_steps + len(missing))
    for _ in run_jobs(first_job, jobs, workers, progress):
        pass
    prepared = time.monotonic() - started
    arms = arms_of(options)
    report(f"{len(arms)} trainings of {options.steps} steps on {min(workers, len(arms))} processes")
    progress.phase(len(arms) * options.steps)
    losses: dict[str, list[dict[str, np.ndarray]]] = {}
    finished = dict(run_jobs(arm_job, [(setting, arm) for arm in arms], workers, progress))
    for index, arm in enumerate(arms):
        losses.setdefault(arm.name, []).append(finished[index])
    progress.file.close()
    data = summarise(opened, setting, losses, places, read_log(out / "log.jsonl"))
    data["seconds"] = {"prepare": round(prepared, 1), "total": round(time.monotonic() - started, 1)}
    data["options"] = asdict(options)
    data["workers"] = workers
    (out / "result.json").write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False))
    report(data["sentence"])
    return Result(out, data["sentence"], data)


def claim(out: Path, corpus: Corpus, options: TrainOptions, other: Corpus | None = None) -> None:
    """Make `out` the folder of this run. Raises TrainError where it is another's."""
    stamp = json.dumps(
        {
            "corpus": str(corpus.folder.resolve()),
            "tokenizer": corpus.tokenizer.id,
            "against": str(other.folder.resolve()) if other else None,
            "options": asdict(replace(options, workers=None)),
        },
        sort_keys=True,
    )
    path = out / "options.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.read_text() != stamp:
                raise TrainError(f"{out} holds a run with other options or of another corpus: choose another -o")
        elif any(out.iterdir()):
            raise TrainError(f"{out} is not empty and holds no run: choose another -o")
        path.write_text(stamp)
    except OSError as error:
        raise TrainError(f"cannot write to {out}: {error.strerror or error}") from None


def summarise(
    corpus: Corpus,
    setting: Setting,
    losses: dict[str, list[dict[str, np.ndarray]]],
    places: dict[bytes, dict[str, Any]],
    log: list[dict[str, Any]],
) -> dict[str, Any]:
    """Everything that a report page needs."""
    options = setting.options
    windows, training = setting.windows("validation"), setting.windows("train")
    true, reference = losses["true"], losses["reference"]
    information = validate.information(windows, true, reference)
    control = validate.information(windows, losses["control"], reference)["gain"]
    penalties = {
        scope: validate.penalty(windows, true, scope, rearranged(windows, (scope, options.seed, 1.0))[1])
        for scope in ("documents", "host", "document")
    }
    chosen = validate.seen_images(windows).image >= 0
    tokenizer = run_tokenizer(corpus, options)
    width = validate.bytes_per_token(windows, tokenizer)
    lm = validate.mean_nll(windows, true[0]["lm"], chosen)
    blind = float(np.mean([validate.mean_nll(windows, entry["blind"], chosen) for entry in true]))
    gain = information["gain"]
    return {
        "sentence": validate.sentence(gain, control),
        "corpus": {
            "name": corpus.folder.name,
            "tokenizer": tokenizer.id,
            "training_windows": len(training),
            "training_documents": len(training.units),
            "training_tokens": len(training.tokens),
            "validation_windows": len(windows),
            "validation_documents": len(windows.units),
            "pictures": len(places),
        },
        "gain": gain,
        "gain_per_byte": {
            name: None if gain[name] is None else gain[name] / width for name in ("value", "low", "high")
        },
        "control": control,
        **{name: information[name] for name in ("by_distance", "by_language", "by_host", "per_seed")},
        "next": validate.information(windows, true, reference, "next", True) if options.next_image else None,
        "penalties": penalties,
        "ruler": ruler(windows, losses, options) if options.ruler else None,
        "lm_nll": lm,
        "nll": {
            name: float(np.mean([validate.mean_nll(windows, entry["own"], chosen) for entry in entries]))
            for name, entries in losses.items()
        },
        "text_drift": None if lm is None else blind - lm,
        "documents": validate.documents(
            windows, true, reference, lambda digest: places.get(digest, {"url": "", "alt": ""})
        ),
        "curves": curves(log),
    }


def ruler(windows: Windows, losses: dict[str, list[dict[str, np.ndarray]]], options: TrainOptions) -> dict[str, Any]:
    """How the gain, and under `placement` the penalty within the document, fall with the share of wrong documents; and
    by how much each dose is told from the corpus as it is."""
    chosen = validate.seen_images(windows).image >= 0
    points = []
    for dose in (0.0, *DOSES):
        name = "true" if dose == 0 else f"dose-{dose:g}"
        arms = losses.get(name) or losses["control"]
        point: dict[str, Any] = {"dose": dose}
        point["gain"] = validate.information(windows, arms, losses["reference"])["gain"]
        if dose:
            differences = [arm["own"] - true["own"] for arm, true in zip(arms, losses["true"], strict=True)]
            point["lost"] = validate.estimate(windows, differences, chosen).row()
        if "document" in arms[0]:
            penalties = []
            for seed, arm in zip(range(options.seed, options.seed + options.seeds), arms, strict=True):
                scope = RULERS[options.ruler]
                own = rearranged(windows, (scope, 2000 + seed, dose))[0] if dose else windows
                replaced = rearranged(own, ("document", options.seed, 1.0))[1]
                penalties.append(validate.penalty(windows, [arm], "document", replaced)["value"])
            known = [value for value in penalties if value is not None]
            point["within_document"] = float(np.mean(known)) if known else None
        points.append(point)
    return {"kind": options.ruler, "points": points}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of log.jsonl; where a run was interrupted and did a step again, the later row."""
    rows: dict[tuple, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the line at which a run was killed
            continue
        if "loss" in row:
            rows[row["arm"], row.get("seed", 0), row["step"]] = row
    return list(rows.values())


def curves(log: list[dict[str, Any]], points: int = 100) -> dict[str, list[dict[str, Any]]]:
    """Loss and gates of each arm and seed, at most about `points` steps each."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in log:
        arms.setdefault(f"{row['arm']}-{row.get('seed', 0)}", []).append(row)
    kept: dict[str, list[dict[str, Any]]] = {}
    for name, rows in arms.items():
        stride = max(1, len(rows) // points)
        kept[name] = [
            {key: row[key] for key in ("step", "loss", "gates", "tokens_per_second", "mfu") if key in row}
            for row in rows[::stride]
        ]
    return kept
