"""The commands of m3w. Heavy packages are imported inside the commands, so that --help is fast."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from shards.store import is_address, located
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


Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a recipe key (repeatable).")
]
Contact = Annotated[str | None, typer.Option(help="Your URL or mail address, sent in the User-Agent header.")]
AllowPrivate = Annotated[
    list[str] | None, typer.Option(metavar="CIDR", help="Private network the crawler may reach (repeatable).")
]
INPUTS = (
    "WARC and WACZ files, folders of them or of HTML, single .html or .mhtml files, globs, a crawl's directory, "
    "*.paths lists, lists of URLs, or a corpus, whose pages and images are used again."
)
RecipeName = Annotated[
    str | None, typer.Option(help="Name of a preset, or a TOML file; default: web, or that of a corpus given as input.")
]
FromObelics = Annotated[
    bool, typer.Option("--from-obelics", help="INPUT are Parquet files of OBELICS, with their images/*.tar.")
]
FromMmc4 = Annotated[
    bool, typer.Option("--from-mmc4", help="INPUT are files of MMC4: .jsonl, .jsonl.zip or open_flamingo's .tar.")
]
FromOmnicorpus = Annotated[
    bool, typer.Option("--from-omnicorpus", help="INPUT are Parquet files of OmniCorpus, with their images/*.tar.")
]
CommonCrawl = Annotated[
    str | None, typer.Option("--cc", metavar="CRAWL", help="A crawl of Common Crawl to read, such as CC-MAIN-2025-05.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show parts, records, time and disk; write nothing.")]
Takedown = Annotated[
    Path | None, typer.Option(metavar="FILE", help="URLs, hosts and sha256 sums of images to leave out.")
]
Known = Annotated[
    list[Path] | None,
    typer.Option(metavar="CORPUS", help="An earlier corpus: leave out pages that it already holds (repeatable)."),
]
Decontaminate = Annotated[
    Path | None,
    typer.Option(metavar="BENCHMARK", help="Leave out: an index, or a folder or Parquet file of images."),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="CORPUS", parser=located, help="Output directory, or s3://...")
]
CorpusDir = Annotated[
    Path, typer.Argument(metavar="CORPUS", parser=located, help="A corpus directory, or s3://BUCKET/PREFIX.")
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def build(
    context: typer.Context,
    output: Output,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT", help=INPUTS)] = None,
    recipe: RecipeName = None,
    settings: Settings = None,
    takedown: Takedown = None,
    known: Known = None,
    decontaminate: Decontaminate = None,
    base_url: Annotated[str, typer.Option(help="URL of the root of an HTML folder.")] = "file:///",
    fetch: Annotated[bool, typer.Option(help="Fetch images missing from the input (needs --contact).")] = True,
    retry_failed: Annotated[bool, typer.Option(help="Retry images that could not be fetched.")] = False,
    contact: Contact = None,
    allow_private: AllowPrivate = None,
    cc: CommonCrawl = None,
    sample: Annotated[float, typer.Option(metavar="SHARE", help="Share of the listed WARC files to read.")] = 1.0,
    warc_prefix: Annotated[str, typer.Option(help="Folder or URL prefix of the files in a *.paths list.")] = "",
    from_obelics: FromObelics = False,
    from_mmc4: FromMmc4 = False,
    from_omnicorpus: FromOmnicorpus = False,
    dry_run: DryRun = False,
) -> None:
    """Build a corpus from web pages. Beam options follow --."""
    _prepare_beam()
    from pipeline.build import build as run
    from pipeline.claim import claim
    from pipeline.crawl.inputs import with_lists
    from pipeline.crawl.warc_lists import WarcLists
    from pipeline.engine.corpus import CorpusDirectory
    from pipeline.engine.progress import Progress
    from pipeline.errors import BuildError
    from pipeline.recipe import load
    from pipeline.stages.fetch import Network
    from pipeline.stages.parts import with_images
    from pipeline.stages.reuse import is_corpus

    network = Network(fetch and not dry_run, retry_failed, contact, tuple(allow_private or ()))
    inputs = inputs or []
    own = next((text for text in inputs if is_corpus(located(text))), None)
    changed = [*(settings or ()), *_paths_set(takedown, known)]
    if decontaminate and not dry_run:  # which writes nothing, and judges no image
        changed.append(_without_benchmarks(decontaminate, output))
    resolved = load(recipe or (f"{own}/recipe.toml" if own else "web"), changed)
    ours = partial(claim, CorpusDirectory(output.resolve()), resolved, [])
    kind = _one_of({"cc": cc, "from-obelics": from_obelics, "from-mmc4": from_mmc4, "from-omnicorpus": from_omnicorpus})
    if kind.startswith("from-"):
        named = with_images(inputs, kind.removeprefix("from-"))
    else:
        lists = WarcLists(warc_prefix, sample, cc)
        named = with_lists(inputs, output, lists, network, _beam_options, ours, resolved.body_bytes)
    if dry_run:
        if own:
            raise BuildError(f"--dry-run: {own} is a corpus, of which nothing is read again")
        from pipeline.dry_run import dry_run as look

        typer.echo("\n".join(look(named, output, resolved, base_url, _beam_options).lines()))
        return
    corpus = run(named, output, resolved, base_url, _beam_options, Progress(), network)
    _say_built(corpus.root, resolved.windows.validation > 0)


def _without_benchmarks(path: Path, output: Path) -> str:
    """The setting that leaves out a benchmark. An index is made beside the corpus of images that are none yet."""
    from pipeline.benchmarks import index_for

    key, index = index_for(path, output, lambda text: typer.echo(text, err=True))
    return f"{key}={json.dumps(str(index))}"


def _paths_set(takedown: Path | None, known: list[Path] | None) -> list[str]:
    """The settings that --takedown and --known stand for."""
    found = [f"page.takedown={json.dumps(str(takedown.resolve()))}"] if takedown else []
    return found + ([f"dedup.known={json.dumps([str(root.resolve()) for root in known])}"] if known else [])


def _one_of(kinds: Mapping[str, object]) -> str:
    """The one of some options that was given, or "". Raises BadParameter if several were."""
    given = [kind for kind, value in kinds.items() if value]
    if len(given) > 1:
        raise typer.BadParameter("give one of them", param_hint=" and ".join(f"--{kind}" for kind in given))
    return given[0] if given else ""


def _say_built(root: Path, validation: bool) -> None:
    """Print what a finished build has led to; one without any page is an error."""
    from pipeline.errors import BuildError
    from pipeline.inspect.empty import why_empty
    from shards.enough import too_few_held_out

    if (empty := why_empty(root)) is not None:
        text = f"{root} has no documents: {empty.reason}"
        if empty.pages == 0:
            raise BuildError(text)
        typer.echo(f"built, but {text}")
        return
    typer.echo(f"built {root}")
    if validation and (reason := too_few_held_out(sorted((root / "documents").glob("*.parquet")))):
        typer.echo(f"not enough held out for m3w train: {reason.removeprefix('too few to say: ')}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
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
    _prepare_beam()
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
        typer.Option(metavar="IMAGES", help="What the index was made of, to show its images (repeatable)."),
    ] = None,
) -> None:
    """Show each image left out as one of a benchmark, beside the image it matched."""
    from pipeline.inspect.finished import open_corpus
    from pipeline.inspect.review import write_review

    path = output or corpus / "review.html"
    count = write_review(open_corpus(corpus), images or [], path)
    typer.echo(f"{count:,} images in {path}")


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
    task: Annotated[Path, typer.Argument(metavar="TASK", help="Folders LABEL/*.jpg, or images with a .txt file each.")],
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
    except ImportError as error:
        raise TrainError(f"evaluation needs {error.name}: pip install 'openm3w[train]'") from None
    given: dict[str, Any] = {"mode": mode, "rices": rices, "permute": permute, "prefix": prefix}
    given |= {"shots": tuple(shots)} if shots else {}
    given |= {"episodes": episodes} if episodes is not None else {}
    run_evaluate(run, task, EvaluateOptions(**given), typer.echo)


@app.command("worker-pool")
def worker_pool(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 picks a free one.")] = 50000,
) -> None:
    """Start the workers of a cluster's task managers on this host (--environment_type=EXTERNAL)."""
    _prepare_beam()
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


