"""The m3w command. Everything heavy is imported inside the commands, so that --help answers at once."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Interleaved image-text corpora from the web.",
)
recipes = typer.Typer(no_args_is_help=True, help="The recipes that come with openm3w.")
app.add_typer(recipes, name="recipe")

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a recipe's key.")
]
CorpusDir = Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus directory.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def build(
    context: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="WARC files, globs, folders of HTML.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="CORPUS", help="The directory to build.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a TOML file.")] = "web",
    settings: Settings = None,
    base_url: Annotated[str, typer.Option(help="The URL of a folder's root.")] = "file:///",
) -> None:
    """Build a corpus from web pages. Options for Beam follow after --."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())  # Beam logs to the terminal otherwise
    from pipeline.jobs.build import build as run
    from pipeline.jobs.progress import Progress
    from pipeline.recipe import load

    corpus = run(inputs, output, load(recipe, settings or ()), base_url, _beam_options, Progress())
    typer.echo(f"built {corpus.root}")


@app.command()
def inspect(
    corpus: CorpusDir,
    as_json: Annotated[bool, typer.Option("--json", help="Print funnel and figures as JSON, write nothing.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="The report [CORPUS/report.html].")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--what-if", metavar="SECTION.KEY=VALUE", help="Only tell what another threshold would change."),
    ] = None,
) -> None:
    """Tell what a corpus holds and what was dropped, and write report.html."""
    from pipeline.inspect.command import inspect as run

    run(corpus, as_json, html, settings or [])


@app.command()
def view(corpus: CorpusDir, port: Annotated[int, typer.Option(help="0: any free one.")] = 0) -> None:
    """Look at documents and windows in a browser."""
    from pipeline.inspect.command import view as run

    run(corpus, port)


@app.command()
def verify(corpus: CorpusDir) -> None:
    """Check every hash, count and reference of a corpus."""
    from pipeline.inspect.command import verify as run

    run(corpus)


@app.command()
def train(
    corpus: CorpusDir,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Default: CORPUS/runs/default.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many times each arm is trained.")] = 3,
    steps: Annotated[int, typer.Option(help="Updates of each arm.")] = 100,
    lm: Annotated[str, typer.Option(help="nano, or a causal language model by path or Hugging Face name.")] = "nano",
    vision: Annotated[str, typer.Option(help="efficientnet-lite0, or open_clip:MODEL/WEIGHTS.")] = "efficientnet-lite0",
) -> None:
    """Train a small Flamingo and tell what the corpus' images are worth."""
    try:
        from train_min import TrainError
        from train_min.train import TrainOptions
        from train_min.train import run as run_training
    except ImportError as error:
        sys.exit(_failed(f"training needs {error.name}: pip install 'openm3w[train]'"))
    options = TrainOptions(seeds=seeds, steps=steps, lm=lm, vision=vision)
    try:
        run_training(corpus, output or corpus / "runs" / "default", options, lambda line: typer.echo(line))
    except TrainError as error:
        sys.exit(_failed(str(error)))


@recipes.command("list")
def list_recipes() -> None:
    """Name the presets."""
    from pipeline.recipe import presets

    for name in presets():
        typer.echo(name)


@recipes.command("show")
def show_recipe(name: str, settings: Settings = None) -> None:
    """Print a recipe as TOML."""
    from pipeline.recipe import load

    typer.echo(load(name, settings or ()).toml(), nl=False)


_beam_options: list[str] = []


def _end(number: int, frame: FrameType | None) -> None:
    """Files are whole or absent at any moment and workers die with this process: nothing needs to be put in order."""
    name = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    os.write(2, f"\nm3w: {name}; give the same command again to continue\n".encode())
    os._exit(128 + number)


def main() -> None:
    """The console script. Exit status: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:]
    if "--" in arguments:
        at = arguments.index("--")
        _beam_options[:] = arguments[at + 1 :]
        arguments = arguments[:at]
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    from pipeline.errors import BuildError

    try:
        app(arguments)
    except BuildError as error:
        sys.exit(_failed(str(error)))
    except OSError as error:
        sys.exit(_failed(str(BuildError.of(error))))


def _failed(message: str) -> int:
    print(f"m3w: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
