"""What the images of a corpus are worth, from per-token losses of several arms and seeds.

Arms are trained alike but for the pictures that they see: `true` the corpus' own, `reference` the same pictures dealt
out anew among the documents, `control` dealt out once more. Numbers are bits per token, over text tokens whose
prediction sees an image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shards.tokenizer import Tokenizer
from train_min.data import Losses, Windows, media_places

ENOUGH_DOCUMENTS = 30
ENOUGH_HOSTS = 20
RESAMPLES = 2000
BITS = 1 / math.log(2)
DISTANCES = ((0, 8), (8, 32), (32, 128), (128, 1 << 30))


@dataclass(frozen=True)
class Seen:
    """For each token of `Windows`: `image` (T,) the place in `Windows.images` of the image that its prediction sees, -1
    for none and for markers; `distance` (T,) tokens between that image and the token, 0 for the one right behind it."""

    image: np.ndarray
    distance: np.ndarray


def seen_images(windows: Windows, follow: bool = False) -> Seen:
    """The prediction of token i is made at token i - 1 and sees what that one sees."""
    image = np.full(len(windows.tokens), -1, np.int64)
    distance = np.zeros(len(windows.tokens), np.int64)
    for index in range(len(windows)):
        tokens, images = windows.of(index)
        places = media_places(tokens, windows.image_id, images, follow)[:-1]
        markers = np.append(np.flatnonzero(tokens == windows.image_id), 0)
        start = int(windows.starts[index]) + 1
        text = (tokens[1:] != windows.image_id) & (tokens[1:] != windows.eoc_id)
        sees = (places >= 0) & text
        span = slice(start, start + len(places))
        image[span] = np.where(sees, places + windows.image_starts[index], -1)
        distance[span] = np.abs(np.arange(len(places)) - markers[places])
    return Seen(image, distance)


def unit_sums(windows: Windows, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(U,) the sum over the chosen tokens of each unit."""
    token_units = np.repeat(windows.unit, np.diff(windows.starts))
    return np.bincount(token_units[chosen], values[chosen].astype(np.float64), minlength=len(windows.units))


@dataclass(frozen=True)
class Estimate:
    """Bits per token, its 95 % interval, and over how much it was taken. NaN where there was nothing."""

    value: float
    low: float
    high: float
    tokens: int
    documents: int

    @property
    def enough(self) -> bool:
        return self.documents >= ENOUGH_DOCUMENTS

    def row(self) -> dict[str, Any]:
        numbers = {
            name: None if math.isnan(getattr(self, name)) else round(getattr(self, name), 6)
            for name in ("value", "low", "high")
        }
        return {**numbers, "tokens": self.tokens, "documents": self.documents, "enough": self.enough}


