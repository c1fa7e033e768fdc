"""`m3w evaluate`: few-shot accuracy of a trained run on a folder of labelled images.

The task cannot be guessed from text: every episode assigns the labels to the classes at random, so only the shots show
which label goes with which image. Two baselines are given: shuffled images, and always answering the most common label.
Beside them stands what is said of grey pictures, in which there is nothing to name.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shards.draws import hash64
from shards.errors import first_line
from shards.records import Text
from shards.stream import token_stream
from shards.tokenizer import Tokenizer, load_tokenizer
from train_min import TrainError
from train_min.data.features import FeatureStore
from train_min.measuring.generate import Prompt, beam, greedy, likelihoods
from train_min.model.flamingo import AroundLM
from train_min.model.vision import choose_device, load_encoder
from train_min.options import TrainOptions
from train_min.training.loop import LoopOptions, load
from train_min.training.prepare import vision_of
from train_min.training.variants import Setting, build_model

PICTURE = object()
GREYS = range(8, 256, 16)
WORDS = re.compile(r"[^\W\d_]+")
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of `m3w evaluate`.

    shots: number of examples; 0 shows two answers without their images, as in Flamingo. mode: `closed` ranks the labels
    by likelihood, `greedy` and `beam` generate. permute: assign the labels to the classes at random in every episode.
    rices: use the most similar images as shots, the most similar last (Yang et al. 2022, as in Flamingo), not random
    ones."""

    shots: tuple[int, ...] = (0, 4, 8, 16, 32)
    episodes: int = 100
    mode: str = "closed"
    permute: bool = True
    rices: bool = False
    prefix: str = "Output:"
    seed: int = 0


@dataclass(frozen=True)
class Item:
    path: Path
    label: str


def load_task(folder: Path) -> list[Item]:
    """Load images from folders named by label, or images with a .txt of the same name beside them.

    Raises TrainError if there are fewer than two labels."""
    items = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            caption = path.with_suffix(".txt")
            text = caption.read_text(encoding="utf-8", errors="replace") if caption.exists() else path.parent.name
            items.append(Item(path, " ".join(text.split())))
    if len({item.label for item in items}) < 2:
        raise TrainError(f"{folder}: needs images of at least two labels, as LABEL/*.jpg or with a .txt beside each")
    return items


def prompt_tokens(tokenizer: Tokenizer, answers: list[str], prefix: str, images: bool = True) -> np.ndarray:
    """Tokens of `<image>Output: ANSWER<EOC>` for each answer, then `<image>Output:`. Without `images` the shots are
    text only."""
    parts = []
    for answer in answers:
        nodes = [Text(f"{prefix} {answer}")]
        parts.append(token_stream([PICTURE, *nodes] if images else nodes, tokenizer).ids)
    parts.append(token_stream([PICTURE, Text(prefix)], tokenizer, close=False).ids)
    return np.concatenate(parts)


def answer_tokens(tokenizer: Tokenizer, answer: str, prefix: str) -> np.ndarray:
    """Token ids of ` ANSWER<EOC>` as they follow the prefix."""
    whole = token_stream([Text(f"{prefix} {answer}")], tokenizer).ids
    return whole[len(tokenizer.encode(prefix)) :]


def episode(
    items: list[Item], query: int, shots: int, options: EvaluateOptions, similar: Tensor | None
) -> tuple[list[int], dict[str, str]]:
    """Choose the items shown before the query, and the name of each label in this episode."""
    rng = np.random.default_rng(hash64(f"{options.seed}\n{query}\n{shots}"))
    others = np.array([index for index in range(len(items)) if index != query])
    count = min(shots or 2, len(others))
    if similar is not None and shots:
        nearest = similar[query].clone()
        nearest[query] = -float("inf")
        chosen = nearest.topk(count).indices.flip(0).tolist()
    else:
        chosen = rng.choice(others, count, replace=False).tolist()
    labels = sorted({item.label for item in items})
    names = rng.permutation(labels).tolist() if options.permute else labels
    return chosen, dict(zip(labels, names, strict=True))


def answer(
    model: AroundLM,
    tokenizer: Tokenizer,
    prompt: Prompt,
    labels: list[str],
    options: EvaluateOptions,
) -> str:
    if options.mode == "closed":
        answers = [answer_tokens(tokenizer, label, options.prefix) for label in labels]
        scores = likelihoods(model, prompt, answers, tokenizer.image_id)
        return labels[int(np.argmax(scores))]
    if options.mode == "greedy":
        (tokens,) = greedy(model, [prompt], tokenizer.image_id, tokenizer.eoc_id)
    else:
        tokens, _ = beam(model, prompt, tokenizer.image_id, tokenizer.eoc_id)
    return tokenizer.decode(tokens).strip()


