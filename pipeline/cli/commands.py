"""The commands of m3w. Everything heavy is imported inside the commands, so that --help answers at once."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from train_min import TrainError
from train_min.command import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Interleaved image-text corpora from the web.",
)
recipes = typer.Typer(no_args_is_help=True, help="The recipes that come with openm3w.")
app.add_typer(recipes, name="recipe")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"openm3w {version('openm3w')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Interleaved image-text corpora from the web."""


Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a recipe's key.")
]
Contact = Annotated[
    str | None, typer.Option(help="A URL or mail address of yours: every request's User-Agent says it.")
]
AllowPrivate = Annotated[
    list[str] | None, typer.Option(metavar="CIDR", help="A network that may be reached though it is not public.")
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
    fetch: Annotated[bool, typer.Option(help="Fetch images that the input does not hold (needs --contact).")] = True,
    retry_failed: Annotated[bool, typer.Option(help="Ask again for images that could not be fetched.")] = False,
    contact: Contact = None,
    allow_private: AllowPrivate = None,
    warc_prefix: Annotated[str, typer.Option(help="The folder or URL below which *.paths lists name files.")] = "",
) -> None:
    """Build a corpus from web pages. Options for Beam follow after --."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())  # Beam logs to the terminal otherwise
    from pipeline.build import build as run
    from pipeline.build import claim
    from pipeline.crawl.inputs import with_lists
    from pipeline.engine.corpus import Corpus
    from pipeline.engine.progress import Progress
    from pipeline.recipe import load
    from pipeline.stages.fetch import Network
    from shards.enough import too_few_held_out

    network = Network(fetch, retry_failed, contact, tuple(allow_private or ()))
    resolved = load(recipe, settings or ())
    ours = partial(claim, Corpus(output.resolve()), resolved, [])
    named = with_lists(inputs, output, warc_prefix, network, _beam_options, ours, resolved.body_bytes)
    corpus = run(named, output, resolved, base_url, _beam_options, Progress(), network)
    typer.echo(f"built {corpus.root}")
    if resolved.windows.validation and (
        reason := too_few_held_out(sorted((corpus.root / "documents").glob("*.parquet")))
    ):
        typer.echo(f"for m3w train {reason}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def crawl(
    context: typer.Context,
    seeds: Annotated[
        list[str], typer.Argument(metavar="SEED...", help="URLs, sitemaps, or files with one URL a line.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where the WARC files go.")],
    depth: Annotated[int, typer.Option(help="Links followed from a seed.")] = 3,
    scope: Annotated[str, typer.Option(help="Links to the same host, the same domain, or any.")] = "host",
    include: Annotated[
        list[str] | None, typer.Option(help="A regular expression that links to pages must match; seeds need not.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="One that they must not match.")] = None,
    delay: Annotated[float, typer.Option(help="Seconds between two requests to a host without a Crawl-delay.")] = 1.0,
    images: Annotated[bool, typer.Option(help="Fetch the pictures of pages too.")] = True,
    sitemaps: Annotated[bool, typer.Option(help="Follow the sitemaps and feeds of the seeds' hosts.")] = True,
    pages: Annotated[int, typer.Option(help="At most so many pages.")] = 1_000_000,
    pages_per_host: Annotated[int, typer.Option(help="At most so many pages of a host.")] = 10_000,
    max_bytes: Annotated[int, typer.Option(help="At most about so many bytes.")] = 100_000_000_000,
    hours: Annotated[float | None, typer.Option(help="Stop after so long; the same command goes on.")] = None,
    contact: Contact = None,
    allow_private: AllowPrivate = None,
) -> None:
    """Crawl politely to WARC files, which m3w build reads. Options for Beam follow after --."""
    import logging

    logging.getLogger().addHandler(logging.NullHandler())  # Beam logs to the terminal otherwise
    from pipeline.crawl.options import CrawlOptions
    from pipeline.crawl.rounds import crawl as run

    options = CrawlOptions(
        depth=depth,
        scope=scope,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        delay=delay,
        images=images,
        sitemaps=sitemaps,
        pages_per_host=pages_per_host,
        pages=pages,
        bytes=max_bytes,
        seconds=None if hours is None else hours * 3600,
        contact=contact,
        allow_private=tuple(allow_private or ()),
    )
    summary = run(seeds, output, options, _beam_options)
    for name, count in summary.counts.items():
        typer.echo(f"{count:>10}  {name}")
    typer.echo(f"{summary.discovered:>10}  discovered, {summary.waiting} of them waiting for another run")


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
    if html is not None and (as_json or settings):
        raise typer.BadParameter("--json and --what-if write no report", param_hint="--html")
    from pipeline.inspect.command import inspect as run

    run(corpus, as_json, html, settings or [])


@app.command()
def view(corpus: CorpusDir, port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0) -> None:
    """Look at documents and windows in a browser."""
    from pipeline.inspect.command import view as run

    run(corpus, port)


@app.command()
def verify(corpus: CorpusDir) -> None:
    """Check every hash, count and reference of a corpus."""
    from pipeline.inspect.command import verify as run

    run(corpus)


@app.command()
def export(
    corpus: CorpusDir,
    to: Annotated[str, typer.Option(help="pairs: img2dataset's webdataset layout, jpg, txt and json.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A new or empty folder.")],
) -> None:
    """Write a corpus in another project's format."""
    from pipeline.export import export as run

    run(corpus, to, output, typer.echo)


