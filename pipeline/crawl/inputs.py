"""Inputs of a build that stand for WARC files: crawl directories, lists of WARC files, lists of URLs."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.crawl import lists
from pipeline.crawl.store import warcs_of
from pipeline.display import Display
from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.fetch import DEFAULT_LIMITS, Client, Networks
from pipeline.stages.fetch import Network

PATHS = (".paths", ".paths.gz")
URLS = (".txt", ".txt.gz", ".urls")
OUTCOMES = ("fetched", "failed", "disallowed", "left")


def with_lists(
    inputs: Sequence[str],
    corpus: Path,
    prefix: str,
    network: Network,
    beam_options: list[str],
    claim: Callable[[], object],
    body_bytes: int,
) -> list[str]:
    """Replace lists and crawls among the inputs by their WARC files.

    Lists of URLs are first crawled at depth 0 into CORPUS/warc, bodies up to `body_bytes`. `claim` is called before
    anything is written there. Raises BuildError."""
    named: list[str] = []
    seeds: list[str] = []
    for text in inputs:
        path = Path(text)
        if text.startswith(("http://", "https://")) or (text.endswith(URLS) and path.is_file()) or _has_urls(path):
            seeds.append(text)
        elif text.endswith(PATHS):
            named += _paths(path, prefix, corpus, network, claim)
        elif path.is_dir() and (warcs := warcs_of(path)) is not None:
            if not warcs:
                raise BuildError(f"{path}: the crawl has fetched nothing yet")
            named += map(str, warcs)
        else:
            named.append(text)
    if seeds:
        named += map(str, _crawled(seeds, corpus / "warc", network, beam_options, claim, body_bytes))
    return named


def _has_urls(path: Path) -> bool:
    if path.suffix != ".parquet" or not path.is_file():
        return False
    return "url" in lists.columns(path)


def _paths(path: Path, prefix: str, corpus: Path, network: Network, claim: Callable[[], object]) -> list[str]:
    """The WARC files in a list, one per line, as published by Common Crawl: files below a folder, or below a URL, which
    are first downloaded into CORPUS/work/warc."""
    lines = [line.strip() for line in lists.lines(path) if line.strip()]
    if not lines:
        raise BuildError(f"{path}: the list is empty")
    if prefix.startswith(("http://", "https://")):
        return _downloaded([f"{prefix.rstrip('/')}/{line.lstrip('/')}" for line in lines], corpus, network, claim)
    if "://" in prefix:
        raise BuildError(f"--warc-prefix {prefix}: a folder, or a URL with https:// or http://")
    found = [Path(prefix or path.parent) / line for line in lines]
    for warc in found:
        if not warc.is_file():
            raise BuildError(
                f"{str(warc)[:300]}, listed in {path}, does not exist: "
                "set --warc-prefix to the folder or URL that holds the files"
            )
    return [str(warc) for warc in found]


def _downloaded(urls: list[str], corpus: Path, network: Network, claim: Callable[[], object]) -> list[str]:
    from pipeline.fetch.download import Downloads

    if not network.fetch:
        raise BuildError(
            "--no-fetch or --dry-run with --warc-prefix URL: download the WARC files first and pass their folder"
        )
    claim()
    store = CorpusDirectory(corpus.resolve())
    folder = store.work("warc")
    folder.mkdir(parents=True, exist_ok=True)

    async def run() -> list[Path]:
        async with Client(network.contact, Networks.parse(network.allow_private)) as client:
            return await Downloads(client, folder, Display().note).all(urls)

    with store.locked():
        return [str(path) for path in asyncio.run(run())]


def _crawled(
    seeds: list[str],
    root: Path,
    network: Network,
    beam_options: list[str],
    claim: Callable[[], object],
    body_bytes: int,
) -> list[Path]:
    from pipeline.crawl.options import CrawlOptions
    from pipeline.crawl.rounds import crawl, is_finished

    if network.fetch:
        options = CrawlOptions(
            depth=0,
            sitemaps=False,
            # a list is fetched completely, however long it is
            pages_per_host=sys.maxsize,
            pages=sys.maxsize,
            bytes=sys.maxsize,
            contact=network.contact,
            allow_private=network.allow_private,
            limits=replace(DEFAULT_LIMITS, body_bytes=body_bytes),
        )
        options.check()
        claim()
        summary = crawl(seeds, root, options, beam_options)
        outcomes = [f"{summary.counts[name]:,} {name}" for name in OUTCOMES if summary.counts.get(name)]
        Display().note(f"{summary.discovered:,} URLs and images: {', '.join(outcomes)} (see {root / 'log'})")
    elif not is_finished(root, seeds):
        raise BuildError(
            f"--no-fetch or --dry-run, but {seeds[0]} has not been crawled: run m3w crawl, or pass WARC files"
        )
    warcs = warcs_of(root)
    if not warcs:
        raise BuildError(f"none of the URLs of {seeds[0]} could be fetched: see {root / 'log'}")
    return warcs