def accuracy(
    model: AroundLM,
    tokenizer: Tokenizer,
    items: list[Item],
    features: Tensor,
    shots: int,
    options: EvaluateOptions,
    shuffled: bool = False,
) -> float:
    """Share of episodes answered correctly. `features` (n, S, V) belong to the items; `shuffled` shows other images."""
    order = np.arange(len(items))
    if shuffled:
        order = np.random.default_rng(options.seed).permutation(len(items))
    similar = None
    if options.rices:
        pooled = torch.nn.functional.normalize(features.float().mean(1), dim=-1)
        similar = pooled @ pooled.T
    queries = np.random.default_rng(options.seed + 1).permutation(len(items))[: options.episodes].tolist()
    labels = sorted({item.label for item in items})
    right = 0
    for query in queries:
        chosen, names = episode(items, query, shots, options, similar)
        tokens = prompt_tokens(tokenizer, [names[items[i].label] for i in chosen], options.prefix, images=shots > 0)
        shown = [*chosen, query] if shots else [query]
        prompt = Prompt(tokens, features[order[shown]])
        found = answer(model, tokenizer, prompt, [names[label] for label in labels], options)
        right += found == names[items[query].label]
    return right / len(queries)


def load_run(run: Path) -> tuple[AroundLM, Tokenizer, Setting]:
    """Load the first seed's model trained on the true images. Raises TrainError if there is none."""
    setting, tokenizer = run_setting(run)
    if setting.options.few_shot:
        raise TrainError(f"{run} was trained with --few-shot: give --ways 2")
    try:
        return load_model(setting), tokenizer, setting
    except (OSError, ValueError, KeyError) as error:
        raise TrainError(f"{run} holds no finished run ({error}): run m3w train first") from None
    except RuntimeError as error:  # weights of other shapes
        raise TrainError(
            f"the weights in {run} do not match its options ({first_line(error)}): train into another -o"
        ) from None


def run_setting(run: Path) -> tuple[Setting, Tokenizer]:
    """The setting and the tokenizer of a run; features are stored in the run. Raises TrainError if it is not one."""
    try:
        stamp = json.loads((run / "options.json").read_text())
        known = {entry.name for entry in fields(TrainOptions)}
        options = TrainOptions(**{name: value for name, value in stamp["options"].items() if name in known})
        tokenizer = load_tokenizer(str(run / "tokenizer.json"))
        device = choose_device(options.device)
        encoder = load_encoder(vision_of(run, options), device)
        store = run / "features" / encoder.key
        sizes = encoder.patches, encoder.width, tokenizer.image_id
        return Setting(run, store, *sizes, options, LoopOptions.of(options, device.type), str(device)), tokenizer
    except (OSError, ValueError, KeyError) as error:
        raise TrainError(f"{run} holds no finished run ({error}): run m3w train first") from None


def load_model(setting: Setting) -> AroundLM:
    """Load the finished `true` variant of the first seed. Raises TrainError if it is not finished."""
    path = setting.out / "checkpoint" / f"true-{setting.options.seed}.pt"
    state = load(path)
    if state["step"] < setting.options.steps:
        raise TrainError(
            f"the run in {setting.out} stopped after {state['step']} of {setting.options.steps} steps: "
            "rerun its m3w train command to resume"
        )
    model = build_model(setting, setting.options.seed)
    model.load_state_dict(state["model"], strict=False)
    return model.eval()


def encode_items(items: list[Item], setting: Setting) -> Tensor:
    """Features (n, S, V) of the items, stored in the run."""
    return encode_contents([item.path.read_bytes() for item in items], setting)


def encode_contents(images: list[bytes], setting: Setting) -> Tensor:
    """Features (n, S, V) of image files, stored in the run."""
    encoder = load_encoder(vision_of(setting.out, setting.options), torch.device(setting.device))
    hashes = [hashlib.sha256(content).digest() for content in images]
    contents = dict(zip(hashes, images, strict=True))
    store = FeatureStore(setting.store, encoder.patches, encoder.width)
    store.refresh()
    missing = store.missing(list(contents))
    if missing:
        store.add(encoder, ((digest, contents[digest]) for digest in missing), lambda n: None)
        store.refresh()
    return store.table(np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))(np.arange(len(images)))


def grey_pictures() -> list[bytes]:
    """Plain pictures of `GREYS`, without anything to name."""
    found = []
    for level in GREYS:
        file = io.BytesIO()
        Image.new("L", (224, 224), level).save(file, "png")
        found.append(file.getvalue())
    return found


