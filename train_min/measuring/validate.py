"""What the images of a corpus are worth, from per-token losses of several variants and seeds.

Variants differ only in the images they are trained on: `true` the corpus' own, `reference` the same images shuffled
across documents, `control` a second shuffle. Numbers are bits per token, over text tokens whose prediction sees an
image."""

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from shards.enough import too_few
from shards.tokenizer import Tokenizer
from train_min.data.windows import Losses, WindowArrays, seen_images

BITS = 1 / math.log(2)
MOST_PARTS = 20
"""Maximum number of hosts or languages in the breakdown: those with most tokens."""
DISTANCES = ((0, 8), (8, 32), (32, 128), (128, 1 << 30))


def unit_sums(windows: WindowArrays, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Sum over the chosen tokens of each unit, (U,)."""
    token_units = np.repeat(windows.unit, np.diff(windows.starts))
    return np.bincount(token_units[chosen], values[chosen].astype(np.float64), minlength=len(windows.units))


@dataclass(frozen=True)
class Clusters:
    """Which held-out units depend on each other, as names (U,): the `document` of each, and its `cluster`, the site if
    `by_site`, else the document."""

    document: list[str]
    cluster: list[str]
    by_site: bool

    @property
    def of_documents(self) -> "Clusters":
        return Clusters(self.document, self.document, False)


def clusters_of(held_out: WindowArrays, training: WindowArrays) -> Clusters:
    """Cluster by site if no site is on both sides of the split. A page with pieces on both sides counts as one document
    per held-out unit."""
    trained = {unit["doc_id"] for unit in training.units}
    document = [
        f"{unit['doc_id']} {number}" if unit["doc_id"] in trained else unit["doc_id"]
        for number, unit in enumerate(held_out.units)
    ]
    sites = [unit["site"] for unit in held_out.units]
    by_site = {unit["site"] for unit in training.units}.isdisjoint(sites)
    return Clusters(document, sites if by_site else document, by_site)


@dataclass(frozen=True)
class Estimate:
    """Bits per token, its 95 % interval, and the amount of data; `by_site`: none of the sites was trained on. All NaN
    without data; only the interval is NaN for a single cluster."""

    value: float
    low: float
    high: float
    tokens: int
    documents: int
    sites: int
    by_site: bool
    seeds: int

    @property
    def too_few(self) -> str:
        """Why this says nothing about the corpus; empty if it does."""
        return too_few(self.documents, self.sites if self.by_site else None)

    def row(self) -> dict[str, Any]:
        numbers = {
            name: None if math.isnan(getattr(self, name)) else round(getattr(self, name), 6)
            for name in ("value", "low", "high")
        }
        counts = {name: getattr(self, name) for name in ("tokens", "documents", "sites", "by_site", "seeds")}
        return {**numbers, **counts, "enough": not self.too_few}


def estimate(windows: WindowArrays, clusters: Clusters, differences: list[np.ndarray], chosen: np.ndarray) -> Estimate:
    """The mean of `differences`, one array (T,) in nats per seed, over the `chosen` tokens, and its `interval`."""
    sums = np.stack([unit_sums(windows, difference, chosen) for difference in differences]) * BITS
    counts = unit_sums(windows, np.ones(len(chosen)), chosen)
    used = np.flatnonzero(counts)
    if not len(used):
        return Estimate(math.nan, math.nan, math.nan, 0, 0, 0, clusters.by_site, len(differences))
    value, low, high = interval(sums[:, used], counts[used], [clusters.cluster[unit] for unit in used])
    documents = len({clusters.document[unit] for unit in used})
    sites = len({windows.units[unit]["site"] for unit in used})
    return Estimate(value, low, high, int(counts.sum()), documents, sites, clusters.by_site, len(differences))


def interval(sums: np.ndarray, counts: np.ndarray, clusters: list[str]) -> tuple[float, float, float]:
    """Ratio of sums over units, and the ends of its 95 % interval: the numerator is the mean over seeds of `sums`
    (seeds, units), the denominator that of `counts` (units,). The ends are NaN for a single cluster.

    Two variances are added: of the ratio among clusters of units, by leaving out one at a time (jackknife; a bootstrap
    is too narrow for few clusters), and of its mean over seeds, minus the part the first already includes, since seeds
    also differ in how they do on each cluster (Cameron, Gelbach & Miller 2011). Each is multiplied by the square of
    Student's t for its own degrees of freedom before adding (Graybill & Wang 1980); with the degrees of freedom of the
    sum (Satterthwaite 1946) the interval would be too narrow if few seeds differ much. With one seed the interval
    covers clusters only. docs/validation.md has its measured coverage."""
    names, cluster = np.unique(clusters, return_inverse=True)
    n_seeds, n = len(sums), len(names)
    sums = np.stack([np.bincount(cluster, row, minlength=n) for row in sums])
    counts = np.bincount(cluster, counts, minlength=n)
    total = counts.sum()
    by_seed = sums.sum(1) / total
    value = float(by_seed.mean())
    if n < 2:
        return value, math.nan, math.nan
    # (seeds, clusters): change of the ratio without each cluster
    change = (sums.sum(1, keepdims=True) - sums) / (total - counts) - by_seed[:, None]
    square = student(n - 1) ** 2 * _jackknife(change.mean(0) ** 2)
    if n_seeds > 1:
        shared = _jackknife(change.var(0, ddof=1))
        square += student(n_seeds - 1) ** 2 * max(0.0, float(by_seed.var(ddof=1)) - shared) / n_seeds
    half = math.sqrt(square)
    return value, value - half, value + half


def _jackknife(squares: np.ndarray) -> float:
    return float(squares.sum()) * (len(squares) - 1) / len(squares)


def student(freedom: int) -> float:
    """Student's t at 97.5 %."""
    return float(stdtrit(freedom, 0.975))


def too_few_held_out(windows: WindowArrays, clusters: Clusters) -> str:
    """`too_few` as an estimate over all text that sees an image will have it."""
    return estimate(windows, clusters, [np.zeros(len(windows.tokens))], seen_images(windows).image >= 0).too_few


def gain(windows: WindowArrays, clusters: Clusters, true: list[Losses], reference: list[Losses]) -> dict[str, Any]:
    """NLL(reference) - NLL(true) over the tokens that see an image."""
    differences = [right["own"] - left["own"] for left, right in zip(true, reference, strict=True)]
    return estimate(windows, clusters, differences, seen_images(windows).image >= 0).row()


def information(
    windows: WindowArrays,
    clusters: Clusters,
    true: list[Losses],
    reference: list[Losses],
    name: str = "own",
    follow: bool = False,
) -> dict[str, Any]:
    """The gain, and its parts by distance from the image, by language and host (the 20 with most tokens), and by seed.
    The interval of a host is over its documents."""
    seen = seen_images(windows, follow)
    chosen = seen.image >= 0
    differences = [right[name] - left[name] for left, right in zip(true, reference, strict=True)]
    token_units = np.repeat(windows.unit, np.diff(windows.starts))

    def parts(labels: list[str], clusters: Clusters) -> dict[str, Any]:
        values, index = np.unique(labels, return_inverse=True)
        of_token = index.reshape(-1)[token_units]
        tokens = np.bincount(of_token[chosen], minlength=len(values))
        most = [number for number in np.argsort(-tokens, kind="stable")[:MOST_PARTS].tolist() if tokens[number]]
        return {
            str(values[number]): estimate(windows, clusters, differences, chosen & (of_token == number)).row()
            for number in sorted(most)
        }

    by_distance = {}
    for low, high in DISTANCES:
        inside = chosen & (seen.distance >= low) & (seen.distance < high)
        if inside.any():
            name = f"{low}-{high}" if high < 1 << 30 else f"{low}-"
            by_distance[name] = estimate(windows, clusters, differences, inside).row()
    return {
        "gain": estimate(windows, clusters, differences, chosen).row(),
        "by_distance": by_distance,
        "by_language": parts([unit["language"] for unit in windows.units], clusters),
        "by_host": parts([unit["site"] for unit in windows.units], clusters.of_documents),
        "per_seed": [estimate(windows, clusters, [difference], chosen).row()["value"] for difference in differences],
    }


def penalty(
    windows: WindowArrays, clusters: Clusters, losses: list[Losses], name: str, replaced: np.ndarray
) -> dict[str, Any]:
    """NLL with other images minus NLL with the true ones, for one model, over the tokens whose image was `replaced`
    (I,). It can be above zero without information: a diagnostic, not what images are worth."""
    seen = seen_images(windows)
    chosen = (seen.image >= 0) & np.append(replaced, False)[seen.image]
    return estimate(windows, clusters, [entry[name] - entry["own"] for entry in losses], chosen).row()


def mean_nll(windows: WindowArrays, losses: np.ndarray, chosen: np.ndarray) -> float | None:
    """Bits per token."""
    return float(losses[chosen].mean()) * BITS if chosen.any() else None


def bytes_per_token(windows: WindowArrays, tokenizer: Tokenizer) -> float:
    """UTF-8 bytes of the text tokens that see an image, divided by their number."""
    seen = seen_images(windows).image >= 0
    size = count = 0
    for index in range(len(windows)):
        span = slice(windows.starts[index], windows.starts[index + 1])
        kept = windows.tokens[span][seen[span]]
        size += len(tokenizer.decode(kept).encode())
        count += len(kept)
    return size / max(1, count)


def documents(
    windows: WindowArrays,
    true: list[Losses],
    reference: list[Losses],
    picture: Callable[[bytes], dict[str, Any]],
    text: Callable[[np.ndarray], str],
    n: int = 50,
) -> dict[str, list[dict[str, Any]]]:
    """The `n` documents whose images tell most and least about their text, by bits per token. Units of one document
    count separately, each with the `text` and the images of its first window."""
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


def sentence(gain: dict[str, Any], control: dict[str, Any] | None, languages: Collection[str] = ()) -> str:
    """Put the result into words. `languages`: those of the text that sees an image; named if there is one."""
    reason = too_few(gain["documents"], gain["sites"] if gain["by_site"] else None)
    if reason:
        return reason
    carried = f"{_bits(gain['value'])} bits per token of the text they belong to"
    span = f"95 % interval {_bits(gain['low'])} to {_bits(gain['high'])} over {amount_of(gain)}"
    span += f" in one language ({next(iter(languages))})" if len(languages) == 1 and "" not in languages else ""
    span += ", excluding the variance between seeds (one seed)" if gain["seeds"] == 1 else ""
    if gain["low"] <= 0 <= gain["high"]:
        text = f"what images carry is not distinguishable from zero: {carried}, {span}"
    else:
        text = f"images carry {carried}, {span}"
    return text + (f"; a corpus with shuffled images carries {_bits(control['value'])}" if control else "")


def amount_of(row: dict[str, Any]) -> str:
    """Number of documents and sites, and whether the models were trained on other pages of these sites."""
    sites = f"{row['documents']:,} documents of {row['sites']:,} {'site' if row['sites'] == 1 else 'sites'}"
    return sites if row["by_site"] else f"{sites}, which were also trained on"


def _bits(value: float) -> str:
    """Two decimals, or three if two would hide the number. Never "-0"."""
    digits = 2 if abs(value) >= 0.0995 or abs(value) < 0.0005 else 3 if abs(value) < 0.05 else 2
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text
