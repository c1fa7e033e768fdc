"""What several commands share: options, and the preparation of Beam."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from shards.store import located

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a recipe key (repeatable).")
]
Contact = Annotated[str | None, typer.Option(help="Your URL or mail address, sent in the User-Agent header.")]
AllowPrivate = Annotated[
    list[str] | None, typer.Option(metavar="CIDR", help="Private network the crawler may reach (repeatable).")
]
CorpusDir = Annotated[
    Path, typer.Argument(metavar="CORPUS", parser=located, help="A corpus directory, or s3://BUCKET/PREFIX.")
]
beam_options: list[str] = []
"""What follows -- on the command line."""


def prepare_beam() -> None:
    """Keep Beam's log off the terminal, and let a command fork. Raises BuildError if file locks (fcntl) are missing."""
    if sys.platform == "win32":
        from pipeline.errors import BuildError

        raise BuildError("build and crawl need Linux or macOS: on Windows use WSL")
    import logging

    from pipeline import signals
    from pipeline.engine.workers import prepare_fork

    logging.getLogger().addHandler(logging.NullHandler())
    if signals.handled():  # not in the process of a program that calls commands
        prepare_fork()
