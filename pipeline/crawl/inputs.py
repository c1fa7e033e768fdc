"""Inputs of a build that stand for WARC files: a crawl's directory, lists of WARC files, lists of URLs."""

import asyncio
import gzip
from collections.abc import Sequence
from pathlib import Path

from pipeline.crawl.store import warcs_of
from pipeline.errors import BuildError
from pipeline.fetch import Client, Networks
from pipeline.jobs.corpus import Corpus
from pipeline.jobs.fetch import Network
from pipeline.jobs.progress import Progress

PATHS = (".paths", ".paths.gz")
URLS = (".txt", ".txt.gz", ".urls")


def with_lists(
    inputs: Sequence[str], corpus: Path, prefix: str, network: Network, beam_options: list[str]
) -> list[str]:
    """The inputs with every list and crawl replaced by the WARC files it stands for.

    Lists of URLs are crawled at depth 0 into CORPUS/warc first. Raises BuildError."""
    named: list[str] = []
    lists: list[str] = []
    for text in inputs:
        path = Path(text)
        if text.startswith(("http://", "https://")) or (text.endswith(URLS) and path.is_file()) or _has_urls(path):
            lists.append(text)
        elif text.endswith(PATHS):
            named += _paths(path, prefix, corpus, network)
        elif path.is_dir() and (warcs := warcs_of(path)) is not None:
            if not warcs:
                raise BuildError(f"{path}: the crawl has fetched nothing yet")
            named += map(str, warcs)
        else:
            named.append(text)
    if lists:
        named += map(str, _crawled(lists, corpus / "warc", network, beam_options))
    return named


def _has_urls(path: Path) -> bool:
    if path.suffix != ".parquet" or not path.is_file():
        return False
    import pyarrow.parquet as pq

    return "url" in pq.read_schema(path).names


def _paths(path: Path, prefix: str, corpus: Path, network: Network) -> list[str]:
    """The WARC files that a list names, one a line, as Common Crawl publishes them: files below a folder, or files
    below a URL, which are downloaded into CORPUS/work/warc first."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except FileNotFoundError:
        raise BuildError(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: {error}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise BuildError(f"{path}: the list is empty")
    if prefix.startswith(("http://", "https://")):
        return _downloaded([f"{prefix.rstrip('/')}/{line.lstrip('/')}" for line in lines], corpus, network)
    if "://" in prefix:
        raise BuildError(f"--warc-prefix {prefix}: a folder, or a URL with https:// or http://")
    found = [Path(prefix or path.parent) / line for line in lines]
    for warc in found:
        if not warc.is_file():
            raise BuildError(
                f"{warc}, which {path} names, is not there: give --warc-prefix, the folder or URL they lie in"
            )
    return [str(warc) for warc in found]


def _downloaded(urls: list[str], corpus: Path, network: Network) -> list[str]:
    from pipeline.fetch.download import Downloads
    from pipeline.jobs.build import OURS

    others = sorted(path.name for path in corpus.iterdir() if path.name not in OURS) if corpus.is_dir() else []
    if others and not (corpus / "recipe.toml").exists():
        raise BuildError(f"{corpus} holds something else ({others[0]}): choose an empty or new directory")
    if not network.fetch:
        raise BuildError("--no-fetch with --warc-prefix URL: download the WARC files yourself and name their folder")
    store = Corpus(corpus.resolve())
    folder = store.work("warc")
    folder.mkdir(parents=True, exist_ok=True)

    async def run() -> list[Path]:
        async with Client(network.contact, Networks.parse(network.allow_private)) as client:
            return await Downloads(client, folder, Progress().note).all(urls)

    with store.locked():
        return [str(path) for path in asyncio.run(run())]


def _crawled(seeds: list[str], root: Path, network: Network, beam_options: list[str]) -> list[Path]:
    from pipeline.crawl.options import CrawlOptions
    from pipeline.crawl.rounds import crawl

    if network.fetch or not (root / "summary.json").exists():
        options = CrawlOptions(depth=0, sitemaps=False, contact=network.contact, allow_private=network.allow_private)
        crawl(seeds, root, options, beam_options)
    warcs = warcs_of(root)
    if not warcs:
        raise BuildError(f"none of the URLs of {seeds[0]} could be fetched: {root / 'log'} tells why")
    return warcs