app.command()(train)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of m3w train.")],
    task: Annotated[
        Path, typer.Argument(metavar="TASK", help="A folder LABEL/*.jpg, or pictures with a .txt beside each.")
    ],
    shots: Annotated[
        list[int] | None, typer.Option(help="How many examples are shown; several times [0 4 8 16 32].")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Questions for each number of shots [100].")] = None,
    mode: Annotated[str, typer.Option(help="closed, greedy or beam.")] = "closed",
    rices: Annotated[bool, typer.Option(help="Similar pictures as shots instead of random ones.")] = False,
    permute: Annotated[bool, typer.Option(help="Deal the labels out anew in every episode.")] = True,
    prefix: Annotated[str, typer.Option(help="What stands between a picture and its label.")] = "Output:",
) -> None:
    """Few-shot accuracy of a run on a folder of labelled pictures."""
    try:
        from train_min.measuring.evaluate import EvaluateOptions, run_evaluate
    except ImportError as error:
        raise TrainError(f"evaluation needs {error.name}: pip install 'openm3w[train]'") from None
    given: dict[str, Any] = {"mode": mode, "rices": rices, "permute": permute, "prefix": prefix}
    given |= {"shots": tuple(shots)} if shots else {}
    given |= {"episodes": episodes} if episodes is not None else {}
    run_evaluate(run, task, EvaluateOptions(**given), typer.echo)


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


@recipes.command("explain")
def explain_rule(rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule's id, or a recipe's key.")]) -> None:
    """Tell what a rule drops, by which metric and key, and where it comes from."""
    from pipeline.reference import explain

    typer.echo(explain(rule), nl=False)


@recipes.command("diff")
def diff_recipes(
    one: Annotated[str, typer.Argument(metavar="A", help="A preset's name or a TOML file.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
) -> None:
    """Print the keys in which two recipes differ."""
    from pipeline.recipe import load
    from pipeline.reference import differences

    typer.echo(differences(load(one), load(other)), nl=False)


_beam_options: list[str] = []


def run(arguments: list[str]) -> None:
    """Run the command that `arguments` name."""
    if "--" in arguments:
        at = arguments.index("--")
        _beam_options[:] = arguments[at + 1 :]
        arguments = arguments[:at]
    if _beam_options and arguments[:1] not in (["build"], ["crawl"]):
        sys.exit(_failed(f"{_beam_options[0]}: only build and crawl take options after --", 2))
    from pipeline.errors import BuildError

    try:
        app(arguments)
    except (BuildError, TrainError) as error:
        sys.exit(_failed(str(error)))
    except OSError as error:
        sys.exit(_failed(str(BuildError.of(error))))


def _failed(message: str, status: int = 1) -> int:
    print(f"m3w: {message}", file=sys.stderr)
    return status
