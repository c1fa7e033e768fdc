"""What the images of a corpus are worth, from per-token losses of several arms and seeds.

Arms are trained alike but for the pictures that they see: `true` the corpus' own, `reference` the same pictures dealt
out anew among the documents, `control` dealt out once more. Numbers are bits per token, over text tokens whose
prediction sees an image."""

import math
from collections import Counter
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
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""Student's t at 97.5 % for 1, 2, 3, ... degrees of freedom."""
MOST_PARTS = 20
"""Hosts, or languages, that a gain is broken down by: those with most tokens."""
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
    seeds: int

    @property
    def enough(self) -> bool:
        return self.documents >= ENOUGH_DOCUMENTS

    def row(self) -> dict[str, Any]:
        numbers = {
            name: None if math.isnan(getattr(self, name)) else round(getattr(self, name), 6)
            for name in ("value", "low", "high")
        }
        counts = {"tokens": self.tokens, "documents": self.documents, "seeds": self.seeds}
        return {**numbers, **counts, "enough": self.enough}


def estimate(windows: Windows, differences: list[np.ndarray], chosen: np.ndarray) -> Estimate:
    """The mean of `differences`, one array (T,) in nats for each seed, over the `chosen` tokens, and its `interval`."""
    sums = np.stack([unit_sums(windows, difference, chosen) for difference in differences]) * BITS
    counts = unit_sums(windows, np.ones(len(chosen)), chosen)
    used = np.flatnonzero(counts)
    if not len(used):
        return Estimate(math.nan, math.nan, math.nan, 0, 0, len(differences))
    sites = [windows.units[unit]["site"] for unit in used]
    value, low, high = interval([sums[:, used]], counts[used], sites)
    return Estimate(value, low, high, int(counts.sum()), len(used), len(differences))


def interval(sides: list[np.ndarray], counts: np.ndarray, sites: list[str]) -> tuple[float, float, float]:
    """The ratio of sums over documents, and the ends of its 95 % interval: the numerator is that of `sides`, each
    (seeds, documents) and taken as the mean over its seeds, the denominator that of `counts` (documents,).

    Documents are drawn anew 2,000 times (bootstrap), all of a host together where there are 20 hosts or more. To the
    variance of the ratio among these draws comes that of each side's mean over its seeds: a few seeds drawn anew would
    give little more than the span of those that there are. Student's t has the degrees of freedom of the sum of
    variances (Satterthwaite 1946, Welch 1947). A side of one seed tells nothing of seeds: the interval is then that
    over documents only."""
    hosts, cluster = np.unique(sites, return_inverse=True)
    if len(hosts) >= ENOUGH_HOSTS:
        sides = [np.stack([np.bincount(cluster, row, minlength=len(hosts)) for row in side]) for side in sides]
        counts = np.bincount(cluster, counts, minlength=len(hosts))
    n, total = len(counts), counts.sum()
    numerator = np.sum([side.mean(0) for side in sides], 0)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    variances = [float(np.var((drawn @ numerator) / np.maximum(drawn @ counts, 1e-12)))]
    freedoms = [n - 1]
    for side in sides:
        if len(side) > 1:
            variances.append(float(np.var(side.sum(1) / total, ddof=1)) / len(side))
            freedoms.append(len(side) - 1)
    variance = sum(variances)
    parts = sum(part**2 / max(1, freedom) for part, freedom in zip(variances, freedoms, strict=True))
    half = student(variance**2 / parts if parts else math.inf) * math.sqrt(variance)
    value = float(numerator.sum() / total)
    return value, value - half, value + half


def student(freedom: float) -> float:
    """Student's t at 97.5 % for 1 degree of freedom or more. Between the entries of the table, and beyond them, it is
    close to a straight line in 1 / freedom."""
    return float(np.interp(1 / freedom, [0.0, *(1 / n for n in range(len(STUDENT), 0, -1))], [1.960, *STUDENT[::-1]]))


