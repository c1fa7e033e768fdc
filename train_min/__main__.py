"""`python -m train_min CORPUS -o RUN`, or `torchrun --nproc-per-node=2 -m train_min CORPUS -o RUN`."""

import sys

from pipeline import signals
from train_min import TrainError


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 wrong usage, 128 + number for a signal."""
    try:
        train(arguments)
    except TrainError as error:
        print(f"train_min: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"train_min: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def train(arguments: list[str] | None) -> None:
    import argparse
    from dataclasses import fields
    from pathlib import Path

    from train_min.options import TrainOptions
    from train_min.train import run

    parser = argparse.ArgumentParser(prog="python -m train_min", description="Train a small Flamingo on a corpus.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--against", type=Path, help="another corpus: which of the two teaches more?")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help="folder of the run (default: CORPUS/runs/default, with --against runs/against-NAME)",
    )
    for option in fields(TrainOptions):
        kind = str if option.default is None or isinstance(option.default, str) else type(option.default)
        if option.name == "workers":
            kind = int
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=kind, default=argparse.SUPPRESS)
    parsed = vars(parser.parse_args(arguments))
    corpus, out, against = (parsed.pop(name) for name in ("corpus", "out", "against"))
    out = out or corpus / "runs" / ("default" if against is None else f"against-{against.name}")

    def report(line: str) -> None:
        print(line, flush=True)

    if against is None:
        run(corpus, out, TrainOptions(**parsed), report)
    else:
        from train_min.against import SEEDS, run_against

        run_against(corpus, against, out, TrainOptions(**{"seeds": SEEDS, **parsed}), report)


if __name__ == "__main__":
    signals.handle("train_min")
    sys.exit(main())
