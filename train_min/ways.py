"""`m3w evaluate --ways N`: what a model learns from examples in its prompt, and what else could explain it.

Every episode draws N classes, deals them new invented names, and shows a number of examples balanced over the classes
before the query. Only the pictures tell which name comes next. Beside the accuracy stand: the same with *foreign*
pictures in the shots, nearest neighbour and class mean on the frozen features, shots chosen by similarity (RICES), and
how far the accuracy moves with the order of the shots and with the prompt."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shards.draws import hash64
from shards.invented import invented_names
from shards.tokenizer import Tokenizer
from train_min import TrainError
from train_min.fewshot import Arm, arms_of, load_arm
from train_min.measuring.evaluate import answer_tokens, encode_items, load_model, load_task, prompt_tokens, run_setting
from train_min.measuring.generate import Prompt, Session, prompt_batch
from train_min.model.flamingo import AroundLM
from train_min.training.variants import Setting

PROMPTS = ("This is a", "Output:", "We call it", "What is it?")
"""The first is used; the others show how far the accuracy depends on it."""
ORDERS = 3
SPREAD_AT = (2, 8)
"""Numbers of shots for which orders and prompts are compared, which takes six times as long as the accuracy."""
ROWS = 32
"""Prompts read at a time. With `--bridge linear` one of 32 shots is some 1,900 positions long."""


@dataclass(frozen=True)
class WaysOptions:
    """Options of `m3w evaluate --ways`. shots: examples in all, balanced over the `ways` classes. concept: the parts of
    a label between hyphens are attributes, and a class is one value of one attribute, with the others free."""

    ways: int
    shots: tuple[int, ...] = (0, 1, 2, 4, 8, 16, 32)
    episodes: int = 400
    concept: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Episode:
    """`names` of the classes; items and classes of the shots in order, of the query, and a foreign item per shot.
    `pools`: the items of each class, without the query."""

    names: list[str]
    shots: list[int]
    classes: list[int]
    foreign: list[int]
    query: int
    right: int
    pools: list[list[int]]


def class_pools(labels: list[str], concept: bool) -> list[dict[str, list[int]]]:
    """Ways to sort the items into classes, each a dict of items by class: by label or, with `concept`, one for each
    attribute. Raises TrainError if labels do not all have the same number of attributes."""
    parts = [label.split("-") if concept else [label] for label in labels]
    if len({len(part) for part in parts}) != 1 or (concept and len(parts[0]) < 2):
        raise TrainError("--concept needs labels of the same number of attributes, such as red-star and blue-ring")
    sorted_by = []
    for place in range(len(parts[0])):
        pools: dict[str, list[int]] = defaultdict(list)
        for item, part in enumerate(parts):
            pools[part[place]].append(item)
        sorted_by.append(dict(pools))
    return sorted_by


def draw_episode(sorted_by: list[dict[str, list[int]]], shots: int, options: WaysOptions, number: int) -> Episode:
    """Episode `number`: classes, names and query are the same for every number of shots."""
    rng = random.Random(hash64(f"{options.seed}\n{number}"))
    pools = rng.choice([by for by in sorted_by if len(by) >= options.ways])
    classes = rng.sample(sorted(pools), options.ways)
    names = invented_names(rng, options.ways)
    right = rng.randrange(options.ways)
    query = rng.choice(pools[classes[right]])
    inside = [[item for item in pools[name] if item != query] for name in classes]
    others = [item for name, items in sorted(pools.items()) if name not in classes for item in items]
    order = rng.sample(range(options.ways), options.ways)
    rng = random.Random(hash64(f"{options.seed}\n{number}\n{shots}"))
    shown = [order[place % options.ways] for place in range(shots)]
    rng.shuffle(shown)
    left = [rng.sample(items, len(items)) for items in inside]
    chosen = [left[number][shown[:place].count(number) % len(left[number])] for place, number in enumerate(shown)]
    # with two values of an attribute in all, there are no other classes
    foreign = [rng.choice(others or inside[0] + inside[1]) for _ in chosen]
    return Episode(names, chosen, shown, foreign, query, right, inside)


def said(
    model: AroundLM, tokenizer: Tokenizer, latents: Tensor, episodes: list[Episode], prompt: str, foreign: bool = False
) -> np.ndarray:
    """Index of the likeliest name in each episode, (E,). `latents` (n, R, D) belong to the items. Without shots, the
    names are said without pictures, as in Flamingo."""
    pieces: dict[str, np.ndarray] = {}
    end = prompt_tokens(tokenizer, [], prompt)
    rows: list[Prompt] = []
    answers: list[list[np.ndarray]] = []
    for episode in episodes:
        for name in episode.names:
            pieces[name] = prompt_tokens(tokenizer, [name], prompt, images=bool(episode.shots))[: -len(end)]
        spoken = [episode.names[number] for number in episode.classes] or episode.names
        shown = [*(episode.foreign if foreign else episode.shots), episode.query]
        rows.append(Prompt(np.concatenate([*(pieces[name] for name in spoken), end]), latents[shown]))
        # without EOC, which tells nothing
        answers.append([answer_tokens(tokenizer, name, prompt)[:-1] for name in episode.names])
    found: list[np.ndarray] = []
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        found.append(log_likelihoods(model, rows[part], answers[part], tokenizer.image_id).argmax(1))
    return np.concatenate(found)


@torch.inference_mode()
def log_likelihoods(
    model: AroundLM, prompts: list[Prompt], answers: list[list[np.ndarray]], image_id: int
) -> np.ndarray:
    """Log-likelihood (nats) of each prompt's answers after it, (prompts, answers); the prompts' features are latents.
    Every prompt is read once."""
    batch = prompt_batch(prompts, image_id)
    batch.latents = batch.features[0][:, 0]
    session = Session(model, batch)
    every = [answer for choices in answers for answer in choices]
    session.select(torch.arange(len(prompts)).repeat_interleave(len(answers[0])))
    total = torch.zeros(len(every))
    for place in range(max(map(len, every))):
        tokens = torch.tensor([int(answer[place]) if place < len(answer) else 0 for answer in every])
        said = session.logits.log_softmax(-1).cpu().gather(1, tokens[:, None])[:, 0]
        total += torch.where(torch.tensor([place < len(answer) for answer in every]), said, 0.0)
        session.step(tokens)
    return total.reshape(len(prompts), -1).numpy()


@torch.inference_mode()
def all_latents(model: AroundLM, features: Tensor) -> Tensor:
    """Latents (n, R, D) for features (n, S, V)."""
    device, dtype = model.new_rows.device, model.lm.head.dtype
    return torch.cat([model.encoded(part[:, None].to(device, dtype)) for part in features.split(256)])


def by_features(pooled: Tensor, episodes: list[Episode], mean: bool) -> np.ndarray:
    """The class of the nearest shot, or with `mean` of the nearest class mean, by cosine; `pooled` (n, V) are mean
    features of unit length. A class without shots is never said."""
    found = []
    for episode in episodes:
        near = pooled[episode.shots] @ pooled[episode.query]
        if mean:
            classes = sorted(set(episode.classes))
            member = torch.tensor(episode.classes)
            means = torch.stack([pooled[episode.shots][member == number].mean(0) for number in classes])
            near = torch.nn.functional.normalize(means, dim=-1) @ pooled[episode.query]
            found.append(classes[int(near.argmax())])
        else:
            found.append(episode.classes[int(near.argmax())])
    return np.array(found)


def rices(pooled: Tensor, episodes: list[Episode]) -> list[Episode]:
    """The same episodes with the most similar pictures of their classes as shots, the most similar last."""
    changed = []
    for episode in episodes:
        pool = [(item, number) for number, items in enumerate(episode.pools) for item in items]
        near = pooled[[item for item, _ in pool]] @ pooled[episode.query]
        best = [pool[place] for place in near.topk(min(len(episode.shots), len(pool))).indices.flip(0).tolist()]
        changed.append(replace(episode, shots=[item for item, _ in best], classes=[number for _, number in best]))
    return changed


def reordered(episodes: list[Episode], seed: int) -> list[Episode]:
    """The same episodes with their shots in another order."""
    rng = random.Random(seed)
    changed = []
    for episode in episodes:
        order = rng.sample(range(len(episode.shots)), len(episode.shots))
        shots, classes = ([values[place] for place in order] for values in (episode.shots, episode.classes))
        changed.append(replace(episode, shots=shots, classes=classes))
    return changed


def share(found: np.ndarray, episodes: list[Episode]) -> float:
    return float(np.mean(found == np.array([episode.right for episode in episodes])))


def measure(
    model: AroundLM, tokenizer: Tokenizer, features: Tensor, labels: list[str], options: WaysOptions, full: bool
) -> list[dict[str, Any]]:
    """A row for each number of shots; not `full`: only the accuracy, and that with foreign pictures."""
    sorted_by = class_pools(labels, options.concept)
    if max(map(len, sorted_by)) < options.ways:
        raise TrainError(f"--ways {options.ways}: the task has {max(map(len, sorted_by))} classes")
    latents = all_latents(model, features)
    pooled = torch.nn.functional.normalize(features.float().mean(1), dim=-1)
    rows = []
    for shots in options.shots:
        episodes = [draw_episode(sorted_by, shots, options, number) for number in range(options.episodes)]

        def right(episodes: list[Episode] = episodes, prompt: str = PROMPTS[0], foreign: bool = False) -> float:
            return share(said(model, tokenizer, latents, episodes, prompt, foreign), episodes)

        accuracy = right()
        row: dict[str, Any] = {
            "shots": shots,
            "accuracy": accuracy,
            "error": math.sqrt(accuracy * (1 - accuracy) / len(episodes)),
        }
        if shots:
            row["foreign"] = right(foreign=True)
        if full and shots:
            row["nearest"] = share(by_features(pooled, episodes, False), episodes)
            row["mean"] = share(by_features(pooled, episodes, True), episodes)
            row["rices"] = right(rices(pooled, episodes))
        if full and shots in SPREAD_AT:
            row["orders"] = [right(reordered(episodes, order)) for order in range(ORDERS)]
            row["prompts"] = [right(prompt=prompt) for prompt in PROMPTS[1:]]
        rows.append(row)
    return rows


def models_of(setting: Setting) -> dict[str, Callable[[], AroundLM]]:
    """The trained models of a run by name, the first first; of a run without --few-shot, the one on true images."""
    if not setting.options.few_shot:
        return {"true": lambda: load_model(setting)}

    def loader(arm: Arm) -> Callable[[], AroundLM]:
        return lambda: load_arm(setting, arm)

    return {arm.file: loader(arm) for arm in sorted(arms_of(setting.options), key=lambda arm: arm.name != "names")}


def run_ways(run: Path, task: Path, options: WaysOptions, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure every model of a run on the labelled images in `task` and write RUN/ways-TASK-N.json. Raises
    TrainError."""
    if options.ways < 2 or options.episodes < 1 or min(options.shots) < 0:
        raise TrainError("--ways is at least 2, --episodes at least 1, --shots at least 0")
    setting, tokenizer = run_setting(run)
    items = load_task(task)
    labels = [item.label for item in items]
    features = encode_items(items, setting)
    found: dict[str, list[dict[str, Any]]] = {}
    for number, (name, load) in enumerate(models_of(setting).items()):
        found[name] = measure(load(), tokenizer, features, labels, options, full=number == 0)
        report(f"{name}: {options.ways}-way, {options.episodes} episodes, chance {1 / options.ways:.3f}")
        for row in found[name]:
            report("  " + shown(row))
    kind = f"{task.name}-{options.ways}" + ("-concept" if options.concept else "")
    result = {"task": task.name, "options": asdict(options), "models": found}
    (run / f"ways-{kind}.json").write_text(json.dumps(result, indent=1, sort_keys=True))
    return result


def shown(row: dict[str, Any]) -> str:
    """A row of `measure` as a line."""
    parts = [f"{row['shots']:2d} shots {row['accuracy']:.3f} (standard error {row['error']:.3f})"]
    named = {"foreign": "foreign pictures", "nearest": "nearest neighbour", "mean": "class mean", "rices": "RICES"}
    parts += [f"{text} {row[name]:.3f}" for name, text in named.items() if name in row]
    parts += [
        f"other {name} {min(row[name]):.3f} to {max(row[name]):.3f}" for name in ("orders", "prompts") if name in row
    ]
    return ", ".join(parts)
