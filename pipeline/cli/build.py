"""m3w build: its options, and what stands for inputs and recipe keys."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AllowPrivate, Contact, Settings, beam_options, prepare_beam
from shards.store import located

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
    typer.Option(
        metavar="CORPUS", parser=located, help="An earlier corpus: leave out pages that it already holds (repeatable)."
    ),
]
Decontaminate = Annotated[
    Path | None,
    typer.Option(metavar="BENCHMARK", help="Leave out: an index, or a folder or Parquet file of images."),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", metavar="CORPUS", parser=located, help="Output directory, or s3://...")
]


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
    prepare_beam()
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
        named = with_lists(inputs, output, lists, network, beam_options, ours, resolved.body_bytes)
    if dry_run:
        if own:
            raise BuildError(f"--dry-run: {own} is a corpus, of which nothing is read again")
        from pipeline.dry_run import dry_run as look

        typer.echo("\n".join(look(named, output, resolved, base_url, beam_options).lines()))
        return
    corpus = run(named, output, resolved, base_url, beam_options, Progress(), network)
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
