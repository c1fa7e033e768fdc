"""Inputs of a build that stand for WARC files: crawl directories, lists of WARC files, lists of URLs."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.crawl import lists
from pipeline.crawl.store import warcs_of
from pipeline.crawl.warc_lists import SUFFIXES, WarcLists
from pipeline.display import Display
from pipeline.errors import BuildError
from pipeline.fetch import DEFAULT_LIMITS
from pipeline.stages.fetch import Network
from shards.store import RemotePath, located

URLS = (".txt", ".txt.gz", ".urls")
OUTCOMES = ("fetched", "failed", "disallowed", "left")


def with_lists(
    inputs: Sequence[str],
    corpus: Path,
    warcs: WarcLists,
    network: Network,
    beam_options: list[str],
    claim: Callable[[], object],
    body_bytes: int,
) -> list[str]:
    """Replace lists and crawls among the inputs by their WARC files.

    Lists of URLs are first crawled at depth 0 into CORPUS/warc, bodies up to `body_bytes`. `claim` is called before
    anything is written there. Raises BuildError."""
    if warcs.sample < 1 and warcs.crawl is None and not any(text.endswith(SUFFIXES) for text in inputs):
        raise BuildError("--sample needs --cc or a *.paths list, of whose files it takes a share")
    named = [] if warcs.crawl is None else warcs.crawl_files(corpus, network, claim)
    seeds: list[str] = []
    for text in inputs:
        path = located(text)
        if text.startswith(("http://", "https://")) or _has_urls(path):
            seeds.append(text)
        elif text.endswith(SUFFIXES):
            named += warcs.files(path, corpus, network, claim)
        elif path.is_dir() and (crawled := warcs_of(path)) is not None:
            if not crawled:
                raise BuildError(f"{path}: the crawl has fetched nothing yet")
            named += map(str, crawled)
        else:
            named.append(text)
    if seeds:
        named += map(str, _crawled(seeds, corpus / "warc", network, beam_options, claim, body_bytes))
    return named


def _has_urls(path: Path) -> bool:
    """Whether a local file is a list of URLs."""
    if isinstance(path, RemotePath) or not path.name.endswith((*URLS, ".parquet")) or not path.is_file():
        return False
    return path.suffix != ".parquet" or "url" in lists.columns(path)


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
