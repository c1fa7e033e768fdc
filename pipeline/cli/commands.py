"""The commands of m3w. Heavy packages are imported inside the commands, so that --help is fast."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.addresses import address_refused
from pipeline.cli.build import build
from pipeline.cli.options import AllowPrivate, Contact, CorpusDir, Settings, beam_options, prepare_beam
from shards.store import located
from train_min import TrainError
from train_min.command import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Interleaved image-text corpora from the web.",
)
recipes = typer.Typer(no_args_is_help=True, help="Show, compare and explain recipes.")
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


TAKES_BEAM_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": False}
app.command(context_settings=TAKES_BEAM_OPTIONS)(build)


@app.command(context_settings=TAKES_BEAM_OPTIONS)
def crawl(
    context: typer.Context,
    seeds: Annotated[
        list[str], typer.Argument(metavar="SEED...", help="URLs, sitemaps, or files with one URL per line.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Output directory of the WARC files.")],
    depth: Annotated[int, typer.Option(help="Maximum number of links between a seed and a page.")] = 3,
    scope: Annotated[str, typer.Option(help="Follow links to the same `host`, the same `domain`, or `any`.")] = "host",
    include: Annotated[
        list[str] | None, typer.Option(help="Regular expression of page URLs to follow (repeatable).")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Regular expression of URLs to skip (repeatable).")] = None,
    delay: Annotated[float, typer.Option(help="Seconds between requests to a host that sets no Crawl-delay.")] = 1.0,
    images: Annotated[bool, typer.Option(help="Fetch the images of pages.")] = True,
    sitemaps: Annotated[bool, typer.Option(help="Read sitemaps and feeds of the seeds' hosts.")] = True,
    pages: Annotated[int, typer.Option(help="Maximum number of pages.")] = 1_000_000,
    pages_per_host: Annotated[int, typer.Option(help="Maximum number of pages per host.")] = 10_000,
    max_bytes: Annotated[int, typer.Option(help="Approximate maximum number of bytes.")] = 100_000_000_000,
    hours: Annotated[float | None, typer.Option(help="Stop after this time; rerun the command to resume.")] = None,
    contact: Contact = None,
    allow_private: AllowPrivate = None,
) -> None:
    """Crawl politely to WARC files for m3w build. Beam options follow --."""
    prepare_beam()
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
    summary = run(seeds, output, options, beam_options)
    for name, count in summary.counts.items():
        typer.echo(f"{count:>10}  {name}")
    typer.echo(f"{summary.discovered:>10}  discovered, {summary.waiting} of them waiting for another run")


@app.command()
def inspect(
    corpus: CorpusDir,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the funnel and figures as JSON and write no file.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Output file of the report [CORPUS/report.html].")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="SECTION.KEY=VALUE",
            help="Show what another threshold would change, and write no file.",
        ),
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(metavar="CORPUS", parser=located, help="Compare with this corpus, and write CORPUS/beside.html."),
    ] = None,
) -> None:
    """Show what a corpus holds and what was dropped, and write report.html."""
    if html is not None and (as_json or settings):
        raise typer.BadParameter("--json and --what-if write no report", param_hint="--html")
    if beside is not None and (as_json or settings):
        raise typer.BadParameter("--json and --what-if show one corpus", param_hint="--beside")
    from pipeline.inspect.command import compare
    from pipeline.inspect.command import inspect as run

    if beside is None:
        run(corpus, as_json, html, settings or [])
    else:
        compare(corpus, beside, html)


@app.command()
def view(
    corpus: CorpusDir,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free port.")] = 0,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="PATH", help="Input of the build, to show source pages (found by itself beside CORPUS)."
        ),
    ] = None,
) -> None:
    """Browse documents, windows, images and what was dropped."""
    from pipeline.inspect.command import view as run

    run(corpus, port, inputs or [])


@app.command()
def verify(corpus: CorpusDir) -> None:
    """Check every hash, count and reference of a corpus."""
    from pipeline.inspect.command import verify as run

    run(corpus)


@app.command("decontaminate-index")
def decontaminate_index(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Folders of images, or Parquet files with images.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Output file (Parquet).")],
    name: Annotated[str, typer.Option(help="Name of the benchmark; default: that of its folder or file.")] = "",
    texts: Annotated[
        bool, typer.Option("--texts", help="FILE... are texts: an example a line, .jsonl or Parquet.")
    ] = False,
) -> None:
    """Write an index of a benchmark's images or texts, to leave them out of corpora with build --decontaminate."""
    from pipeline.benchmarks import make_index, make_text_index

    (make_text_index if texts else make_index)(paths, name, output, typer.echo)


@app.command("decontaminate-review")
def decontaminate_review(
    corpus: CorpusDir,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="HTML file; default: CORPUS/review.html.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What an index of images was made of, to show them (repeatable)."),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What an index of texts was made of, to show them (repeatable)."),
    ] = None,
) -> None:
    """Show each image and passage left out as one of a benchmark, beside what it matched."""
    from pipeline.inspect.finished import open_corpus
    from pipeline.inspect.review import write_review

    path = output or corpus / "review.html"
    found = write_review(open_corpus(corpus), images or [], texts or [], path)
    told = [f"{count:,} {kind}" for kind, count in found._asdict().items() if count is not None]
    typer.echo(f"{' and '.join(told)} in {path}")