def estimate(windows: Windows, differences: list[np.ndarray], chosen: np.ndarray) -> Estimate:
    """The mean of `differences`, one array (T,) in nats for each seed, over the `chosen` tokens.

    The interval is a bootstrap over seeds and documents (over hosts where there are 20 or more): both are drawn with
    replacement, the ratio of sums is taken, 2,000 times."""
    sums = np.stack([unit_sums(windows, difference, chosen) for difference in differences]) * BITS
    counts = unit_sums(windows, np.ones(len(chosen)), chosen)
    used = np.flatnonzero(counts)
    documents, tokens = len(used), int(counts.sum())
    if not tokens:
        return Estimate(math.nan, math.nan, math.nan, 0, 0)
    sums, counts = sums[:, used], counts[used]
    hosts, cluster = np.unique([windows.units[unit]["site"] for unit in used], return_inverse=True)
    if len(hosts) >= ENOUGH_HOSTS:
        sums = np.stack([np.bincount(cluster, row, minlength=len(hosts)) for row in sums])
        counts = np.bincount(cluster, counts, minlength=len(hosts))
    rng = np.random.default_rng(0)
    n_seeds, n = sums.shape
    seed_weights = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), RESAMPLES) / n_seeds
    weights = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    drawn = ((seed_weights @ sums) * weights).sum(1) / np.maximum(weights @ counts, 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(float(sums.mean(0).sum() / counts.sum()), float(low), float(high), tokens, documents)


def information(
    windows: Windows, true: list[Losses], reference: list[Losses], name: str = "own", follow: bool = False
) -> dict[str, Any]:
    """The gain, and its parts by distance from the image, language and host, and per document."""
    seen = seen_images(windows, follow)
    chosen = seen.image >= 0
    differences = [right[name] - left[name] for left, right in zip(true, reference, strict=True)]
    token_units = np.repeat(windows.unit, np.diff(windows.starts))

    def parts(labels: list[str]) -> dict[str, Any]:
        values, index = np.unique(labels, return_inverse=True)
        of_token = index.reshape(-1)[token_units]
        return {
            str(value): estimate(windows, differences, chosen & (of_token == number)).row()
            for number, value in enumerate(values)
            if (chosen & (of_token == number)).any()
        }

    by_distance = {}
    for low, high in DISTANCES:
        inside = chosen & (seen.distance >= low) & (seen.distance < high)
        if inside.any():
            by_distance[f"{low}-{high}" if high < 1 << 30 else f"{low}-"] = estimate(windows, differences, inside).row()
    return {
        "gain": estimate(windows, differences, chosen).row(),
        "by_distance": by_distance,
        "by_language": parts([unit["language"] for unit in windows.units]),
        "by_host": parts([unit["site"] for unit in windows.units]),
        "per_seed": [estimate(windows, [difference], chosen).value for difference in differences],
    }


def penalty(windows: Windows, losses: list[Losses], name: str, replaced: np.ndarray) -> dict[str, Any]:
    """NLL with other pictures minus NLL with the true ones, of one model, over the tokens whose image was `replaced`
    (I,). Above zero also without information: a diagnostic, never what images are worth."""
    seen = seen_images(windows)
    chosen = (seen.image >= 0) & np.append(replaced, False)[seen.image]
    return estimate(windows, [entry[name] - entry["own"] for entry in losses], chosen).row()


def mean_nll(windows: Windows, losses: np.ndarray, chosen: np.ndarray) -> float | None:
    """Bits per token."""
    return float(losses[chosen].mean()) * BITS if chosen.any() else None


def bytes_per_token(windows: Windows, tokenizer: Tokenizer) -> float:
    """UTF-8 bytes of the text tokens that see an image, over their number."""
    seen = seen_images(windows).image >= 0
    size = count = 0
    for index in range(len(windows)):
        span = slice(windows.starts[index], windows.starts[index + 1])
        kept = windows.tokens[span][seen[span]]
        size += len(tokenizer.decode(kept).encode())
        count += len(kept)
    return size / max(1, count)


def documents(
    windows: Windows,
    true: list[Losses],
    reference: list[Losses],
    picture: Callable[[bytes], dict[str, Any]],
    n: int = 50,
) -> dict[str, list[dict[str, Any]]]:
    """The documents whose pictures tell most and least about their text: the `n` best and worst by bits per token."""
    chosen = seen_images(windows).image >= 0
    sums = np.mean(
        [unit_sums(windows, right["own"] - left["own"], chosen) for left, right in zip(true, reference, strict=True)], 0
    )
    counts = unit_sums(windows, np.ones(len(chosen)), chosen)
    gains = np.where(counts >= 8, sums * BITS / np.maximum(counts, 1), np.nan)
    order = np.argsort(-gains, kind="stable")[: int(np.isfinite(gains).sum())].tolist()

    def entry(unit: int) -> dict[str, Any]:
        members = np.flatnonzero(windows.unit == unit).tolist()
        shown = [digest for index in members for digest in windows.of(index)[1].tolist() if digest >= 0]
        return {
            **windows.units[unit],
            "gain": round(float(gains[unit]), 4),
            "tokens": int(counts[unit]),
            "windows": [windows.window_ids[index] for index in members],
            "images": [
                {"sha256": (digest := windows.hashes[index].tobytes()).hex(), **picture(digest)}
                for index in dict.fromkeys(shown)
            ],
        }

    worst = order[max(len(order) // 2, len(order) - n) :][::-1]
    return {
        "best": [entry(unit) for unit in order[: min(n, (len(order) + 1) // 2)]],
        "worst": [entry(unit) for unit in worst],
    }


def sentence(gain: dict[str, Any], control: dict[str, Any] | None) -> str:
    """The result in words."""
    if not gain["enough"]:
        return (
            f"too few to say: {gain['documents']} held-out documents with text that sees an image, "
            f"{ENOUGH_DOCUMENTS} are needed; build a larger corpus or raise windows.validation"
        )
    carried = f"{_bits(gain['value'])} bits per token of the text they belong to"
    interval = f"95 % interval {_bits(gain['low'])} to {_bits(gain['high'])}"
    if gain["low"] <= 0 <= gain["high"]:
        text = f"what images carry is not distinguishable from zero: {carried}, {interval}"
    else:
        text = f"images carry {carried}, {interval}"
    return text + (f"; a corpus with shuffled images carries {_bits(control['value'])}" if control else "")


def _bits(value: float) -> str:
    """Two decimals, or three where two would hide the number. Never a minus before zero."""
    digits = 2 if abs(value) >= 0.0995 or abs(value) < 0.0005 else 3 if abs(value) < 0.05 else 2
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
