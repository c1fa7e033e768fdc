"""`python -m train_min CORPUS -o RUN`."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from train_min import TrainError


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 wrong usage."""
    from train_min.train import TrainOptions, run

    parser = argparse.ArgumentParser(prog="python -m train_min", description="Train a small Flamingo on a corpus.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="folder of the run (default: CORPUS/runs/default)")
    for option in fields(TrainOptions):
        kind = str if option.default is None or isinstance(option.default, str) else type(option.default)
        if option.name == "workers":
            kind = int
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=kind, default=option.default)
    parsed = vars(parser.parse_args(arguments))
    corpus, out = parsed.pop("corpus"), parsed.pop("out")
    try:
        run(corpus, out or corpus / "runs" / "default", TrainOptions(**parsed), lambda line: print(line, flush=True))
    except TrainError as error:
        print(f"train_min: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train_min: interrupted; give the same command again to go on", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