@app.command("explain-page")
def explain_page(
    page: Annotated[Path, typer.Argument(metavar="FILE", help="An HTML file.")],
    url: Annotated[str, typer.Option(help="URL of the page.")] = "https://example.org/page",
    comments: Annotated[bool, typer.Option(help="Keep readers' comments.")] = False,
) -> None:
    """Show why extraction keeps or leaves out each text and image of a page."""
    from filters.rules import EXPLAINED
    from pipeline.errors import BuildError
    from pipeline.extract import ExtractOptions, PageDropped
    from pipeline.extract.explain import explain
    from pipeline.inspect.samples import visible

    options = ExtractOptions(comments=comments)
    try:
        found = explain(page.read_bytes(), url, options=options)
    except PageDropped as dropped:
        raise BuildError(f"{page} is dropped under {dropped.rule} ({EXPLAINED[dropped.rule]})") from None
    except OSError as error:
        raise BuildError(f"{page}: {error.strerror}") from None
    for line in found.lines():
        typer.echo(visible(line))


@app.command()
def export(
    corpus: CorpusDir,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="obelics, omnicorpus, mint1t, mmc4, openflamingo, webdataset, energon, chat (messages and images), "
            "mimic-it (questions about captions: weak) or pairs (img2dataset's layout).",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Output directory, new or empty.")],
) -> None:
    """Write the training part of a corpus in another project's format."""
    from pipeline.export import export as run

    run(corpus, to, output, typer.echo)


app.command()(train)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output directory of m3w train.")],
    task: Annotated[
        Path,
        typer.Argument(metavar="TASK", help="Folders LABEL/*.jpg, images with a .txt file each, or questions.jsonl."),
    ],
    shots: Annotated[
        list[int] | None, typer.Option(help="Number of examples in the prompt (repeatable) [0 4 8 16 32].")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes per number of shots [100].")] = None,
    mode: Annotated[str, typer.Option(help="Decoding: `closed` (score the labels), `greedy` or `beam`.")] = "closed",
    rices: Annotated[bool, typer.Option(help="Choose similar images as shots instead of random ones (RICES).")] = False,
    permute: Annotated[bool, typer.Option(help="Permute the labels in each episode.")] = True,
    prefix: Annotated[str, typer.Option(help="Text between an image and its label.")] = "Output:",
    ways: Annotated[
        int,
        typer.Option(
            help="Number of classes in an episode, with new names and shots balanced over them, beside controls and "
            "baselines; 0: all classes of the folder, by their labels.",
            min=0,
        ),
    ] = 0,
    concept: Annotated[
        bool, typer.Option(help="With --ways: labels are attributes joined by hyphens, a class is one value of one.")
    ] = False,
) -> None:
    """Measure the few-shot accuracy of a run on a folder of labelled images."""
    if ways or concept:
        _evaluate_ways(run, task, ways, tuple(shots or ()), episodes, concept)
        return
    try:
        from train_min.measuring.evaluate import EvaluateOptions, run_evaluate
        from train_min.measuring.questions import FILE, run_questions
    except ImportError as error:
        raise TrainError(f"evaluation needs {error.name}: pip install 'openm3w[train]'") from None
    if (task / FILE).is_file():
        run_questions(run, task, typer.echo)
        return
    given: dict[str, Any] = {"mode": mode, "rices": rices, "permute": permute, "prefix": prefix}
    given |= {"shots": tuple(shots)} if shots else {}
    given |= {"episodes": episodes} if episodes is not None else {}
    run_evaluate(run, task, EvaluateOptions(**given), typer.echo)


@app.command("worker-pool")
def worker_pool(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 picks a free one.")] = 50000,
) -> None:
    """Start the workers of a cluster's task managers on this host (--environment_type=EXTERNAL)."""
    prepare_beam()
    from pipeline.engine.pool import HOST, serve

    server, bound = serve(port, Path("/dev/stderr"), "pipeline.stages.preload")
    typer.echo(f"listening at {HOST}:{bound}")
    server.wait_for_termination()


def _evaluate_ways(
    run: Path, task: Path, ways: int, shots: tuple[int, ...], episodes: int | None, concept: bool
) -> None:
    try:
        from train_min.ways import WaysOptions, run_ways
    except ImportError as error:
        raise TrainError(f"evaluation needs {error.name}: pip install 'openm3w[train]'") from None
    options = WaysOptions(ways or 2, concept=concept)
    given: dict[str, Any] = {"shots": shots or options.shots, "episodes": episodes or options.episodes}
    run_ways(run, task, replace(options, **given), typer.echo)


@recipes.command("list")
def list_recipes() -> None:
    """List the presets."""
    from pipeline.recipe import about, presets

    for name in presets():
        typer.echo(f"{name:<8} {about(name)}")


@recipes.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a preset, or a TOML file.")],
    settings: Settings = None,
) -> None:
    """Print a recipe as TOML."""
    from pipeline.recipe import load

    typer.echo(load(name, settings or ()).toml(), nl=False)


@recipes.command("explain")
def explain_rule(rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule's id, or a recipe's key.")]) -> None:
    """Show what a rule drops, its metric, its key and its source."""
    from pipeline.reference import explain

    typer.echo(explain(rule), nl=False)


@recipes.command("diff")
def diff_recipes(
    one: Annotated[str, typer.Argument(metavar="A", help="Name of a preset, or a TOML file.")],
    other: Annotated[str, typer.Argument(metavar="B", help="The recipe to compare it with.")],
) -> None:
    """Print the keys that differ between two recipes."""
    from pipeline.recipe import load
    from pipeline.reference import differences

    typer.echo(differences(load(one), load(other)), nl=False)


def run(arguments: list[str]) -> None:
    """Run the command given by `arguments`."""
    if "--" in arguments:
        at = arguments.index("--")
        beam_options[:] = arguments[at + 1 :]
        arguments = arguments[:at]
    if (refused := address_refused(app, arguments)) is not None:
        sys.exit(_failed(refused, 2))
    if beam_options and arguments[:1] not in (["build"], ["crawl"]):
        sys.exit(_failed(f"{beam_options[0]}: only build and crawl take options after --", 2))
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
