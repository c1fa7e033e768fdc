"""Lists of WARC files, one path per line as Common Crawl publishes them, and which of their files a build reads."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.crawl import lists
from pipeline.display import Display
from pipeline.engine.corpus import CorpusDirectory
from pipeline.errors import BuildError
from pipeline.fetch import Client, Networks
from pipeline.stages.fetch import Network
from shards.store import is_address, located

SUFFIXES = (".paths", ".paths.gz")
COMMON_CRAWL = "https://data.commoncrawl.org/"
CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}")


@dataclass(frozen=True)
class WarcLists:
    """How lists of WARC files are read.

    prefix: the folder or URL that holds their files. sample: the share of each list's files to take, above 0 and at
    most 1. crawl: the name of a crawl of Common Crawl, whose list is read too. Raises BuildError for other values."""

    prefix: str = ""
    sample: float = 1.0
    crawl: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sample <= 1:
            raise BuildError(f"--sample {self.sample:g}: a share above 0 and at most 1")
        if "://" in self.prefix and not (self.remote or is_address(self.prefix)):
            raise BuildError(f"--warc-prefix {self.prefix}: a folder, or a URL with https://, http://, s3:// or gs://")
        if self.crawl is not None and not CRAWL.fullmatch(self.crawl):
            raise BuildError(f"--cc {self.crawl}: the name of a crawl, such as CC-MAIN-2025-05")

    @property
    def remote(self) -> bool:
        return self.prefix.startswith(("http://", "https://"))

    def crawl_files(self, corpus: Path, network: Network, claim: Callable[[], object]) -> list[str]:
        """The WARC files to take of the crawl, whose list is crawl-data/NAME/warc.paths.gz below the prefix."""
        name = f"crawl-data/{self.crawl}/warc.paths.gz"
        below = WarcLists(self.prefix or COMMON_CRAWL, self.sample, self.crawl)
        if not below.remote:
            return below.files(located(self.prefix) / name, corpus, network, claim)
        url = f"{below.prefix.rstrip('/')}/{name}"
        path = _download({0: url}, corpus, network, claim, lambda number, url: f"{self.crawl}.paths.gz")[0]
        return below.files(path, corpus, network, claim)

    def files(self, path: Path, corpus: Path, network: Network, claim: Callable[[], object]) -> list[str]:
        """The WARC files to take of a list. Files below a URL are first downloaded into CORPUS/work/warc.

        Raises BuildError for an empty list, a missing file or a download that failed."""
        lines = [line.strip() for line in lists.lines(path) if line.strip()]
        if not lines:
            raise BuildError(f"{path}: the list is empty")
        chosen = sample(lines, self.sample)
        if self.remote:
            urls = {number: f"{self.prefix.rstrip('/')}/{lines[number].lstrip('/')}" for number in chosen}
            return [str(found) for found in _download(urls, corpus, network, claim, None)]
        found = [located(self.prefix or path.parent) / lines[number] for number in chosen]
        for warc in found:
            if not warc.is_file():
                raise BuildError(
                    f"{str(warc)[:300]}, listed in {path}, does not exist: "
                    "set --warc-prefix to the folder or URL that holds the files"
                )
        return [str(warc) for warc in found]


def sample(lines: list[str], share: float) -> list[int]:
    """The numbers of a share of some lines, at least one, in order. Chosen by hash, so the same lines are drawn every
    time, and a larger share contains a smaller one."""
    drawn = sorted(range(len(lines)), key=lambda number: (hashlib.sha256(lines[number].encode()).digest(), number))
    return sorted(drawn[: max(1, round(share * len(lines)))])


def _download(
    urls: dict[int, str],
    corpus: Path,
    network: Network,
    claim: Callable[[], object],
    name: Callable[[int, str], str] | None,
) -> list[Path]:
    from pipeline.fetch.download import Downloads, numbered

    if not network.fetch:
        raise BuildError(
            "--no-fetch or --dry-run with --cc or a URL as --warc-prefix: "
            "download the WARC files first and pass their folder"
        )
    claim()
    store = CorpusDirectory(corpus.resolve())
    folder = store.work("warc")
    folder.mkdir(parents=True, exist_ok=True)

    async def run() -> list[Path]:
        async with Client(network.contact, Networks.parse(network.allow_private)) as client:
            return await Downloads(client, folder, Display().note, name or numbered).all(urls)

    with store.locked():
        return asyncio.run(run())
