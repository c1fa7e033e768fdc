"""What a finished run on miniweb learns from images about words that name their attributes, relative to the maximum.

    python -m pipeline.miniweb -o web --pages 5000
    m3w build web/miniweb.warc.gz -o corpus --no-fetch
    m3w train corpus
    python -m tests.bench.attributes web/truth.jsonl corpus/runs/default

A word that names one of K equally likely values for the first time carries log2 K bits, which the reference cannot know
and a model that sees the image can know completely: the gain at its tokens cannot exceed log2 K.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from shards.tokenizer import load_tokenizer
from tests.bench.results import Figure, record
from train_min.data.windows import WindowArrays, seen_images
from train_min.measuring.validate import BITS


def spans(tokens: np.ndarray, decoded: list[str], words: list[str]) -> list[tuple[int, int, int]]:
    """(word, first token, end) of each of `words`, which occur in this order in the text of the tokens."""
    offsets = np.cumsum([0, *map(len, decoded)])
    text, at, found = "".join(decoded), 0, []
    for number, (word, before) in enumerate(words):
        place = text.find(before + word, at)
        if place < 0:
            continue
        start = place + len(before)
        at = start + len(word)
        found.append((number, int(np.searchsorted(offsets, start, "right")) - 1, int(np.searchsorted(offsets, at))))
    return found


def read_mentions(truth: Path) -> dict[str, list[tuple[dict, str]]]:
    """Of each page that is kept: its mentions in reading order, each with up to eight characters before it."""
    mentions = {}
    for line in truth.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["rule"] is None:
            mentions[row["url"]] = [
                (mention, row["nodes"][mention["node"]][1][max(0, mention["start"] - 8) : mention["start"]])
                for mention in sorted(row["mentions"], key=lambda found: (found["node"], found["start"]))
            ]
    return mentions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--record", action="store_true", help="write the shares to results/trainer.json")
    options = parser.parse_args()
    mentions = read_mentions(options.truth)
    windows = WindowArrays.load(options.run / "data" / "validation.npz")
    tokenizer = load_tokenizer(str(options.run / "tokenizer.json"))
    sees = seen_images(windows).image >= 0
    losses = defaultdict(list)
    for path in sorted((options.run / "variants").glob("*.npz")):
        with np.load(path) as file:
            losses[path.stem.rpartition("-")[0]].append(file["own"])
    gain = np.mean(losses["reference"], 0) - np.mean(losses["true"], 0)
    found = defaultdict(list)
    for unit in {int(unit) for unit in windows.unit}:
        row = mentions.get(windows.units[unit]["url"], [])
        # tiles of a document follow one another, so its words do too
        places = np.concatenate(
            [
                np.arange(windows.starts[index], windows.starts[index + 1])
                for index in np.flatnonzero(windows.unit == unit)
            ]
        )
        markers = {windows.image_id, windows.eoc_id}
        decoded = ["" if token in markers else tokenizer.decode([token]) for token in windows.tokens[places].tolist()]
        words = [(mention["word"], before) for mention, before in row]
        for number, start, stop in spans(windows.tokens[places], decoded, words):
            mention = row[number][0]
            inside = places[start:stop]
            above = mention["picture"] is not None and mention["picture"] == mention["node"] - 1
            if mention["first"] and above and sees[inside[0]]:
                language = windows.units[unit]["language"]
                found[mention["attribute"], mention["choices"]].append((language, gain[inside].sum() * BITS))
    told = sum(value for entries in found.values() for _, value in entries)
    known = sum(len(entries) * math.log2(choices) for (_, choices), entries in found.items())
    told_in: dict[str, float] = defaultdict(float)
    known_in: dict[str, float] = defaultdict(float)
    for (_, choices), entries in found.items():
        for language, value in entries:
            told_in[language] += value
            known_in[language] += math.log2(choices)
    for (attribute, choices), entries in sorted(found.items()):
        value = np.mean([value for _, value in entries])
        print(f"{attribute:8} {len(entries):6} words  {value:.3f} of {math.log2(choices):.0f} bits a word")
    by_language = ", ".join(f"{language} {told_in[language] / known_in[language]:.1%}" for language in sorted(known_in))
    print(f"share of log2 K: {told / known:.1%}; {by_language}")
    if options.record:
        english = told_in["en"] / known_in["en"]
        shares = [
            Figure("attribute words: share of log2 K, 7 languages", round(100 * told / known, 1), "%", ">= 80"),
            Figure("attribute words: share of log2 K, English", round(100 * english, 1), "%"),
        ]
        record("trainer", shares, "python -m tests.bench.attributes web/truth.jsonl RUN", f"run {options.run.name}")


if __name__ == "__main__":
    main()
