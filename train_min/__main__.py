"""`python -m train_min CORPUS -o RUN`, or `torchrun --nproc-per-node=2 -m train_min CORPUS -o RUN`: `m3w train` without
the rest of m3w."""

import sys

from pipeline import signals
from train_min import TrainError


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 wrong usage, 128 + number for a signal."""
    import typer

    from train_min.command import train

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app(arguments, prog_name="python -m train_min")
    except TrainError as error:
        print(f"train_min: {error}", file=sys.stderr)
    except OSError as error:
        print(f"train_min: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    signals.handle("train_min")
    sys.exit(main())