def grey_answers(
    model: AroundLM, setting: Setting, tokenizer: Tokenizer, items: list[Item], features: Tensor, prefix: str
) -> dict[str, Any]:
    """What is said of grey pictures, and of as many of the task: the share of generated captions that name a word of a
    label (`open`), and the mean probability of the likeliest label (`closed`): 1 / labels if all are as likely."""
    labels = sorted({item.label for item in items})
    words = {word for label in labels for word in WORDS.findall(label.lower())} - {"grey", "gray"}
    answers = [answer_tokens(tokenizer, label, prefix) for label in labels]
    asked = prompt_tokens(tokenizer, [], prefix)
    places = np.linspace(0, len(items) - 1, len(GREYS)).round().astype(int)
    found: dict[str, Any] = {"labels": len(labels), "pictures": len(GREYS)}
    for name, shown in (("grey", encode_contents(grey_pictures(), setting)), ("task", features[places])):
        prompts = [Prompt(np.array([tokenizer.image_id]), row[None]) for row in shown]
        texts = greedy(model, prompts, tokenizer.image_id, tokenizer.eoc_id, length=32)
        named = [not words.isdisjoint(WORDS.findall(tokenizer.decode(text).lower())) for text in texts]
        scores = [likelihoods(model, Prompt(asked, row[None]), answers, tokenizer.image_id) for row in shown]
        found[name] = {
            "open": float(np.mean(named)),
            "closed": float(torch.tensor(scores).softmax(-1).amax(-1).mean()),
        }
    return found


def run_evaluate(run: Path, task: Path, options: EvaluateOptions, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure few-shot accuracy of a run on the images in `task` and write RUN/evaluate.json. Raises TrainError.

    In each row `shots` is the requested number and `shown` the actual one, limited to all images but the query."""
    if options.mode not in ("closed", "greedy", "beam"):
        raise TrainError(f"unknown mode {options.mode!r}: use closed, greedy or beam")
    if min(options.shots) < 0 or options.episodes < 1:
        raise TrainError("--shots is at least 0 and --episodes at least 1")
    items = load_task(task)
    model, tokenizer, setting = load_run(run)
    features = encode_items(items, setting)
    counts = Counter(item.label for item in items)
    majority = 1 / len(counts) if options.permute else max(counts.values()) / len(items)
    rows = []
    for shots in options.shots:
        shown = min(shots, len(items) - 1)
        row = {
            "shots": shots,
            "shown": shown,
            "accuracy": accuracy(model, tokenizer, items, features, shots, options),
            "shuffled": accuracy(model, tokenizer, items, features, shots, options, shuffled=True),
            "majority": majority,
        }
        rows.append(row)
        fewer = f" ({shots} requested; only {len(items)} images)" if shown < shots else ""
        report(
            f"{shown:2d} shots{fewer}: {row['accuracy']:.3f}, with shuffled images {row['shuffled']:.3f}, "
            f"commonest label {majority:.3f}"
        )
    grey = grey_answers(model, setting, tokenizer, items, features, options.prefix)
    report(
        f"grey pictures: {grey['grey']['open']:.3f} of captions name a word of a label, the likeliest label has "
        f"probability {grey['grey']['closed']:.3f}; of the task's pictures {grey['task']['open']:.3f} and "
        f"{grey['task']['closed']:.3f}; chance {1 / len(counts):.3f}"
    )
    result = {"task": task.name, "mode": options.mode, "permute": options.permute, "rices": options.rices, "rows": rows}
    result["grey"] = grey
    (run / "evaluate.json").write_text(json.dumps(result, indent=1, sort_keys=True))
    return result


def captions(setting: Setting, tokenizer: Tokenizer, n: int = 12) -> list[dict[str, str]]:
    """Captions the model generates for images of held-out documents: sha256 and text."""
    windows = setting.windows("validation")
    lookup = setting.lookup(windows)
    shown = list(dict.fromkeys(windows.images[windows.images >= 0].tolist()))
    shown = shown[:: max(1, len(shown) // n)][:n]
    prompts = [Prompt(np.array([tokenizer.image_id]), lookup(np.array([index]))) for index in shown]
    model = load_model(setting)
    texts = greedy(model, prompts, tokenizer.image_id, tokenizer.eoc_id, length=32)
    return [
        {"sha256": windows.hashes[index].tobytes().hex(), "text": tokenizer.decode(text).strip()}
        for index, text in zip(shown, texts, strict=True)
    ]
