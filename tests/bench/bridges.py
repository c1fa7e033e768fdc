"""Flamingo's gated layers beside BLIP-2's Q-Former and LLaVA's projection: gain, few-shot accuracy, size and time.

    python -m tests.bench.bridges corpus -o bridges --record

All three have the same frozen language model (each run trains it, with the same result), features, windows, tokens and
seeds. Flamingo keeps the states below its gated layer, which the others cannot. Times are of all trainings with their
evaluation, one after the other in one process. Few-shot accuracy is that of `m3w train --few-shot --bridge NAME` on
pages of cards (docs/few-shot.md): two ways, unseen combinations, one seed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tests.bench.fewshot import at_shots, corpus_of, m3w, tasks_of
from tests.bench.results import Figure, record
from train_min.fewshot import NAMES, Arm
from train_min.options import BRIDGES, TrainOptions
from train_min.train import run
from train_min.training.loop import load


def trained(corpus: Path, out: Path, bridge: str, options: argparse.Namespace) -> dict[str, Any]:
    """The gain of a run, the number of trained parameters, and the seconds of its trainings."""
    chosen = TrainOptions(bridge=bridge, steps=options.steps, seeds=options.seeds, workers=1)
    result = run(corpus, out / bridge, chosen, print)
    assert result is not None
    state = load(out / bridge / "checkpoint" / f"true-{chosen.seed}.pt")["model"]
    rows = [json.loads(line) for line in (out / bridge / "log.jsonl").read_text().splitlines()]
    speeds = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row]
    return {
        "gain": result.data["gain"],
        "parameters": sum(weight.numel() for weight in state.values()),
        "tokens_per_second": sorted(speeds)[len(speeds) // 2],
        "seconds": result.data["seconds"]["total"] - result.data["seconds"]["prepare"],
    }


SHOTS = (2, 8)


def few_shot(out: Path, bridge: str) -> dict[int, float]:
    """Accuracy of a run with `bridge` by the number of shots."""
    run = out / f"few-shot-{bridge}"
    if not (run / "few-shot.json").exists():
        m3w("train", corpus_of(out / "cards"), "-o", run, "--few-shot", "--bridge", bridge, "--seeds", 1)
    path = run / "ways-unseen-2.json"
    if not path.exists():
        m3w("evaluate", run, tasks_of(out) / "unseen", "--ways", 2, *at_shots(*SHOTS))
    rows = json.loads(path.read_text())["models"][Arm(NAMES, 0).file]
    return {row["shots"]: row["accuracy"] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write the figures to results/trainer.json")
    options = parser.parse_args()
    measured = []
    for bridge in BRIDGES:
        found = trained(options.corpus, options.output, bridge, options)
        gain = found["gain"]
        print(
            f"{bridge:9} gain {gain['value']:.3f} [{gain['low']:.3f}, {gain['high']:.3f}] bits per token, "
            f"{found['parameters']:,} parameters, {found['tokens_per_second']:,} tokens/s, {found['seconds']:.0f} s"
        )
        measured += [
            Figure(
                f"gain, {bridge}", round(gain["value"], 3), "bits", "", (round(gain["low"], 3), round(gain["high"], 3))
            ),
            Figure(f"trained parameters, {bridge}", found["parameters"]),
            Figure(f"tokens per second, {bridge}", found["tokens_per_second"]),
            Figure(f"seconds of the trainings, {bridge}", round(found["seconds"]), "s", "< 900"),
        ]
        for shots, accuracy in few_shot(options.output, bridge).items():
            measured.append(Figure(f"2-way accuracy, {shots} shots, {bridge}", accuracy))
            print(f"{measured[-1].figure}: {accuracy:.3f}", flush=True)
    if options.record:
        data = f"{options.corpus.name}, {options.seeds} seeds of {options.steps} steps, one process"
        record("trainer", measured, "python -m tests.bench.bridges corpus -o bridges", data)


if __name__ == "__main__":
    main()
