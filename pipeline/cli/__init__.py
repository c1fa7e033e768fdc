"""The m3w command. Only signals are handled here, before the commands are imported."""


def main() -> None:
    """The console script. Exit status: 0 done, 1 failed, 2 wrong usage, 128 + number for a signal."""
    import os
    import sys

    os.environ["PYTHONSAFEPATH"] = "1"  # child processes never import from the current folder
    from pipeline import signals

    signals.handle("m3w")
    from pipeline.cli.commands import run

    run(sys.argv[1:])
