"""The result of a training run, read from its result.json; invalid files are ignored."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.inspect import plots
from pipeline.inspect.finished import Finished
from pipeline.inspect.samples import visible

SHOWN = 3
"""Documents shown: as many whose images tell most as whose images tell least."""
ROWS = 12
CAPTIONS = 12
PENALTIES = {
    "documents": "images of other documents",
    "host": "images of the same host",
    "document": "images of the same page",
}


class Chunk(NamedTuple):
    """A piece of a book-length document: the token it starts at, and the text and image hashes of its beginning."""

    start: int
    text: str
    images: list[bytes]


class Ranked(NamedTuple):
    """A document or a part of one, with what its images tell: bits per token, and the number of tokens."""

    doc_id: str
    gain: float
    tokens: int
    part: Chunk | None


@dataclass(frozen=True)
class Run:
    """A run as shown in the report. `manifest`: hash of the manifest of the corpus it was trained on; `captions`:
    hashes of held-out images and the captions generated for them."""

    name: str
    manifest: str
    sentence: str
    too_few: bool
    lines: list[str]
    tiles: list[dict[str, Any]]
    best: list[Ranked]
    worst: list[Ranked]
    captions: list[tuple[bytes, str]]


def latest_run(corpus: Finished) -> Run | None:
    """The run that finished last, or None."""
    found = []
    for path in (corpus.root / "runs").glob("*/result.json"):
        try:
            found.append((path.stat().st_mtime_ns, path))
        except OSError:
            continue
    for _, path in sorted(found, reverse=True):
        run = read_run(path)
        if run is not None:
            return run
    return None


def read_run(path: Path) -> Run | None:
    """Read a run's result.json; None if it has neither sentence nor gain."""
    try:
        return _run(path, json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _run(path: Path, data: dict[str, Any]) -> Run:
    gain = _estimate("information gain", data["gain"])
    sentence = str(data["sentence"])
    documents = _part(data, "documents")
    return Run(
        path.parent.name,
        _manifest(path.with_name("options.json")),
        sentence[:1].upper() + sentence[1:] + ".",
        _part(data, "gain").get("enough") is False,
        _lines(data),
        [tile for tile in (*_tiles(data, gain), _few_shot(path.with_name("evaluate.json"))) if tile["plot"]],
        _documents(documents.get("best")),
        _documents(documents.get("worst")),
        _captions(data.get("captions")),
    )


def _lines(data: dict[str, Any]) -> list[str]:
    corpus, per_byte = _part(data, "corpus"), _part(data, "gain_per_byte")
    lines = []
    if _is_number(per_byte.get("value")):
        lines.append(f"Per byte of text: {per_byte['value']:.4f} bits.")
    if _is_number(data.get("lm_nll")):
        text = f"The frozen language model alone needs {data['lm_nll']:.2f} bits per token for the same text"
        if _is_number(data.get("text_drift")):
            drift = data["text_drift"]
            text += f"; without images, the trained model needs {abs(drift):.3f} {'less' if drift < 0 else 'more'}"
        lines.append(text + ".")
    counts = [
        f"{corpus[key]:,} {key.replace('_', ' ')}"
        for key in ("training_windows", "training_documents", "validation_windows", "validation_documents", "pictures")
        if _is_number(corpus.get(key))
    ]
    options = _part(data, "options")
    if all(_is_number(options.get(key)) for key in ("seeds", "steps")):
        seeds = "one seed" if options["seeds"] == 1 else f"{options['seeds']:,} seeds"
        lines.append(f"Each variant was trained for {options['steps']:,} steps, with {seeds}.")
    if counts:
        lines.append("Trained and validated on " + ", ".join(counts) + ".")
    return lines


def _tiles(data: dict[str, Any], gain: dict[str, Any] | None) -> Iterable[dict[str, Any]]:
    penalties = _part(data, "penalties")
    rows = [gain, _estimate("a corpus with shuffled images", data.get("control"))]
    rows.append(_estimate("trained without images", _part(data, "dose_response").get("blind")))
    rows.append(_estimate("by the next image", _part(data, "next").get("gain")))
    yield _intervals("What the images are worth", "bits per token, 95 % interval", rows)
    yield _intervals(
        "Mismatch penalty",
        "bits per token lost with wrong images; can be above zero without information: a diagnostic",
        [_estimate(name, penalties.get(key)) for key, name in PENALTIES.items()],
    )
    yield from _dose_response(_part(data, "dose_response"))
    for key, title in (
        ("by_distance", "By distance from the image (tokens)"),
        ("by_language", "By language (those with most text)"),
        ("by_host", "By site (those with most text)"),
    ):
        parts = _part(data, key)
        most = sorted(parts, key=lambda name: -_tokens(parts[name]))[:ROWS]
        order = sorted(parts, key=_first_number) if key == "by_distance" else most
        if key == "by_distance" or len(parts) > 1:
            yield _intervals(title, "bits per token, 95 % interval", [_estimate(name, parts[name]) for name in order])
    curves = _part(data, "curves")
    for variants, title in (
        (("lm",), "Loss of the language model"),
        (("true", "reference", "control"), "Loss of the Flamingo"),
    ):
        series = {name: points for variant in variants for name, points in _mean_losses(curves, variant).items()}
        yield {"title": title, "note": "nats per token", "plot": plots.lines(series, title, "step")}
    gates = _gates(curves)
    yield {"title": "Gates", "note": "tanh, by layer", "plot": plots.lines(gates, "Gates over time", "step")}


DOSE_RESPONSES = {"permutation": "other documents' images", "placement": "every image in the place of the next"}


def _dose_response(data: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Results for corpora that were corrupted on purpose."""
    wrong = DOSE_RESPONSES.get(str(data.get("kind")), "")
    points = data.get("points")
    known = [
        (f"{point['dose']:.0%} of documents wrong", point)
        for point in (points if isinstance(points, list) else [])
        if _is_number(_part({"point": point}, "point").get("dose"))
    ]
    rows = [_estimate(name, point.get("gain")) for name, point in known]
    yield _intervals("Dose-response", f"gain in bits per token with {wrong}", rows)
    rows = [_estimate(name, point.get("lost")) for name, point in known]
    yield _intervals("Loss per dose", "bits per token, against the corpus as it is", rows)
    moved = [
        (100 * point["dose"], point["within_document"])
        for _, point in known
        if _is_number(point.get("within_document"))
    ]
    title = "Mismatch penalty within the document"
    plot = plots.lines({"penalty": moved}, title, span=(0,)) if len(moved) > 1 else ""
    yield {"title": title, "note": "bits per token, by percent of documents wrong", "plot": plot}


def _few_shot(path: Path) -> dict[str, Any]:
    """Accuracies written by `m3w evaluate` beside the run."""
    try:
        data = json.loads(path.read_bytes())
        rows, task = data["rows"], f"task {visible(str(data['task']))[:40]}, {visible(str(data['mode']))[:20]}: "
        series = {
            name: [(row["shown"], row[key]) for row in rows if _is_number(row["shown"]) and _is_number(row[key])]
            for key, name in (("accuracy", "true images"), ("shuffled", "shuffled images"), ("majority", "commonest"))
        }
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        series, task = {}, ""
    title = "Few-shot accuracy"
    return {
        "title": title,
        "note": task + "share of questions answered correctly",
        "plot": plots.lines(series, title, "shots", (0, 1)),
    }


def _intervals(title: str, note: str, rows: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    known = [row for row in rows if row is not None]
    return {"title": title, "note": note, "plot": plots.intervals(known, f"{title}, {note}")}


def _mean_losses(curves: dict[str, Any], variant: str) -> dict[str, list[tuple[float, float]]]:
    """Loss of each set at each step, averaged over seeds, by the name of the variant, and of the set if there are
    several."""
    sets: dict[str, dict[float, list[float]]] = {}
    for name, points in curves.items():
        if name.rpartition("-")[0] == variant and isinstance(points, list):
            for point in points:
                for of_set, loss in _part(point, "loss").items():
                    if _is_number(point.get("step")) and _is_number(loss):
                        sets.setdefault(of_set, {}).setdefault(point["step"], []).append(loss)
    return {
        variant if len(sets) == 1 else f"{variant}, {visible(of_set)[:20]}": [
            (step, sum(values) / len(values)) for step, values in sorted(by_step.items())
        ]
        for of_set, by_step in sorted(sets.items())
    }


def _gates(curves: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Gates of the first seed trained on the true images."""
    name = min((name for name in curves if name.startswith("true-")), key=lambda name: (len(name), name), default=None)
    series: dict[str, list[tuple[float, float]]] = {}
    for point in curves[name] if name and isinstance(curves[name], list) else ():
        for kind, values in sorted(_part(point, "gates").items()):
            for layer, value in enumerate(values if isinstance(values, list) else ()):
                if _is_number(value) and _is_number(point.get("step")):
                    series.setdefault(f"{kind} {layer}", []).append((point["step"], value))
    return series


def _estimate(name: str, row: Any) -> dict[str, Any] | None:
    if not isinstance(row, dict) or not all(_is_number(row.get(key)) for key in ("value", "low", "high")):
        return None
    return {"name": visible(name)[:32], "mean": row["value"], "low": row["low"], "high": row["high"]}


def _manifest(stamp: Path) -> str:
    """sha256 of the manifest of the corpus a run was trained on, "" if unknown."""
    try:
        return str(json.loads(stamp.read_bytes())["contents"]["corpus"]["manifest"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _documents(rows: Any) -> list[Ranked]:
    return [
        Ranked(str(row["doc_id"]), row["gain"], row["tokens"], _piece(row.get("part")))
        for row in (rows if isinstance(rows, list) else [])[:SHOWN]
        if isinstance(row, dict) and "doc_id" in row and _is_number(row.get("gain")) and _is_number(row.get("tokens"))
    ]


def _piece(row: Any) -> Chunk | None:
    try:
        return Chunk(int(row["start"]), str(row["text"]), [bytes.fromhex(digest) for digest in row["images"]])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _captions(rows: Any) -> list[tuple[bytes, str]]:
    found = []
    for row in (rows if isinstance(rows, list) else [])[:CAPTIONS]:
        try:
            digest = bytes.fromhex(row["sha256"])
            text = str(row["text"])
        except (ValueError, KeyError, TypeError):
            continue
        if len(digest) == 32:
            found.append((digest, text[:400]))
    return found


def _first_number(name: str) -> int:
    """8 for `8-32`: JSON sorts keys as strings."""
    digits = name.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 9 else 0


def _part(data: Any, key: str) -> dict[str, Any]:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _tokens(row: Any) -> float:
    tokens = row.get("tokens") if isinstance(row, dict) else None
    return float(tokens) if isinstance(tokens, int | float) and _is_number(tokens) else 0.0


def _is_number(value: Any) -> bool:
    """No real result is large enough to overflow sums and axes."""
    return isinstance(value, int | float) and abs(value) < 1e15
