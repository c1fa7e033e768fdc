"""The variants of a run: one training each, on the corpus' own images or on a shuffle of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train_min import TrainError
from train_min.data.features import FeatureStore
from train_min.data.permute import displace, permute
from train_min.data.windows import Losses, WindowArrays
from train_min.model.flamingo import AroundLM, Flamingo, ModelConfig
from train_min.model.lm import HuggingFaceLM, NanoConfig, NanoLM, head_count, load_causal_lm
from train_min.model.prefix import PrefixLM
from train_min.model.vision import fast_dtype
from train_min.options import TrainOptions
from train_min.training.loop import Log, LoopOptions, TrainingSet, fit, load, measured_peak, process_rank, score

SCOPES = ("documents", "host", "document")
DOSE_RESPONSES = {"permutation": "documents", "placement": "place"}
BLIND = "blind"
DOSES = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Variant:
    """One training: the images as `permutation` says (None: the true ones; scope `BLIND`: none), and the seed of
    weights and order."""

    name: str
    seed: int
    permutation: tuple[str, int, float] | None = None

    @property
    def file(self) -> str:
        return f"{self.name}-{self.seed}"


@dataclass(frozen=True)
class Setting:
    """What a worker needs to train a variant; everything is read from files."""

    out: Path
    store: Path
    patches: int
    features: int
    vocabulary: int
    options: TrainOptions
    loop: LoopOptions
    device: str

    def windows(self, name: str) -> WindowArrays:
        return WindowArrays.load(self.out / "data" / f"{name}.npz")

    def losses_path(self, variant: str) -> Path:
        return self.out / "variants" / f"{variant}.npz"

    def losses(self, variant: str) -> Losses:
        """Load the losses of a finished variant."""
        with np.load(self.losses_path(variant)) as file:
            return dict(file)

    def states_path(self, name: str) -> Path:
        return self.out / "data" / f"{name}-states.pt"

    def states(self, name: str) -> torch.Tensor | None:
        """`lower_states` of these windows, memory-mapped, if the run keeps them."""
        path = self.states_path(name)
        return torch.load(path, mmap=True, weights_only=True) if path.exists() else None

    def lookup(self, windows: WindowArrays) -> Any:
        store = FeatureStore(self.store, self.patches, self.features)
        store.refresh()
        return store.table(windows.hashes)

    def training_set(self, name: str, permutation: tuple[str, int, float] | None, weight: float = 1.0) -> TrainingSet:
        windows, _ = rearranged(self.windows(name), permutation)
        pairs = name == "pairs"
        shown = "pairs" if pairs else "windows"
        return TrainingSet(shown, windows, self.lookup(windows), weight, self.states(name), interleaved=not pairs)


def variants_of(options: TrainOptions) -> list[Variant]:
    """All variants of a run. The true ones, which take longest to evaluate, each follow a shorter one: of two processes
    one then gets all of them, and both finish the nine variants of three seeds together. Raises TrainError for an
    unknown dose response."""
    if options.dose_response and options.dose_response not in DOSE_RESPONSES:
        raise TrainError(f"unknown dose response {options.dose_response!r}: use permutation or placement")
    seeds = range(options.seed, options.seed + options.seeds)
    variants = []
    for seed in seeds:
        variants += [Variant("reference", seed, ("documents", 1000 + seed, 1.0)), Variant("true", seed)]
    for seed in seeds:
        for dose in DOSES if options.dose_response else ():
            if (options.dose_response, dose) != ("permutation", 1.0):  # that is the control
                variants.append(
                    Variant(f"dose-{dose:g}", seed, (DOSE_RESPONSES[options.dose_response], 2000 + seed, dose))
                )
        if options.dose_response:
            variants.append(Variant(BLIND, seed, (BLIND, seed, 1.0)))
        variants.append(Variant("control", seed, ("documents", 2000 + seed, 1.0)))
    return variants


def rearranged(windows: WindowArrays, permutation: tuple[str, int, float] | None) -> tuple[WindowArrays, np.ndarray]:
    """The windows with other images, and where they differ, (I,)."""
    if permutation is None:
        return windows, np.zeros(len(windows.images), bool)
    scope, seed, fraction = permutation
    if scope == BLIND:
        return windows.with_images(np.full_like(windows.images, -1)), windows.images >= 0
    if scope == "place":
        images = displace(windows, seed, fraction)
        return windows.with_images(images), images != windows.images
    images, replaced = permute(windows, scope, seed, fraction)
    return windows.with_images(images), replaced


def load_nano(folder: Path, dtype: torch.dtype, name: str = "lm") -> NanoLM:
    """Load the nano language model `name` of the run in `folder`."""
    state = load(folder / "checkpoint" / f"{name}.pt")
    model = NanoLM(NanoConfig(**state["config"]), 0)
    model.load_state_dict(state["model"])
    return model.to(dtype)


def gated_every(options: TrainOptions, lm: NanoLM | HuggingFaceLM) -> int:
    """Number of blocks per gated layer (Flamingo's M)."""
    if options.every:
        return options.every
    return lm.n_layers if options.lm == "nano" else max(1, lm.n_layers // 3)


def model_config(options: TrainOptions, lm: NanoLM | HuggingFaceLM, features: int) -> ModelConfig:
    return ModelConfig(
        features=features,
        every=gated_every(options, lm),
        n_latents=options.latents,
        n_resampler_layers=options.resampler_layers,
        n_heads=head_count(lm.width),
        n_new_tokens=0 if options.lm == "nano" else 2,
        bridge=options.bridge,
    )


@lru_cache(maxsize=1)
def _causal_lm(name: str, vocabulary: int, dtype: torch.dtype, changed: int) -> HuggingFaceLM:
    """`load_causal_lm`, once per process: all models share the frozen one."""
    return load_causal_lm(name, vocabulary, dtype)


def build_model(setting: Setting, seed: int, nano: str = "lm") -> AroundLM:
    """Build an untrained model with weights drawn from `seed`; `nano` is the name of the run's language model."""
    device, options = torch.device(setting.device), setting.options
    lm: NanoLM | HuggingFaceLM
    if options.lm == "nano":
        lm = load_nano(setting.out, fast_dtype(device), nano)
    else:
        path = Path(options.lm)
        changed = path.stat().st_mtime_ns if path.exists() else 0
        lm = _causal_lm(options.lm, setting.vocabulary, fast_dtype(device), changed)
    kind = Flamingo if options.bridge == "flamingo" else PrefixLM
    return kind(lm, model_config(options, lm, setting.features), seed).to(device)


def trained_model(setting: Setting, variant: str, seed: int, order: int, sets: list[TrainingSet], log: Log) -> AroundLM:
    """Train the variant `variant` with the weights of `seed`; `order` seeds the order of its windows."""
    device = torch.device(setting.device)
    model = build_model(setting, seed)
    fit(
        model,
        sets,
        setting.loop,
        order,
        lambda row: log({"variant": variant, "seed": seed, **row}),
        setting.out / "checkpoint" / f"{variant}-{seed}.pt",
        measured_peak(device, fast_dtype(device)),
    )
    return model


def once(path: Path, make: Callable[[], Losses]) -> None:
    """Unless `path` exists, write the result of `make` there atomically."""
    if path.exists():
        return
    arrays = make()
    if arrays:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)


def variant_job(setting: Setting, variant: Variant, log: Log) -> None:
    """Train one variant and write its per-token losses (T,) on the validation windows, by evaluation name. With several
    processes only the first evaluates."""
    options = setting.options

    def make() -> Losses:
        sets = [setting.training_set("train", variant.permutation)]
        if options.pairs:
            sets.append(setting.training_set("pairs", variant.permutation, options.pairs_weight))
        model = trained_model(setting, variant.name, variant.seed, variant.seed, sets, log)
        return evaluated(setting, variant, model) if process_rank() == 0 else {}

    once(setting.losses_path(variant.file), make)


def evaluated(setting: Setting, variant: Variant, model: AroundLM) -> Losses:
    """Losses on held-out windows, with images arranged as in training; for the true variant also with other images."""
    options = setting.options
    held_out = setting.windows("validation")
    features, states = setting.lookup(held_out), setting.states("validation")
    own, _ = rearranged(held_out, variant.permutation)

    def losses(windows: WindowArrays, model: AroundLM = model, follow: bool = False) -> np.ndarray:
        return score(model, windows, features, follow=follow, states=states)

    found = {"own": losses(own)}
    if options.next_image:
        found["next"] = losses(own, follow=True)
    if variant.name.startswith("dose"):
        found["document"] = losses(rearranged(own, ("document", options.seed, 1.0))[0])
    if variant.name == "true":
        for scope in SCOPES:
            found[scope] = losses(rearranged(held_out, (scope, options.seed, 1.0))[0])
        blind, _ = rearranged(held_out, (BLIND, options.seed, 1.0))
        found["blind"] = losses(blind)
        if variant.seed == options.seed:
            found["lm"] = losses(blind, build_model(setting, variant.seed))
    return found