def _prepare_beam() -> None:
    """Keep Beam's log off the terminal. Raises BuildError if file locks (fcntl) are missing."""
    if sys.platform == "win32":
        from pipeline.errors import BuildError

        raise BuildError("build and crawl need Linux or macOS: on Windows use WSL")
    import logging

    logging.getLogger().addHandler(logging.NullHandler())


_beam_options: list[str] = []


def run(arguments: list[str]) -> None:
    """Run the command given by `arguments`."""
    if "--" in arguments:
        at = arguments.index("--")
        _beam_options[:] = arguments[at + 1 :]
        arguments = arguments[:at]
    if (refused := _address_refused(arguments)) is not None:
        sys.exit(_failed(refused, 2))
    if _beam_options and arguments[:1] not in (["build"], ["crawl"]):
        sys.exit(_failed(f"{_beam_options[0]}: only build and crawl take options after --", 2))
    from pipeline.errors import BuildError

    try:
        app(arguments)
    except (BuildError, TrainError) as error:
        sys.exit(_failed(str(error)))
    except OSError as error:
        sys.exit(_failed(str(BuildError.of(error))))


STORES = ("abfs", "abfss", "az", "gcs", "gs", "hdfs", "oss", "s3", "s3a", "wasb", "wasbs", "webhdfs")
ADDRESSED = {
    "build": ("", "-o", "--output", "--warc-prefix"),
    "inspect": ("", "--beside"),
    **dict.fromkeys(("verify", "view", "export", "train"), ("",)),
}
"""Arguments of each command that may be addresses in an object store; "" for those without a name."""


def _address_refused(arguments: list[str]) -> str | None:
    """Why the first argument is refused that is an address where a path belongs: `Path` would make s3://BUCKET a folder
    named s3:."""
    for before, argument in pairwise(["", *arguments]):
        name, _, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if argument.startswith("-o"):
            name, value = "-o", argument.removeprefix("-o")
        elif not name and before.startswith("-") and "=" not in before and before not in _flags(arguments[0]):
            name = before
        scheme, colon, _ = value.partition("://")
        if not colon or not (scheme.lower() in STORES or name in ("-o", "--output")):
            continue
        if not is_address(value):
            return f"{value}: this kind of object store is not supported: use s3://, gs://, or a local path"
        if name not in ADDRESSED.get(arguments[0], ()):
            command = f"m3w {arguments[0]} {name}".rstrip()
            return f"{value}: object stores are not supported by {command}: use a local path"
    return None


def _flags(command: str) -> set[str]:
    """The options of a command that take no value."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    parameters = commands[command].params if command in commands else ()
    flags = (one for one in parameters if getattr(one, "is_flag", False))
    return {name for one in flags for name in (*one.opts, *one.secondary_opts)}


def _failed(message: str, status: int = 1) -> int:
    print(f"m3w: {message}", file=sys.stderr)
    return status