def gain(windows: Windows, true: list[Losses], reference: list[Losses]) -> dict[str, Any]:
    """NLL(reference) - NLL(true) over the tokens that see an image."""
    differences = [right["own"] - left["own"] for left, right in zip(true, reference, strict=True)]
    return estimate(windows, differences, seen_images(windows).image >= 0).row()


def information(
    windows: Windows, true: list[Losses], reference: list[Losses], name: str = "own", follow: bool = False
) -> dict[str, Any]:
    """The gain, and its parts by distance from the image, by language and host (the 20 with most tokens), and by
    seed."""
    seen = seen_images(windows, follow)
    chosen = seen.image >= 0
    differences = [right[name] - left[name] for left, right in zip(true, reference, strict=True)]
    token_units = np.repeat(windows.unit, np.diff(windows.starts))

    def parts(labels: list[str]) -> dict[str, Any]:
        values, index = np.unique(labels, return_inverse=True)
        of_token = index.reshape(-1)[token_units]
        tokens = np.bincount(of_token[chosen], minlength=len(values))
        most = [number for number in np.argsort(-tokens, kind="stable")[:MOST_PARTS].tolist() if tokens[number]]
        return {
            str(values[number]): estimate(windows, differences, chosen & (of_token == number)).row()
            for number in sorted(most)
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
        "per_seed": [estimate(windows, [difference], chosen).row()["value"] for difference in differences],
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
    text: Callable[[np.ndarray], str],
    n: int = 50,
) -> dict[str, list[dict[str, Any]]]:
    """The documents whose pictures tell most and least about their text: the `n` best and worst by bits per token. Of a
    document in several units each stands for itself, with the `text` and the pictures of its first window."""
    chosen = seen_images(windows).image >= 0
    sums = np.mean(
        [unit_sums(windows, right["own"] - left["own"], chosen) for left, right in zip(true, reference, strict=True)], 0
    )
    counts = unit_sums(windows, np.ones(len(chosen)), chosen)
    gains = np.where(counts >= 8, sums * BITS / np.maximum(counts, 1), np.nan)
    units_of = Counter(unit["doc_id"] for unit in windows.units)
    order = np.argsort(-gains, kind="stable")[: int(np.isfinite(gains).sum())].tolist()

    def entry(unit: int) -> dict[str, Any]:
        members = np.flatnonzero(windows.unit == unit).tolist()
        shown = [digest for index in members for digest in windows.of(index)[1].tolist() if digest >= 0]
        part = {}
        if units_of[windows.units[unit]["doc_id"]] > 1:
            tokens, images = windows.of(members[0])
            hashes = [windows.hashes[image].tobytes().hex() for image in images.tolist()]
            start = int(windows.window_ids[members[0]].rpartition("-")[2])
            part = {"part": {"start": start, "text": text(tokens), "images": hashes}}
        return {
            **windows.units[unit],
            **part,
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
            f"too few to say: {gain['documents']} held-out documents (or pieces of books) with text that sees an "
            f"image, {ENOUGH_DOCUMENTS} are needed; build a larger corpus or raise windows.validation"
        )
    carried = f"{_bits(gain['value'])} bits per token of the text they belong to"
    span = f"95 % interval {_bits(gain['low'])} to {_bits(gain['high'])}"
    span += " over documents only (one seed)" if gain["seeds"] == 1 else ""
    if gain["low"] <= 0 <= gain["high"]:
        text = f"what images carry is not distinguishable from zero: {carried}, {span}"
    else:
        text = f"images carry {carried}, {span}"
    return text + (f"; a corpus with shuffled images carries {_bits(control['value'])}" if control else "")


def _bits(value: float) -> str:
    """Two decimals, or three where two would hide the number. Never a minus before zero."""
    digits = 2 if abs(value) >= 0.0995 or abs(value) < 0.0005 else 3 if abs(value) < 0.05 else 2
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
