"""The log and the result of a run."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.display import duration
from shards.stream import render
from shards.tokenizer import Tokenizer
from train_min.data.windows import Losses, WindowArrays, seen_images
from train_min.measuring import validate
from train_min.options import Result, TrainOptions
from train_min.training.loop import Report
from train_min.training.variants import BLIND, DOSE_RESPONSES, DOSES, SCOPES, Setting, rearranged


class RunLog:
    """Writes rows to log.jsonl, and now and then a line for the user."""

    def __init__(self, path: Path, report: Report, total: int):
        self.path = path
        self.report, self.total, self.done, self.what = report, total, 0, "steps"
        self.started = self.last = time.monotonic()

    def __call__(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")
        self.done += row.get("n", 1)
        now = time.monotonic()
        if now - self.last >= 5:
            self.last = now
            left = (now - self.started) / self.done * max(0, self.total - self.done)
            parts = [f"{self.done} of {self.total} {self.what}", row["variant"]]
            parts[1] += f" seed {row['seed']}" if "seed" in row else ""
            parts += [f"loss of {name} {loss:.3f}" for name, loss in row.get("loss", {}).items()]
            parts += [f"{row['tokens_per_second']:,} tokens/s"] if "tokens_per_second" in row else []
            parts += [f"MFU {row['mfu']:.0%}"] if "mfu" in row else []
            # before that, the time is mostly spent on starting processes
            parts += [f"{duration(left)} left"] if now - self.started > 15 else []
            self.report(", ".join(parts))

    def trainings(self, losses: list[Path], steps: int, workers: int) -> None:
        """Start the phase that trains to these loss files; existing files count as done."""
        left = sum(not path.exists() for path in losses)
        of = f" (of {len(losses)})" if left < len(losses) else ""
        self.report(f"{left}{of} trainings of {steps} steps on {min(workers, len(losses))} processes")
        self.phase(left * steps)

    def phase(self, total: int, what: str = "steps") -> None:
        self.total, self.done, self.started, self.what = total, 0, time.monotonic(), what


def finish(out: Path, data: dict[str, Any], options: TrainOptions, seconds: dict[str, float], report: Report) -> Result:
    """Write result.json and report its sentence."""
    data |= {"options": asdict(options), "seconds": {name: round(value, 1) for name, value in seconds.items()}}
    (out / "result.json").write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False))
    report(data["sentence"])
    return Result(out, data["sentence"], data)


def say_too_few(reason: str, report: Report) -> None:
    """Warn, before training, that there is too little data."""
    if reason:
        report(f"{reason}. Training continues, but its result will not be meaningful")


def amounts(name: str, tokenizer: Tokenizer, training: WindowArrays, windows: WindowArrays) -> dict[str, Any]:
    """Amounts of training and held-out data of a corpus."""
    return {
        "name": name,
        "tokenizer": tokenizer.id,
        "training_windows": len(training),
        "training_documents": len({unit["doc_id"] for unit in training.units}),
        "training_tokens": len(training.tokens),
        "validation_windows": len(windows),
        "validation_documents": len({unit["doc_id"] for unit in windows.units}),
    }


def summarise(
    name: str,
    tokenizer: Tokenizer,
    setting: Setting,
    losses: dict[str, list[Losses]],
    places: dict[bytes, dict[str, Any]],
    log: list[dict[str, Any]],
) -> dict[str, Any]:
    """Everything the report needs."""
    options = setting.options
    windows, training = setting.windows("validation"), setting.windows("train")
    clusters = validate.clusters_of(windows, training)
    true, reference = losses["true"], losses["reference"]
    information = validate.information(windows, clusters, true, reference)
    control = validate.gain(windows, clusters, losses["control"], reference)
    penalties = {
        scope: validate.penalty(windows, clusters, true, scope, rearranged(windows, (scope, options.seed, 1.0))[1])
        for scope in SCOPES
    }
    chosen = seen_images(windows).image >= 0
    width = validate.bytes_per_token(windows, tokenizer)
    lm = validate.mean_nll(windows, true[0]["lm"], chosen)
    blind = float(np.mean([validate.mean_nll(windows, entry["blind"], chosen) for entry in true]))
    gain = information["gain"]
    return {
        "sentence": validate.sentence(gain, control, information["by_language"]),
        "corpus": amounts(name, tokenizer, training, windows) | {"pictures": len(places)},
        "gain": gain,
        "gain_per_byte": {
            name: None if gain[name] is None else gain[name] / width for name in ("value", "low", "high")
        },
        "control": control,
        **{name: information[name] for name in ("by_distance", "by_language", "by_host", "per_seed")},
        "next": validate.information(windows, clusters, true, reference, "next", True) if options.next_image else None,
        "penalties": penalties,
        "dose_response": dose_response(windows, clusters, losses, options) if options.dose_response else None,
        "lm_nll": lm,
        "nll": {
            name: float(np.mean([validate.mean_nll(windows, entry["own"], chosen) for entry in entries]))
            for name, entries in losses.items()
        },
        "text_drift": None if lm is None else blind - lm,
        "documents": validate.documents(
            windows,
            true,
            reference,
            lambda digest: places.get(digest, {"url": "", "alt": ""}),
            lambda tokens: render(tokens, tokenizer),
        ),
        "curves": curves(log),
    }


def dose_response(
    windows: WindowArrays, clusters: validate.Clusters, losses: dict[str, list[Losses]], options: TrainOptions
) -> dict[str, Any]:
    """How the gain, and with `placement` the penalty within the document, fall with the share of wrong documents, and
    how clearly each dose differs from the corpus as it is. `blind`: NLL(reference) minus NLL of models trained without
    images; above zero the shuffled images harm the reference, and the gain includes that harm."""
    chosen = seen_images(windows).image >= 0
    points = []
    for dose in (0.0, *DOSES):
        name = "true" if dose == 0 else f"dose-{dose:g}"
        variants = losses.get(name) or losses["control"]
        point: dict[str, Any] = {"dose": dose}
        point["gain"] = validate.gain(windows, clusters, variants, losses["reference"])
        if dose:
            differences = [variant["own"] - true["own"] for variant, true in zip(variants, losses["true"], strict=True)]
            point["lost"] = validate.estimate(windows, clusters, differences, chosen).row()
        if "document" in variants[0]:
            penalties = []
            for seed, variant in zip(range(options.seed, options.seed + options.seeds), variants, strict=True):
                scope = DOSE_RESPONSES[options.dose_response]
                own = rearranged(windows, (scope, 2000 + seed, dose))[0] if dose else windows
                replaced = rearranged(own, ("document", options.seed, 1.0))[1]
                penalties.append(validate.penalty(windows, clusters, [variant], "document", replaced)["value"])
            known = [value for value in penalties if value is not None]
            point["within_document"] = float(np.mean(known)) if known else None
        points.append(point)
    blind = validate.gain(windows, clusters, losses[BLIND], losses["reference"])
    return {"kind": options.dose_response, "points": points, "blind": blind}


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the rows of log.jsonl; if an interrupted run repeated a step, the later row counts."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # the last line of a killed run
            continue
        if "loss" in row:
            rows[row["variant"], row.get("seed", 0), row["step"]] = row
    return list(rows.values())


def curves(log: list[dict[str, Any]], points: int = 100) -> dict[str, list[dict[str, Any]]]:
    """Loss and gates of each variant and seed, about `points` steps each."""
    variants: dict[str, list[dict[str, Any]]] = {}
    for row in log:
        variants.setdefault(f"{row['variant']}-{row.get('seed', 0)}", []).append(row)
    kept: dict[str, list[dict[str, Any]]] = {}
    for name, rows in variants.items():
        stride = max(1, len(rows) // points)
        kept[name] = [
            {key: row[key] for key in ("step", "loss", "gates", "tokens_per_second", "mfu") if key in row}
            for row in rows[::stride]
        ]
    return kept
